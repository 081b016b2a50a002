//! The target `dns`: answers of a DNS server, from names, records and pointers of their own making, to one question. What the engine
//! learns from each is what a second reading of docs/filter.md, which puts whole names into memory and follows them by
//! recursion, says of it.

use std::net::Ipv4Addr;

use softnet::engine::{
    Config, DnsQuestions, Engine, EthernetAddress, Instant, Isolation, NetType, PolicyEntries, Refusals, Verdict,
};

use crate::engine::network;
use crate::frames::*;
use crate::input::Input;

/// What the guest asks for: below the name that its policy allows.
const ASKED: &str = "www.example.org";
const ID: u16 = 0x1234;
const PORT: u16 = 5000;

/// Addresses that answers have: of the world, and then of what is never pinned.
const ADDRESSES: [[u8; 4]; 8] = [
    [93, 184, 215, 14],
    [93, 184, 216, 34],
    [1, 1, 1, 1],
    [223, 255, 255, 255],
    [10, 0, 0, 1],
    [192, 168, 64, 8],
    [127, 0, 0, 1],
    [224, 0, 0, 1],
];
const OF_THE_WORLD: usize = 4;

/// Times to live, and times after which one looks.
const TIMES: [u32; 8] = [0, 59, 60, 61, 600, 3599, 3600, u32::MAX];

/// The target. Returns how many addresses were reached.
pub fn dns(data: &[u8]) -> usize {
    let mut reached = 0;
    let mut input = Input::new(data);
    let mut guest = Guest::new();
    while !input.is_empty() {
        let mut message = message(&mut input);
        while input.rarely(8) {
            let at = usize::from(input.word()) % message.len().max(1);
            match input.byte() % 4 {
                0 => message.truncate(at),
                1 => message.extend_from_slice(input.take(at % 32)),
                _ => message[at] = input.byte(),
            }
            if message.is_empty() {
                message.push(0);
            }
        }
        let wait = input.choose(&TIMES[..7]);
        reached += guest.check(&message, wait);
    }
    reached
}

/// A guest that may only ask for [`ASKED`].
struct Guest {
    engine: Engine,
    now: i64,
}

impl Guest {
    fn new() -> Self {
        let engine = Engine::new(Config {
            guest_mac: EthernetAddress(GUEST_MAC),
            net_type: NetType::Nat,
            isolation: Isolation::Isolated,
            network: network(),
            policy: PolicyEntries::default(),
            administrator: PolicyEntries::default(),
            dns_questions: DnsQuestions::Any,
            refusals: Refusals::Silent,
            flow_keys: [1, 2],
            exposed: softnet::engine::Exposures::default(),
        });
        let mut guest = Guest { engine, now: 1_000_000 };
        let request = Dhcp::request(1, LEASED).to_all().frame(BROADCAST, GUEST_MAC);
        assert!(guest.sends(&request));
        let ack = Dhcp::ack(1, LEASED, u32::MAX).option(6, &GATEWAY.octets()).by_gateway();
        assert!(guest.gets(&ack.frame(GUEST_MAC, GATEWAY_MAC)));
        guest
    }

    fn sends(&mut self, frame: &[u8]) -> bool {
        self.engine.on_guest_frame(frame, Instant::from_secs(self.now)) == Verdict::Forward
    }

    fn gets(&mut self, frame: &[u8]) -> bool {
        self.engine.on_host_frame(frame, Instant::from_secs(self.now)) == Verdict::Forward
    }

    /// Asks, gets the answer, and looks which addresses it reaches after some seconds: how many.
    fn check(&mut self, answer: &[u8], wait: u32) -> usize {
        let mut reached = 0;
        // What was learned before goes.
        for allow in [&["@host"][..], &["@host", "*.example.org"]] {
            let entries = PolicyEntries::parse(allow.iter().copied(), ["0.0.0.0/0"]).expect("entries");
            self.engine.set_policy(entries);
        }
        let question = [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], &name(ASKED), &[0, 1, 0, 1]].concat();
        assert!(self.sends(&Ip::udp(LEASED, GATEWAY, (PORT, 53), &question).frame(GATEWAY_MAC, GUEST_MAC)));
        assert!(self.gets(&Ip::udp(GATEWAY, LEASED, (53, PORT), answer).frame(GUEST_MAC, GATEWAY_MAC)));
        self.now += i64::from(wait);
        let learned = reading(answer).unwrap_or_default();
        for (index, octets) in ADDRESSES.into_iter().enumerate() {
            let expected = index < OF_THE_WORLD
                && learned.iter().any(|&(address, seconds)| address == octets && seconds.clamp(60, 3600) > wait);
            let frame = Ip::ping(LEASED, Ipv4Addr::from(octets)).frame(GATEWAY_MAC, GUEST_MAC);
            assert_eq!(self.sends(&frame), expected, "{octets:?} after {wait} s, by {answer:02x?}: {learned:?}");
            reached += usize::from(expected);
        }
        reached
    }
}

/// A name on the wire.
fn name(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        text.split('.').flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

/// Mostly a sound answer.
fn message(input: &mut Input<'_>) -> Vec<u8> {
    let flags: u16 = if input.rarely(16) { input.word() } else { 0x8180 };
    let questions: u16 = if input.rarely(32) { 2 } else { 1 };
    let records = input.byte() % 8;
    let count = u16::from(records) + u16::from(input.rarely(32));
    let mut bytes = [ID, flags, questions, count, 0, 0].map(u16::to_be_bytes).concat();
    let asked = if input.rarely(16) { "WWW.Example.ORG" } else { ASKED };
    bytes.extend(name(if input.rarely(32) { "example.org" } else { asked }));
    bytes.extend([0, if input.rarely(32) { 28 } else { 1 }, 0, 1]);
    // Where names are that a pointer may be to.
    let mut places = vec![12, 16];
    for _ in 0..records {
        add_record(&mut bytes, &mut places, input);
    }
    bytes
}

fn add_record(bytes: &mut Vec<u8>, places: &mut Vec<usize>, input: &mut Input<'_>) {
    add_name(bytes, places, input);
    let kind: u8 = input.choose(&[1, 1, 5, 5, 5, 1, 46, 28]);
    bytes.extend([0, kind, 0, if input.rarely(32) { 3 } else { 1 }]);
    bytes.extend(input.choose(&TIMES).to_be_bytes());
    let length_at = bytes.len();
    bytes.extend([0, 0]);
    match kind {
        1 => bytes.extend(input.choose(&ADDRESSES)),
        5 => add_name(bytes, places, input),
        _ => {
            let length = usize::from(input.byte() % 20);
            bytes.extend_from_slice(input.take(length));
        }
    }
    let length = bytes.len() - length_at - 2;
    let odd = if input.rarely(64) { 1 } else { 0 };
    bytes[length_at + 1] = (length + odd) as u8;
}

/// A few labels and an end, or a pointer: to the name asked for, most often.
fn add_name(bytes: &mut Vec<u8>, places: &mut Vec<usize>, input: &mut Input<'_>) {
    let here = bytes.len();
    let choice = input.byte();
    for _ in 0..[0, 0, 1][usize::from(choice % 3)] {
        let label: &[u8] = input.choose(&[b"a", b"B", b"b", b"www", b"a.b"]);
        bytes.push(label.len() as u8);
        bytes.extend(label);
    }
    match choice / 3 % 8 {
        0 => bytes.push(0),
        1..=3 => bytes.extend([0xc0, 12]),
        // Anywhere, or at what is here or behind.
        4 => bytes.extend([0xc0, input.byte()]),
        5 => bytes.extend([0xc0, here as u8]),
        _ => {
            let place = places[usize::from(input.byte()) % places.len()];
            bytes.extend([0xc0 | (place >> 8) as u8, place as u8]);
        }
    }
    places.push(here);
}

/// The addresses that an answer to [`ASKED`] has, and how long each.
fn reading(message: &[u8]) -> Option<Vec<([u8; 4], u32)>> {
    let at = |place: usize| message.get(place..place + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let flags = at(2)?;
    // QR alone, among it, the opcode, TC and the code.
    if at(0)? != ID || flags & 0b1111_1010_0000_1111 != 0x8000 || at(4)? != 1 {
        return None;
    }
    let (asked, mut place) = labels(message, 12, 0, 0)?;
    if asked.join(&b'.').to_ascii_lowercase() != ASKED.as_bytes()
        || asked.len() != 3
        || at(place)? != 1
        || at(place + 2)? != 1
    {
        return None;
    }
    place += 4;
    let mut records = Vec::new();
    for _ in 0..at(6)? {
        let owner = place;
        place = skip(message, place)?;
        let (kind, class) = (at(place)?, at(place + 2)?);
        let seconds = u32::from_be_bytes(message.get(place + 4..place + 8)?.try_into().ok()?);
        let length = usize::from(at(place + 8)?);
        let data = place + 10;
        place = data + length;
        let bytes = message.get(data..place)?;
        let is_sound = match (class, kind) {
            (1, 1) => length == 4,
            (1, 5) => skip(bytes, 0) == Some(length),
            _ => true,
        };
        if !is_sound {
            return None;
        }
        records.push((owner, kind, class, if seconds >= 1 << 31 { 0 } else { seconds }, data));
    }
    let (mut current, mut shortest, mut found) = (Some(asked), u32::MAX, Vec::new());
    let lower = |name: &Vec<Vec<u8>>| name.iter().map(|label| label.to_ascii_lowercase()).collect::<Vec<_>>();
    for (owner, kind, class, seconds, data) in records {
        let owner = labels(message, owner, owner, 0).map(|(name, _)| lower(&name));
        if class != 1 || owner.is_none() || owner != current.as_ref().map(lower) {
            continue;
        }
        match kind {
            1 => found.push((message[data..data + 4].try_into().ok()?, seconds.min(shortest))),
            5 => {
                current = labels(message, data, data, 0).map(|(name, _)| name);
                shortest = shortest.min(seconds);
            }
            _ => {}
        }
    }
    Some(found)
}

/// A name's labels, and where it ends: pointers go back only, 32 of them at the most.
fn labels(message: &[u8], at: usize, below: usize, jumps: usize) -> Option<(Vec<Vec<u8>>, usize)> {
    let (mut name, mut place) = (Vec::new(), at);
    loop {
        let first = *message.get(place)?;
        if first == 0 {
            place += 1;
            break;
        } else if first < 64 {
            name.push(message.get(place + 1..=place + usize::from(first))?.to_vec());
            place += 1 + usize::from(first);
        } else if first >= 0xc0 {
            let target = usize::from(first & 0x3f) << 8 | usize::from(*message.get(place + 1)?);
            if target >= below || jumps == 32 {
                return None;
            }
            name.extend(labels(message, target, target, jumps + 1)?.0);
            place += 2;
            break;
        } else {
            return None;
        }
    }
    let length: usize = name.iter().map(|label| label.len() + 1).sum();
    (length <= 254 && name.len() <= 127).then_some((name, place))
}

/// Where a name ends, by its own bytes.
fn skip(message: &[u8], mut place: usize) -> Option<usize> {
    for _ in 0..128 {
        match *message.get(place)? {
            0 => return Some(place + 1),
            length @ 1..64 => place += 1 + usize::from(length),
            0xc0.. => return Some(place + 2),
            _ => return None,
        }
    }
    None
}
