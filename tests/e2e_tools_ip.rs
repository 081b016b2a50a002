//! IPv4 and what comes in its place, attacked with the real tools. Each attack succeeds on a plain bridge and fails behind
//! softnet.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;

use softnet_testbed::attack;
use softnet_testbed::internet::WEB;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::pair::Pair;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::softnet::Ended;
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

/// How many IPv4 datagrams come to the attacker's port while `lines` run in the attacker one after the other, of those that `fits`
/// picks by their frame, source and destination.
fn passed(pair: &Pair, lines: &[String], fits: impl Fn(&[u8], Ipv4Addr, Ipv4Addr) -> bool) -> usize {
    pair.attacker_is_served();
    let (mut witness, ()) = pair.watched(|| lines.iter().for_each(|line| drop(pair.attacker.output(line))));
    witness.count(|frame| wire::ip_addresses(frame).is_some_and(|(from, to)| fits(frame, from, to)))
}

fn assert_dropped(ended: &Ended, reason: &str, count: u64) {
    assert!(ended.dropped(reason) >= count, "it has tried, {count} times {reason}: {}", ended.said);
}

#[test]
fn hping3_speaks_in_nobodys_name() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let to = pair.gateway().ip;
            let lines = [
                format!("hping3 -n -q -c 3 -i u1000 --udp -p 9 -a {} {to}", pair.nobodys_ip()),
                format!("hping3 -n -q -c 3 -i u1000 -S -p 80 -a {} {to}", pair.victims_ip()),
                format!("hping3 -n -q -c 200 -i u500 --udp -p 9 --rand-source {to}"),
            ];
            let own = pair.attackers_ip();
            // The host answers those whom it believes to have asked: only what is for it counts.
            passed(pair, &lines, |_, from, target| target == to && from != own)
        };
        // Some of the random addresses belong to nobody, not even to somebody wrong: a kernel drops those by itself.
        let control = attack(&Pair::on_a_plain_bridge());
        assert!(control > 150, "hping3 must pass a plain bridge in others' names: {control}");
        let pair = Pair::behind_softnet(&bed, "");
        assert_eq!(attack(&pair), 0, "hping3 spoke in another's name");
        assert_dropped(&pair.stop(), "source-address", 200);
    });
}

#[test]
fn nmap_has_no_decoys() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let to = pair.gateway().ip;
            let decoys = [pair.nobodys_ip(), pair.victims_ip(), WEB];
            let [a, b, c] = decoys;
            let lines = [format!("nmap -n -Pn -sS -p 80,443 --max-retries 0 -D {a},{b},{c} {to}")];
            passed(pair, &lines, |_, from, target| target == to && decoys.contains(&from))
        };
        let control = attack(&Pair::on_a_plain_bridge());
        assert!(control >= 6, "nmap's decoys must pass a plain bridge: {control}");
        let pair = Pair::behind_softnet(&bed, "");
        assert_eq!(attack(&pair), 0, "a decoy of nmap's passed");
        assert_dropped(&pair.stop(), "source-address", 6);
    });
}

#[test]
fn nmap_slips_through_in_no_fragment_and_with_no_option() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let is_odd = |frame: &[u8]| frame[14] != 0x45 || u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff != 0;
        let attack = |pair: &Pair| {
            let to = pair.gateway().ip;
            let scan = "nmap -n -Pn -sS -p 80 --max-retries 0";
            let lines = [
                format!("{scan} -f {to}"),
                format!("{scan} --ip-options L {to}"),
                format!("{scan} --ip-options R {to}"),
            ];
            passed(pair, &lines, |frame, _, target| target == to && is_odd(frame))
        };
        // A segment of 20 or 24 bytes in eights, and one each with an option.
        let control = attack(&Pair::on_a_plain_bridge());
        assert!(control >= 5, "nmap's fragments and options must pass a plain bridge: {control}");
        let pair = Pair::behind_softnet(&bed, "");
        let passed = attack(&pair);
        let ended = pair.stop();
        eprintln!("nmap: {passed} of {control} odd datagrams passed; {}", ended.said);
        assert_dropped(&ended, "fragment-malformed", 2);
        assert_dropped(&ended, "ipv4-options", 2);
        // The last eight bytes of a segment are a fragment like any. Nothing comes of it without those before.
        assert!(passed <= 1, "{passed} of {control} passed");
    });
}

#[test]
fn nmap_finds_no_neighbour() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let report = pair.attacker.run(&format!("nmap -n -sn --max-retries 0 {}", pair.victims_ip()));
            report.contains("1 host up")
        };
        assert!(attack(&Pair::on_a_plain_bridge()), "nmap must find a neighbour on a plain bridge");
        let pair = Pair::behind_softnet(&bed, "");
        assert!(!attack(&pair), "nmap found a neighbour");
    });
}

#[test]
fn of_scapys_frames_none_passes() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // The names of those that came to the attacker's port of the bridge, and of those that did not.
        let attack = |pair: &Pair| {
            let kinds = ["types", "options", "fragments", "lies", "names"];
            let (mut witness, sent) =
                pair.watched(|| kinds.iter().flat_map(|kind| pair.scapy(kind)).collect::<Vec<_>>());
            let passes =
                |frame: &Vec<u8>, witness: &mut Sniffer| witness.count(|seen| attack::is_same(frame, seen)) > 0;
            let (passed, held): (Vec<_>, Vec<_>) =
                sent.into_iter().partition(|spoof| passes(&spoof.frame, &mut witness));
            (
                passed.iter().map(|spoof| spoof.name).collect::<Vec<_>>(),
                held.iter().map(|spoof| spoof.name).collect::<Vec<_>>(),
            )
        };
        let (sent, held) = attack(&Pair::on_a_plain_bridge());
        assert!(sent.len() >= 40 && held.is_empty(), "each frame must pass a plain bridge, and {held:?} did not");
        let pair = Pair::behind_softnet(&bed, "");
        let (passed, held) = attack(&pair);
        let ended = pair.stop();
        eprintln!("scapy: {} frames held back; {}", held.len(), ended.said);
        assert!(passed.is_empty(), "passed: {passed:?}");
        assert_eq!(held, sent, "each was tried");
        let dropped: u64 = ended.drops().map(|(_, count)| count).sum();
        assert!(dropped >= sent.len() as u64, "{}", ended.said);
    });
}

#[test]
fn scapy_is_no_router_for_a_neighbour_in_ipv6() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            // Off and on again: its DHCP client's script has taken the address of the link away.
            for setting in ["disable_ipv6=1", "accept_ra=1", "accept_dad=0", "disable_ipv6=0"] {
                pair.victim.run(&format!("sysctl -qw net.ipv6.conf.eth0.{setting}"));
            }
            // No advertisement is taken before the link has an address of its own.
            wait::until("an address of the link", PATIENCE, || {
                let addresses = pair.victim.run("ip -6 addr show dev eth0 scope link");
                (addresses.contains("fe80") && !addresses.contains("tentative")).then_some(())
            })
            .unwrap_or_else(|error| panic!("{error}"));
            let mut witness = pair.at_the_victim();
            let sent = pair.scapy("advertise");
            pair.attacker_is_served();
            let routes = || pair.victim.run("ip -6 route show default").contains("fe80::66");
            if pair.is_control() {
                witness.expect("the advertisement", PATIENCE, |frame| frame == sent[0].frame).expect("a plain bridge");
                wait::until("a default route", PATIENCE, || routes().then_some(true)).unwrap_or(false)
            } else {
                routes() || witness.count(|frame| frame == sent[0].frame) > 0
            }
        };
        assert!(attack(&Pair::on_a_plain_bridge()), "an advertisement must make a route on a plain bridge");
        // Without isolation, so that it is the filter alone that holds.
        let pair = Pair::behind_softnet(&bed, "--allow 0.0.0.0/0");
        assert!(!attack(&pair), "the attacker became the victim's router");
        assert_dropped(&pair.stop(), "ether-type", 1);
    });
}

#[test]
fn scapy_redirects_no_neighbour() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let attack = |pair: &Pair| {
            let knob = "net.ipv4.conf.all.accept_redirects=1 net.ipv4.conf.eth0.accept_redirects=1";
            pair.victim.run(&format!("sysctl -qw {knob}"));
            let route = format!("ip route get {WEB}");
            let gateway = format!("via {} ", pair.gateway().ip);
            assert!(pair.victim.run(&route).contains(&gateway), "the way to the world is by the gateway at first");
            let hop = format!("via {} ", pair.attackers_ip());
            let is_misled = || pair.victim.run(&route).contains(&hop);
            // The first redirect makes the victim ask for the attacker's MAC, a later one is believed.
            let tries = if pair.is_control() { 10 } else { 2 };
            (0..tries).any(|_| {
                pair.scapy("redirect");
                pair.attacker_is_served();
                is_misled()
            })
        };
        assert!(attack(&Pair::on_a_plain_bridge()), "a forged redirect must be believed on a plain bridge");
        let pair = Pair::behind_softnet(&bed, "--allow 0.0.0.0/0");
        assert!(!attack(&pair), "a forged redirect was believed");
        assert_dropped(&pair.stop(), "source-address", 2);
    });
}

/// Frames are compared with what [`attack::is_same`] takes for the same: it must tell different ones apart.
#[test]
fn the_comparison_of_frames_can_fail() {
    let [one, other] = [b"one", b"two"].map(|text| {
        let datagram = wire::udp((Ipv4Addr::LOCALHOST, 1), (WEB, 2), text);
        wire::ethernet(wire::Mac::guest(1), wire::Mac::guest(2), IPV4, &datagram)
    });
    assert!(attack::is_same(&one, &one) && !attack::is_same(&one, &other));
}
