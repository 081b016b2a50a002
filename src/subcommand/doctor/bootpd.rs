//! macOS: what the DHCP server of guests, bootpd, is told by its preferences.

use super::report::Finding;
use crate::host::bootpd::{Dictionary, FILE, IGNORE_CLIENT_ID, LEASE_TIME, Value};

/// Above it, short-lived guests empty the pool of 253 addresses: an hour.
const LONG: i64 = 3600;
const MEND: &str = "start a guest with a softnet that has root, which sets both";

/// What the dictionary says (none: it, or its file, is not there).
pub(super) fn check<T>(current: Option<&Dictionary<T>>) -> Vec<Finding> {
    vec![lease_time(current), client_ids(current)]
}

fn lease_time<T>(current: Option<&Dictionary<T>>) -> Finding {
    const ID: &str = "dhcp.lease-time";
    match current.and_then(|dictionary| dictionary.get(LEASE_TIME)) {
        Some(&Value::Integer(seconds @ 1..=LONG)) => Finding::ok(ID, format!("guests have leases of {seconds} s")),
        Some(&Value::Integer(seconds @ 1..)) => Finding::warn(
            ID,
            format!("guests have leases of {seconds} s: as many as start within that time share 253 addresses"),
            "start a guest with a shorter --bootpd-lease-time",
        ),
        Some(_) => Finding::warn(ID, format!("{LEASE_TIME} in {FILE} is no number of seconds"), MEND),
        None => Finding::warn(
            ID,
            format!("{FILE} names no lease time, which makes it a day: 253 short-lived guests use up the addresses"),
            MEND,
        ),
    }
}

fn client_ids<T>(current: Option<&Dictionary<T>>) -> Finding {
    const ID: &str = "dhcp.client-identifier";
    match current.and_then(|dictionary| dictionary.get(IGNORE_CLIENT_ID)) {
        Some(Value::Boolean(true)) => Finding::ok(ID, "a guest has one lease, by its MAC"),
        _ => Finding::warn(
            ID,
            format!("{IGNORE_CLIENT_ID} in {FILE} is not the Boolean true: a guest may take many leases"),
            MEND,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    fn levels(entries: &[(&str, Value<()>)]) -> Vec<Level> {
        let dictionary = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        check(Some(&dictionary)).into_iter().map(|finding| finding.level).collect()
    }

    #[test]
    fn what_softnet_sets_is_well_and_anything_else_is_told() {
        let one = (IGNORE_CLIENT_ID, Value::Boolean(true));
        for (seconds, level) in [(600, Level::Ok), (3600, Level::Ok), (3601, Level::Warn), (0, Level::Warn)] {
            assert_eq!(levels(&[(LEASE_TIME, Value::Integer(seconds)), one.clone()]), [level, Level::Ok], "{seconds}");
        }
        assert_eq!(levels(&[(LEASE_TIME, Value::Other(())), one]), [Level::Warn, Level::Ok]);
        let number = (IGNORE_CLIENT_ID, Value::Integer(1));
        assert_eq!(levels(&[(LEASE_TIME, Value::Integer(600)), number]), [Level::Ok, Level::Warn]);
        assert_eq!(check::<()>(None).len(), 2);
        assert!(check::<()>(None).iter().all(|finding| finding.level == Level::Warn));
    }
}
