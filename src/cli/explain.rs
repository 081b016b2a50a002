//! `softnet explain`: a policy, and whom it is asked about.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;
use ipnet::Ipv4Net;

use super::forward::{Forward, ForwardList, ForwardOptions, parse_forwards};
use super::rate::parse_rate;
use super::serve::{NetTypeName, join};
use super::values::{EntryList, parse_list, parse_mac};
use crate::engine::{Entry, EntryError, EthernetAddress, PolicyEntries, RateLimit, Refusals, Target, Way};

/// The options of `softnet explain`. Those of the policy mean what they mean to a guest's softnet.
#[derive(Clone, Debug, Args)]
pub struct ExplainOptions {
    /// What the guest reaches by default
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = NetTypeName::Nat)]
    pub vm_net_type: NetTypeName,

    /// What the guest may reach besides, and who may reach it. Can be repeated
    #[arg(long, value_name = "LIST", value_parser = parse_list, action = clap::ArgAction::Append)]
    pub allow: Vec<EntryList>,

    /// What the guest may not reach, and who may not reach it. Can be repeated
    #[arg(long, value_name = "LIST", value_parser = parse_list, action = clap::ArgAction::Append)]
    pub block: Vec<EntryList>,

    /// As if questions for names that no entry allows were refused
    #[arg(long)]
    pub dns_names_only: bool,

    /// Say how what is refused is answered
    #[arg(long)]
    pub reject: bool,

    /// Ports of the host that lead to the guest's: what belongs to them passes. Can be repeated
    #[arg(long, value_name = "LIST", value_parser = parse_forwards, action = clap::ArgAction::Append)]
    pub expose: Vec<ForwardList>,

    /// What the guest may send and be sent a second; with --read, what comes too fast for it is dropped
    #[arg(long, value_name = "RATE", value_parser = parse_rate)]
    pub rate_limit: Option<RateLimit>,

    /// The gateway's address
    #[arg(long, value_name = "ADDRESS", default_value = "192.168.64.1")]
    pub gateway: Ipv4Addr,

    /// The link's subnet
    #[arg(long, value_name = "CIDR", default_value = "192.168.64.0/24")]
    pub subnet: Ipv4Net,

    /// Print a line of JSON for each
    #[arg(long)]
    pub json: bool,

    /// What becomes of each frame of a capture, pcap or pcapng, instead: a file, or - for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "destinations")]
    pub read: Option<PathBuf>,

    /// The guest's address, for a capture that begins after the guest got it by DHCP
    #[arg(long, value_name = "ADDRESS", requires = "read")]
    pub lease: Option<Ipv4Addr>,

    /// The guest's MAC address, for a capture that softnet did not write
    #[arg(long, value_name = "MAC", value_parser = parse_mac, requires = "read")]
    pub vm_mac_address: Option<EthernetAddress>,

    /// ADDRESS or NAME (a ping), with :PORT (TCP) or :PORT/udp; with `in ` in front: who reaches the guest, at its port
    #[arg(required_unless_present = "read", value_name = "DESTINATION", value_parser = Destination::parse)]
    pub destinations: Vec<Destination>,
}

impl ExplainOptions {
    /// All lists of each kind, joined, in normal form: as at a start.
    ///
    /// # Errors
    /// Together they are more than a policy takes.
    pub fn policy(&self) -> Result<PolicyEntries, EntryError> {
        join(&self.allow, &self.block).map(PolicyEntries::normalised)
    }

    /// All forwards.
    ///
    /// # Errors
    /// Two that need the same port, or too many.
    pub fn forwards(&self) -> Result<Vec<Forward>, String> {
        ForwardOptions { expose: self.expose.clone() }.list()
    }

    /// What becomes of what is refused.
    #[must_use]
    pub fn refusals(&self) -> Refusals {
        if self.reject { Refusals::Answered } else { Refusals::Silent }
    }
}

/// By what something is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// An ICMP echo.
    Ping,
    /// A TCP connection to this port.
    Tcp(u16),
    /// A UDP datagram to this port.
    Udp(u16),
}

/// Whom a policy is asked about: an entry of one address or one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// As an entry, whose way is `in` or bare.
    pub entry: Entry,
    /// By what.
    pub means: Means,
}

impl Destination {
    fn parse(text: &str) -> Result<Self, String> {
        let (front, is_udp) = match (text.strip_suffix("/udp"), text.strip_suffix("/tcp")) {
            (Some(front), _) => (front, true),
            (None, front) => (front.unwrap_or(text), false),
        };
        let entry: Entry = front.parse().map_err(|error: EntryError| error.to_string())?;
        let is_one = match &entry.target {
            Target::Prefix(prefix) => prefix.prefix_len() == 32,
            Target::Host => true,
            Target::Name(_) => !front.contains('*'),
        };
        let means = match entry.ports {
            _ if !is_one => return Err("a destination is one address or one name".into()),
            Some(ports) if ports.first() != ports.last() => return Err("a destination has one port".into()),
            None if front.len() != text.len() => return Err("TCP and UDP have a port: ADDRESS:PORT/udp".into()),
            None => Means::Ping,
            Some(ports) if is_udp => Means::Udp(ports.first()),
            Some(ports) => Means::Tcp(ports.first()),
        };
        Ok(Destination { entry: Entry { way: if entry.way == Way::In { Way::In } else { Way::Bare }, ..entry }, means })
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.entry.to_string().replace("/32", "");
        write!(f, "{text}{}", if matches!(self.means, Means::Udp(_)) { "/udp" } else { "" })
    }
}
