//! An engine and the oracle, side by side in virtual time: both are told the same, and must say the same.

use std::net::Ipv4Addr;

use softnet::engine::{
    Config, Direction, DnsQuestions, DropReason, Engine, Entry, EthernetAddress, Exposed, ExposedPort, Exposures,
    Instant, Isolation, NetType, Network, Peers, PolicyEntries, Refusals, Verdict,
};

use crate::frames::{Dhcp, GATEWAY, GATEWAY_MAC, GUEST_MAC};
use crate::input::Input;
use crate::oracle::{self, Claim, Facts, Oracle, Rules};

/// Entries that nest, meet, tie, and open and close what the rules behind them decide.
const POLICIES: [(&str, &str); 10] = [
    ("", ""),
    ("0.0.0.0/0", ""),
    ("10.0.0.0/8", "10.1.0.0/16"),
    ("", "@host"),
    ("@host", "0.0.0.0/0"),
    ("192.168.64.8", "192.168.64.0/24"),
    ("0.0.0.0/0,192.168.64.1", "0.0.0.0/0,@host"),
    ("224.0.0.0/4,255.255.255.255", "93.184.0.0/16"),
    ("192.168.0.0/16,169.254.169.254", "192.168.64.9"),
    ("8.0.0.0/7,8.8.8.8,127.0.0.0/8,240.0.0.0/4", "8.0.0.0/8,8.8.0.0/16"),
];

/// Entries with directions, and with them flows. A byte from here on chooses one of these.
const DIRECTED_FROM: u8 = 200;
const DIRECTED: [(&str, &str); 7] = [
    ("", "in 0.0.0.0/0"),
    ("", "out 0.0.0.0/0"),
    ("in @host", "0.0.0.0/0"),
    ("", "out @host,in 93.184.0.0/16"),
    ("in 192.168.64.8,out 192.168.64.9,10.0.0.0/8", "in @host,out 10.1.0.0/16"),
    ("0.0.0.0/0", "in 192.168.0.0/16,out 93.184.215.14"),
    ("out 93.184.0.0/16,in 8.8.8.8", "in 0.0.0.0/0,out 8.0.0.0/7"),
];

/// Ports that are exposed: protocol and port.
const EXPOSED: [&[(u8, u16)]; 3] = [&[(6, 22)], &[(17, 53), (6, 53)], &[(6, 22), (17, 5000), (6, 5000)]];

/// Entries of the administrator's: none mostly.
const ADMINISTRATORS: [(&str, &str); 7] = [
    ("", ""),
    ("", "0.0.0.0/0"),
    ("10.1.0.0/16,@host", "10.0.0.0/8,192.168.64.0/24,93.184.0.0/16"),
    ("192.168.64.9", "192.168.0.0/16,8.8.8.8"),
    ("8.0.0.0/7", "8.0.0.0/8,224.0.0.0/4"),
    ("out 192.168.64.0/24", "in @host,out 0.0.0.0/0"),
    ("", "in 93.184.0.0/16,out 10.0.0.0/8"),
];
const ADMINISTRATOR_OF: [usize; 16] = [0, 0, 0, 0, 0, 0, 5, 6, 0, 0, 1, 2, 2, 3, 3, 4];

/// Links: the usual one; one in which the usual lease is the broadcast address; wide ones, of which one is of the world.
const SUBNETS: [([u8; 4], u8); 4] =
    [([192, 168, 64, 0], 24), ([192, 168, 64, 0], 29), ([192, 168, 0, 0], 16), ([128, 0, 0, 0], 1)];
/// The usual one mostly.
const SUBNET_OF: [usize; 8] = [0, 0, 0, 0, 0, 1, 2, 3];

/// What a session was about: how many frames, and what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Frames that were judged, and agreed about.
    pub frames: u64,
    /// Those that passed, from the guest and from the host.
    pub forwarded: [u64; 2],
    /// Those that were dropped and answered.
    pub answered: [u64; 2],
    /// Those that did not, by reason.
    pub dropped: [[u64; DropReason::ALL.len()]; 2],
}

impl Default for Tally {
    fn default() -> Self {
        Tally { frames: 0, forwarded: [0; 2], answered: [0; 2], dropped: [[0; DropReason::ALL.len()]; 2] }
    }
}

impl Tally {
    /// Adds another one's numbers.
    pub fn add(&mut self, other: &Tally) {
        self.frames += other.frames;
        for direction in 0..2 {
            self.forwarded[direction] += other.forwarded[direction];
            self.answered[direction] += other.answered[direction];
            for (mine, others) in self.dropped[direction].iter_mut().zip(other.dropped[direction]) {
                *mine += others;
            }
        }
    }
}

/// An engine, the oracle and their clock, in microseconds.
#[derive(Debug)]
pub struct Session {
    engine: Engine,
    /// Where the engine answers: the same one, but silent.
    silent: Option<Engine>,
    oracle: Oracle,
    now: i64,
    frames: u64,
    answers: [u64; 2],
}

impl Session {
    /// In a state that three bytes choose.
    pub fn new(input: &mut Input<'_>) -> Self {
        let (flags, link, policy) = (input.byte(), input.byte(), input.byte());
        let is = |bit: u8| flags >> bit & 1 == 1;
        let (subnet, length) = SUBNETS[SUBNET_OF[usize::from(link % 8)]];
        let (allow, block) = policy_of(policy);
        let exposed = if is(7) { EXPOSED[usize::from(policy / 10) % EXPOSED.len()] } else { &[] };
        let by_anyone = policy / 30 % 2 == 1;
        let administrator = ADMINISTRATORS[ADMINISTRATOR_OF[usize::from(link >> 4)]];
        let facts = Facts {
            nat: !is(0),
            isolated: !is(1),
            pinned: is(2).then_some(GATEWAY_MAC),
            subnet: (Ipv4Addr::from(subnet), length.into()),
            max_frame: if link & 8 == 0 { 1514 } else { 600 },
        };
        let config = Config {
            guest_mac: EthernetAddress(GUEST_MAC),
            dns_questions: DnsQuestions::Any,
            refusals: if is(6) { Refusals::Answered } else { Refusals::Silent },
            flow_keys: [1, 2],
            exposed: exposures(exposed, by_anyone),
            net_type: if facts.nat { NetType::Nat } else { NetType::Host },
            isolation: if facts.isolated { Isolation::Isolated } else { Isolation::Open },
            network: Network {
                gateway: GATEWAY,
                gateway_mac: facts.pinned.map(EthernetAddress),
                subnet: format!("{}/{length}", facts.subnet.0).parse().expect("a subnet"),
                max_frame: facts.max_frame,
            },
            policy: entries(allow, block),
            administrator: entries(administrator.0, administrator.1),
        };
        let silent = is(6).then(|| Engine::new(Config { refusals: Refusals::Silent, ..config.clone() }));
        let oracle = Oracle::new(
            facts,
            Rules::read(allow, block),
            Rules::read(administrator.0, administrator.1),
            oracle::Exposed::new(exposed, by_anyone),
        );
        let mut session =
            Session { engine: Engine::new(config), silent, oracle, now: 1_000_000_000, frames: 0, answers: [0; 2] };
        if flags >> 3 & 7 != 7 {
            session.obtain(crate::frames::LEASED, 600);
        }
        session
    }

    /// Judges a frame twice.
    ///
    /// # Panics
    /// If engine and oracle differ.
    #[inline]
    pub fn send(&mut self, direction: Direction, frame: &[u8]) {
        let now = Instant::from_micros_const(self.now);
        self.frames += 1;
        let (claim, verdict) = match direction {
            Direction::FromGuest => (self.oracle.guest(frame, self.now), self.engine.on_guest_frame(frame, now)),
            Direction::FromHost => (self.oracle.host(frame, self.now), self.engine.on_host_frame(frame, now)),
        };
        if claim.is_ok() != (verdict == Verdict::Forward) {
            differ(direction, frame, claim, verdict);
        }
        match &mut self.silent {
            None => assert!(!matches!(verdict, Verdict::Reply(_)), "an answer of a silent engine"),
            Some(silent) => {
                let in_silence = match direction {
                    Direction::FromGuest => silent.on_guest_frame(frame, now),
                    Direction::FromHost => silent.on_host_frame(frame, now),
                };
                let spoken = match verdict {
                    Verdict::Reply(reason) => Verdict::Drop(reason),
                    other => other,
                };
                assert_eq!(spoken, in_silence, "answers change what is dropped: {frame:02x?}");
                let reply = if matches!(verdict, Verdict::Reply(_)) { self.engine.reply() } else { &[] };
                self.answers[direction as usize] += u64::from(!reply.is_empty());
                if let Err(what) = self.oracle.check_answer(direction, frame, claim, reply) {
                    answer_differs(what, direction, frame, claim, reply);
                }
            }
        }
        self.check_lease();
    }

    /// Lets some microseconds pass, unseen.
    pub fn wait(&mut self, micros: i64) {
        self.now = self.now.saturating_add(micros);
    }

    /// Lets time pass, or step back.
    pub fn pass(&mut self, input: &mut Input<'_>) {
        let expires = self.oracle.lease().map_or(self.now, |(_, expires)| expires);
        self.now = match input.byte() % 16 {
            0..=5 => self.now.saturating_add(i64::from(input.word()) * 10),
            6..=8 => self.now.saturating_add(1_000_000),
            9 => self.now.saturating_add(1_000_000 - 1),
            10 => expires,
            11 => expires.saturating_sub(1),
            12 => self.now.saturating_add(60_000_000),
            13 => self.now.saturating_add(600_000_000),
            14 => self.now.saturating_sub(input.word().into()),
            // Once the clock is at its end, little happens any more: rarely.
            _ if input.rarely(255) => input.long().cast_signed(),
            _ => self.now.saturating_add(i64::from(input.word()) * 1000),
        };
        self.engine.advance(Instant::from_micros_const(self.now));
        if let Some(silent) = &mut self.silent {
            silent.advance(Instant::from_micros_const(self.now));
        }
        self.oracle.advance(self.now);
        self.check_lease();
    }

    /// Puts other entries in place of those that are.
    pub fn set_policy(&mut self, input: &mut Input<'_>) {
        let (allow, block) = policy_of(input.byte());
        self.engine.set_policy(entries(allow, block));
        if let Some(silent) = &mut self.silent {
            silent.set_policy(entries(allow, block));
        }
        self.oracle.set_rules(Rules::read(allow, block));
    }

    /// Has the guest ask for an address and the gateway grant it, with a DNS server. Either may be dropped.
    pub fn obtain(&mut self, address: Ipv4Addr, seconds: u32) {
        let request = Dhcp::request(1, address).to_all().frame(crate::frames::BROADCAST, GUEST_MAC);
        self.send(Direction::FromGuest, &request);
        let ack = Dhcp::ack(1, address, seconds).option(6, &crate::templates::DNS.octets());
        self.send(Direction::FromHost, &ack.by_gateway().frame(GUEST_MAC, GATEWAY_MAC));
    }

    #[inline]
    fn check_lease(&mut self) {
        // Granted for a time that is over already, it ends with the next tick.
        let lease = self.engine.lease().map(|lease| (lease.address, lease.expires.total_micros()));
        assert_eq!(lease, self.oracle.lease(), "the lease: the engine's, the oracle's");
        // A silent DHCP server is told at a time of its own, which is never one that is over.
        let deadline = self.engine.next_deadline().map(|at| at.total_micros());
        match lease {
            Some((_, expires)) => assert!(deadline.is_some_and(|at| at <= expires), "{deadline:?} is after {expires}"),
            None => assert!(deadline.is_none_or(|at| at > self.now), "{deadline:?} is over"),
        }
    }

    /// The end: each frame was counted once, and no more events wait than may.
    ///
    /// # Panics
    /// If not.
    #[must_use]
    pub fn finish(mut self) -> Tally {
        let mut tally = Tally { frames: self.frames, answered: self.answers, ..Tally::default() };
        for direction in [Direction::FromGuest, Direction::FromHost] {
            let counters = self.engine.counters();
            tally.forwarded[direction as usize] = counters.forwarded(direction).frames;
            for (reason, count) in counters.drops(direction) {
                tally.dropped[direction as usize][reason as usize] = count;
            }
        }
        let counted = tally.forwarded.iter().chain(tally.dropped.iter().flatten()).sum::<u64>();
        assert_eq!(counted, self.frames, "each frame is counted once");
        let events = std::iter::from_fn(|| self.engine.poll_event()).take(22).count();
        assert!(events <= 16 + 5, "events, and troubles of each kind, are bounded");
        tally
    }
}

fn policy_of(byte: u8) -> (&'static str, &'static str) {
    match byte.checked_sub(DIRECTED_FROM) {
        Some(index) => DIRECTED[usize::from(index) % DIRECTED.len()],
        None => POLICIES[usize::from(byte) % POLICIES.len()],
    }
}

fn exposures(ports: &[(u8, u16)], by_anyone: bool) -> Exposures {
    let protocol = |of| if of == 6 { ExposedPort::Tcp } else { ExposedPort::Udp };
    Exposures {
        ports: ports.iter().map(|&(of, port)| Exposed { port, protocol: protocol(of) }).collect(),
        peers: if by_anyone { Peers::Anyone } else { Peers::Gateway },
    }
}

fn entries(allow: &str, block: &str) -> PolicyEntries {
    let list = |text| Entry::parse_list(text).expect("entries");
    PolicyEntries { allow: list(allow), block: list(block) }
}

#[cold]
#[inline(never)]
fn differ(direction: Direction, frame: &[u8], claim: Claim, verdict: Verdict) {
    let kind = if verdict == Verdict::Forward { "a false pass" } else { "a false drop" };
    panic!("{kind}, {direction:?}: the engine says {verdict:?}, the oracle {claim:?}, of\n{frame:02x?}");
}

#[cold]
#[inline(never)]
fn answer_differs(what: &str, direction: Direction, frame: &[u8], claim: Claim, reply: &[u8]) {
    panic!("an answer, {direction:?}: the oracle claims \"{what}\", {claim:?}, of\n{frame:02x?}\n{reply:02x?}");
}
