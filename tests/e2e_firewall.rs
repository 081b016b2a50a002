//! What softnet's firewall on the host holds back, beyond the filter of each guest.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use softnet_testbed::attack::Party;
use softnet_testbed::internet::{NAME, UPLINK, WEB};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::servers::DEAD_DOMAIN;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::{self, IPV4, Mac};
use softnet_testbed::{servers, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

#[test]
fn a_guest_reaches_the_host_by_its_gateway_address_alone() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let public = Ipv4Addr::new(93, 184, 217, 5);
        let inner = Ipv4Addr::new(172, 30, 0, 1);
        tools::add_interface("more");
        for address in [public, inner] {
            tools::run(&format!("ip addr add {address}/32 dev more"));
        }
        servers::http(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80)));
        // The filter lets all of these pass; they are addresses of the host's own.
        let (softnet, mut guest) = bed.guest(MAC, &format!("--allow {inner},{UPLINK}"));
        for own in [public, inner, UPLINK] {
            servers::fetch(own, PATIENCE).expect("the host serves itself");
            guest.http_get(own, SILENCE).expect_err("another address of the host must not answer");
        }
        let gateway = guest.gateway();
        // Nor one that another program redirects, as those do that publish ports: that is the gateway's when it is delivered.
        tools::sh(&format!(
            "nft 'table ip publish {{ chain pre {{ type nat hook prerouting priority dstnat; ip daddr {inner} redirect; }}; }}'"
        ));
        guest.http_get(inner, SILENCE).expect_err("another address of the host must not answer");
        guest.http_get(gateway, PATIENCE).expect("the gateway's own address answers");
        guest.http_get(WEB, PATIENCE).expect("the Internet answers");
        softnet.stop();
    });
}

#[test]
fn a_guest_that_asks_for_names_that_nobody_answers_leaves_dns_to_the_others() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut greedy) = bed.guest(Mac::guest(1), "");
        let (second, mut other) = bed.guest(Mac::guest(2), "");
        let gateway = Party::gateway_of(&greedy);
        let from = greedy.address();
        // A resolver holds each open for ten seconds: more of them than it holds for all, as far as the guest can see to it.
        for number in 0..12_000_u16 {
            let query = servers::dns_query(number, &format!("n{number}.{DEAD_DOMAIN}"));
            let datagram = wire::udp((from, 20_000 + number), (gateway.ip, 53), &query);
            greedy.send_raw_when_there_is_room(&wire::ethernet(gateway.mac, greedy.mac(), IPV4, &datagram));
        }
        greedy.flush();
        for _ in 0..5 {
            assert_eq!(other.resolve(gateway.ip, NAME, PATIENCE).expect("the other guest's names"), WEB);
        }
        first.stop();
        second.stop();
    });
}

/// How many datagrams the host's UDP sockets were given.
fn datagrams_in() -> u64 {
    let counters = std::fs::read_to_string("/proc/net/snmp").expect("the kernel counts");
    let mut rows = counters.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = (rows.next().expect("their names"), rows.next().expect("and values"));
    let of = |wanted| {
        let (_, value) = names.split(' ').zip(values.split(' ')).find(|(name, _)| *name == wanted).expect("a counter");
        value.parse::<u64>().expect("a number")
    };
    of("InDatagrams") + of("RcvbufErrors")
}

/// A run is one packet to the firewall, and so to its limits.
#[test]
fn questions_that_could_go_in_a_run_are_counted_one_by_one() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut greedy) = bed.guest(MAC, "");
        let gateway = Party::gateway_of(&greedy);
        let from = greedy.address();
        let (before, start) = (datagrams_in(), Instant::now());
        for number in 0..8000_u16 {
            let query = servers::dns_query(number, &format!("n{number:05}.{DEAD_DOMAIN}"));
            let datagram = wire::udp((from, 20_000), (gateway.ip, 53), &query);
            let mut frame = wire::ethernet(gateway.mac, greedy.mac(), IPV4, &datagram);
            frame[20] = 0x40; // not to be fragmented, so that the identification may stay the same
            wire::fill_header_checksum(&mut frame);
            greedy.send_raw_when_there_is_room(&frame);
        }
        greedy.flush();
        // What was let in has been read when for a while nothing more is.
        let (mut asked, mut since) = (0, Instant::now());
        wait::until("the resolver to have read all", PATIENCE, || {
            let now = datagrams_in() - before;
            if now != asked {
                (asked, since) = (now, Instant::now());
            }
            (asked >= 500 && since.elapsed() > SILENCE / 2).then_some(())
        })
        .expect("500 questions at once");
        let took = start.elapsed();
        let limit = 500 + 200 * (took.as_secs() + 1);
        eprintln!("{asked} questions in {took:?}");
        assert!(asked <= limit + 50, "{asked} questions in {took:?}, not {limit}");
        softnet.stop();
    });
}

#[test]
fn guests_of_the_two_bridges_do_not_meet() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut nat) = bed.guest(Mac::guest(1), "");
        let (second, mut host) = bed.guest(Mac::guest(2), "--vm-net-type host");
        let (nat_address, nat_gateway) = (nat.address(), nat.gateway());
        let (host_address, host_gateway) = (host.address(), host.lease().server);
        first.stop();
        second.stop();
        // Both allow the other's network, so that only the firewall stands between.
        let (first, again) = bed.guest(Mac::guest(1), &format!("--allow {host_gateway}/24"));
        assert_eq!(again.address(), nat_address);
        nat = again;
        let (second, again) = bed.guest(Mac::guest(2), &format!("--vm-net-type host --allow {nat_gateway}/24"));
        assert_eq!(again.address(), host_address);
        host = again;
        let lease = host.lease().clone();
        host.configure(softnet_testbed::guest::Lease { router: Some(host_gateway), ..lease });
        nat.ping(host_gateway, SILENCE).expect_err("the other bridge's address must not answer");
        host.ping(nat_gateway, SILENCE).expect_err("the other bridge's address must not answer");
        host.ping(nat_address, SILENCE).expect_err("the other bridge's guest must not answer");
        host.ping(WEB, SILENCE).expect_err("nothing behind the host");
        nat.flush();
        first.stop();
        second.stop();
    });
}

#[test]
fn a_host_of_the_lan_with_a_route_does_not_reach_a_guest() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "");
        let address = guest.address();
        let lan = &bed.internet.netns;
        let [a, b, c, _] = address.octets();
        lan.run(&format!("ip route add {a}.{b}.{c}.0/24 via {UPLINK}"));
        lan.run(&format!("ping -c 1 -W 2 {UPLINK}"));
        guest.forget_seen();
        // From a public address, so that the guest's filter would let the answer pass.
        let line = format!("ping -c 3 -i 0.2 -W 1 -I {WEB} {address}");
        let mut ping = lan.command(&line).spawn().expect("ping starts");
        let status = guest.serve("the end of the ping", PATIENCE, || ping.try_wait().expect("a child can be asked"));
        assert!(!status.expect("it ends").success(), "a host of the LAN reached the guest");
        let from_lan = |frame: &&Vec<u8>| wire::ip_addresses(frame).is_some_and(|(from, _)| from == WEB);
        assert_eq!(guest.seen().iter().filter(from_lan).count(), 0, "a datagram of the LAN's arrived");
        // The control: the host itself does, and the guest, which knows the gateway by now, answers.
        guest.flush();
        let mut ping = tools::command(&format!("ping -c 1 -W 5 {address}")).spawn().expect("ping starts");
        let status = guest.serve("the end of the ping", PATIENCE, || ping.try_wait().expect("a child can be asked"));
        assert!(status.expect("it ends").success(), "the host reaches its guest");
        softnet.stop();
    });
}

#[test]
fn the_dns_server_answers_nobody_but_guests() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.guest(MAC, "");
        let lan = &bed.internet.netns;
        let [a, b, c, _] = guest.gateway().octets();
        lan.run(&format!("ip route add {a}.{b}.{c}.0/24 via {UPLINK}"));
        for server in [UPLINK, guest.gateway()] {
            let output =
                tools::output(&mut lan.command(&format!("timeout 3 busybox nslookup -type=a {NAME} {server}")));
            assert!(!tools::text(&output).contains(&WEB.to_string()), "{server} answered a host of the LAN");
        }
        // The control.
        let output =
            tools::output(&mut tools::command(&format!("busybox nslookup -type=a {NAME} {}", guest.gateway())));
        assert!(tools::text(&output).contains(&WEB.to_string()), "{}", tools::text(&output));
        softnet.stop();
    });
}

#[test]
fn no_connection_tracking_helper_is_assigned() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "");
        // What a payload can open, a helper of connection tracking opens; none is assigned to anything of the guests'.
        let table = tools::run("nft list table inet softnet");
        assert!(table.contains("masquerade") && !table.contains("helper"), "{table}");
        let way_in = table.lines().find(|line| line.contains("dnat") || line.contains("redirect to"));
        assert_eq!(way_in, None, "no way in");
        softnet.stop();
    });
}

#[test]
fn the_rest_of_the_host_is_left_as_it_was() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        tools::run("nft add table inet mine");
        tools::run("nft add chain inet mine input { type filter hook input priority 0 ; policy accept ; }");
        let facts = || ["nft list table inet mine", "ip addr show uplink", "ip route show default"].map(tools::run);
        let before = facts();
        let (softnet, _guest) = bed.guest(MAC, "");
        let tables = tools::run("nft list tables");
        let others = tables.lines().filter(|line| !line.contains("softnet")).collect::<Vec<_>>();
        assert_eq!(others, ["table inet mine"], "{tables}");
        assert_eq!(facts(), before);
        softnet.stop();
    });
}
