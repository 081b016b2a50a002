//! How much DHCP a guest may speak, so that none can drain the pool or drown the server.
//!
//! Two limits. *Rate*: a bucket of [`BURST`] messages that fills by one a second. *Identifiers*: a server that goes by
//! client identifier (option 61) hands an address to each, so a guest may use at most [`IDENTIFIERS`] within
//! [`IDENTIFIER_LIFE`]; "none" is one of them. A machine that boots through firmware, loader and system uses three.
//! A message that one limit refuses spends nothing of the other.
#![forbid(unsafe_code)]

use super::verdict::DropReason;
use super::{Duration, Instant, after};

/// Messages that may come at once.
pub(super) const BURST: i64 = 16;
/// The time in which the bucket gains one message, in microseconds.
pub(super) const REFILL_MICROS: i64 = 1_000_000;
const IDENTIFIERS: usize = 3;
const IDENTIFIER_LIFE: Duration = Duration::from_secs(600);

/// The budget of one guest.
#[derive(Debug)]
pub(super) struct Budget {
    /// What is in the bucket, counted in the time that it took to fill.
    micros: i64,
    refilled: Instant,
    identifiers: [Option<Used>; IDENTIFIERS],
}

/// An identifier, and when it was used last.
#[derive(Clone, Copy, Debug)]
struct Used {
    identifier: Identifier,
    last: Instant,
}

/// Option 61 or its absence, compared byte for byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identifier {
    is_present: bool,
    length: usize,
    bytes: [u8; 255],
}

impl Identifier {
    fn new(option: Option<&[u8]>) -> Self {
        let option_bytes = option.unwrap_or_default();
        // An option's length is one byte, so this never cuts.
        let length = option_bytes.len().min(255);
        let mut bytes = [0; 255];
        bytes[..length].copy_from_slice(&option_bytes[..length]);
        Identifier { is_present: option.is_some(), length, bytes }
    }
}

impl Budget {
    /// A full bucket, and no identifier used.
    pub(super) fn new() -> Self {
        Budget {
            micros: BURST * REFILL_MICROS,
            refilled: Instant::from_micros_const(i64::MIN),
            identifiers: [None; IDENTIFIERS],
        }
    }

    /// Spends one message with this client identifier, or refuses and spends nothing.
    pub(super) fn spend(&mut self, identifier: Option<&[u8]>, now: Instant) -> Result<(), DropReason> {
        let elapsed = now.total_micros().saturating_sub(self.refilled.total_micros()).max(0);
        self.micros = self.micros.saturating_add(elapsed).min(BURST * REFILL_MICROS);
        self.refilled = now;
        if self.micros < REFILL_MICROS {
            return Err(DropReason::DhcpRate);
        }
        let identifier = Identifier::new(identifier);
        let slot = self.slot(&identifier, now).ok_or(DropReason::DhcpIdentifiers)?;
        *slot = Some(Used { identifier, last: now });
        self.micros -= REFILL_MICROS;
        Ok(())
    }

    /// Where `identifier` is kept: its own slot, else one that is free or has not been used for long.
    fn slot(&mut self, identifier: &Identifier, now: Instant) -> Option<&mut Option<Used>> {
        let own = self.identifiers.iter().position(|slot| slot.is_some_and(|used| used.identifier == *identifier));
        let free =
            || self.identifiers.iter().position(|slot| slot.is_none_or(|used| now > after(used.last, IDENTIFIER_LIFE)));
        own.or_else(free).map(|index| &mut self.identifiers[index])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn sixteen_messages_pass_at_once_and_then_one_a_second() {
        let mut budget = Budget::new();
        for _ in 0..16 {
            assert_eq!(budget.spend(None, at(0)), Ok(()));
        }
        assert_eq!(budget.spend(None, at(0)), Err(DropReason::DhcpRate));
        assert_eq!(budget.spend(None, at(999)), Err(DropReason::DhcpRate));
        assert_eq!(budget.spend(None, at(1000)), Ok(()));
        assert_eq!(budget.spend(None, at(1000)), Err(DropReason::DhcpRate));
        assert_eq!(budget.spend(None, at(1999)), Err(DropReason::DhcpRate));
        assert_eq!(budget.spend(None, at(2000)), Ok(()));
    }

    #[test]
    fn the_bucket_never_holds_more_than_its_burst() {
        let mut budget = Budget::new();
        let passed = (0..40).filter(|_| budget.spend(None, at(1_000_000_000)).is_ok()).count();
        assert_eq!(passed, 16);
    }

    #[test]
    fn three_identifiers_pass_and_none_is_one_of_them() {
        let mut budget = Budget::new();
        assert_eq!(budget.spend(None, at(0)), Ok(()));
        assert_eq!(budget.spend(Some(b""), at(0)), Ok(()));
        assert_eq!(budget.spend(Some(b"a"), at(0)), Ok(()));
        assert_eq!(budget.spend(Some(b"a\0"), at(0)), Err(DropReason::DhcpIdentifiers));
        assert_eq!(budget.spend(Some(b"a"), at(0)), Ok(()));
        assert_eq!(budget.spend(None, at(0)), Ok(()));
    }

    #[test]
    fn an_identifier_makes_room_ten_minutes_after_its_last_use_and_not_before() {
        let mut budget = Budget::new();
        for identifier in [&b"a"[..], b"b", b"c"] {
            assert_eq!(budget.spend(Some(identifier), at(0)), Ok(()));
        }
        assert_eq!(budget.spend(Some(b"a"), at(300_000)), Ok(()));
        assert_eq!(budget.spend(Some(b"d"), at(600_000)), Err(DropReason::DhcpIdentifiers));
        assert_eq!(budget.spend(Some(b"d"), at(600_001)), Ok(()));
        assert_eq!(budget.spend(Some(b"e"), at(600_001)), Ok(()));
        assert_eq!(budget.spend(Some(b"b"), at(600_001)), Err(DropReason::DhcpIdentifiers));
        assert_eq!(budget.spend(Some(b"a"), at(600_001)), Ok(()));
    }

    #[test]
    fn a_refused_identifier_spends_no_message() {
        let mut budget = Budget::new();
        for identifier in [&b"a"[..], b"b", b"c"] {
            budget.spend(Some(identifier), at(0)).unwrap();
        }
        for _ in 0..50 {
            assert_eq!(budget.spend(Some(b"d"), at(0)), Err(DropReason::DhcpIdentifiers));
        }
        assert_eq!((0..20).filter(|_| budget.spend(Some(b"a"), at(0)).is_ok()).count(), 13);
    }
}
