//! The lease time of macOS's DHCP server, bootpd: what must stand in its preferences.
//!
//! vmnet has the system's sharing service run bootpd for the guests. It takes its settings from the dictionary `bootpd`
//! in the preferences `com.apple.InternetSharing.default.plist` of the system's configuration. There, for all guests of
//! this Mac, softnet sets two keys and leaves the others as they are (bootpd(8)):
//!
//! * `DHCPLeaseTimeSecs`, a number. The default is a day, and each of Tart's short-lived machines takes an address with
//!   it; a /24 is empty after 253 of them.
//! * `dhcp_ignore_client_identifier`, the *Boolean* true (bootpd ignores a number), so that a guest has one lease by its
//!   MAC, and cannot take many with many client identifiers.
//!
//! What is decided is pure and stands here; what touches the preferences is in `preferences`, on macOS alone. Setup
//! phase: root, and before the interface is started, since that is when bootpd reads its settings.

#[cfg(target_os = "macos")]
mod preferences;

use std::collections::BTreeMap;

use thiserror::Error;

use super::Interrupted;
#[cfg(target_os = "macos")]
pub use preferences::{current, tune};

/// The preferences, below /Library/Preferences/SystemConfiguration.
pub const FILE: &str = "com.apple.InternetSharing.default.plist";
/// The dictionary in them.
pub const DICTIONARY: &str = "bootpd";
/// The lease time, in seconds.
pub const LEASE_TIME: &str = "DHCPLeaseTimeSecs";
/// Whether one MAC has one lease.
pub const IGNORE_CLIENT_ID: &str = "dhcp_ignore_client_identifier";

/// A value as far as it matters: the others are carried along as they are.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<T> {
    /// A whole number, of whatever width.
    Integer(i64),
    /// A Boolean, which is not a number to bootpd.
    Boolean(bool),
    /// Anything else: text, a number with a fraction, what belongs to a key that is not ours.
    Other(T),
}

/// The dictionary.
pub type Dictionary<T> = BTreeMap<String, Value<T>>;

/// What to do to the preferences.
#[derive(Clone, Debug, PartialEq)]
pub enum Change<T> {
    /// They say already what they must.
    Unchanged,
    /// This is to be the dictionary.
    Write(Dictionary<T>),
}

/// What the dictionary must become, given what it is (none: the file, or the dictionary in it, is not there).
#[must_use]
pub fn merge<T: Clone + PartialEq>(current: Option<&Dictionary<T>>, lease_seconds: u32) -> Change<T> {
    let mut wanted = current.cloned().unwrap_or_default();
    wanted.insert(LEASE_TIME.into(), Value::Integer(lease_seconds.into()));
    wanted.insert(IGNORE_CLIENT_ID.into(), Value::Boolean(true));
    if current == Some(&wanted) { Change::Unchanged } else { Change::Write(wanted) }
}

/// Why the lease time could not be set.
#[derive(Debug, Error)]
pub enum TuneError {
    /// A step failed.
    #[error(
        "the DHCP lease time for guests cannot be set: {step} {FILE}: {reason}. Look whether the file is locked ('ls -lO \
         /Library/Preferences/SystemConfiguration') or ruled by a profile, or set it by hand: {}",
        by_hand(*.seconds)
    )]
    Step {
        /// What was tried.
        step: &'static str,
        /// What the system says.
        reason: String,
        /// The wanted lease time.
        seconds: u32,
    },
    /// The end came while waiting for the lock.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// The command that does the same.
fn by_hand(seconds: u32) -> String {
    format!(
        "sudo defaults write /Library/Preferences/SystemConfiguration/{FILE} {DICTIONARY} -dict-add {LEASE_TIME} -int \
         {seconds} {IGNORE_CLIENT_ID} -bool true"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    type Dict = Dictionary<&'static str>;

    fn dict<const N: usize>(entries: [(&str, Value<&'static str>); N]) -> Dict {
        entries.into_iter().map(|(key, value)| (key.to_string(), value)).collect()
    }

    fn ours() -> Dict {
        dict([(LEASE_TIME, Value::Integer(600)), (IGNORE_CLIENT_ID, Value::Boolean(true))])
    }

    #[test]
    fn an_absent_file_or_dictionary_is_made() {
        assert_eq!(merge::<&str>(None, 600), Change::Write(ours()));
        assert_eq!(merge(Some(&Dict::new()), 600), Change::Write(ours()));
    }

    #[test]
    fn equal_values_are_not_written_again() {
        assert_eq!(merge(Some(&ours()), 600), Change::Unchanged);
        let mut others = ours();
        others.insert("bootp_enabled".into(), Value::Other("yes"));
        assert_eq!(merge(Some(&others), 600), Change::Unchanged);
    }

    #[test]
    fn another_lease_time_is_written() {
        assert!(matches!(merge(Some(&ours()), 601), Change::Write(new) if new[LEASE_TIME] == Value::Integer(601)));
    }

    #[test]
    fn other_keys_are_kept() {
        let other = ("detect_other_dhcp_server", Value::Boolean(false));
        let text = ("Subnets", Value::Other("a list"));
        let current = dict([other.clone(), text.clone(), (LEASE_TIME, Value::Integer(86_400))]);
        let Change::Write(new) = merge(Some(&current), 600) else { panic!("the lease time differs") };
        let mut expected = ours();
        expected.extend(dict([other, text]));
        assert_eq!(new, expected);
    }

    #[test]
    fn a_lease_time_of_another_type_is_replaced() {
        for wrong in [Value::Other("600"), Value::Other("600.0"), Value::Boolean(true), Value::Integer(-600)] {
            let mut current = ours();
            current.insert(LEASE_TIME.into(), wrong.clone());
            assert_eq!(merge(Some(&current), 600), Change::Write(ours()), "{wrong:?}");
        }
    }

    #[test]
    fn client_identifiers_are_ignored_by_a_boolean_and_by_nothing_else() {
        for wrong in [Value::Integer(1), Value::Boolean(false), Value::Other("true")] {
            let mut current = ours();
            current.insert(IGNORE_CLIENT_ID.into(), wrong.clone());
            assert_eq!(merge(Some(&current), 600), Change::Write(ours()), "{wrong:?}");
        }
    }

    #[test]
    fn a_failure_says_what_was_tried_and_how_to_do_it_by_hand() {
        let error = TuneError::Step { step: "writing", reason: "Access denied".into(), seconds: 600 };
        let line = error.to_string();
        for part in ["writing com.apple", "Access denied", "-dict-add DHCPLeaseTimeSecs -int 600", "-bool true"] {
            assert!(line.contains(part), "{line}");
        }
    }
}
