//! `softnet explain --read`: what an engine with these options makes of each frame of a capture, with the capture's times.
//!
//! The engine is a new one, and the frames go through it in order: DHCP in the capture grants the lease, answers of DNS tell names,
//! and what begins a flow lets the rest of it pass. A frame's way is what the capture says, else its source tells the guest's
//! from others'. What was softnet's own answer nobody judged, and a frame that was cut cannot be.
//!
//! The file is hostile: no byte of it is printed, only numbers and fixed words ([`Digest`]) and entries of the options. What is
//! kept of it is [`LINES`] lines.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher as _;
use std::io::{self, Read};
use std::path::Path;

use log::warn;

use super::super::{SubcommandError, print};
use super::Given;
use crate::capture::read::{Captured, Reader};
use crate::capture::{OWN_ANSWER, Way};
use crate::cli::{ExplainOptions, parse_mac};
use crate::engine::{
    Answered, Config, Contents, Datagram, Decider, Digest, Direction, DnsQuestions, DropReason, Engine,
    EthernetAddress, Instant, Load, Network, Verdict, colons,
};
use crate::logging::Object;

/// The most lines that are kept, and printed.
const LINES: usize = 1000;
/// The longest frame of softnet's own network.
const MAX_FRAME: usize = 1514;
/// What softnet calls the interface of a capture, before the guest's MAC.
const INTERFACE: &str = "guest ";

/// A question that softnet itself answers.
pub(super) const DNS_REFUSED: &str = "dns-refused";

/// What an answer is, as one lower-case word with hyphens; silence is none.
pub(super) fn answer_name(answered: Answered) -> Option<&'static str> {
    match answered {
        Answered::Reset => Some("tcp-reset"),
        Answered::Prohibited => Some("icmp-prohibited"),
        Answered::Silence(_) => None,
    }
}

/// What a reply of the engine's is.
fn kind_of(reply: &[u8]) -> &'static str {
    let answered = match Digest::read(reply).map(|digest| digest.contents) {
        Some(Contents::Ipv4(Datagram { protocol: 6, .. })) => Answered::Reset,
        Some(Contents::Ipv4(Datagram { protocol: 17, .. })) => return DNS_REFUSED,
        _ => Answered::Prohibited,
    };
    answer_name(answered).unwrap_or_default()
}

/// Explains the capture at `path`.
pub(super) fn explain(path: &Path, asked: &ExplainOptions, given: &Given) -> Result<(), SubcommandError> {
    let failed = |reason: String| SubcommandError::Read { path: path.display().to_string(), reason };
    let mut input: Box<dyn Read> = if path.as_os_str() == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| failed(error.to_string()))?)
    };
    let next = |buffer: &mut [u8]| loop {
        match input.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map_err(|error| error.to_string()),
        }
    };
    let mut reading = Reading::new(asked, given);
    let end = reading.read(next);
    reading.print()?;
    end.map_err(failed)
}

/// What is told apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    direction: Direction,
    ends: Ends,
    reason: Option<DropReason>,
    /// What answers it.
    answer: Option<&'static str>,
    /// Its name, its words, and its entry.
    decider: Option<(&'static str, String, Option<String>)>,
}

/// Who speaks to whom. Of two ports only the lower is told, which is as a rule the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ends {
    protocol: Protocol,
    from: End,
    to: End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Protocol {
    Arp,
    Ip(u8),
    Other(u16),
    /// Too short for an Ethernet header.
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    Ip(std::net::Ipv4Addr, Option<u16>),
    Mac(EthernetAddress),
    None,
}

struct Reading<'a> {
    asked: &'a ExplainOptions,
    given: &'a Given,
    engine: Option<Engine>,
    /// The lines, in the order in which they came up.
    lines: Vec<(Key, u64)>,
    index: HashMap<Key, usize>,
    judged: u64,
    /// Frames of further lines.
    more: u64,
    cut: u64,
    passed_over: u64,
    lacks_lease: bool,
}

impl<'a> Reading<'a> {
    fn new(asked: &'a ExplainOptions, given: &'a Given) -> Self {
        Reading {
            asked,
            given,
            engine: None,
            lines: Vec::new(),
            index: HashMap::new(),
            judged: 0,
            more: 0,
            cut: 0,
            passed_over: 0,
            lacks_lease: false,
        }
    }

    /// Judges all frames.
    fn read(&mut self, next: impl FnMut(&mut [u8]) -> Result<usize, String>) -> Result<(), String> {
        let mut reader = Reader::new(next).map_err(|error| error.to_string())?;
        let mut frames = 0u64;
        loop {
            let captured = reader.next_frame().map_err(|error| format!("{error}; {frames} frames were read before"))?;
            self.passed_over = reader.passed_over();
            let Some(captured) = captured else { return Ok(()) };
            frames += 1;
            self.take(&captured, reader.interface())?;
        }
    }

    fn take(&mut self, captured: &Captured, interface: Option<&str>) -> Result<(), String> {
        if captured.comment == OWN_ANSWER {
            return Ok(());
        }
        if !captured.is_whole {
            self.cut += 1;
            return Ok(());
        }
        let mut engine = match self.engine.take() {
            Some(engine) => engine,
            None => {
                let told = || parse_mac(interface?.strip_prefix(INTERFACE)?).ok();
                let mac = self.asked.vm_mac_address.or_else(told).ok_or(
                    "it does not say which guest's frames these are: --vm-mac-address MAC names the guest's address",
                )?;
                self.engine(mac)
            }
        };
        let digest = Digest::read(&captured.frame);
        let direction = match captured.way {
            Some(Way::Out) => Direction::FromGuest,
            Some(Way::In) => Direction::FromHost,
            None if digest.is_some_and(|digest| digest.source_mac == engine.guest_mac()) => Direction::FromGuest,
            None => Direction::FromHost,
        };
        if let (Some(address), None, Some(digest)) = (self.asked.lease, engine.lease(), &digest)
            && let Some(mac) = self.gateways(direction, digest)
        {
            engine.assume_lease(address, mac);
        }
        let now = Instant::from_micros(captured.micros);
        let verdict = match direction {
            Direction::FromGuest => engine.on_guest_frame(&captured.frame, now),
            Direction::FromHost => engine.on_host_frame(&captured.frame, now),
        };
        let decider = engine.decider(direction, &captured.frame, verdict).map(|decider| {
            let entry = match decider {
                Decider::Entry(_, entry) | Decider::Administrator(entry) => Some(entry.to_string()),
                _ => None,
            };
            (decider.name(), decider.to_string(), entry)
        });
        let (reason, answer) = match verdict {
            Verdict::Forward => (None, None),
            Verdict::Drop(reason) => (Some(reason), None),
            Verdict::Reply(reason) => (Some(reason), Some(kind_of(engine.reply()))),
        };
        self.engine = Some(engine);
        self.lacks_lease |= reason == Some(DropReason::NoLease);
        self.count(Key { direction, ends: Ends::of(digest.as_ref()), reason, answer, decider });
        Ok(())
    }

    fn engine(&self, mac: EthernetAddress) -> Engine {
        let network =
            Network { gateway: self.asked.gateway, gateway_mac: None, subnet: self.asked.subnet, max_frame: MAX_FRAME };
        let keys = RandomState::new();
        let mut config = Config::new(mac, network, [keys.hash_one(0), keys.hash_one(1)]);
        config.net_type = self.asked.vm_net_type.into();
        config.isolation = self.given.effective.isolation;
        config.policy = self.given.effective.policy.clone();
        config.administrator = self.given.effective.administrator.clone();
        config.refusals = self.asked.refusals();
        config.exposed = self.given.exposures.clone();
        if self.asked.dns_names_only {
            config.dns_questions = DnsQuestions::OfAllowedNames;
        }
        Engine::new(config).with_rate_limit(self.given.rate_limit)
    }

    /// The gateway's MAC, if this frame tells it: of a lease that is taken for granted no DHCP has.
    fn gateways(&self, direction: Direction, digest: &Digest) -> Option<EthernetAddress> {
        let is_beyond = |address| address == self.asked.gateway || !self.asked.subnet.contains(&address);
        let mac = match (direction, &digest.contents) {
            (Direction::FromGuest, Contents::Ipv4(datagram)) if is_beyond(datagram.destination) => {
                digest.destination_mac
            }
            (Direction::FromHost, Contents::Ipv4(datagram)) if is_beyond(datagram.source) => digest.source_mac,
            (Direction::FromHost, Contents::Arp { sender, .. }) if *sender == self.asked.gateway => digest.source_mac,
            _ => return None,
        };
        mac.is_unicast().then_some(mac)
    }

    fn count(&mut self, key: Key) {
        self.judged += 1;
        if let Some((_, count)) = self.index.get(&key).and_then(|index| self.lines.get_mut(*index)) {
            *count += 1;
        } else if self.lines.len() < LINES {
            self.index.insert(key.clone(), self.lines.len());
            self.lines.push((key, 1));
        } else {
            self.more += 1;
        }
    }

    fn print(&self) -> Result<(), SubcommandError> {
        let json = self.asked.json;
        let width = if json { 0 } else { self.lines.iter().map(|(key, _)| key.ends.text().len()).max().unwrap_or(0) };
        for (key, count) in &self.lines {
            print(&if json { key.json(*count) } else { key.text(*count, width) })?;
        }
        if self.more > 0 {
            if json {
                print(&Object::default().value("more_frames", self.more).line())?;
            } else {
                print(&format_args!("and {} more frames, of further lines\n", self.more))?;
            }
        }
        if self.lacks_lease {
            let what = if self.asked.lease.is_none() {
                "no DHCP granted it before: --lease ADDRESS names it"
            } else {
                "no frame before told the gateway's MAC address"
            };
            warn!("--read: there are frames for which the guest's address is missing: {what}");
        }
        if self.cut > 0 {
            warn!("--read: {} frames are not whole in the capture, and were not judged", self.cut);
        }
        if self.passed_over > 0 {
            warn!("--read: {} packets without a time (Simple Packet Blocks) were not judged", self.passed_over);
        }
        Ok(())
    }
}

impl Key {
    fn text(&self, count: u64, width: usize) -> String {
        let side = match self.direction {
            Direction::FromGuest => "from the guest",
            Direction::FromHost => "to the guest  ",
        };
        let by = self.decider.as_ref().map(|(_, words, _)| words.as_str()).unwrap_or_default();
        let outcome = match (self.reason, self.answer) {
            (None, _) => "passes  ".to_owned(),
            (Some(reason), None) => format!("dropped   {}", reason.name()),
            (Some(reason), Some(answer)) => format!("answered  {} ({answer})", reason.name()),
        };
        let line = format!("{count:7}  {side}  {:width$}  {outcome}  {by}", self.ends.text());
        format!("{}\n", line.trim_end())
    }

    fn json(&self, count: u64) -> String {
        let or_null = |text: Option<&str>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
        let direction = match self.direction {
            Direction::FromGuest => "from_guest",
            Direction::FromHost => "from_host",
        };
        let object = Object::default().text("direction", direction).text("protocol", &self.ends.protocol.text());
        let (name, entry) = self.decider.as_ref().map(|(name, _, entry)| (*name, entry.as_deref())).unzip();
        let object = object.text("source", &self.ends.from.text()).text("destination", &self.ends.to.text());
        let object = object.value("passes", self.reason.is_none()).value("answered", self.answer.is_some());
        let object = object.value("answer", or_null(self.answer));
        let object = object.value("reason", or_null(self.reason.map(DropReason::name)));
        object.value("decider", or_null(name)).value("entry", or_null(entry.flatten())).value("count", count).line()
    }
}

impl Ends {
    fn of(digest: Option<&Digest>) -> Self {
        let Some(digest) = digest else { return Ends { protocol: Protocol::None, from: End::None, to: End::None } };
        match digest.contents {
            Contents::Arp { sender, target } => {
                Ends { protocol: Protocol::Arp, from: End::Ip(sender, None), to: End::Ip(target, None) }
            }
            Contents::Ipv4(datagram) => {
                let (from, to) = match datagram.load {
                    Load::Ports { source, destination } if source < destination => (Some(source), None),
                    Load::Ports { destination, .. } => (None, Some(destination)),
                    Load::Fragment | Load::Plain => (None, None),
                };
                Ends {
                    protocol: Protocol::Ip(datagram.protocol),
                    from: End::Ip(datagram.source, from),
                    to: End::Ip(datagram.destination, to),
                }
            }
            Contents::Other(ether_type) => Ends {
                protocol: Protocol::Other(ether_type),
                from: End::Mac(digest.source_mac),
                to: End::Mac(digest.destination_mac),
            },
        }
    }

    fn text(&self) -> String {
        let Ends { protocol, from, to } = self;
        match protocol {
            Protocol::None => "a frame without a header".into(),
            _ => format!("{} {} > {}", protocol.text().to_uppercase(), from.text(), to.text()),
        }
    }
}

impl Protocol {
    fn text(self) -> String {
        match self {
            Protocol::Arp => "arp".into(),
            Protocol::Ip(1) => "icmp".into(),
            Protocol::Ip(6) => "tcp".into(),
            Protocol::Ip(17) => "udp".into(),
            Protocol::Ip(number) => format!("ip-{number}"),
            Protocol::Other(ether_type) => format!("type-{ether_type:04x}"),
            Protocol::None => "none".into(),
        }
    }
}

impl End {
    fn text(self) -> String {
        match self {
            End::Ip(address, Some(port)) => format!("{address}:{port}"),
            End::Ip(address, None) => address.to_string(),
            End::Mac(mac) => colons(mac),
            End::None => String::new(),
        }
    }
}
