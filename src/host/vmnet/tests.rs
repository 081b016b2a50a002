//! The backend over a fake vmnet: its start and its reads here, `send` for writes and the stop, `whole` with relay and engine.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

mod forwards;
mod send;
mod whole;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vmnet_fake::{Call, Error as Fault, Facts as Told, Status, Wire};

use super::*;
use crate::engine::EthernetAddress;
use crate::host::{Offload, Owner};

const GUEST: [u8; 6] = [0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee];
const GATEWAY: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

fn request(net_type: NetType, isolation: Isolation) -> LinkRequest {
    let guest_mac = EthernetAddress(GUEST);
    LinkRequest {
        guest_mac,
        net_type,
        isolation,
        lease_seconds: 600,
        bridge: None,
        subnet: None,
        owner: Owner { uid: 0, most_guests: None },
        name: None,
        offload: Offload::Off,
    }
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
