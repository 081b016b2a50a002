//! The whole relay and engine over a fake vmnet.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::thread::{self, JoinHandle};

use super::*;
use crate::engine::{Config, Engine};
use crate::lifeline::{End, Lifeline};
use crate::relay::{Relay, RelayError};
use crate::sandbox::Confined;

struct Bench {
    guest: UnixDatagram,
    wire: Wire,
    relay: JoinHandle<Result<End, RelayError>>,
}

fn bench() -> Bench {
    let (guest, guest_side) = UnixDatagram::pair().unwrap();
    guest.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let (wire, host) = host();
    let relay = thread::spawn(move || {
        let guest_side = OwnedFd::from(guest_side);
        let lifeline = Lifeline::new(guest_side.as_fd()).unwrap();
        let engine = Engine::new(Config::new(EthernetAddress(GUEST), *host.network(), [1, 2]));
        Relay::new(guest_side, Box::new(host), engine, lifeline).run(&Confined::assumed())
    });
    Bench { guest, wire, relay }
}

/// An ARP request (RFC 826) from `mac`, whose address is `sender`, for 192.168.64.1; padded by `padding` bytes.
fn arp_request(mac: [u8; 6], sender: [u8; 4], padding: usize) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend([192, 168, 64, 1]);
    frame.resize(42 + padding, 0);
    frame
}

fn from_guest(padding: usize) -> Vec<u8> {
    arp_request(GUEST, [0; 4], padding)
}

fn from_gateway(padding: usize) -> Vec<u8> {
    arp_request(GATEWAY, [192, 168, 64, 1], padding)
}

fn received_by(guest: &UnixDatagram) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = guest.recv(&mut buffer).expect("a frame in time");
    buffer[..length].to_vec()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn frames_go_both_ways_unchanged_and_what_the_engine_drops_does_not() {
    let bench = bench();
    for padding in 0..200 {
        bench.guest.send(&arp_request([2; 6], [0; 4], padding)).unwrap();
        bench.guest.send(&from_guest(padding)).unwrap();
        assert_eq!(bench.wire.taken(), Some(from_guest(padding)));
        bench.wire.deliver([from_gateway(padding)]);
        assert_eq!(received_by(&bench.guest), from_gateway(padding));
    }
}

#[test]
fn a_burst_with_one_event_is_read_to_its_end_and_then_there_is_quiet() {
    let bench = bench();
    bench.wire.deliver((0..2000).map(|index| from_gateway(index % 100)));
    eventually("packets are left unread", || bench.wire.waiting() == 0);
    thread::sleep(Duration::from_millis(50));
    let reads = bench.wire.reads();
    thread::sleep(Duration::from_millis(300));
    assert_eq!(bench.wire.reads(), reads, "a hot loop");
}

#[test]
fn a_host_whose_buffers_are_full_stops_nothing() {
    let bench = bench();
    bench.wire.set_room(0);
    for padding in 0..100 {
        bench.guest.send(&from_guest(padding)).unwrap();
    }
    bench.wire.deliver([from_gateway(0)]);
    assert_eq!(received_by(&bench.guest), from_gateway(0));
    eventually("the frames were not offered", || bench.wire.writes().iter().sum::<usize>() == 100);
    bench.wire.set_room(1);
    bench.guest.send(&from_guest(7)).unwrap();
    assert_eq!(bench.wire.taken(), Some(from_guest(7)));
}

#[test]
fn an_interface_that_stops_under_the_relay_ends_it_with_its_reason() {
    let bench = bench();
    bench.wire.cut(Status::SetupIncomplete);
    let error = bench.relay.join().unwrap().unwrap_err();
    assert!(matches!(&error, RelayError::Host(_)) && error.to_string().contains("VMNET_SETUP_INCOMPLETE"), "{error}");
    assert!(bench.wire.calls().ends_with(&[Call::ClearCallback, Call::Finalize]));
}

#[test]
fn the_end_of_the_guest_stops_the_interface_in_order_even_under_a_flood() {
    let bench = bench();
    let wire = bench.wire.clone();
    let flood = thread::spawn(move || {
        while !wire.calls().contains(&Call::Finalize) {
            wire.deliver((0..100).map(from_gateway));
            thread::sleep(Duration::from_millis(1));
        }
    });
    received_by(&bench.guest);
    drop(bench.guest);
    assert_eq!(bench.relay.join().unwrap().unwrap(), End::GuestGone);
    flood.join().unwrap();
    assert_eq!(bench.wire.calls(), [Call::SetCallback, Call::ClearCallback, Call::Finalize]);
}
