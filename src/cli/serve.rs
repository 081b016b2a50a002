//! The options of a softnet that serves one guest. Those of one purpose are a group of their own, flattened into [`ServeOptions`].

use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;

use super::capture::CaptureOptions;
use super::forward::ForwardOptions;
use super::guest::GuestOptions;
use super::reject::RejectOptions;
use super::values::{EntryList, parse_bridge, parse_list, parse_mac, parse_socket, parse_subnet};
use super::watch::WatchOptions;
use crate::control::ChannelNames;
use crate::engine::{EntryError, EthernetAddress, NetType, PolicyEntries};

/// The shortest and the longest DHCP lease time that may be asked for, in seconds.
pub const LEASE_SECONDS: std::ops::RangeInclusive<i64> = 60..=86_400;

// The headings of `--help` and of the manual, in the order of their first options.
const GUEST: &str = "The guest";
const REACH: &str = "What it may reach";
const CONTROL: &str = "While it runs";
const HOST: &str = "The host";

/// The options of a softnet that serves one guest.
// clap knows by the group whether a guest is to be served, and leaves it empty where others are flattened into it: so its members
// are named.
#[derive(Clone, Debug, Args)]
pub struct ServeOptions {
    /// Inherited descriptor of the guest's frames
    ///
    /// A connected Unix datagram socket, one Ethernet frame a datagram.
    #[arg(long, group = "ServeOptions", help_heading = GUEST, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..),
          required_unless_present = "socket", conflicts_with = "socket")]
    pub vm_fd: Option<RawFd>,

    /// Make a socket there instead
    ///
    /// A Unix datagram socket at this absolute path, for the first who speaks to it.
    #[arg(long, group = "ServeOptions", help_heading = GUEST, hide_short_help = true, value_name = "PATH", value_parser = parse_socket)]
    pub socket: Option<PathBuf>,

    /// The guest's MAC address
    #[arg(long, help_heading = GUEST, value_name = "MAC", value_parser = parse_mac)]
    pub vm_mac_address: EthernetAddress,

    /// What the guest reaches
    #[arg(long, help_heading = GUEST, value_name = "TYPE", value_enum, default_value_t = NetTypeName::Nat)]
    pub vm_net_type: NetTypeName,

    /// DHCP lease time, 60 to 86400 seconds
    ///
    /// What the host's DHCP server hands out; dnsmasq makes less than 120 into 120.
    #[arg(long, help_heading = GUEST, hide_short_help = true, value_name = "SECONDS", default_value_t = 600,
          value_parser = clap::value_parser!(u32).range(LEASE_SECONDS))]
    pub bootpd_lease_time: u32,

    /// What the guest may reach besides, and who may reach it
    ///
    /// 0.0.0.0/0 also lets it reach other guests. Can be repeated.
    #[arg(long, help_heading = REACH, value_name = "LIST", value_parser = parse_list, action = clap::ArgAction::Append)]
    pub allow: Vec<EntryList>,

    /// What the guest may not reach, and who may not reach it
    ///
    /// Can be repeated. What --allow and --block both name is blocked.
    #[arg(long, help_heading = REACH, value_name = "LIST", value_parser = parse_list, action = clap::ArgAction::Append)]
    pub block: Vec<EntryList>,

    /// Refuse DNS questions for names that no entry allows
    ///
    /// softnet answers them itself, in the server's place.
    #[arg(long, help_heading = REACH, hide_short_help = true)]
    pub dns_names_only: bool,

    /// Whom to become after the setup [default: the caller; for root itself: nobody]
    ///
    /// A name or a number. Root itself may choose any user but root; a caller by way of the setuid bit or of softnet's own
    /// sudo becomes itself.
    #[arg(long, help_heading = HOST, hide_short_help = true)]
    pub user: Option<String>,

    /// The group to become after the setup [default: that of the user]
    #[arg(long, help_heading = HOST, hide_short_help = true)]
    pub group: Option<String>,

    /// What becomes of what is refused.
    #[command(flatten)]
    pub reject: RejectOptions,

    /// Attach to this bridge instead of softnet's own (root only)
    ///
    /// It has an address and a DHCP server of its own, as libvirt's virbr0 does.
    #[arg(long, help_heading = HOST, hide_short_help = true, value_name = "NAME", hide = cfg!(not(target_os = "linux")), value_parser = parse_bridge, conflicts_with = "subnet")]
    pub bridge: Option<String>,

    /// The subnet of softnet's own bridge, if it has none yet (root only)
    #[arg(long, help_heading = HOST, hide_short_help = true, value_name = "CIDR", hide = cfg!(not(target_os = "linux")), value_parser = parse_subnet)]
    pub subnet: Option<Ipv4Net>,

    /// Write and read each frame alone, instead of runs of TCP and UDP segments as one (Linux)
    #[arg(long, help_heading = HOST, hide_short_help = true, hide = cfg!(not(target_os = "linux")))]
    pub no_offload: bool,

    /// Inherited descriptor of the control channel
    ///
    /// A connected Unix stream socket, by which the policy can be changed while the guest runs.
    #[arg(long, help_heading = CONTROL, hide_short_help = true, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..))]
    pub control_fd: Option<RawFd>,

    /// Let clients of the control channel use names in entries, and show them names
    #[arg(long, help_heading = CONTROL, hide_short_help = true, requires = "control_fd")]
    pub policy_names: bool,

    /// A capture.
    #[command(flatten)]
    pub capture: CaptureOptions,

    /// One guest among many.
    #[command(flatten)]
    pub guest: GuestOptions,

    /// Inherited descriptor: a pipe that is told when the guest's first frame would be forwarded (`softnet run`).
    #[arg(long, hide = true, value_name = "N", value_parser = clap::value_parser!(RawFd).range(0..))]
    pub ready_fd: Option<RawFd>,

    /// What may be seen.
    #[command(flatten)]
    pub watch: WatchOptions,

    /// Ends at once with 0: how softnet asks whether sudo would run it.
    #[arg(long, hide = true)]
    pub sudo_escalation_probing: bool,

    /// Says that sudo has been tried.
    #[arg(long, hide = true)]
    pub sudo_escalation_done: bool,

    /// Ports of the host that lead to the guest.
    #[command(flatten)]
    pub forward: ForwardOptions,
}

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

impl ServeOptions {
    /// All lists of each kind, joined.
    ///
    /// # Errors
    /// Together they are more than a policy takes.
    pub fn policy(&self) -> Result<PolicyEntries, EntryError> {
        join(&self.allow, &self.block)
    }

    /// What clients of the control channel make of names.
    #[must_use]
    pub fn channel_names(&self) -> ChannelNames {
        if self.policy_names { ChannelNames::Taken } else { ChannelNames::Refused }
    }
}

/// A policy of all lists of each kind.
pub(super) fn join(allow: &[EntryList], block: &[EntryList]) -> Result<PolicyEntries, EntryError> {
    let join = |lists: &[EntryList]| lists.iter().flat_map(|list| list.0.iter().cloned()).collect();
    PolicyEntries::new(join(allow), join(block))
}
