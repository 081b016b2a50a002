//! ARP and MAC addresses, attacked with the real tools. Each succeeds on a plain bridge and fails behind softnet.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;

use softnet_testbed::isolate::in_own_network;
use softnet_testbed::pair::{ATTACKER, Pair, Running, VICTIM};
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{Arp, Mac};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

/// How many claims of a tool's are an attempt.
const ENOUGH: usize = 3;

/// Whether the table that `show` prints comes to name `claimed` as being at `mac` while a tool runs. The control must come to that;
/// behind softnet it is over when the tool has said enough, and that has been judged.
fn comes_to_believe(pair: &Pair, show: impl Fn() -> String, claimed: Ipv4Addr, mac: Mac) -> bool {
    let (ip, at) = (format!("{claimed} "), mac.to_string());
    let believes = || show().lines().any(|line| line.starts_with(&ip) && line.contains(&at));
    let mut said = pair.at_the_attacker();
    let is_claim = |frame: &[u8]| Arp::read(frame).is_some_and(|arp| (arp.sender_ip, arp.sender_mac) == (claimed, mac));
    let answer = wait::until("a poisoned ARP table, or enough claims of the tool", PATIENCE, || {
        if believes() {
            return Some(true);
        }
        (!pair.is_control() && said.count(is_claim) >= ENOUGH).then(|| {
            pair.attacker_is_served();
            believes()
        })
    });
    answer.unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn arpspoof_does_not_become_the_gateway() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let gateway = pair.gateway();
            pair.victim.run(&format!("ping -c 1 -W 5 {}", gateway.ip));
            // To everyone, and to the victim alone, whose MAC the attacker knows or asks for.
            pair.attacker.run(&format!("ip neigh replace {} lladdr {VICTIM} dev eth0", pair.victims_ip()));
            let target = format!("arpspoof -i eth0 -t {} {}", pair.victims_ip(), gateway.ip);
            let _all = Running::start(&mut pair.attacker.command(&format!("arpspoof -i eth0 {}", gateway.ip)));
            let _one = Running::start(&mut pair.attacker.command(&target));
            comes_to_believe(pair, || pair.victim.run("ip neigh show dev eth0"), gateway.ip, ATTACKER)
        };
        assert!(attack(&Pair::on_a_plain_bridge()), "arpspoof must work on a plain bridge");
        let pair = Pair::behind_softnet(&bed, "");
        assert!(!attack(&pair), "arpspoof became the gateway");
        let ended = pair.stop();
        assert!(ended.dropped("arp-sender-protocol") >= ENOUGH as u64, "it has tried: {}", ended.said);
    });
}

#[test]
fn arpspoof_does_not_become_a_neighbour() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let (gateway, target) = (pair.gateway(), pair.victims_ip());
            pair.victim.run(&format!("ping -c 1 -W 5 {}", gateway.ip));
            pair.attacker_is_served();
            let line = format!("arpspoof -i eth0 -t {} {target}", gateway.ip);
            let _tool = Running::start(&mut pair.attacker.command(&line));
            let show = || tools::run(&format!("ip neigh show dev {}", pair.bridge));
            comes_to_believe(pair, show, target, ATTACKER)
        };
        assert!(attack(&Pair::on_a_plain_bridge()), "arpspoof must work on a plain bridge");
        let pair = Pair::behind_softnet(&bed, "");
        assert!(!attack(&pair), "arpspoof took the victim's address at the host");
        let ended = pair.stop();
        assert!(ended.dropped("arp-sender-protocol") >= ENOUGH as u64, "it has tried: {}", ended.said);
    });
}

#[test]
fn arping_announces_no_address_of_another() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let gateway = pair.gateway();
            pair.victim.run(&format!("ping -c 1 -W 5 {}", gateway.ip));
            // The gateway's address on the attacker's own link, announced by requests and by replies.
            pair.attacker.run(&format!("ip addr add {}/32 dev eth0", gateway.ip));
            let _all = ["-U", "-A"].map(|kind| {
                let line = format!("arping {kind} -c 20 -I eth0 -s {} {}", gateway.ip, gateway.ip);
                Running::start(&mut pair.attacker.command(&line))
            });
            let believed = comes_to_believe(pair, || pair.victim.run("ip neigh show dev eth0"), gateway.ip, ATTACKER);
            pair.attacker.run(&format!("ip addr del {}/32 dev eth0", gateway.ip));
            believed
        };
        assert!(attack(&Pair::on_a_plain_bridge()), "arping must work on a plain bridge");
        let pair = Pair::behind_softnet(&bed, "");
        assert!(!attack(&pair), "arping became the gateway");
        let ended = pair.stop();
        assert!(ended.dropped("arp-sender-protocol") >= ENOUGH as u64, "it has tried: {}", ended.said);
    });
}

/// How many MACs the bridge believes to be behind its ports, beside those of the ports themselves.
fn learned(pair: &Pair) -> usize {
    let table = tools::run(&format!("bridge fdb show br {}", pair.bridge));
    table.lines().filter(|line| !line.contains("permanent")).count()
}

#[test]
fn macof_does_not_fill_the_bridges_table() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            pair.attacker_is_served();
            let before = learned(pair);
            pair.attacker.run(&format!("macof -i eth0 -n 400 -d {}", pair.gateway().ip));
            pair.attacker_is_served();
            learned(pair).saturating_sub(before)
        };
        // Some MACs are drawn with the bit of a group, and no bridge learns those.
        let control = attack(&Pair::on_a_plain_bridge());
        assert!(control > 100, "macof must fill a plain bridge's table: {control}");
        let pair = Pair::behind_softnet(&bed, "");
        assert_eq!(attack(&pair), 0, "macof filled the bridge's table");
        let ended = pair.stop();
        assert!(ended.dropped("ethernet-source") >= 300, "it has tried: {}", ended.said);
    });
}

#[test]
fn nmap_does_not_take_a_neighbours_mac() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let port_of = |mac: Mac| {
                let table = tools::run(&format!("bridge fdb show br {}", pair.bridge));
                let line = table.lines().find(|line| line.starts_with(&mac.to_string()));
                line.and_then(|line| line.split(' ').nth(2)).map(str::to_owned)
            };
            pair.victim.run(&format!("ping -c 1 -W 5 {}", pair.gateway().ip));
            pair.attacker_is_served();
            let before = port_of(VICTIM).expect("the bridge knows the victim");
            // It has spoken, and is silent now: its next frame would move its MAC back.
            pair.victim.run("ip link set eth0 down");
            // Whatever is scanned: the frames are the victim's, and so come its answers.
            let line = format!("nmap -n -Pn -sS -p 80 --max-retries 0 --spoof-mac {VICTIM} {}", pair.gateway().ip);
            let _ = pair.attacker.output(&line);
            port_of(VICTIM) != Some(before)
        };
        assert!(attack(&Pair::on_a_plain_bridge()), "nmap must move a MAC on a plain bridge");
        let pair = Pair::behind_softnet(&bed, "");
        assert!(!attack(&pair), "nmap took the victim's MAC");
        let ended = pair.stop();
        assert!(ended.dropped("ethernet-source") >= 1, "it has tried: {}", ended.said);
    });
}
