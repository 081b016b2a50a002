//! The command line: what was typed, checked as far as words alone can be. No system calls.
//!
//! The options that Tart uses mean what they meant to it before; everything that needs the system (is the descriptor a
//! socket, does the user exist, may this caller name a bridge) is judged later, in the setup.

use std::fmt::Write as _;
use std::os::fd::RawFd;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;

use crate::control::ChannelNames;
use crate::engine::{Entry, EntryError, EthernetAddress, NetType, PolicyEntries};

/// The shortest and the longest DHCP lease time that may be asked for, in seconds.
pub const LEASE_SECONDS: std::ops::RangeInclusive<i64> = 60..=86_400;

/// A filtering network helper for virtual machines: one guest, one process, no spoofing.
#[derive(Debug, Parser)]
#[command(
    name = "softnet",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    after_help = "LIST is comma separated: IPv4 prefixes (10.0.0.0/8), addresses (192.0.2.7), @host (the gateway), names\n\
                  (github.com) and all names below one (*.example.org), each with ports if wanted (:443, :8000-8999), and with\n\
                  `in ` or `out ` in front for one direction. Entries with ports outrank those without, the longest prefix wins, and block wins a tie.\n\
                  Exit codes: 0 ended in order, 1 failure, 2 usage."
)]
pub struct Cli {
    /// What to do instead of serving a guest.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve a guest.
    #[command(flatten)]
    pub serve: Option<Serve>,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at, or take down, the bridges that softnet made on this host
    #[cfg(target_os = "linux")]
    Network {
        /// What to do with them.
        #[command(subcommand)]
        action: NetworkAction,
    },
}

/// `softnet network ...`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum NetworkAction {
    /// Show the bridges, their DHCP servers and the guests on them
    Status,
    /// Remove the bridges and all that belongs to them (root only)
    Down {
        /// Even while guests are attached: they lose their network
        #[arg(long)]
        force: bool,
    },
}

/// The options of a softnet that serves one guest.
#[derive(Clone, Debug, Args)]
pub struct Serve {
    /// Inherited descriptor: a connected Unix datagram socket that carries the guest's Ethernet frames
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..))]
    pub vm_fd: RawFd,

    /// The guest's MAC address
    #[arg(long, value_name = "MAC", value_parser = parse_mac)]
    pub vm_mac_address: EthernetAddress,

    /// What the guest reaches: nat, the world through the host; host, the host alone
    #[arg(long, value_name = "TYPE", value_enum, default_value_t = NetTypeName::Nat)]
    pub vm_net_type: NetTypeName,

    /// DHCP lease time that the host's DHCP server hands out, 60 to 86400
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(LEASE_SECONDS))]
    pub bootpd_lease_time: u32,

    /// Whom to become after the setup [default: the caller; for root itself: nobody]
    #[arg(long)]
    pub user: Option<String>,

    /// The group to become after the setup [default: that of the user]
    #[arg(long)]
    pub group: Option<String>,

    /// What the guest may reach besides, and who may reach it; 0.0.0.0/0 also lets it reach other guests. Can be repeated
    #[arg(long, value_name = "LIST", value_parser = parse_list, action = clap::ArgAction::Append)]
    pub allow: Vec<EntryList>,

    /// What the guest may not reach, and who may not reach it. Can be repeated
    #[arg(long, value_name = "LIST", value_parser = parse_list, action = clap::ArgAction::Append)]
    pub block: Vec<EntryList>,

    /// Answer DNS questions for names that no entry allows, in the place of the server: refused
    #[arg(long)]
    pub dns_names_only: bool,

    /// Attach to this bridge, which has its own DHCP server, instead of softnet's own (root only)
    #[arg(long, value_name = "NAME", hide = cfg!(not(target_os = "linux")), value_parser = parse_bridge, conflicts_with = "subnet")]
    pub bridge: Option<String>,

    /// The subnet of softnet's own bridge, if it has none yet (root only)
    #[arg(long, value_name = "CIDR", hide = cfg!(not(target_os = "linux")), value_parser = parse_subnet)]
    pub subnet: Option<Ipv4Net>,

    /// Write and read each frame alone, instead of runs of TCP and UDP segments as one (Linux)
    #[arg(long, hide = cfg!(not(target_os = "linux")))]
    pub no_offload: bool,

    /// Not built yet: refused by name, so that nobody believes it works.
    #[arg(long, hide = true, value_name = "LIST", value_parser = not_yet)]
    pub expose: Option<Never>,

    /// Inherited descriptor: a connected Unix stream socket, by which the policy can be changed while the guest runs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..))]
    pub control_fd: Option<RawFd>,

    /// Let clients of the control channel use names in entries, and show them names
    #[arg(long, requires = "control_fd")]
    pub policy_names: bool,

    /// Ends at once with 0: how softnet asks whether sudo would run it.
    #[arg(long, hide = true)]
    pub sudo_escalation_probing: bool,

    /// Says that sudo has been tried.
    #[arg(long, hide = true)]
    pub sudo_escalation_done: bool,
}

/// The value of an option that this release refuses.
#[derive(Clone, Debug)]
pub enum Never {}

/// `--vm-net-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum NetTypeName {
    /// The world through the host.
    Nat,
    /// The host alone.
    Host,
}

impl From<NetTypeName> for NetType {
    fn from(name: NetTypeName) -> Self {
        match name {
            NetTypeName::Nat => NetType::Nat,
            NetTypeName::Host => NetType::Host,
        }
    }
}

impl Cli {
    /// Reads the command line, with what no option can tell by itself.
    ///
    /// # Errors
    /// A usage error, or `--help` and `--version`.
    pub fn read() -> Result<Self, clap::Error> {
        Self::checked(Self::try_parse()?)
    }

    fn checked(self) -> Result<Self, clap::Error> {
        let Some(serve) = &self.serve else { return Ok(self) };
        let policy = serve.policy().map_err(|error| {
            Self::command().error(ErrorKind::ValueValidation, format!("--allow and --block: {error}"))
        })?;
        // Its first answer would have them, and clients that do not know names expect addresses.
        if serve.control_fd.is_some() && policy.has_names() && !serve.policy_names {
            return Err(Self::command().error(
                ErrorKind::MissingRequiredArgument,
                "--allow and --block have names, which clients of --control-fd get to see: add --policy-names if they know \
                 names, or leave the names out",
            ));
        }
        Ok(self)
    }
}

impl Serve {
    /// All lists of each kind, joined.
    ///
    /// # Errors
    /// Together they are more than a policy takes.
    pub fn policy(&self) -> Result<PolicyEntries, EntryError> {
        let join = |lists: &[EntryList]| lists.iter().flat_map(|list| list.0.iter().cloned()).collect();
        PolicyEntries::new(join(&self.allow), join(&self.block))
    }

    /// What clients of the control channel make of names.
    #[must_use]
    pub fn channel_names(&self) -> ChannelNames {
        if self.policy_names { ChannelNames::Taken } else { ChannelNames::Refused }
    }
}

/// One `--allow` or `--block`: a comma separated list of entries, possibly empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryList(pub Vec<Entry>);

fn parse_list(text: &str) -> Result<EntryList, EntryError> {
    Entry::parse_list(text).map(EntryList)
}

/// Six octets in hexadecimal, one or two digits each, with colons between; unicast and not all zero.
fn parse_mac(text: &str) -> Result<EthernetAddress, String> {
    let octets: Vec<u8> = text
        .split(':')
        .map(|octet| match octet.len() {
            1 | 2 if octet.bytes().all(|byte| byte.is_ascii_hexdigit()) => u8::from_str_radix(octet, 16).ok(),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or("a MAC address is six hexadecimal octets with colons between, as in 5a:94:ef:e4:0c:ee")?;
    let octets: [u8; 6] = octets
        .try_into()
        .map_err(|octets: Vec<u8>| format!("a MAC address has six octets, and this has {}", octets.len()))?;
    let mac = EthernetAddress(octets);
    if mac.0 == [0; 6] || !mac.is_unicast() {
        return Err("a guest's MAC address is unicast: its first octet is even, and it is not all zero".into());
    }
    Ok(mac)
}

/// A name that a network interface can have: dev_valid_name() of the kernel.
fn parse_bridge(text: &str) -> Result<String, String> {
    linux_only()?;
    let valid = (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
        && !matches!(text, "." | "..");
    if valid {
        Ok(text.into())
    } else {
        Err("an interface's name has 1 to 15 letters, without blanks, '/' and ':'".into())
    }
}

fn parse_subnet(text: &str) -> Result<Ipv4Net, String> {
    linux_only()?;
    let net: Ipv4Net = text.parse().map_err(|_| "a subnet is written like 192.168.70.0/24".to_string())?;
    if !(16..=29).contains(&net.prefix_len()) {
        return Err("a subnet for guests has a prefix length of 16 to 29".into());
    }
    Ok(net.trunc())
}

fn linux_only() -> Result<(), String> {
    if cfg!(target_os = "linux") {
        Ok(())
    } else {
        Err("there are no bridges of softnet's on this system: leave it out".into())
    }
}

fn not_yet(_: &str) -> Result<Never, String> {
    Err("this release of softnet does not have this option yet: leave it out".into())
}

/// A usage error in one line: what is wrong, with flag and value, and where to look.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut line = String::new();
    for part in text.lines().map(str::trim).filter(|part| !part.is_empty()) {
        if part.starts_with("Usage:") || part.starts_with("For more information") {
            continue;
        }
        let _ = write!(line, "{}{part}", if line.is_empty() { "" } else { " " });
    }
    format!("{} (try 'softnet --help')", line.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests;
