//! `/etc/softnet.toml`: whether it is in order, and what it limits.

use super::report::Finding;
use crate::administrator::{Administrator, AdministratorError, Callers, FILE, FileError, Id, IsolationRule, in_words};
use crate::engine::RateLimit;

const FILE_ID: &str = "administrator.file";

pub(super) fn check() -> Vec<Finding> {
    match Administrator::read_if_there() {
        Ok(None) => vec![Finding::ok(
            FILE_ID,
            format!("there is no {FILE}: callers are limited by nothing beyond the defaults"),
        )],
        Ok(Some(word)) => {
            let mut findings = vec![Finding::ok(FILE_ID, format!("{FILE} is in order: {}", limits(&word)))];
            findings.extend(unknown(&word));
            findings
        }
        Err(AdministratorError::File(FileError::Unreadable { source, .. }))
            if source.raw_os_error() == Some(libc::EACCES) =>
        {
            vec![Finding::skip(FILE_ID, format!("only root may read {FILE}"), "sudo softnet doctor")]
        }
        Err(error) => {
            vec![Finding::fail(
                FILE_ID,
                format!("no guest can be started: {error}"),
                format!("put {FILE} in order, as root"),
            )]
        }
    }
}

/// Each limit that is set.
fn limits(word: &Administrator) -> String {
    let list = |items: &[String]| format!("[{}]", items.join(", "));
    let ids = |ids: &[Id]| list(&ids.iter().map(ToString::to_string).collect::<Vec<_>>());
    let mut limits = Vec::new();
    if let Some(Callers { users, groups }) = &word.callers {
        limits.push(format!("may be run by users {} and groups {}", ids(users), ids(groups)));
    }
    if let Some(most) = word.guests_per_user {
        limits.push(format!("{most} guests a user"));
    }
    let entries = word.policy.texts();
    if !entries.block.is_empty() {
        limits.push(format!("always blocked {}", list(&entries.block)));
        if !entries.allow.is_empty() {
            limits.push(format!("but for {}", list(&entries.allow)));
        }
    }
    if !word.bridges.is_empty() {
        limits.push(format!("callers may name the bridges {}", list(&word.bridges)));
    }
    if !word.subnets.is_empty() {
        let subnets: Vec<String> = word.subnets.iter().map(ToString::to_string).collect();
        limits.push(format!("callers may name subnets in {}", list(&subnets)));
    }
    if let Some(expose) = &word.expose {
        limits.push(format!("callers may expose {}", in_words(expose)));
    }
    if word.rate_limit != RateLimit::default() {
        limits.push(format!("callers' guests get {} at most", word.rate_limit));
    }
    if word.isolation == IsolationRule::Always {
        limits.push("guests are always isolated".to_owned());
    }
    if limits.is_empty() { "it limits nothing".to_owned() } else { limits.join("; ") }
}

fn unknown(word: &Administrator) -> Option<Finding> {
    const ID: &str = "administrator.callers";
    match word.unknown_callers() {
        Ok(unknown) if unknown.is_empty() => None,
        Ok(unknown) => Some(Finding::warn(
            ID,
            format!("{FILE} names whom this host does not know, and who is let in by nothing: {}", unknown.join(", ")),
            format!("mend the names in {FILE}"),
        )),
        Err(error) => Some(Finding::warn(ID, error.to_string(), "look at the system's user database")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PolicyEntries;

    #[test]
    fn each_limit_is_shown() {
        let callers = Callers { users: vec![Id::Name("alice".into()), Id::Number(7)], groups: vec![] };
        let word = Administrator {
            callers: Some(callers),
            guests_per_user: Some(4),
            policy: PolicyEntries::parse(["10.1.1.1:80"], ["10.0.0.0/8"]).expect("entries"),
            bridges: vec!["virbr0".into()],
            subnets: vec!["10.99.0.0/16".parse().expect("a subnet")],
            expose: Some(vec!["8000-8099".parse().expect("ports")]),
            rate_limit: RateLimit { bits: Some(100_000_000), frames: None },
            isolation: IsolationRule::Always,
        };
        assert_eq!(
            limits(&word),
            "may be run by users [alice, 7] and groups []; 4 guests a user; always blocked [10.0.0.0/8]; but for \
             [10.1.1.1/32:80]; callers may name the bridges [virbr0]; callers may name subnets in [10.99.0.0/16]; callers \
             may expose 8000-8099; callers' guests get 100mbit/s at most; guests are always isolated"
        );
        assert_eq!(limits(&Administrator::default()), "it limits nothing");
    }

    #[test]
    fn who_is_unknown_is_told() {
        let callers = Callers { users: vec![Id::Name("no such user".into()), Id::Number(7)], groups: vec![] };
        let word = Administrator { callers: Some(callers), ..Administrator::default() };
        let told = unknown(&word).expect("a warning").what;
        assert!(told.ends_with("nothing: user no such user"), "{told}");
    }
}
