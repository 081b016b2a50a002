//! `--expose`: ports of the host that lead to the guest.

use std::fmt;
use std::net::Ipv4Addr;

use clap::Args;

/// The lowest port that anybody may expose: those below are for root itself.
pub const FREE_FOR_ALL: u16 = 1024;
/// The most forwards of one guest.
pub const MAX_FORWARDS: usize = 64;

/// The options of port forwards.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "What it may reach")]
pub struct ForwardOptions {
    /// Ports of the host that lead to the guest's: 2222:22
    ///
    /// `[BIND:]EXT:INT[/tcp|/udp]` with commas between, as in 127.0.0.1:5353:53/udp. Can be repeated.
    #[arg(long, value_name = "LIST", value_parser = parse_forwards, action = clap::ArgAction::Append)]
    pub expose: Vec<ForwardList>,
}

/// What a port is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A port of the host that leads to one of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The host's address that it is bound to; without one, all of them.
    pub bind: Option<Ipv4Addr>,
    /// The host's port.
    pub external: u16,
    /// The guest's port.
    pub internal: u16,
    /// Of what.
    pub carrier: Carrier,
}

impl Forward {
    /// The host's address, 0.0.0.0 for all.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.bind.unwrap_or(Ipv4Addr::UNSPECIFIED)
    }

    /// Whether both would need one and the same port.
    fn clashes_with(&self, other: &Self) -> bool {
        let same_address =
            self.address() == other.address() || self.address().is_unspecified() || other.address().is_unspecified();
        self.external == other.external && self.carrier == other.carrier && same_address
    }

    fn parse(text: &str) -> Result<Self, String> {
        let fault = |what: &str| format!("`{text}`: {what}");
        let (ports, carrier) = match text.split_once('/') {
            None => (text, Carrier::Tcp),
            Some((ports, "tcp")) => (ports, Carrier::Tcp),
            Some((ports, "udp")) => (ports, Carrier::Udp),
            Some((_, other)) => return Err(fault(&format!("'/{other}' is neither /tcp nor /udp"))),
        };
        let parts: Vec<&str> = ports.split(':').collect();
        let (bind, external, internal) = match parts[..] {
            [external, internal] => (None, external, internal),
            [bind, external, internal] => (Some(bind), external, internal),
            _ => return Err(fault("a forward is EXT:INT or BIND:EXT:INT, as in 2222:22 or 127.0.0.1:2222:22")),
        };
        let bind =
            bind.map(|bind| bind.parse::<Ipv4Addr>().map_err(|_| fault(&format!("'{bind}' is no IPv4 address"))));
        let port = |digits: &str| {
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let port = digits.parse::<u16>().ok().filter(|&port| is_number && port != 0);
            port.ok_or_else(|| fault(&format!("'{digits}' is no port from 1 to 65535")))
        };
        Ok(Forward { bind: bind.transpose()?, external: port(external)?, internal: port(internal)?, carrier })
    }
}

impl fmt::Display for Forward {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bind) = self.bind {
            write!(f, "{bind}:")?;
        }
        let carrier = if self.carrier == Carrier::Udp { "/udp" } else { "" };
        write!(f, "{}:{}{carrier}", self.external, self.internal)
    }
}

/// One `--expose`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForwardList(pub Vec<Forward>);

/// What forwards on a system, which decides what it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum System {
    /// A companion of softnet's own.
    Linux,
    /// vmnet.
    MacOs,
}

const THIS: System = if cfg!(target_os = "linux") { System::Linux } else { System::MacOs };

pub(super) fn parse_forwards(text: &str) -> Result<ForwardList, String> {
    parse_for(THIS, text)
}

fn parse_for(system: System, text: &str) -> Result<ForwardList, String> {
    if text.is_empty() {
        return Ok(ForwardList::default());
    }
    let forwards: Vec<Forward> = text.split(',').map(str::trim).map(Forward::parse).collect::<Result<_, _>>()?;
    if system == System::MacOs {
        for forward in &forwards {
            if forward.carrier == Carrier::Udp {
                return Err(format!("`{forward}`: on macOS softnet forwards TCP alone: leave it out"));
            }
            if forward.bind.is_some() {
                return Err(format!(
                    "`{forward}`: on macOS a port is forwarded on all addresses: leave the address in front out"
                ));
            }
        }
    }
    Ok(ForwardList(forwards))
}

impl ForwardOptions {
    /// All of them.
    ///
    /// # Errors
    /// Two that need the same port, or too many.
    pub fn list(&self) -> Result<Vec<Forward>, String> {
        let all: Vec<Forward> = self.expose.iter().flat_map(|list| list.0.iter().copied()).collect();
        if all.len() > MAX_FORWARDS {
            return Err(format!("{} forwards are more than the {MAX_FORWARDS} that one guest may have", all.len()));
        }
        for (index, forward) in all.iter().enumerate() {
            if let Some(other) = all[..index].iter().find(|other| other.clashes_with(forward)) {
                return Err(format!(
                    "`{other}` and `{forward}` are for the same port of the host: leave one of them out"
                ));
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(texts: &[&str]) -> Result<Vec<Forward>, String> {
        let expose = texts.iter().map(|text| parse_for(System::Linux, text)).collect::<Result<_, _>>()?;
        ForwardOptions { expose }.list()
    }

    #[test]
    fn a_forward_is_two_ports_with_an_address_and_a_carrier_if_wanted() {
        let all = list(&["2222:22,8080:80/tcp", "", "127.0.0.1:5353:53/udp, 65535:1"]);
        let texts: Vec<String> = all.unwrap().iter().map(Forward::to_string).collect();
        assert_eq!(texts, ["2222:22", "8080:80", "127.0.0.1:5353:53/udp", "65535:1"]);
    }

    #[test]
    fn what_is_none_is_told_with_its_part() {
        for (text, part) in [
            ("22", "EXT:INT"),
            ("1:2:3:4", "EXT:INT"),
            ("0:22", "'0'"),
            ("22:65536", "'65536'"),
            ("+22:22", "'+22'"),
            (":22", "''"),
            ("22:22/sctp", "'/sctp'"),
            ("22:22/", "'/'"),
            ("localhost:2222:22", "'localhost'"),
            ("2222:22,", "``"),
        ] {
            let error = list(&[text]).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn two_for_one_port_are_refused_and_both_are_named() {
        for (one, other) in
            [("2222:22", "2222:23"), ("127.0.0.1:2222:22", "2222:22"), ("127.0.0.1:7:7/udp", "127.0.0.1:7:8/udp")]
        {
            for error in [list(&[one, other]).unwrap_err(), list(&[&format!("{one},{other}")]).unwrap_err()] {
                assert!(error.contains(&format!("`{one}`")) && error.contains(&format!("`{other}`")), "{error}");
            }
        }
        assert_eq!(list(&["7:7,7:7/udp,8:7", "127.0.0.1:9:9,127.0.0.2:9:9"]).unwrap().len(), 5);
    }

    #[test]
    fn what_macos_cannot_is_refused_there_by_name() {
        let error = |text| parse_for(System::MacOs, text).unwrap_err();
        assert!(error("22:22,53:53/udp").contains("`53:53/udp`"));
        assert!(error("127.0.0.1:2222:22").contains("`127.0.0.1:2222:22`"));
        assert!(error("0.0.0.0:2222:22").contains("`0.0.0.0:2222:22`"));
        assert_eq!(parse_for(System::MacOs, "2222:22,8080:80/tcp").unwrap().0.len(), 2);
        assert_eq!(parse_for(System::MacOs, ""), Ok(ForwardList::default()));
    }

    #[test]
    fn there_is_an_end_to_them() {
        let texts = |count: u16| (1..=count).map(|port| format!("{port}:{port}")).collect::<Vec<_>>().join(",");
        assert_eq!(list(&[&texts(64)]).unwrap().len(), 64);
        assert!(list(&[&texts(65)]).unwrap_err().contains("65"));
    }
}
