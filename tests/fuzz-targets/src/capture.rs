//! The target `capture`: bytes are a file for `softnet explain --read`.
//!
//! What the reader makes of it is compared with a naive reading of the whole file at once, by offsets, which shares no code with it:
//! the same frames, the same end. In whatever pieces it comes, it is the same file. Then an engine judges the frames with the file's
//! own times, as `--read` does.

use std::hash::{BuildHasher as _, RandomState};

use softnet::capture::Way;
use softnet::capture::read::{Captured, LONGEST, Reader};
use softnet::engine::{
    Config, Digest, Direction, Engine, EthernetAddress, Exposed, ExposedPort, Exposures, Instant, Network, Peers,
    PolicyEntries, RateLimit, Refusals, Verdict,
};

use crate::frames::{GATEWAY, GATEWAY_MAC, GUEST_MAC, LEASED};

/// What is read of a file: its frames, and whether it ends in order.
type Read = (Vec<Captured>, bool);

/// The target.
///
/// # Panics
/// The two readings differ, or the file is another one in other pieces.
pub fn capture(data: &[u8]) {
    let whole = read(data, usize::MAX);
    assert_eq!(whole, naive(data), "the reader, and a naive reading");
    let step = data.last().map_or(1, |&last| usize::from(last % 16) + 1);
    assert_eq!(whole, read(data, step), "in pieces of {step}");
    judge(&whole.0);
}

/// As the reader has it, which gets `step` bytes at once at most.
fn read(data: &[u8], step: usize) -> Read {
    let mut left = data;
    let next = |buffer: &mut [u8]| {
        assert!(!buffer.is_empty(), "nothing is asked for, which looks like the end");
        let (now, rest) = left.split_at(buffer.len().min(left.len()).min(step));
        buffer[..now.len()].copy_from_slice(now);
        left = rest;
        Ok(now.len())
    };
    let mut frames = Vec::new();
    let Ok(mut reader) = Reader::new(next) else { return (frames, false) };
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => {
                assert!(frame.frame.len() <= LONGEST as usize && reader.position() <= data.len() as u64);
                frames.push(frame);
            }
            Ok(None) => return (frames, true),
            Err(_) => return (frames, false),
        }
    }
}

/// Who wrote it, which is the order of its bytes.
#[derive(Clone, Copy)]
struct Order {
    is_big: bool,
}

impl Order {
    fn number(self, data: &[u8], at: usize, bytes: usize) -> Option<u64> {
        let field = data.get(at..at.checked_add(bytes)?)?;
        let digit = |value: u64, &byte: &u8| value << 8 | u64::from(byte);
        Some(if self.is_big { field.iter().fold(0, digit) } else { field.iter().rev().fold(0, digit) })
    }
}

fn naive(data: &[u8]) -> Read {
    let mut frames = Vec::new();
    let is_sound = match data.get(..4) {
        Some([0x0a, 0x0d, 0x0d, 0x0a]) => naive_blocks(data, &mut frames),
        _ => naive_records(data, &mut frames),
    };
    (frames, is_sound.is_some())
}

/// pcap: 24 bytes in front, then 16 before each frame.
fn naive_records(data: &[u8], frames: &mut Vec<Captured>) -> Option<()> {
    let [little, big] = [false, true].map(|is_big| Order { is_big });
    let (order, nanoseconds) = match data.get(..4)? {
        [0xd4, 0xc3, 0xb2, 0xa1] => (little, 1),
        [0xa1, 0xb2, 0xc3, 0xd4] => (big, 1),
        [0x4d, 0x3c, 0xb2, 0xa1] => (little, 1000),
        [0xa1, 0xb2, 0x3c, 0x4d] => (big, 1000),
        _ => return None,
    };
    if order.number(data, 20, 4)? != 1 {
        return None;
    }
    let mut at = 24;
    while at < data.len() {
        let field = |index: usize| order.number(data, at + 4 * index, 4);
        let (captured, original) = (field(2)?, field(3)?);
        let (from, length) = (at + 16, usize::try_from(captured).ok()?);
        if captured > u64::from(LONGEST) {
            return None;
        }
        let frame = data.get(from..from + length)?.to_vec();
        let micros = (field(0)? * 1_000_000 + field(1)? / nanoseconds).cast_signed();
        frames.push(Captured { micros, way: None, frame, is_whole: captured >= original, comment: String::new() });
        at = from + length;
    }
    Some(())
}

/// pcapng: blocks, which have their length in front and at the end.
fn naive_blocks(data: &[u8], frames: &mut Vec<Captured>) -> Option<()> {
    let mut order = Order { is_big: false };
    let mut interfaces: Vec<u64> = Vec::new();
    let mut at = 0;
    while at < data.len() {
        let is_section = data.get(at..at + 4)? == [0x0a, 0x0d, 0x0d, 0x0a];
        if is_section {
            order = match data.get(at + 8..at + 12)? {
                [0x4d, 0x3c, 0x2b, 0x1a] => Order { is_big: false },
                [0x1a, 0x2b, 0x3c, 0x4d] => Order { is_big: true },
                _ => return None,
            };
        }
        let length = order.number(data, at + 4, 4)?;
        let least = if is_section { 16 } else { 12 };
        if length > u64::from(LONGEST) || length < least || length % 4 != 0 {
            return None;
        }
        let end = at + usize::try_from(length).ok()?;
        let block = data.get(at..end)?;
        if order.number(block, block.len() - 4, 4)? != length {
            return None;
        }
        let body = &block[8..block.len() - 4];
        match order.number(block, 0, 4)? {
            _ if is_section => {
                if order.number(body, 4, 2)? != 1 {
                    return None;
                }
                interfaces.clear();
            }
            1 => {
                if interfaces.len() == 1024 || order.number(body, 0, 2)? != 1 {
                    return None;
                }
                interfaces.push(match naive_option(order, body.get(8..)?, 9).and_then(<[u8]>::first) {
                    None => 1_000_000,
                    Some(&power) if power < 128 => 10u64.checked_pow(power.into())?,
                    Some(&power) if power < 128 + 64 => 1 << (power - 128),
                    Some(_) => return None,
                });
            }
            6 => frames.push(naive_packet(order, &interfaces, body)?),
            _ => {}
        }
        at = end;
    }
    Some(())
}

fn naive_packet(order: Order, interfaces: &[u64], body: &[u8]) -> Option<Captured> {
    let field = |index: usize| order.number(body, 4 * index, 4);
    let ticks = *interfaces.get(usize::try_from(field(0)?).ok()?)?;
    let time = u128::from(field(1)? << 32 | field(2)?) * 1_000_000 / u128::from(ticks);
    let length = usize::try_from(field(3)?).ok()?;
    let frame = body.get(20..20usize.checked_add(length)?)?.to_vec();
    let options = body.get(20 + length.div_ceil(4) * 4..)?;
    let flags = naive_option(order, options, 2).and_then(|value| order.number(value, 0, 4)).unwrap_or(0);
    let comment = naive_option(order, options, 1).unwrap_or_default();
    Some(Captured {
        micros: i64::try_from(time.min(i64::MAX as u128 / 2)).ok()?,
        way: [None, Some(Way::In), Some(Way::Out), None][usize::try_from(flags % 4).ok()?],
        frame,
        is_whole: field(3)? >= field(4)?,
        comment: String::from_utf8_lossy(comment).into_owned(),
    })
}

/// The first of this code, before the end of options or what is none.
fn naive_option(order: Order, options: &[u8], wanted: u64) -> Option<&[u8]> {
    let mut at = 0;
    loop {
        let (code, length) = (order.number(options, at, 2)?, order.number(options, at + 2, 2)?);
        let length = usize::try_from(length).ok()?;
        match code {
            _ if code == wanted => return options.get(at + 4..at + 4 + length),
            0 => return None,
            _ => at += 4 + length.div_ceil(4) * 4,
        }
    }
}

/// What `--read` does with frames, with all that an engine can be told.
fn judge(frames: &[Captured]) {
    let network = Network {
        gateway: GATEWAY,
        gateway_mac: None,
        subnet: "192.168.64.0/24".parse().expect("a subnet"),
        max_frame: 1514,
    };
    let keys = RandomState::new();
    let mut config = Config::new(EthernetAddress(GUEST_MAC), network, [keys.hash_one(0), keys.hash_one(1)]);
    config.policy = PolicyEntries::parse(["in 192.0.2.0/24:22"], ["203.0.113.0/24"]).expect("entries");
    config.refusals = Refusals::Answered;
    let ports =
        vec![Exposed { port: 22, protocol: ExposedPort::Tcp }, Exposed { port: 53, protocol: ExposedPort::Udp }];
    config.exposed = Exposures { ports, peers: Peers::Gateway };
    let mut engine = Engine::new(config).with_rate_limit(RateLimit { bits: Some(1_000_000), frames: Some(1000) });
    engine.assume_lease(LEASED, EthernetAddress(GATEWAY_MAC));
    for captured in frames {
        let digest = Digest::read(&captured.frame);
        let is_guests = match captured.way {
            Some(way) => way == Way::Out,
            None => digest.is_some_and(|digest| digest.source_mac == engine.guest_mac()),
        };
        let now = Instant::from_micros(captured.micros);
        let (direction, verdict) = if is_guests {
            (Direction::FromGuest, engine.on_guest_frame(&captured.frame, now))
        } else {
            (Direction::FromHost, engine.on_host_frame(&captured.frame, now))
        };
        if let Some(decider) = engine.decider(direction, &captured.frame, verdict) {
            assert!(!decider.to_string().is_empty());
        }
        if let Verdict::Reply(_) = verdict {
            assert!(Digest::read(engine.reply()).is_some(), "an answer");
        }
    }
}
