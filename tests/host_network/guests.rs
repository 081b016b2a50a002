//! Guests of one host: their leases, their MACs, the links between them, and what they reach.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use softnet::engine::{Isolation, NetType};
use softnet::host::tap::{self, TapHost};
use softnet::host::{Host, LinkRequest};
use softnet_testbed::internet::{Internet, UPLINK, WEB};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::netns::Netns;
use softnet_testbed::state::{mac_of, processes};
use softnet_testbed::tools::{self, run, sh};
use softnet_testbed::wait::{PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;

use crate::link::{
    GUEST, OTHER, Offer, assert_contains, details, discover, dnsmasq, host_request, offer, opened, receive_for,
    refused, request, send, sleep,
};

#[test]
fn a_guest_gets_its_own_lease_time_at_once_and_after_every_change() {
    in_own_network(|| {
        for (xid, seconds) in [(1, 600), (2, 120), (3, 86400), (4, 120), (5, 600), (6, 7200), (7, 120)] {
            let mut host = opened(&LinkRequest { lease_seconds: seconds, ..request(GUEST) });
            let offer = offer(&mut host, GUEST, xid);
            assert_eq!(offer, Offer { seconds, router: Some([192, 168, 64, 1].into()), dns: 1 });
            if xid == 4 {
                sh(&format!("kill -9 {}", dnsmasq("softnet0")));
            }
        }
        let mut host = opened(&LinkRequest { lease_seconds: 300, ..request(OTHER) });
        assert_eq!(offer(&mut host, OTHER, 8).seconds, 300);
        assert_eq!(offer(&mut host, GUEST, 9).seconds, 600, "the ended guest's time is forgotten");
    });
}

#[test]
fn guests_that_start_in_the_same_moment_all_get_a_link() {
    in_own_network(|| {
        let start = Instant::now();
        let threads: Vec<_> = (0..8u8)
            .map(|n| {
                thread::spawn(move || {
                    let mac = Mac([2, 0, 0, 0, 1, n]);
                    let net_type = if n % 2 == 0 { NetType::Nat } else { NetType::Host };
                    let lease_seconds = 120 + u32::from(n);
                    let mut host = opened(&LinkRequest { net_type, lease_seconds, ..request(mac) });
                    assert_eq!(offer(&mut host, mac, u32::from(n)).seconds, lease_seconds);
                    host
                })
            })
            .collect();
        let hosts: Vec<TapHost> = threads.into_iter().map(|thread| thread.join().expect("a link")).collect();
        eprintln!("8 starts at once, offers and all, took {:?}", start.elapsed());
        assert_ne!(hosts[0].network().subnet, hosts[1].network().subnet);
        assert_eq!(processes("dnsmasq").len(), 2);
        let status = tap::status(&mut sleep).expect("a status");
        assert_eq!(status.bridges.iter().map(|bridge| bridge.guests.len()).collect::<Vec<_>>(), [4, 4]);
    });
}

#[test]
fn guests_of_the_host_bridge_are_told_of_no_router_and_no_dns() {
    in_own_network(|| {
        let mut host = opened(&host_request(GUEST));
        assert_eq!(offer(&mut host, GUEST, 1), Offer { seconds: 600, router: None, dns: 0 });
        assert_eq!(run("cat /proc/sys/net/ipv4/ip_forward"), "0\n", "the host does not forward for them");
    });
}

#[test]
fn a_mac_that_is_live_is_refused() {
    in_own_network(|| {
        let first = opened(&request(GUEST));
        let start = Instant::now();
        let error = refused(&request(GUEST));
        assert!((3000..5000).contains(&start.elapsed().as_millis()), "{:?}", start.elapsed());
        assert_eq!(
            error,
            format!(
                "--vm-mac-address {GUEST}: a guest with this MAC is running on softnet0 (process {}): end it, or give \
                 this guest another MAC",
                std::process::id()
            )
        );
        assert_contains(&details(first.tap_name()), &["master softnet0"]); // The first is left alone.

        // A predecessor that is ending is waited for, and others start meanwhile.
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(600));
            drop(first);
        });
        let waiting = thread::spawn(|| opened(&request(GUEST)));
        thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        let _other = opened(&request(OTHER));
        assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
        ending.join().expect("ended");
        waiting.join().expect("a link");
    });
}

#[test]
fn a_mac_of_the_hosts_or_of_another_port_is_refused() {
    in_own_network(|| {
        let _host = opened(&request(GUEST));
        assert_contains(&refused(&request(mac_of("softnet0"))), &["it is the MAC of the bridge on softnet0"]);

        tools::add_interface("v0");
        run("ip link set v0 master softnet0");
        assert_contains(&refused(&request(mac_of("v0"))), &["it is the MAC of v0 on softnet0"]);

        let (seen, entry) = (Mac::guest(0x98), format!("{} dev v0 master", Mac::guest(0x98)));
        run(&format!("bridge fdb add {entry} static"));
        assert_contains(&refused(&request(seen)), &["it was seen on v0 of softnet0"]);
        let waiting = thread::spawn(move || opened(&request(seen)));
        thread::sleep(Duration::from_millis(300));
        run(&format!("bridge fdb del {entry}"));
        waiting.join().expect("a link once the other is gone");
    });
}

#[test]
fn frames_between_guests_pass_only_when_both_are_open() {
    in_own_network(|| {
        let mut unicast = discover(GUEST, 7);
        unicast[..6].copy_from_slice(&OTHER.0);
        let arrives = |isolation| {
            let [mut from, mut to] = [GUEST, OTHER].map(|mac| opened(&LinkRequest { isolation, ..request(mac) }));
            receive_for(&mut to, Duration::from_millis(100));
            assert_eq!(send(&mut from, &unicast), 1);
            receive_for(&mut to, Duration::from_millis(200)).contains(&unicast)
        };
        assert!(arrives(Isolation::Open));
        assert!(!arrives(Isolation::Isolated));
    });
}

#[test]
fn a_link_that_is_down_loses_frames_and_comes_back() {
    in_own_network(|| {
        let mut host = opened(&request(GUEST));
        run(&format!("ip link set {} down", host.tap_name()));
        assert_eq!(send(&mut host, &discover(GUEST, 1)), 0);
        assert!(receive_for(&mut host, Duration::from_millis(20)).is_empty());
        run(&format!("ip link set {} up", host.tap_name()));
        assert_eq!(offer(&mut host, GUEST, 2).seconds, 600);
        assert_eq!(send(&mut host, &[0; 5]), 0, "a runt is not taken");
        assert_eq!(send(&mut host, &[0; 0]), 0, "nor an empty frame");
    });
}

/// A network stack with `address` on a plain port of `bridge`, whose gateway has .1.
fn neighbour(name: &str, bridge: &str, address: Ipv4Addr) -> Netns {
    let netns = Netns::new(name);
    run(&format!("ip link add v-{name} type veth peer name eth0 netns {name}"));
    run(&format!("ip link set v-{name} master {bridge} up"));
    netns.run(&format!("ip address add {address}/24 dev eth0"));
    netns.run("ip link set eth0 up");
    let [a, b, c, _] = address.octets();
    netns.run(&format!("ip route add default via {a}.{b}.{c}.1"));
    netns
}

fn answers(to: &str, from: &Netns, limit: Duration) -> bool {
    tools::succeeds(&mut from.command(&format!("ping -c 1 -W {} {to}", limit.as_secs_f32())))
}

/// What NAT and firewall let through, asked by a kernel's own IP stack behind a port of the bridge, where no filter is.
#[test]
fn guests_reach_the_world_and_nothing_else_of_the_host() {
    in_own_network(|| {
        let world = Internet::new().netns;
        world.run(&format!("ip route add 192.168.64.0/23 via {UPLINK}"));
        let _nat = opened(&LinkRequest { isolation: Isolation::Open, ..request(GUEST) });
        let _host = opened(&host_request(GUEST));
        let nat = neighbour("g0", "softnet0", [192, 168, 64, 50].into());
        let _second = neighbour("g1", "softnet0", [192, 168, 64, 51].into());
        let host = neighbour("h0", "softnet1", [192, 168, 65, 50].into());

        let (web, uplink) = (WEB.to_string(), UPLINK.to_string());
        assert!(answers(&web, &nat, PATIENCE), "the world, by NAT");
        assert!(answers("192.168.64.1", &nat, PATIENCE), "the gateway");
        assert!(answers("192.168.64.51", &nat, PATIENCE), "a neighbour behind an open port");
        assert!(answers("192.168.65.1", &host, PATIENCE), "the host");
        assert!(tools::succeeds(&mut tools::command("ping -c 1 -W 5 192.168.64.50")), "a guest from the host");

        // All at once: each of them waits in vain for a second.
        thread::scope(|scope| {
            let asked = [
                (&nat, uplink.as_str(), "another address of the host's"),
                (&nat, "192.168.65.1", "the other bridge"),
                (&nat, "192.168.65.50", "a guest of the other bridge"),
                (&host, web.as_str(), "the world from the host bridge"),
                (&host, "192.168.64.1", "the other bridge from the host bridge"),
                (&world, "192.168.64.50", "a guest from the world"),
                (&world, "192.168.64.1", "the bridge from the world"),
                (&world, "192.168.65.50", "a guest of the host bridge from the world"),
            ]
            .map(|(from, to, what)| (scope.spawn(move || answers(to, from, SILENCE)), what));
            for (ping, what) in asked {
                assert!(!ping.join().expect("asked"), "{what} answered");
            }
        });

        nat.run("ip address add 10.1.1.1/32 dev eth0");
        let foreign = "ping -I 10.1.1.1 -c 1 -W 1 192.168.64.1";
        assert!(!tools::succeeds(&mut nat.command(foreign)), "the gateway from an address of another network");

        // A port that the host forwards elsewhere, as docker does.
        run("nft add table ip dock");
        run("nft add chain ip dock pre { type nat hook prerouting priority dstnat ; policy accept ; }");
        run(&format!("nft add rule ip dock pre fib daddr type local tcp dport 8080 dnat to {WEB}:80"));
        let gets = |from: &Netns, server: &str| {
            tools::succeeds(&mut from.command(&format!("curl --silent --noproxy * --max-time 2 http://{server}/")))
        };
        assert!(gets(&nat, &WEB.to_string()));
        assert!(!gets(&nat, &format!("{UPLINK}:8080")), "through the host's other address");
        assert!(!gets(&host, "192.168.65.1:8080"), "out of the host bridge through its gateway");
    });
}
