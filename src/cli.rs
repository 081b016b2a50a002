//! The command line: what was typed, checked as far as words alone can be. No system calls.
//!
//! The options that Tart uses mean what they meant to it before; everything that needs the system (is the descriptor a
//! socket, does the user exist, may this caller name a bridge) is judged later, in the setup.

use std::fmt::Write as _;
use std::os::fd::RawFd;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use ipnet::Ipv4Net;

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
    after_help = "LIST is comma separated: IPv4 prefixes (10.0.0.0/8), addresses (192.0.2.7), @host (the gateway), each with\n\
                  ports if wanted (:443, :8000-8999), and with `in ` or `out ` in front for one direction. Entries with ports\n\
                  outrank those without, the longest prefix wins, and block wins a tie.\n\
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
        match self.serve.as_ref().map(Serve::policy) {
            Some(Err(error)) => {
                Err(Self::command().error(ErrorKind::ValueValidation, format!("--allow and --block: {error}")))
            }
            _ => Ok(self),
        }
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
mod tests {
    use super::*;

    const MINIMAL: [&str; 5] = ["softnet", "--vm-fd", "0", "--vm-mac-address", "5a:94:ef:e4:0c:ee"];

    fn parse(more: &[&str]) -> Result<Serve, String> {
        let cli = Cli::try_parse_from(MINIMAL.iter().chain(more)).map_err(|error| one_line(&error))?;
        Ok(cli.serve.expect("options were given"))
    }

    #[test]
    fn the_declaration_is_sound() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn tarts_command_line_is_understood() {
        let serve = parse(&["--vm-net-type", "host", "--allow", "10.0.0.0/8,@host", "--block", "0.0.0.0/0"]).unwrap();
        assert_eq!(serve.vm_fd, 0);
        assert_eq!(serve.vm_net_type, NetTypeName::Host);
        assert_eq!(serve.bootpd_lease_time, 600);
        assert_eq!(serve.allow[0].0.len(), 2);
    }

    #[test]
    fn offload_is_there_unless_it_is_refused() {
        assert!(!parse(&[]).unwrap().no_offload);
        assert!(parse(&["--no-offload"]).unwrap().no_offload);
    }

    #[test]
    fn lists_may_be_empty_and_may_be_repeated() {
        for empty in [&["--allow="][..], &["--allow", ""]] {
            assert_eq!(parse(empty).unwrap().allow, [EntryList::default()]);
        }
        let serve = parse(&["--allow=10.0.0.0/8", "--allow", "192.0.2.1"]).unwrap();
        assert_eq!(serve.allow.iter().map(|list| list.0.len()).sum::<usize>(), 2);
    }

    #[test]
    fn one_argument_may_hold_a_direction_and_a_target() {
        let serve = parse(&["--allow", "in @host", "--allow", "in @host:22,out 10.0.0.0/8:80-90"]).unwrap();
        let texts: Vec<String> = serve.policy().unwrap().allow.iter().map(Entry::to_string).collect();
        assert_eq!(texts, ["in @host", "in @host:22", "out 10.0.0.0/8:80-90"]);
    }

    #[test]
    fn the_lists_have_an_end_together() {
        let list = |count: usize| vec!["@host"; count].join(",");
        for (allow, block, is_too_long) in [(4096, 0, false), (2000, 2096, false), (2000, 2097, true), (1, 4096, true)]
        {
            let (allow, block) = (list(allow), list(block));
            let cli = Cli::try_parse_from(MINIMAL.into_iter().chain(["--allow", &allow, "--block", &block])).unwrap();
            match cli.checked() {
                Ok(_) => assert!(!is_too_long),
                Err(error) => {
                    assert!(is_too_long);
                    assert_eq!(error.exit_code(), 2);
                    assert!(one_line(&error).contains("--allow and --block: entry `@host`: is one too many"));
                }
            }
        }
    }

    #[test]
    fn short_octets_of_a_mac_are_accepted() {
        let cli = Cli::try_parse_from(["softnet", "--vm-fd=0", "--vm-mac-address=2:0:0:a:b:C"]).unwrap();
        assert_eq!(cli.serve.unwrap().vm_mac_address, EthernetAddress([2, 0, 0, 10, 11, 12]));
    }

    #[test]
    fn a_bad_value_is_told_in_one_line_with_its_flag() {
        for (flag, value) in [
            ("--vm-fd", "-1"),
            ("--vm-fd", "zero"),
            ("--vm-mac-address", "5a:94:ef:e4:0c"),
            ("--vm-mac-address", "01:00:5e:00:00:01"),
            ("--vm-mac-address", "00:00:00:00:00:00"),
            ("--vm-mac-address", "+5:94:ef:e4:0c:ee"),
            ("--vm-mac-address", "5a94efe40cee"),
            ("--vm-net-type", "bridged"),
            ("--bootpd-lease-time", "59"),
            ("--bootpd-lease-time", "86401"),
            ("--bootpd-lease-time", "-600"),
            ("--allow", "example.org"),
            ("--block", "10.0.0.0/33"),
            ("--allow", "10.0.0.0/8,,@host"),
            ("--allow", "in@host"),
            ("--block", "@host:0"),
            ("--bridge", "a/b"),
            ("--bridge", "0123456789abcdef"),
            ("--subnet", "192.168.70.0/30"),
            ("--subnet", "here"),
            ("--expose", "2222:22"),
            ("--control-fd", "-1"),
            ("--control-fd", "one"),
        ] {
            let base: Vec<&str> = match flag {
                "--vm-fd" => vec!["softnet", MINIMAL[3], MINIMAL[4]],
                "--vm-mac-address" => vec!["softnet", MINIMAL[1], MINIMAL[2]],
                _ => MINIMAL.to_vec(),
            };
            let bad = format!("{flag}={value}");
            let error = Cli::try_parse_from(base.into_iter().chain([bad.as_str()])).expect_err(&bad);
            let line = one_line(&error);
            assert_eq!(error.exit_code(), 2);
            assert!(line.contains(flag) && line.contains(value) && !line.contains('\n'), "{line}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn subcommands_need_no_guest() {
        let cli = Cli::try_parse_from(["softnet", "network", "down", "--force"]).unwrap();
        assert!(matches!(cli.command, Some(Command::Network { action: NetworkAction::Down { force: true } })));
        assert!(Cli::try_parse_from(["softnet"]).is_err());
        assert!(Cli::try_parse_from(["softnet", "--vm-fd", "0"]).is_err());
    }
}
