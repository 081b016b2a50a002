//! Several guests on one host, and what passes between them: nothing.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;

use softnet_testbed::attack::{self, Party};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::{self, IPV4, Mac};
use softnet_testbed::{state, sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

#[test]
fn guests_that_start_in_the_same_moment_all_get_addresses() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // Nothing is provisioned yet: all of them find that, and one does it.
        let mut started: Vec<_> = (1..=4).map(|number| (bed.launch(Mac::guest(number)).spawn(), number)).collect();
        let mut guests: Vec<(Softnet, PortableGuest)> = Vec::new();
        for ((mut softnet, socket), number) in started.drain(..) {
            softnet.wait_ready();
            let mut guest = PortableGuest::new(socket, Mac::guest(number));
            guest.dhcp(PATIENCE).expect("a lease");
            guests.push((softnet, guest));
        }
        let mut addresses: Vec<_> = guests.iter().map(|(_, guest)| guest.address()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len(), 4, "each has an address of its own");
        for (softnet, mut guest) in guests {
            guest.http_get(bed.facts().web, PATIENCE).expect("each is served");
            softnet.stop();
        }
        let bridges = tools::run("ip -o link show type bridge");
        assert_eq!(bridges.lines().count(), 1, "one bridge for all: {bridges}");
    });
}

#[test]
fn no_spoofed_frame_reaches_the_bridge() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut attacker) = bed.guest(Mac::guest(1), "");
        let (second, mut victim) = bed.guest(Mac::guest(2), "");
        attacker.flush();
        victim.flush();
        let gateway = Party::gateway_of(&attacker);
        let facts = bed.facts();
        let spoofs = attack::spoofs(Party::of(&attacker), gateway, Party::of(&victim), facts.private, facts.web);
        assert!(spoofs.len() > 20);
        victim.forget_seen();
        attack::assert_held_back(&mut attacker, &spoofs, "softnet0");
        victim.flush();
        let from_attacker = victim.seen().iter().filter(|frame| wire::source(frame) == Some(attacker.mac())).count();
        assert_eq!(from_attacker, 0, "nothing of the attacker's reaches the victim");
        first.stop();
        second.stop();
    });
}

#[test]
fn in_host_mode_the_filter_itself_ends_at_the_host() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(Mac::guest(1), "--vm-net-type host");
        guest.flush();
        let (own, gateway) = (guest.address(), Party::gateway_of(&guest));
        let mut witness = Sniffer::on("softnet1");
        let targets = [bed.facts().web, bed.facts().private, bed.facts().metadata];
        for target in targets {
            let frame = wire::ethernet(gateway.mac, guest.mac(), IPV4, &wire::echo(own, target, 1));
            guest.send_raw(&frame).expect("the socket takes a frame");
        }
        guest.flush();
        let honest = |frame: &[u8]| wire::ip_addresses(frame) == Some((own, gateway.ip));
        witness.expect("the guest's honest ping", PATIENCE, honest).expect("the witness sees");
        for target in targets {
            // Not even the firewall gets to see it.
            let passed = witness.count(|frame| wire::ip_addresses(frame) == Some((own, target)));
            assert_eq!(passed, 0, "a datagram for {target} reached the bridge");
        }
        softnet.stop();
    });
}

#[test]
fn an_open_guest_does_not_reach_an_isolated_one() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut open) = bed.guest(Mac::guest(1), "--allow 0.0.0.0/0");
        let (second, mut isolated) = bed.guest(Mac::guest(2), "");
        let target = isolated.address();
        isolated.flush();
        isolated.forget_seen();
        // A bridge lets a plain port speak to an isolated one: the isolated guest's own softnet must not.
        let datagram = wire::udp((open.address(), 4000), (target, 4000), b"over the bridge");
        open.send_raw(&wire::ethernet(isolated.mac(), open.mac(), IPV4, &datagram)).expect("the socket takes a frame");
        open.ping(target, SILENCE).expect_err("an isolated guest must not answer");
        isolated.flush();
        let passed = isolated
            .seen()
            .iter()
            .filter(|frame| wire::ip_addresses(frame).is_some_and(|(from, _)| from == open.address()));
        assert_eq!(passed.count(), 0, "no datagram of the open guest's arrives");
        first.stop();
        second.stop();
    });
}

#[test]
fn a_mac_that_lives_on_the_network_is_refused() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut guest) = bed.guest(Mac::guest(1), "");
        let ended = bed.launch(Mac::guest(1)).spawn().0.wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        assert!(ended.said.contains(&Mac::guest(1).to_string()), "the message names it: {}", ended.said);
        guest.flush();
        // The bridge's own is somebody else's as well.
        let ended = bed.launch(state::mac_of("softnet0")).spawn().0.wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        first.stop();
        // Once it has ended, the MAC is free.
        let (again, _guest) = bed.guest(Mac::guest(1), "");
        again.stop();
    });
}

#[test]
fn a_mac_is_free_again_for_the_successor_of_one_that_is_ending() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, guest) = bed.guest(Mac::guest(1), "");
        let (mut second, socket) = bed.launch(Mac::guest(1)).spawn();
        first.stop();
        drop(guest);
        second.wait_ready();
        let mut successor = PortableGuest::new(socket, Mac::guest(1));
        successor.dhcp(PATIENCE).expect("a lease");
        second.stop();
    });
}

#[test]
fn one_guest_does_not_drain_the_pool() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut greedy) = bed.guest(Mac::guest(1), "");
        greedy.flush();
        let [a, b, c, _] = greedy.address().octets();
        for number in 0..250u8 {
            // Another client, by its identifier or by its hardware address, that takes another address.
            let wanted = [a, b, c, number + 2];
            let clients = [(greedy.mac(), [0, 1, number]), (Mac([2, 0, 0, 0x99, 0, number]), [0, 2, number])];
            for (client, identifier) in clients {
                for kind in [1, 3] {
                    let options: &[(u8, &[u8])] = &[(53, &[kind]), (50, &wanted), (61, &identifier)];
                    let frame = wire::dhcp_request(greedy.mac(), client, u32::from(number), options);
                    wait::until("room in the socket", PATIENCE, || greedy.send_raw(&frame).ok()).expect("room");
                }
            }
        }
        // It gave its own lease up by that, and gets one again, as fast as its requests are let through.
        greedy.dhcp(PATIENCE).expect("a lease");
        greedy.flush();
        let leases = std::fs::read_to_string("/run/softnet/softnet0.leases").expect("the server's leases");
        assert!(leases.lines().count() <= 3, "{leases}");
        let (second, mut other) = bed.guest(Mac::guest(2), "");
        other.flush();
        first.stop();
        second.stop();
    });
}

#[test]
fn a_lease_forged_on_the_link_gives_nothing() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut guest) = bed.guest(Mac::guest(1), "");
        guest.flush();
        let own = guest.lease().clone();
        let gateway = Party::gateway_of(&guest);
        let [a, b, c, _] = own.address.octets();
        let wanted = Ipv4Addr::new(a, b, c, 222);
        // A rogue on the bridge itself, behind no softnet: a server of its own, and the real one's address with a
        // transaction that nobody opened.
        let rogue = sys::tap("rogue0");
        tools::run("ip link set rogue0 master softnet0 up");
        for server in [Ipv4Addr::new(a, b, c, 66), gateway.ip] {
            let options: &[(u8, &[u8])] = &[(53, &[5]), (54, &server.octets()), (51, &[0, 0, 14, 16])];
            let ack = wire::dhcp(2, 0x6666_6666, guest.mac(), wanted, options);
            let frame = wire::udp((server, 67), (wanted, 68), &ack);
            let frame = wire::ethernet(guest.mac(), Mac([2, 0, 0, 0x66, 0, 1]), IPV4, &frame);
            std::io::Write::write_all(&mut &rogue, &frame).expect("the rogue sends");
        }
        guest.flush();
        guest.configure(softnet_testbed::guest::Lease { address: wanted, ..own.clone() });
        guest.ping(gateway.ip, SILENCE).expect_err("a forged lease must not count");
        guest.configure(own);
        guest.flush();
        first.stop();
    });
}
