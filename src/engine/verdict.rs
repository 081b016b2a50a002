//! Verdicts, their reasons, and one counter a reason.
#![forbid(unsafe_code)]

use std::fmt;

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the guest to the host.
    FromGuest,
    /// From the host to the guest.
    FromHost,
}

impl Direction {
    /// The other one.
    #[must_use]
    pub fn reverse(self) -> Self {
        match self {
            Direction::FromGuest => Direction::FromHost,
            Direction::FromHost => Direction::FromGuest,
        }
    }
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a frame whose verdict nobody reads is a frame that nobody filtered"]
pub enum Verdict {
    /// It goes on, unchanged.
    Forward,
    /// It is dropped.
    Drop(DropReason),
    /// It is dropped, and [`Engine::reply`](super::Engine::reply) is to be sent back to where it came from.
    Reply(DropReason),
}

/// Makes the enum, the list of all reasons, their names and their descriptions from one table, so that none is forgotten.
macro_rules! drop_reasons {
    ($($variant:ident $name:literal $description:literal)*) => {
        /// Why a frame was dropped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason {
            $(#[doc = concat!($description, ".")] $variant,)*
        }

        impl DropReason {
            /// Every reason, in the order in which the rules come to it.
            pub const ALL: [DropReason; [$($name),*].len()] = [$(DropReason::$variant),*];

            /// The reason as one lower-case word with hyphens: stable, for logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(DropReason::$variant => $name),* }
            }

            /// The reason as a phrase for people, without a full stop.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self { $(DropReason::$variant => $description),* }
            }
        }
    };
}

drop_reasons! {
    FrameTooShort "frame-too-short" "shorter than an Ethernet header"
    FrameTooLong "frame-too-long" "longer than the link carries"
    EthernetSource "ethernet-source" "an Ethernet source that this side may not use"
    EthernetDestination "ethernet-destination" "an Ethernet destination that does not fit what is inside, or is not ours"
    EtherType "ether-type" "neither ARP nor IPv4 right after the MACs"
    ArpMalformed "arp-malformed" "ARP that is not an Ethernet/IPv4 request or reply, or is cut short"
    ArpSenderHardware "arp-sender-hardware" "an ARP sender hardware address other than the frame's source"
    ArpSenderProtocol "arp-sender-protocol" "an ARP sender address that is not the sender's own"
    Ipv4Malformed "ipv4-malformed" "an IPv4 header whose version or lengths are wrong"
    Ipv4Options "ipv4-options" "an IPv4 header with options, from the guest"
    Ipv4Checksum "ipv4-checksum" "an IPv4 header whose checksum is wrong, from the guest"
    FragmentMalformed "fragment-malformed" "an IPv4 fragment of impossible or evasive size"
    UdpMalformed "udp-malformed" "a UDP header whose length is wrong"
    TcpMalformed "tcp-malformed" "a TCP header that is cut short or lies about its length, from the guest"
    DhcpServerPort "dhcp-server-port" "UDP from port 67, from the guest: the guest is no DHCP server"
    DhcpClientPort "dhcp-client-port" "UDP to port 67, towards the guest: the guest is no DHCP server"
    DhcpFragment "dhcp-fragment" "a fragment that would carry a DHCP port"
    DhcpMalformed "dhcp-malformed" "a DHCP message whose fields or options are cut short, doubled or endless"
    DhcpForbidden "dhcp-forbidden" "a DHCP message of a kind, or with a field, that this side may not send"
    DhcpNotFromGateway "dhcp-not-from-gateway" "a DHCP reply from elsewhere than the gateway's port 67"
    DhcpNotForGuest "dhcp-not-for-guest" "a DHCP reply for another client"
    DhcpNoTransaction "dhcp-no-transaction" "a DHCP reply to nothing that the guest asked"
    DhcpGrant "dhcp-grant" "a DHCPACK that grants no usable address or no time"
    DhcpRate "dhcp-rate" "more DHCP messages than a guest may send"
    DhcpIdentifiers "dhcp-identifiers" "more DHCP client identifiers than a guest may use"
    NoLease "no-lease" "the guest holds no lease"
    SourceAddress "source-address" "an IPv4 source other than the guest's lease"
    IcmpQuote "icmp-quote" "an ICMP error about a datagram that was not sent to the guest, or a redirect"
    Blocked "blocked" "a destination, or an origin, that an entry of the policy blocks"
    NotReachable "not-reachable" "a destination that is not reachable unless the policy allows it"
    Neighbour "neighbour" "from another address of the subnet, while the guest is isolated"
    DnsName "dns-name" "a DNS question for a name that no entry allows, or one that cannot be read, while only such may be asked"
    PinsFull "pins-full" "an answer to a DNS question for whose addresses there is no room"
    FlowTableFull "flow-table-full" "no room for one more flow"
    RateLimit "rate-limit" "more, or faster, than the guest may be sent"
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.description())
    }
}

/// Frames and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// How many frames.
    pub frames: u64,
    /// Their bytes, Ethernet headers included.
    pub bytes: u64,
}

/// What an engine has done so far, per direction: what it forwarded, and what it dropped, per reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    forwarded: [Traffic; 2],
    dropped: [[u64; DropReason::ALL.len()]; 2],
}

impl Default for Counters {
    fn default() -> Self {
        Counters { forwarded: [Traffic::default(); 2], dropped: [[0; DropReason::ALL.len()]; 2] }
    }
}

impl Counters {
    /// What was forwarded.
    #[must_use]
    pub fn forwarded(&self, direction: Direction) -> Traffic {
        self.forwarded[direction as usize]
    }

    /// How many frames were dropped for one reason.
    #[must_use]
    pub fn dropped(&self, direction: Direction, reason: DropReason) -> u64 {
        self.dropped[direction as usize][reason as usize]
    }

    /// How many frames were dropped for any reason.
    #[must_use]
    pub fn dropped_total(&self, direction: Direction) -> u64 {
        self.dropped[direction as usize].iter().sum()
    }

    /// The reasons for which at least one frame was dropped, with how many.
    pub fn drops(&self, direction: Direction) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL
            .into_iter()
            .map(move |reason| (reason, self.dropped(direction, reason)))
            .filter(|&(_, count)| count > 0)
    }

    #[inline]
    pub(super) fn count(&mut self, direction: Direction, length: usize, verdict: Verdict) {
        match verdict {
            Verdict::Forward => {
                let traffic = &mut self.forwarded[direction as usize];
                traffic.frames += 1;
                traffic.bytes += length as u64;
            }
            Verdict::Drop(reason) | Verdict::Reply(reason) => {
                self.dropped[direction as usize][reason as usize] += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_a_name_of_its_own_in_kebab_case() {
        let names: HashSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::ALL.len());
        for name in names {
            assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{name}");
        }
    }

    #[test]
    fn reasons_stand_in_the_list_at_their_own_index() {
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(!reason.description().is_empty() && !reason.description().ends_with('.'));
        }
    }

    #[test]
    fn each_verdict_counts_once_in_its_own_direction() {
        let mut counters = Counters::default();
        counters.count(Direction::FromGuest, 60, Verdict::Forward);
        counters.count(Direction::FromGuest, 40, Verdict::Forward);
        counters.count(Direction::FromHost, 99, Verdict::Drop(DropReason::EtherType));
        assert_eq!(counters.forwarded(Direction::FromGuest), Traffic { frames: 2, bytes: 100 });
        assert_eq!(counters.forwarded(Direction::FromHost), Traffic::default());
        assert_eq!(counters.dropped(Direction::FromHost, DropReason::EtherType), 1);
        assert_eq!(counters.dropped_total(Direction::FromGuest), 0);
        assert_eq!(counters.drops(Direction::FromHost).collect::<Vec<_>>(), [(DropReason::EtherType, 1)]);
    }
}
