//! `softnet explain`: what a policy would make of whom it is asked about, and what decides so. It needs no right, and has none.
//!
//! It is the engine that says so ([`Grounds`]); what a running softnet knows besides, its lease and the answers of DNS, is
//! not there: an address is taken for one of no name, and a name for one whose address an answer has told.

mod read;

use std::fmt;
use std::net::Ipv4Addr;

use log::warn;

use super::{SubcommandError, print};
use crate::administrator::{Administrator, Effective, FILE};
use crate::cli::{Destination, ExplainOptions, Forward, Means};
use crate::engine::{
    Answered, Datagram, Decider, Decision, Direction, DropReason, Exposures, Grounds, Load, Pattern, RateLimit, Target,
    Way,
};
use crate::privilege::Standing;
use crate::setup::{check_exposed, exposures, warn_of_loopholes};

/// The guest's address, which no rule here asks for.
const GUEST: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
/// The guest's or the far side's port that nobody names.
const SOME_PORT: u16 = 49_152;
/// An address of the world, in the place of one that a name may have.
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(1, 1, 1, 1);

/// Runs `softnet explain`.
pub(super) fn explain(standing: Standing, asked: &ExplainOptions) -> Result<(), SubcommandError> {
    // main gives it back before it reads the command line: files, the administrator's too, are opened by the caller's rights.
    if let Standing::Setuid { .. } = standing {
        return Err(SubcommandError::RightLeft);
    }
    let administrator = Administrator::read()?;
    let given = Given::of(standing, asked, &administrator)?;
    if given.effective.is_held {
        warn!("--allow 0.0.0.0/0: the guest stays isolated from other guests all the same, as {FILE} says");
    }
    // Root may start it all the same.
    if let Err(error) = check_exposed(standing, &given.forwards, &administrator) {
        warn!("you may not start a guest with this: {error}");
    }
    warn_of_loopholes(&given.effective.policy, asked.gateway);
    if let Some(path) = &asked.read {
        return read::explain(path, asked, &given);
    }
    if given.rate_limit != RateLimit::default() {
        let is_asked = asked.rate_limit == Some(given.rate_limit);
        let whose = if is_asked { String::new() } else { format!(", as {FILE} has it") };
        warn!(
            "--rate-limit {}{whose}: what comes to the guest faster is dropped all the same, and what it sends faster waits",
            given.rate_limit
        );
    }
    let answers: Vec<Answer> =
        asked.destinations.iter().map(|destination| Answer::to(destination, asked, &given)).collect();
    let width = answers.iter().map(|answer| answer.about.len()).max().unwrap_or_default();
    for answer in &answers {
        if asked.json {
            print(&format_args!("{}\n", answer.json()))?
        } else {
            print(&format_args!("{answer:width$}\n"))?
        }
    }
    Ok(())
}

/// What a guest with these options would get.
struct Given {
    effective: Effective,
    forwards: Vec<Forward>,
    exposures: Exposures,
    rate_limit: RateLimit,
}

impl Given {
    fn of(standing: Standing, asked: &ExplainOptions, administrator: &Administrator) -> Result<Self, SubcommandError> {
        let forwards = asked.forwards().map_err(SubcommandError::Expose)?;
        Ok(Given {
            effective: administrator.effective(asked.policy()?),
            exposures: exposures(&forwards),
            forwards,
            rate_limit: administrator.rate_limit(standing, asked.rate_limit.unwrap_or_default()),
        })
    }
}

/// A line of what is printed.
struct Answer {
    about: String,
    outcome: Result<(), DropReason>,
    decider: &'static str,
    entry: Option<String>,
    /// What decides, in words.
    by: String,
    /// What may make it otherwise.
    note: &'static str,
    /// How what is refused is answered, if that is asked.
    answered: Option<Answered>,
}

impl Answer {
    fn to(destination: &Destination, asked: &ExplainOptions, given: &Given) -> Self {
        let about = destination.to_string();
        match &destination.entry.target {
            Target::Name(name) => Self::to_name(about, name, destination.means, asked, &given.effective),
            Target::Prefix(prefix) => Self::to_address(about, prefix.addr(), destination, asked, given),
            Target::Host => Self::to_address(about, asked.gateway, destination, asked, given),
        }
    }

    fn to_address(
        about: String,
        far: Ipv4Addr,
        destination: &Destination,
        asked: &ExplainOptions,
        given: &Given,
    ) -> Self {
        let (direction, datagram) = match destination.entry.way {
            Way::In => (Direction::FromHost, datagram(far, GUEST, destination.means)),
            Way::Bare | Way::Out => (Direction::FromGuest, datagram(GUEST, far, destination.means)),
        };
        let grounds = grounds(asked, &given.effective);
        let mut decision = grounds.decide(direction, &datagram, |_| false);
        if decision.outcome.is_err() && grounds.exposes(&given.exposures, direction, &datagram) {
            decision = Decision { outcome: Ok(()), decider: Decider::ExposedPort };
        }
        let as_the_gateways = Datagram { source: asked.gateway, ..datagram };
        let is_question = matches!(destination.means, Means::Tcp(53) | Means::Udp(53));
        let note = if asked.dns_names_only && is_question && direction == Direction::FromGuest {
            "; only questions for names that an entry allows"
        } else if given.effective.policy.has_names() && direction == Direction::FromGuest {
            "; otherwise if it is the address of a name among the entries"
        } else if direction == Direction::FromHost
            && decision.outcome.is_err()
            && grounds.exposes(&given.exposures, direction, &as_the_gateways)
        {
            "; by the exposed port it comes from the gateway, and passes"
        } else {
            ""
        };
        Self::of(about, decision, note).answered(&grounds, direction, &datagram, asked)
    }

    /// Its address is not known: entries about names decide, and those that are about every address.
    fn to_name(about: String, name: &Pattern, means: Means, asked: &ExplainOptions, given: &Effective) -> Self {
        let is_allowed =
            given.policy.allow.iter().any(|entry| matches!(&entry.target, Target::Name(of) if of.covers(name)));
        if asked.dns_names_only && !is_allowed {
            return Answer {
                about,
                outcome: Err(DropReason::DnsName),
                decider: "dns-names-only",
                entry: None,
                by: "--dns-names-only: no entry allows the name".into(),
                note: "; the question is answered REFUSED",
                answered: None,
            };
        }
        let mut wide = given.clone();
        let Effective { policy, administrator, .. } = &mut wide;
        for list in [&mut policy.allow, &mut policy.block, &mut administrator.block] {
            list.retain(|entry| match &entry.target {
                Target::Name(_) => true,
                Target::Prefix(prefix) => prefix.prefix_len() == 0,
                Target::Host => false,
            });
        }
        let datagram = datagram(GUEST, SOMEWHERE, means);
        let grounds = grounds(asked, &wide);
        let decision = grounds.decide(Direction::FromGuest, &datagram, |of| of.covers(name));
        let is_by_name =
            matches!(decision.decider, Decider::Entry(_, entry) if matches!(entry.target, Target::Name(_)));
        let note = match (is_by_name, wide == *given) {
            (true, _) => "; once a DNS answer has told its address",
            (false, true) => "",
            (false, false) => "; otherwise if an entry is about its address",
        };
        Self::of(about, decision, note).answered(&grounds, Direction::FromGuest, &datagram, asked)
    }

    fn answered(
        mut self,
        grounds: &Grounds<'_>,
        direction: Direction,
        datagram: &Datagram,
        asked: &ExplainOptions,
    ) -> Self {
        if asked.reject
            && let Err(reason) = self.outcome
        {
            self.answered = Some(grounds.answered(direction, datagram, reason));
        }
        self
    }

    fn of(about: String, decision: Decision<'_>, note: &'static str) -> Self {
        let entry = match decision.decider {
            Decider::Entry(_, entry) | Decider::Administrator(entry) => Some(entry.to_string()),
            _ => None,
        };
        let Decision { outcome, decider } = decision;
        Answer { about, outcome, decider: decider.name(), entry, by: decider.to_string(), note, answered: None }
    }

    fn json(&self) -> String {
        // No text here has a character that JSON would escape: an entry has none, and the rest is fixed.
        let text = |text: Option<&str>| text.map_or("null".to_owned(), |text| format!("\"{text}\""));
        format!(
            r#"{{"destination":"{}","passes":{},"reason":{},"decider":"{}","entry":{},"answer":{}}}"#,
            self.about,
            self.outcome.is_ok(),
            text(self.outcome.err().map(DropReason::name)),
            self.decider,
            text(self.entry.as_deref()),
            text(self.answer()),
        )
    }
}

impl Answer {
    /// What the answer is, for programs.
    fn answer(&self) -> Option<&'static str> {
        match (self.answered, self.outcome) {
            (Some(answered), _) => read::answer_name(answered),
            (None, Err(DropReason::DnsName)) => Some(read::DNS_REFUSED),
            (None, _) => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = f.width().unwrap_or_default();
        let outcome = if self.outcome.is_ok() { "passes " } else { "dropped" };
        write!(f, "{:width$}  {outcome}  {}{}", self.about, self.by, self.note)?;
        match self.answered {
            Some(answered) => write!(f, "; {answered}"),
            None => Ok(()),
        }
    }
}

/// All that decides, as a start with these options would have it.
fn grounds<'a>(asked: &ExplainOptions, given: &'a Effective) -> Grounds<'a> {
    Grounds {
        policy: &given.policy,
        administrator: &given.administrator,
        net_type: asked.vm_net_type.into(),
        isolation: given.isolation,
        gateway: asked.gateway,
        subnet: asked.subnet,
        dns_servers: &[],
    }
}

fn datagram(source: Ipv4Addr, destination: Ipv4Addr, means: Means) -> Datagram {
    let (protocol, load) = match means {
        Means::Ping => (1, Load::Plain),
        Means::Tcp(port) => (6, Load::Ports { source: SOME_PORT, destination: port }),
        Means::Udp(port) => (17, Load::Ports { source: SOME_PORT, destination: port }),
    };
    Datagram { source, destination, protocol, load }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn lines(arguments: &[&str]) -> Vec<String> {
        let cli = Cli::try_parse_from(["softnet", "explain"].iter().chain(arguments)).expect("arguments");
        let Some(Command::Explain(asked)) = cli.command else { panic!("another command") };
        let given = Given::of(Standing::Unprivileged, &asked, &Administrator::default()).expect("in order");
        let answer = |destination| Answer::to(destination, &asked, &given);
        let line = |answer: Answer| if asked.json { answer.json() } else { answer.to_string() };
        asked.destinations.iter().map(answer).map(line).collect()
    }

    #[test]
    fn the_example_of_the_issue() {
        assert_eq!(
            lines(&["--block", "0.0.0.0/0", "--allow", "@host", "192.168.64.1:22", "1.1.1.1:443"]),
            ["192.168.64.1:22  passes   --allow '@host'", "1.1.1.1:443  dropped  --block '0.0.0.0/0'"]
        );
    }

    #[test]
    fn defaults_directions_protocols_and_names_are_told() {
        for (arguments, expected) in [
            (&["8.8.8.8:53/udp"][..], "8.8.8.8:53/udp  passes   default: globally routable"),
            (&["--vm-net-type", "host", "8.8.8.8"], "8.8.8.8  dropped  default: not reachable"),
            (&["10.0.0.1"], "10.0.0.1  dropped  default: not reachable"),
            (&["--gateway=10.0.0.1", "--subnet=10.0.0.0/24", "10.0.0.1"], "10.0.0.1  passes   default: the gateway"),
            (&["@host:67/udp"], "@host:67/udp  passes   DHCP has rules of its own"),
            (&["in 8.8.8.8:22"], "in 8.8.8.8:22  passes   default: others may begin"),
            (&["in 192.168.64.9:22"], "in 192.168.64.9:22  dropped  default: isolated from neighbours"),
            (&["--block", "in 0.0.0.0/0:22", "in @host:22"], "in @host:22  dropped  --block 'in 0.0.0.0/0:22'"),
            (
                &["--block=0.0.0.0/0", "--allow=*.b.org:443", "a.B.org:443"],
                "a.b.org:443  passes   --allow '*.b.org:443'; once a DNS answer has told its address",
            ),
            (&["--block=0.0.0.0/0", "--allow=*.b.org:443", "a.b.org:22"], "a.b.org:22  dropped  --block '0.0.0.0/0'"),
            (
                &["--block=1.0.0.0/8", "c.org"],
                "c.org  passes   default: globally routable; otherwise if an entry is about its address",
            ),
            (
                &["--dns-names-only", "--allow=a.org", "c.org"],
                "c.org  dropped  --dns-names-only: no entry allows the name; the question is answered REFUSED",
            ),
            (
                &["--json", "--block=1.1.1.1:80", "1.1.1.1:80"],
                r#"{"destination":"1.1.1.1:80","passes":false,"reason":"blocked","decider":"block","entry":"1.1.1.1/32:80","answer":null}"#,
            ),
        ] {
            assert_eq!(lines(arguments), [expected]);
        }
    }

    #[test]
    fn how_a_refusal_is_answered_is_told_where_it_is_asked() {
        for (arguments, expected) in [
            (&["10.0.0.1:22"][..], "10.0.0.1:22  dropped  default: not reachable; answered by a TCP reset"),
            (
                &["10.0.0.1:22/udp"],
                "10.0.0.1:22/udp  dropped  default: not reachable; answered by ICMP 3/13, administratively prohibited",
            ),
            (
                &["10.0.0.1"],
                "10.0.0.1  dropped  default: not reachable; answered by ICMP 3/13, administratively prohibited",
            ),
            (
                &["224.0.0.1:5353/udp"],
                "224.0.0.1:5353/udp  dropped  default: not reachable; in silence: the address is no single host's",
            ),
            (
                &["192.168.64.255:9"],
                "192.168.64.255:9  dropped  default: not reachable; in silence: the address is no single host's",
            ),
            (
                &["in 192.168.64.9:22"],
                "in 192.168.64.9:22  dropped  default: isolated from neighbours; in silence: neighbours get no answer",
            ),
            (
                &["--block", "in 8.8.8.8", "in 8.8.8.8:22"],
                "in 8.8.8.8:22  dropped  --block 'in 8.8.8.8/32'; answered by a TCP reset",
            ),
            (
                &["in @host:67/udp"],
                "in @host:67/udp  dropped  DHCP has rules of its own; in silence: DHCP gets no answer",
            ),
            (&["1.1.1.1:443"], "1.1.1.1:443  passes   default: globally routable"),
            (&["--block=0.0.0.0/0", "a.org:443"], "a.org:443  dropped  --block '0.0.0.0/0'; answered by a TCP reset"),
            (
                &["--json", "10.0.0.1"],
                r#"{"destination":"10.0.0.1","passes":false,"reason":"not-reachable","decider":"default-not-reachable","entry":null,"answer":"icmp-prohibited"}"#,
            ),
        ] {
            assert_eq!(lines(&[&["--reject"], arguments].concat()), [expected]);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn what_an_exposed_port_lets_pass_is_told() {
        let closed = ["--block", "in 0.0.0.0/0,in @host,out @host", "--expose", "2222:22,5353:53/udp"];
        for (destination, expected) in [
            ("in @host:22", "passes   an exposed port"),
            ("in @host:53/udp", "passes   an exposed port"),
            ("in @host:53", "dropped  --block 'in @host'"),
            ("in @host", "dropped  --block 'in @host'"),
            (
                "in 8.8.8.8:22",
                "dropped  --block 'in 0.0.0.0/0'; by the exposed port it comes from the gateway, and passes",
            ),
            ("in 8.8.8.8:2222", "dropped  --block 'in 0.0.0.0/0'"),
            // The guest's own beginnings stay the policy's.
            ("@host:22", "dropped  --block 'out @host'"),
        ] {
            assert_eq!(lines(&[&closed[..], &[destination]].concat()), [format!("{destination}  {expected}")]);
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        for bad in ["10.0.0.0/8", "*.a.org", "1.1.1.1:1-2", "1.1.1.1/udp", "in a.org", "localhost", ""] {
            assert!(Cli::try_parse_from(["softnet", "explain", bad]).is_err(), "{bad}");
        }
        assert!(Cli::try_parse_from(["softnet", "explain"]).is_err());
    }
}
