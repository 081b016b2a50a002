//! A frame of softnet's own, in answer to one that goes no further.
//!
//! There is room for one, made with the engine: the caller sends it before it brings the next frame. What may be answered
//! is bounded, each way by itself: a bucket of 64 replies that fills by one a millisecond. What finds it empty is dropped in
//! silence.
#![forbid(unsafe_code)]

mod write;

use std::net::Ipv4Addr;

use smoltcp::wire::EthernetAddress;

use super::Instant;
use super::verdict::Direction;
pub(super) use write::{Reset, prohibited, reset, udp};

/// The longest reply: headers, and a DNS message of one question.
pub const MAX_REPLY: usize = HEADERS + 12 + 255 + 4;
const HEADERS: usize = 14 + 20 + 8;

/// Replies that may be made at once.
const BURST: i64 = 64;
/// The time in which the bucket gains one, in microseconds.
const REFILL_MICROS: i64 = 1000;

/// Room for a reply, and how many may be made.
#[derive(Debug)]
pub(super) struct Replies {
    frame: [u8; MAX_REPLY],
    /// Of the frame; 0 if there is none.
    length: usize,
    /// By the direction of what is answered.
    buckets: [Bucket; 2],
}

/// How many replies may be made.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// What is in it, counted in the time that it took to fill.
    micros: i64,
    refilled: Instant,
}

/// The ends of a reply: its sender, which is whom the other frame was for, and its receiver.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends<T> {
    pub(super) from: T,
    pub(super) to: T,
}

/// Between whom a reply goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    pub(super) macs: Ends<EthernetAddress>,
    pub(super) addresses: Ends<Ipv4Addr>,
}

impl Replies {
    /// No reply, and full buckets.
    pub(super) fn new() -> Self {
        let bucket = Bucket { micros: BURST * REFILL_MICROS, refilled: Instant::from_micros_const(i64::MIN) };
        Replies { frame: [0; MAX_REPLY], length: 0, buckets: [bucket; 2] }
    }

    /// Forgets the reply.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.length = 0;
    }

    /// The reply; empty if there is none.
    #[inline]
    pub(super) fn frame(&self) -> &[u8] {
        self.frame.get(..self.length).unwrap_or_default()
    }

    /// Makes a reply to a frame of this direction, if one may be made: `write` says how long it is.
    pub(super) fn make(
        &mut self,
        direction: Direction,
        now: Instant,
        write: impl FnOnce(&mut [u8; MAX_REPLY]) -> Option<usize>,
    ) {
        let [of_guest, of_host] = &mut self.buckets;
        let bucket = match direction {
            Direction::FromGuest => of_guest,
            Direction::FromHost => of_host,
        };
        if bucket.spend(now) {
            self.length = write(&mut self.frame).unwrap_or(0);
        }
    }
}

impl Bucket {
    fn spend(&mut self, now: Instant) -> bool {
        let elapsed = now.total_micros().saturating_sub(self.refilled.total_micros()).max(0);
        self.micros = self.micros.saturating_add(elapsed).min(BURST * REFILL_MICROS);
        self.refilled = now;
        let may = self.micros >= REFILL_MICROS;
        if may {
            self.micros -= REFILL_MICROS;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply_at(replies: &mut Replies, direction: Direction, micros: i64) -> bool {
        replies.clear();
        replies.make(direction, Instant::from_micros_const(micros), |_| Some(60));
        replies.frame().len() == 60
    }

    #[test]
    fn replies_are_bounded_and_one_a_millisecond() {
        for direction in [Direction::FromGuest, Direction::FromHost] {
            let mut replies = Replies::new();
            let mut reply_at = |micros| reply_at(&mut replies, direction, micros);
            assert_eq!((0..1000).filter(|_| reply_at(0)).count(), 64);
            assert!(!reply_at(999) && reply_at(1000) && !reply_at(1000));
            assert_eq!((0..1000).filter(|_| reply_at(10_000_000)).count(), 64);
        }
    }

    #[test]
    fn what_one_side_uses_up_the_other_has() {
        let mut replies = Replies::new();
        assert_eq!((0..1000).filter(|_| reply_at(&mut replies, Direction::FromHost, 0)).count(), 64);
        assert_eq!((0..1000).filter(|_| reply_at(&mut replies, Direction::FromGuest, 0)).count(), 64);
    }

    #[test]
    fn what_cannot_be_written_is_no_reply() {
        let mut replies = Replies::new();
        assert!(reply_at(&mut replies, Direction::FromGuest, 0));
        replies.make(Direction::FromGuest, Instant::from_micros_const(0), |_| None);
        assert!(replies.frame().is_empty());
        replies.make(Direction::FromGuest, Instant::from_micros_const(0), |_| Some(MAX_REPLY + 1));
        assert!(replies.frame().is_empty());
    }
}
