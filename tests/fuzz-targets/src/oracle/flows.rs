//! "Directions and flows": a list of what has begun, walked from end to end for each datagram.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use super::{Datagram, address, word};

const SECOND: i128 = 1_000_000;
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// What a flow is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Tcp,
    Udp,
    /// Echoes that this side asks for.
    Echo(Direction),
}

/// Whom a flow is between: the guest's address and port, the far side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) of: Of,
    pub(super) guest: (Ipv4Addr, usize),
    pub(super) far: (Ipv4Addr, usize),
}

/// What a datagram is to its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// These flags of FIN, SYN, RST, ACK.
    Segment(u8),
    /// UDP, or an echo's request.
    Asks,
    Echo,
    Error,
}

/// A datagram, as far as flows are concerned.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) key: Key,
    pub(super) what: What,
}

impl Step {
    /// Reads what is no fragment, and whose lengths are known to fit.
    pub(super) fn read(direction: Direction, frame: &[u8], datagram: &Datagram) -> Option<Self> {
        if datagram.is_fragment {
            return None;
        }
        let bytes = &frame[datagram.start..datagram.end];
        let (source, destination) = (address(frame, 26), address(frame, 30));
        let ports = |of| key(of, direction, (source, word(bytes, 0)), (destination, word(bytes, 2)));
        match frame[23] {
            6 => Some(Step { key: ports(Of::Tcp), what: What::Segment(bytes[13] & (FIN | SYN | RST | ACK)) }),
            17 => Some(Step { key: ports(Of::Udp), what: What::Asks }),
            1 if bytes.len() >= 8 => match (bytes[0], bytes[1]) {
                (8, 0) => Some(Step { key: echo(bytes, direction, source, destination), what: What::Asks }),
                (0, 0) => Some(Step { key: echo(bytes, direction, source, destination), what: What::Echo }),
                (3 | 11 | 12, _) if bytes.len() >= 36 => {
                    let key = quoted(&bytes[8..36], direction.reverse(), destination)?;
                    Some(Step { key, what: What::Error })
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a flow begins with it.
    pub(super) fn begins(&self) -> bool {
        matches!(self.what, What::Segment(SYN) | What::Asks)
    }
}

fn key(of: Of, direction: Direction, source: (Ipv4Addr, usize), destination: (Ipv4Addr, usize)) -> Key {
    match direction {
        Direction::FromGuest => Key { of, guest: source, far: destination },
        Direction::FromHost => Key { of, guest: destination, far: source },
    }
}

fn echo(message: &[u8], direction: Direction, source: Ipv4Addr, destination: Ipv4Addr) -> Key {
    let asks = if message[0] == 8 { direction } else { direction.reverse() };
    key(Of::Echo(asks), direction, (source, word(message, 4)), (destination, word(message, 4)))
}

/// The flow of a quoted datagram, which went in this direction and was sent by whoever gets the error.
fn quoted(quote: &[u8], direction: Direction, sender: Ipv4Addr) -> Option<Key> {
    let (source, destination) = (address(quote, 12), address(quote, 16));
    if quote[0] != 0x45 || word(quote, 6) & 0x3fff != 0 || source != sender {
        return None;
    }
    let ports = |of| Some(key(of, direction, (source, word(quote, 20)), (destination, word(quote, 22))));
    match (quote[9], quote[20], quote[21]) {
        (6, ..) => ports(Of::Tcp),
        (17, ..) => ports(Of::Udp),
        (1, 0 | 8, 0) => Some(echo(&quote[20..], direction, source, destination)),
        _ => None,
    }
}

/// One flow. Of TCP: what has been seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flow {
    pub(super) key: Key,
    pub(super) initiator: Direction,
    /// By the policy that is.
    pub(super) is_allowed: bool,
    over: i128,
    from_the_middle: bool,
    is_answered: bool,
    is_whole: bool,
    fins: [bool; 2],
    is_reset: bool,
}

impl Flow {
    fn is_ending(&self) -> bool {
        self.is_reset || self.fins == [true; 2]
    }

    /// Whether a segment belongs to the connection; if so, what it changes.
    fn takes(&mut self, is_initiators: bool, flags: u8, now: i64) -> bool {
        let has = |flag| flags & flag != 0;
        let is_answer = !is_initiators && flags == SYN | ACK;
        if flags == SYN || (has(SYN) && !is_initiators && !is_answer) {
            return false;
        }
        self.is_reset |= has(RST);
        self.is_answered |= is_answer;
        if !has(SYN) && !has(RST) {
            self.fins[usize::from(is_initiators)] |= has(FIN);
            if has(ACK) {
                self.is_answered |= self.from_the_middle && !is_initiators;
                self.is_whole |= self.is_answered && is_initiators;
                if is_initiators && self.is_whole && self.fins != [true; 2] {
                    self.is_reset = false;
                    self.over = ends(now, 300);
                }
            }
        }
        if self.is_ending() {
            self.over = self.over.min(ends(now, 10));
        }
        true
    }
}

/// So many seconds from the whole second.
fn ends(now: i64, seconds: i128) -> i128 {
    let now = i128::from(now);
    (now - now.rem_euclid(SECOND) + seconds * SECOND).min(i64::MAX.into())
}

/// Flows that are, and some that were.
#[derive(Debug, Default)]
pub(super) struct Flows(Vec<Flow>);

impl Flows {
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Each is to be asked about again.
    pub(super) fn doubt(&mut self) {
        self.0.iter_mut().for_each(|flow| flow.is_allowed = false);
    }

    /// The rules that are allow it.
    pub(super) fn allow(&mut self, key: Key) {
        self.0.iter_mut().filter(|flow| flow.key == key).for_each(|flow| flow.is_allowed = true);
    }

    pub(super) fn end(&mut self, key: Key) {
        self.0.retain(|flow| flow.key != key);
    }

    /// The live one of this key.
    pub(super) fn find(&mut self, key: Key, now: i64) -> Option<&mut Flow> {
        self.0.iter_mut().find(|flow| flow.key == key && i128::from(now) < flow.over)
    }

    /// Whether a datagram belongs to the live flow of its key; if so, what it changes.
    pub(super) fn pass(&mut self, direction: Direction, step: Step, now: i64) -> bool {
        let Some(flow) = self.find(step.key, now) else { return false };
        let is_initiators = flow.initiator == direction;
        match step.what {
            What::Error | What::Echo => true,
            What::Segment(flags) => flow.takes(is_initiators, flags, now),
            What::Asks => {
                if is_initiators {
                    flow.over = ends(now, 30);
                }
                true
            }
        }
    }

    /// A datagram has passed by the rules: it makes a flow, unless a live one is there that is not ending.
    pub(super) fn admit(&mut self, direction: Direction, step: Step, from_the_middle: bool, now: i64) {
        let goes_on = matches!(step.what, What::Segment(flags) if flags & (ACK | SYN | RST) == ACK);
        if !step.begins() && !(from_the_middle && goes_on) {
            return;
        }
        if self.find(step.key, now).is_some_and(|flow| !flow.is_ending()) {
            return;
        }
        self.end(step.key);
        self.0.push(Flow {
            key: step.key,
            initiator: direction,
            is_allowed: true,
            over: ends(now, if step.key.of == Of::Tcp { 60 } else { 30 }),
            from_the_middle: goes_on,
            is_answered: false,
            is_whole: false,
            fins: [false; 2],
            is_reset: false,
        });
    }
}
