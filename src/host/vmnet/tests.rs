//! The backend over a fake vmnet: alone, then with the whole relay and engine around it.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::thread::{self, JoinHandle};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vmnet_fake::port_forwarding::Rule;
use vmnet_fake::{Call, Error as Fault, Facts as Told, Status, Wire};

use super::*;
use crate::engine::{Config, Engine, EthernetAddress, PolicyEntries};
use crate::lifeline::{End, Lifeline};
use crate::relay::{Relay, RelayError};
use crate::sandbox::Confined;

const GUEST: [u8; 6] = [0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee];
const GATEWAY: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

fn request(net_type: NetType, isolation: Isolation) -> LinkRequest {
    let guest_mac = EthernetAddress(GUEST);
    LinkRequest { guest_mac, net_type, isolation, lease_seconds: 600, bridge: None, subnet: None }
}

fn open_on(wire: &Wire, net_type: NetType, isolation: Isolation) -> Result<VmnetHost, Error> {
    let wire = wire.clone();
    let start = move |mode, options| wire.start(mode, options);
    open_by(start, &request(net_type, isolation), &mut |_| Ok(()))
}

fn host_with(told: Told) -> (Wire, VmnetHost) {
    let wire = Wire::new(told);
    let host = open_on(&wire, NetType::Nat, Isolation::Isolated).unwrap();
    (wire, host)
}

fn host() -> (Wire, VmnetHost) {
    let (wire, mut host) = host_with(Told::default());
    assert_eq!(received(&mut host), [] as [Vec<u8>; 0], "the first look finds nothing");
    (wire, host)
}

fn is_readable(host: &VmnetHost) -> bool {
    poll(&mut [PollFd::new(host.readiness(), PollFlags::POLLIN)], PollTimeout::ZERO).unwrap() == 1
}

/// What one call of receive brings, with room for 64.
fn received(host: &mut VmnetHost) -> Vec<Vec<u8>> {
    let mut batch = Batch::new(64, 1514);
    host.receive(&mut batch).unwrap();
    batch.frames().map(<[u8]>::to_vec).collect()
}

/// `count` packets that tell themselves apart.
fn packets(count: usize) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|index| [&index.to_be_bytes()[..], &[0; 52]].concat())
}

fn batch_of(frames: impl IntoIterator<Item = Vec<u8>>) -> Batch {
    let mut batch = Batch::new(600, 1514);
    for frame in frames {
        batch.free_slots().next().expect("a free slot")[..frame.len()].copy_from_slice(&frame);
        batch.commit(frame.len());
    }
    batch
}

fn fault(status: Status) -> Fault {
    Fault::VmnetErrorStatus(status)
}

// Start.

#[test]
fn mode_and_isolation_are_as_asked() {
    for (net_type, isolation) in [
        (NetType::Nat, Isolation::Isolated),
        (NetType::Nat, Isolation::Open),
        (NetType::Host, Isolation::Isolated),
        (NetType::Host, Isolation::Open),
    ] {
        let wire = Wire::new(Told::default());
        open_on(&wire, net_type, isolation).unwrap();
        let (mode, options) = wire.started_with().unwrap();
        assert_eq!(matches!(mode, Mode::Shared(_)), net_type == NetType::Nat);
        assert_eq!(matches!(mode, Mode::Host(_)), net_type == NetType::Host);
        assert_eq!(options.enable_isolation, Some(isolation == Isolation::Isolated));
    }
}

#[test]
fn the_facts_are_those_of_the_started_interface() {
    let told = Told {
        start_address: Some("10.7.0.1".into()),
        subnet_mask: Some("255.255.240.0".into()),
        mtu: 9000,
        max_packet_size: 9014,
        ..Told::default()
    };
    let (_wire, host) = host_with(told);
    let expected = Network {
        gateway: [10, 7, 0, 1].into(),
        gateway_mac: None,
        subnet: "10.7.0.0/20".parse().unwrap(),
        max_frame: 9014,
    };
    assert_eq!(*host.network(), expected);
}

#[test]
fn an_interface_that_talks_nonsense_is_refused_and_stopped() {
    let default = Told::default;
    for (told, word) in [
        (Told { start_address: None, ..default() }, "start address"),
        (Told { start_address: Some("fe80::1".into()), ..default() }, "fe80::1"),
        (Told { start_address: Some("192.168.64.0".into()), ..default() }, "192.168.64.0"),
        (Told { start_address: Some("192.168.64.255".into()), ..default() }, "192.168.64.255"),
        (Told { subnet_mask: None, ..default() }, "subnet mask"),
        (Told { subnet_mask: Some("255.0.255.0".into()), ..default() }, "255.0.255.0"),
        (Told { subnet_mask: Some("0.0.0.0".into()), ..default() }, "/0"),
        (Told { max_packet_size: 60, ..default() }, "60"),
        (Told { max_packet_size: u64::MAX, ..default() }, "maximum packet size"),
    ] {
        let wire = Wire::new(told);
        let error = open_on(&wire, NetType::Nat, Isolation::Isolated).unwrap_err();
        assert!(matches!(error, Error::Facts(_)) && error.to_string().contains(word), "{error}");
        assert_eq!(wire.calls(), [Call::Finalize]);
    }
}

#[test]
fn a_refused_start_is_told_in_words() {
    let wire = Wire::new(Told::default());
    wire.refuse_start(fault(Status::SharingServiceBusy));
    let error = open_on(&wire, NetType::Nat, Isolation::Isolated).unwrap_err().to_string();
    assert!(error.contains("starts no network interface") && error.contains("Internet Sharing"), "{error}");

    let wire = Wire::new(Told::default());
    wire.refuse_callback(fault(Status::Failure));
    let error = open_on(&wire, NetType::Nat, Isolation::Isolated).unwrap_err();
    assert!(matches!(error, Error::Callback(_)), "{error}");
    assert_eq!(wire.calls(), [Call::Finalize]);
}

#[test]
fn a_start_that_hangs_is_given_up_when_the_end_comes() {
    let hang = |_, _| loop {
        thread::park();
    };
    let mut looks = 0;
    let mut wait = |_| {
        looks += 1;
        if looks < 3 { Ok(()) } else { Err(Interrupted) }
    };
    let opened = open_by(hang, &request(NetType::Nat, Isolation::Isolated), &mut wait);
    assert!(matches!(opened, Err(Error::Interrupted(_))));
}

// Receive.

#[test]
fn packets_that_came_before_the_callback_was_set_are_not_forgotten() {
    let wire = Wire::new(Told::default());
    wire.deliver(packets(1));
    let mut host = open_on(&wire, NetType::Nat, Isolation::Isolated).unwrap();
    assert!(is_readable(&host));
    assert_eq!(received(&mut host).len(), 1);
}

#[test]
fn one_event_for_many_packets_is_enough() {
    let (wire, mut host) = host();
    assert!(!is_readable(&host), "nothing waits");
    wire.deliver(packets(300));
    wire.settle();
    let mut all = Vec::new();
    for expected in [64, 64, 64, 64, 44] {
        assert!(is_readable(&host), "it stays readable while packets wait");
        let frames = received(&mut host);
        assert_eq!(frames.len(), expected);
        all.extend(frames);
    }
    assert!(packets(300).eq(all));
    assert!(!is_readable(&host), "and no longer");
}

#[test]
fn short_reads_are_read_on_until_nothing_is_left() {
    let (wire, mut host) = host();
    wire.set_most_a_read(3);
    wire.deliver(packets(64 + 10));
    wire.settle();
    assert_eq!(received(&mut host).len(), 64);
    assert_eq!(received(&mut host).len(), 10);
    assert!(!is_readable(&host));
}

#[test]
fn a_read_asks_for_no_more_than_the_interface_gives() {
    let (wire, mut host) = host_with(Told { read_max_packets: 10, ..Told::default() });
    wire.deliver(packets(100));
    assert_eq!(received(&mut host).len(), 64);
}

#[test]
fn more_packets_than_vmnet_takes_are_asked_for_in_smaller_numbers() {
    let (wire, mut host) = host();
    wire.deliver(packets(64));
    wire.fail_reads([fault(Status::TooManyPackets), fault(Status::TooManyPackets)]);
    assert_eq!(received(&mut host).len(), 64);
    wire.cut(Status::TooManyPackets);
    assert!(host.receive(&mut Batch::new(64, 1514)).is_err(), "even one is too many for it, for ever");
}

#[test]
fn a_packet_that_comes_between_the_last_look_and_the_signal_is_not_lost() {
    let (wire, mut host) = host();
    wire.deliver(packets(3));
    wire.settle();
    // The first look is made to miss them; their event is part of the signal that is taken down after it.
    wire.fail_reads([Fault::VmnetReadNothing]);
    assert_eq!(received(&mut host).len(), 3);
    assert!(!is_readable(&host));
}

#[test]
fn a_batch_that_fills_after_the_signal_was_taken_down_puts_it_up_again() {
    let (wire, mut host) = host();
    wire.deliver(packets(70));
    wire.settle();
    wire.fail_reads([Fault::VmnetReadNothing]);
    assert_eq!(received(&mut host).len(), 64);
    assert!(is_readable(&host));
    assert_eq!(received(&mut host).len(), 6);
}

#[test]
fn a_storm_of_callbacks_is_one_signal() {
    let (wire, mut host) = host();
    wire.deliver(packets(5));
    wire.storm(100_000);
    wire.settle();
    let reads = wire.reads();
    assert_eq!(received(&mut host).len(), 5);
    assert!(!is_readable(&host), "no hot loop");
    assert!(wire.reads() - reads <= 3);
}

#[test]
fn exhausted_buffers_are_tried_again_and_not_for_ever() {
    let (wire, mut host) = host();
    wire.deliver(packets(2));
    wire.settle();
    wire.fail_reads([fault(Status::BufferExhausted), fault(Status::MemFailure)]);
    for _ in 0..2 {
        assert_eq!(received(&mut host).len(), 0);
        assert!(is_readable(&host), "the packets still wait");
    }
    assert_eq!(received(&mut host).len(), 2);

    wire.deliver(packets(2));
    wire.settle();
    wire.fail_reads((0..1000).map(|_| fault(Status::BufferExhausted)));
    let mut turns = 0;
    while is_readable(&host) {
        received(&mut host);
        turns += 1;
        assert!(turns < 100, "a hot loop");
    }
    wire.storm(1);
    wire.settle();
    assert!(is_readable(&host), "the next event has it try again");
}

#[test]
fn a_refused_read_is_tried_again_until_it_is_plain_that_nothing_else_comes() {
    let (wire, mut host) = host();
    wire.deliver(packets(1));
    wire.settle();
    wire.fail_reads([fault(Status::Failure), fault(Status::InvalidArgument), Fault::VmnetUnknownStatus(1011)]);
    for _ in 0..3 {
        assert_eq!(received(&mut host).len(), 0);
        assert!(is_readable(&host));
    }
    assert_eq!(received(&mut host).len(), 1);

    wire.cut(Status::Failure);
    wire.settle();
    let mut batch = Batch::new(64, 1514);
    let refused = (0..100).find_map(|_| {
        assert!(is_readable(&host));
        host.receive(&mut batch).err()
    });
    assert!(refused.expect("an end").to_string().contains("VMNET_FAILURE"));
}

#[test]
fn an_interface_that_stops_under_us_is_an_error_both_ways() {
    let (wire, mut host) = host();
    wire.cut(Status::SetupIncomplete);
    wire.settle();
    assert!(is_readable(&host));
    let error = host.receive(&mut Batch::new(1, 1514)).unwrap_err().to_string();
    assert!(error.contains("VMNET_SETUP_INCOMPLETE") && error.contains("VPN"), "{error}");
    assert!(host.send(&batch_of(packets(1))).is_err());
}

// Send.

#[test]
fn many_frames_go_in_batches_of_what_the_interface_takes() {
    let (wire, mut host) = host();
    assert_eq!(host.send(&batch_of(packets(600))).unwrap(), 600);
    assert_eq!(wire.writes(), [256, 256, 88]);
    assert!(packets(600).eq(wire.all_taken()));

    let (wire, mut host) = host_with(Told { write_max_packets: 50, ..Told::default() });
    assert_eq!(host.send(&batch_of(packets(120))).unwrap(), 120);
    assert_eq!(wire.writes(), [50, 50, 20]);
}

#[test]
fn a_partial_write_is_gone_on_with_where_it_stopped() {
    let (wire, mut host) = host();
    wire.set_most_a_write(10);
    assert_eq!(host.send(&batch_of(packets(35))).unwrap(), 35);
    assert_eq!(wire.writes(), [35, 25, 15, 5]);
    assert!(packets(35).eq(wire.all_taken()), "each once, in order");
}

#[test]
fn a_full_host_loses_frames_and_no_more() {
    let (wire, mut host) = host();
    wire.set_room(5);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 5);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 0);
    for _ in 0..100 {
        assert_eq!(host.send(&batch_of(packets(1))).unwrap(), 0, "however long it lasts");
    }
    wire.set_room(8);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 8);
}

#[test]
fn a_write_that_takes_nothing_ends_the_batch() {
    let (wire, mut host) = host();
    wire.set_most_a_write(0);
    assert_eq!(host.send(&batch_of(packets(8))).unwrap(), 0);
    assert_eq!(wire.writes(), [8]);
}

#[test]
fn too_many_packets_are_offered_in_halves() {
    let (wire, mut host) = host();
    wire.fail_writes([fault(Status::TooManyPackets), fault(Status::TooManyPackets)]);
    assert_eq!(host.send(&batch_of(packets(64))).unwrap(), 64);
    assert_eq!(wire.writes(), [64, 32, 16, 16, 16, 16]);
    wire.fail_writes([fault(Status::TooManyPackets)]);
    assert_eq!(host.send(&batch_of(packets(1))).unwrap(), 0, "one is as few as it gets");
}

#[test]
fn an_oversize_frame_does_not_take_its_neighbours_with_it() {
    let (wire, mut host) = host_with(Told { max_packet_size: 100, mtu: 86, ..Told::default() });
    let frames = [vec![1; 60], vec![2; 101], vec![3; 100]];
    assert_eq!(host.send(&batch_of(frames)).unwrap(), 2);
    assert_eq!(wire.all_taken(), [vec![1; 60], vec![3; 100]]);
}

#[test]
fn a_refused_write_costs_its_frames_until_it_is_plain_that_nothing_else_comes() {
    let (wire, mut host) = host_with(Told { write_max_packets: 4, ..Told::default() });
    wire.fail_writes([fault(Status::PacketTooBig)]);
    assert_eq!(host.send(&batch_of(packets(10))).unwrap(), 6, "the frames of the other calls are taken");
    wire.cut(Status::Failure);
    let mut sends = (0..100).map(|_| host.send(&batch_of(packets(1))));
    let lost = sends.find_map(Result::err).expect("an end");
    assert!(lost.to_string().contains("VMNET_FAILURE"));
}

// Stop and forwards.

#[test]
fn the_callback_goes_before_the_interface() {
    let (wire, host) = host();
    Box::new(host).stop().unwrap();
    assert_eq!(wire.calls(), [Call::SetCallback, Call::ClearCallback, Call::Finalize]);
}

#[test]
fn stopping_in_a_storm_of_callbacks_does_not_hang() {
    let (wire, host) = host();
    let storm = {
        let wire = wire.clone();
        thread::spawn(move || (0..1000).for_each(|_| wire.storm(100)))
    };
    Box::new(host).stop().unwrap();
    storm.join().unwrap();
}

#[test]
fn what_fails_while_stopping_is_reported_and_stops_nothing() {
    let (wire, host) = host();
    wire.refuse_callback(fault(Status::InvalidArgument));
    wire.refuse_stop(fault(Status::Failure));
    let error = Box::new(host).stop().unwrap_err().to_string();
    assert!(error.contains("callback: VMNET_INVALID_ARGUMENT") && error.contains("stop: VMNET_FAILURE"), "{error}");
    assert_eq!(wire.calls(), [Call::SetCallback, Call::ClearCallback, Call::Finalize]);
}

#[test]
fn a_stop_that_vmnet_never_confirms_ends_in_bounded_time() {
    let (wire, host) = host();
    wire.hang_stop();
    let start = Instant::now();
    assert!(Box::new(host).stop().unwrap_err().to_string().contains("has not stopped"));
    assert!(start.elapsed() < STOP_WITHIN + Duration::from_secs(2));
}

#[test]
fn forwards_come_and_go() {
    let (wire, mut host) = host();
    let guest = Ipv4Addr::new(192, 168, 64, 7);
    host.add_forward(Protocol::Tcp, 2222, guest, 22).unwrap();
    let expected = Rule {
        address_family: AddressFamily::Ipv4,
        protocol: Protocol::Tcp,
        external_port: 2222,
        addr: guest.into(),
        internal_port: 22,
    };
    assert_eq!(wire.rules(), [expected]);
    let error = host.add_forward(Protocol::Tcp, 2222, guest, 23).unwrap_err().to_string();
    assert!(error.contains("2222") && error.contains("forwarded already"), "{error}");
    host.remove_forward(Protocol::Tcp, 2222).unwrap();
    assert_eq!(wire.rules(), []);
    assert!(host.remove_forward(Protocol::Tcp, 2222).is_err());
}

// The whole relay and engine.

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
        let engine = Engine::new(Config {
            guest_mac: EthernetAddress(GUEST),
            net_type: NetType::Nat,
            isolation: Isolation::Isolated,
            network: *host.network(),
            policy: PolicyEntries::default(),
        });
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
