//! The nftables table `inet softnet` (nft(8)): NAT to the world, and what guests may not do to the host.
//!
//! The table holds for both bridges at once and is replaced in one transaction at every start. It only ever judges
//! packets that come from, go to or claim to be of our bridges; for all others its chains are passed through. What it
//! says, chain by chain:
//!
//! **prerouting**, before any NAT of the host's: guests speak IPv4 from their subnet. An address of the host's other than
//! the bridge's own is not theirs to reach, here already, because the port forwards of other software (docker's) would
//! take the packet elsewhere before the input chain sees it. Nobody else speaks from, or to, the guests' subnets.
//!
//! **input**: guests reach the bridge's own address, and DHCP by broadcast; no ICMP redirects. A guest of `softnet0` asks
//! the DNS service so many questions a second and no more: dnsmasq keeps each that nobody answers for ten seconds, and as
//! many as [`MOST_DNS_QUESTIONS`] for all guests together.
//!
//! **forward**: guests of `softnet0` reach what is not a bridge of ours, and its answers come back. `softnet1` forwards
//! nothing. Frames between two ports of one bridge are no business of this table, but pass through it where
//! `bridge-nf-call-iptables` is on (docker turns it on): they are told by a destination that is not the bridge's MAC.
//!
//! **postrouting**: masquerade. Whoever holds a port of the host's towards a peer gets what the peer sends there, and would be
//! the host's service for it: a guest's connection leaves from a random port, never from one below 1024 or from the one that the
//! guest chose. No conntrack helper is assigned, so no payload opens a port (NAT slipstreaming).

use std::fmt::Write;

use ipnet::Ipv4Net;

use super::programs::{Program, run};
use super::{Error, HOST_BRIDGE, NAT_BRIDGE};
use crate::engine::{EthernetAddress, colons};
use crate::host::Wait;

pub(super) const NFT: Program = Program { name: "nft", package: "nftables" };

/// Questions that a guest may ask the DNS service in a second, in the long run and at once.
const DNS_RATE: (u32, u32) = (200, 500);
/// How long dnsmasq waits for the answer to a question (measured), in seconds.
const DNS_TIMEOUT: u32 = 10;
/// Questions that the DNS service keeps open, for all guests: enough for four that ask all they may for dead names.
pub(super) const MOST_DNS_QUESTIONS: u32 = 4 * (DNS_RATE.0 * DNS_TIMEOUT + DNS_RATE.1);

/// A bridge of ours that is up and has its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveBridge {
    pub(super) name: &'static str,
    pub(super) mac: EthernetAddress,
    /// The bridge's own address, with its prefix.
    pub(super) address: Ipv4Net,
}

/// Puts the table in place of whatever is there under its name.
pub(super) fn apply(bridges: &[LiveBridge], wait: &mut Wait<'_>) -> Result<(), Error> {
    nft(&ruleset(bridges), wait)
}

/// Removes the table, if it is there.
pub(super) fn remove(wait: &mut Wait<'_>) -> Result<(), Error> {
    nft("add table inet softnet\ndelete table inet softnet\n", wait)
}

/// Whether the table is there.
pub(super) fn is_present(wait: &mut Wait<'_>) -> Result<bool, Error> {
    match run(NFT, ["list", "table", "inet", "softnet"], "", "the table inet softnet", wait) {
        Ok(_) => Ok(true),
        Err(Error::ProgramFailed { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn nft(text: &str, wait: &mut Wait<'_>) -> Result<(), Error> {
    run(NFT, ["-f", "-"], text, "the table inet softnet", wait).map(drop)
}

/// The whole ruleset as text.
pub(super) fn ruleset(bridges: &[LiveBridge]) -> String {
    let ours = format!("{{ \"{NAT_BRIDGE}\", \"{HOST_BRIDGE}\" }}");
    let mut prerouting = String::new();
    let mut input = String::new();
    let mut forward = String::new();
    let mut into = String::new();
    let mut postrouting = String::new();

    for LiveBridge { name, mac, address } in bridges {
        let (own, subnet) = (address.addr(), address.trunc());
        rule(&mut prerouting, format_args!("iifname \"{name}\" ip saddr != {{ 0.0.0.0, {subnet} }} drop"));
        rule(&mut prerouting, format_args!("iifname \"{name}\" ip daddr != {own} fib daddr type local drop"));
        rule(&mut prerouting, format_args!("iifname != {{ \"{name}\", \"lo\" }} ip saddr {subnet} drop"));
        rule(&mut prerouting, format_args!("iifname != {{ \"{name}\", \"lo\" }} ip daddr {subnet} drop"));

        if *name == NAT_BRIDGE {
            let (rate, burst) = DNS_RATE;
            rule(
                &mut input,
                format_args!(
                    "iifname \"{name}\" udp dport 53 update @dns_askers \
                     {{ ip saddr limit rate over {rate}/second burst {burst} packets }} drop"
                ),
            );
        }
        rule(&mut input, format_args!("iifname \"{name}\" ip daddr {own} accept"));
        rule(&mut input, format_args!("iifname \"{name}\" ip daddr 255.255.255.255 udp dport 67 accept"));

        rule(
            &mut forward,
            format_args!("iifname \"{name}\" oifname \"{name}\" ether daddr != {} accept", colons(*mac)),
        );
        if *name == NAT_BRIDGE {
            rule(&mut into, format_args!("oifname \"{name}\" ct state established,related accept"));
            let leaves = format!("ip saddr {subnet} oifname != {{ \"{name}\", \"lo\" }}");
            rule(
                &mut postrouting,
                format_args!("{leaves} meta l4proto {{ tcp, udp }} masquerade to :1024-65535 fully-random"),
            );
            rule(&mut postrouting, format_args!("{leaves} masquerade"));
        }
    }

    format!(
        "add table inet softnet
delete table inet softnet
table inet softnet {{
\tset dns_askers {{
\t\ttype ipv4_addr; flags dynamic; size 65535; timeout 1m;
\t}}
\tchain prerouting {{
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifname {ours} meta nfproto ipv6 drop
{prerouting}\t}}
\tchain input {{
\t\ttype filter hook input priority filter; policy accept;
\t\tiifname {ours} icmp type redirect drop
{input}\t\tiifname {ours} drop
\t}}
\tchain forward {{
\t\ttype filter hook forward priority filter; policy accept;
{forward}\t\tiifname {ours} oifname {ours} drop
\t\tiifname \"{HOST_BRIDGE}\" drop
\t\tiifname \"{NAT_BRIDGE}\" ct state invalid drop
{into}\t\toifname {ours} drop
\t}}
\tchain postrouting {{
\t\ttype nat hook postrouting priority srcnat; policy accept;
{postrouting}\t}}
}}
"
    )
}

fn rule(chain: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(chain, "\t\t{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(name: &'static str, address: &str) -> LiveBridge {
        LiveBridge { name, mac: EthernetAddress([2, 0, 0, 0, 0, 1]), address: address.parse().expect("an address") }
    }

    /// The rules of one chain, trimmed.
    fn chain<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
        let start = format!("chain {name} {{");
        text.lines().map(str::trim).skip_while(|line| *line != start).skip(2).take_while(|line| *line != "}").collect()
    }

    #[test]
    fn guests_of_the_nat_bridge_are_masqueraded_and_answers_come_back() {
        let text = ruleset(&[bridge(NAT_BRIDGE, "192.168.64.1/24")]);
        assert_eq!(
            chain(&text, "postrouting"),
            [
                "ip saddr 192.168.64.0/24 oifname != { \"softnet0\", \"lo\" } meta l4proto { tcp, udp } masquerade to :1024-65535 fully-random",
                "ip saddr 192.168.64.0/24 oifname != { \"softnet0\", \"lo\" } masquerade",
            ]
        );
        assert_eq!(
            chain(&text, "forward"),
            [
                "iifname \"softnet0\" oifname \"softnet0\" ether daddr != 02:00:00:00:00:01 accept",
                "iifname { \"softnet0\", \"softnet1\" } oifname { \"softnet0\", \"softnet1\" } drop",
                "iifname \"softnet1\" drop",
                "iifname \"softnet0\" ct state invalid drop",
                "oifname \"softnet0\" ct state established,related accept",
                "oifname { \"softnet0\", \"softnet1\" } drop",
            ]
        );
    }

    #[test]
    fn the_host_bridge_neither_forwards_nor_masquerades() {
        let text = ruleset(&[bridge(HOST_BRIDGE, "192.168.65.1/24")]);
        assert!(chain(&text, "postrouting").is_empty());
        assert!(chain(&text, "forward").contains(&"iifname \"softnet1\" drop"));
        assert!(!text.contains("established"));
    }

    #[test]
    fn guests_reach_the_bridges_own_address_alone() {
        let text = ruleset(&[bridge(NAT_BRIDGE, "192.168.64.1/24"), bridge(HOST_BRIDGE, "192.168.65.1/24")]);
        assert_eq!(
            chain(&text, "input"),
            [
                "iifname { \"softnet0\", \"softnet1\" } icmp type redirect drop",
                "iifname \"softnet0\" udp dport 53 update @dns_askers \
                 { ip saddr limit rate over 200/second burst 500 packets } drop",
                "iifname \"softnet0\" ip daddr 192.168.64.1 accept",
                "iifname \"softnet0\" ip daddr 255.255.255.255 udp dport 67 accept",
                "iifname \"softnet1\" ip daddr 192.168.65.1 accept",
                "iifname \"softnet1\" ip daddr 255.255.255.255 udp dport 67 accept",
                "iifname { \"softnet0\", \"softnet1\" } drop",
            ]
        );
    }

    #[test]
    fn a_bridge_whose_address_is_gone_is_still_shut() {
        let text = ruleset(&[]);
        assert_eq!(chain(&text, "input").last(), Some(&"iifname { \"softnet0\", \"softnet1\" } drop"));
        assert_eq!(chain(&text, "forward").last(), Some(&"oifname { \"softnet0\", \"softnet1\" } drop"));
    }

    #[test]
    fn the_old_table_goes_in_the_same_transaction() {
        assert!(ruleset(&[]).starts_with("add table inet softnet\ndelete table inet softnet\ntable inet softnet {\n"));
    }
}
