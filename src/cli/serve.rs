//! The options of a softnet that serves one guest. Those of one purpose are a group of their own, flattened into [`Serve`].

use std::os::fd::RawFd;

use clap::{Args, ValueEnum};
use ipnet::Ipv4Net;

use super::forwards::Forwards;
use super::values::{EntryList, parse_bridge, parse_list, parse_mac, parse_subnet};
use crate::control::ChannelNames;
use crate::engine::{EntryError, EthernetAddress, NetType, PolicyEntries};

/// The shortest and the longest DHCP lease time that may be asked for, in seconds.
pub const LEASE_SECONDS: std::ops::RangeInclusive<i64> = 60..=86_400;

/// The options of a softnet that serves one guest.
// The group says whether they were given at all, and the derive leaves it empty where other groups are flattened into it.
#[derive(Clone, Debug, Args)]
#[command(mut_group("Serve", |group| group.arg("vm_fd")))]
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

    /// Ports of the host that lead to the guest.
    #[command(flatten)]
    pub forwards: Forwards,
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
