//! The harness proves itself: guests work on a plain bridge, and there every attack works that must not work behind softnet.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;

use softnet_testbed::attack::{self, Party};
use softnet_testbed::guest::{KernelGuest, PortableGuest};
use softnet_testbed::internet::{Internet, PRIVATE, WEB};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::plain::PlainBridge;
use softnet_testbed::pump::Pump;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::tools;
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 200, 1);

fn guest(bridge: &mut PlainBridge, number: u8) -> (PortableGuest, Pump) {
    let (socket, pump) = bridge.attach();
    let mut guest = PortableGuest::new(socket, Mac::guest(number));
    guest.dhcp(PATIENCE).expect("a plain bridge's guest gets a lease");
    (guest, pump)
}

#[test]
fn a_portable_guest_lives_on_a_plain_bridge() {
    in_own_network(|| {
        let mut bridge = PlainBridge::new("plain0", GATEWAY);
        let (mut guest, _pump) = guest(&mut bridge, 1);
        assert_eq!(guest.lease().seconds, Some(700));
        assert_eq!((guest.gateway(), guest.lease().prefix), (GATEWAY, 24));
        guest.ping(GATEWAY, PATIENCE).expect("the gateway answers");
    });
}

#[test]
fn a_kernel_guest_lives_on_a_plain_bridge() {
    in_own_network(|| {
        let mut bridge = PlainBridge::new("plain0", GATEWAY);
        let (socket, _pump) = bridge.attach();
        let mut guest = KernelGuest::new("guest", socket, Mac::guest(1));
        let lease = guest.dhcp();
        assert_eq!((lease.seconds, lease.router, lease.prefix), (Some(700), Some(GATEWAY), 24));
        guest.run(&format!("ping -c 2 -i 0.2 -W 2 {GATEWAY}"));
    });
}

#[test]
fn a_plain_bridge_passes_every_spoofed_frame() {
    in_own_network(|| {
        let mut bridge = PlainBridge::new("plain0", GATEWAY);
        let (mut attacker, _first) = guest(&mut bridge, 1);
        let (victim, _second) = guest(&mut bridge, 2);
        attacker.flush();
        let gateway = Party::gateway_of(&attacker);
        for spoof in attack::spoofs(Party::of(&attacker), gateway, Party::of(&victim), PRIVATE, WEB) {
            // A frame with the bridge's own address as source is the one that a bridge drops by itself; one from a group
            // address, the kernel.
            if ["the gateway's MAC", "a broadcast MAC as source"].contains(&spoof.name) {
                continue;
            }
            let mut witness = Sniffer::on(bridge.name());
            attacker.send_raw(&spoof.frame).expect("the socket takes a frame");
            witness
                .expect(spoof.name, PATIENCE, |frame| attack::is_same(&spoof.frame, frame))
                .expect("a plain bridge passes it");
        }
    });
}

#[test]
fn on_a_plain_bridge_arp_steals_the_gateway() {
    in_own_network(|| {
        let _world = Internet::new();
        let mut bridge = PlainBridge::new("plain0", GATEWAY);
        let (mut attacker, _first) = guest(&mut bridge, 1);
        let (mut victim, _second) = guest(&mut bridge, 2);
        victim.flush();
        assert!(attack::steal_gateway(&mut attacker, &mut victim, WEB), "the theft must work without softnet");
    });
}

#[test]
fn on_a_plain_bridge_arp_steals_a_neighbour() {
    in_own_network(|| {
        let mut bridge = PlainBridge::new("plain0", GATEWAY);
        let (mut attacker, _first) = guest(&mut bridge, 1);
        let (mut victim, _second) = guest(&mut bridge, 2);
        victim.flush();
        attacker.flush();
        let gateway = Party::gateway_of(&attacker);
        let address = victim.address();
        let stolen = attack::steal_neighbour(&mut attacker, Party::of(&victim), gateway, || {
            let _ = tools::output(&mut tools::command(&format!("ping -c 1 -W 0.2 {address}")));
        });
        assert!(stolen, "the theft must work without softnet");
    });
}
