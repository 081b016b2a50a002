//! What becomes of frames between the program and softnet, and that nothing else is there.

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::{self, Arp, IPV4, IPV6, Mac, VLAN};

use super::harness::{DEVICE, MAC, Running, bed, mac_of, read_all, relay};
use super::model;

/// A large frame of the guest's at `address`, or a small one, as a guest gives it to a VMM that takes both: the checksum is that of the
/// pseudo-header alone. And the frames that it comes to.
fn offloaded(
    protocol: u8,
    payload: usize,
    size: u16,
    (address, gateway): (Ipv4Addr, (Mac, Ipv4Addr)),
) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = (0..payload).map(|at| at as u8).collect();
    let mut whole = model::Packet { payload: bytes, ..model::Packet::new(protocol, (40_000, 9)) }.frame();
    whole[..6].copy_from_slice(&gateway.0.0);
    whole[6..12].copy_from_slice(&MAC.0);
    whole[26..30].copy_from_slice(&address.octets());
    whole[30..34].copy_from_slice(&gateway.1.octets());
    model::fill_checksums(&mut whole);
    let headers = whole.len() - payload;
    let expected = if size == 0 { vec![whole.clone()] } else { model::cut(&whole, headers, size.into()) };
    let place = model::checksum_place(&whole);
    let partial = model::pseudo_sum(&whole, whole.len() - 34).to_be_bytes();
    whole[place..place + 2].copy_from_slice(&partial);
    let kind = match (size, protocol) {
        (0, _) => 0,
        (_, model::TCP) => 1,
        _ => 5,
    };
    let mut written = vec![1, kind];
    for number in [headers as u16, size, 34, place as u16 - 34] {
        written.extend(number.to_ne_bytes());
    }
    written.extend(whole);
    (written, expected)
}

#[test]
fn large_frames_are_cut_and_checksums_completed_and_what_is_no_frame_of_the_links_is_dropped() {
    in_own_network(|| {
        let bed = bed();
        // Each frame alone on the bridge, too.
        let running = Running::start(&bed, "--no-offload");
        let (mut guest, pump) = running.guest(MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        let (address, gateway) = (guest.address(), guest.gateway());
        let gateway = (mac_of("softnet0"), gateway);
        drop((guest, pump));

        let mut device = running.with_header();
        let mut witness = Sniffer::on("softnet0");
        let ours = |frame: &[u8]| wire::source(frame) == Some(MAC) && frame[23..25] != [1, 0];
        let mut all = Vec::new();
        for (protocol, payload, size) in [
            (model::TCP, 64_000, 1460),
            (model::TCP, 3_500, 1_000),
            (model::UDP, 4_000, 1_000),
            (model::UDP, 999, 0),
            (model::TCP, 1_400, 0),
        ] {
            let (written, expected) = offloaded(protocol, payload, size, (address, gateway));
            assert_eq!(device.write(&written).expect("taken"), written.len());
            all.extend(expected);
            let is_last = |frame: &[u8]| Some(frame) == all.last().map(Vec::as_slice);
            witness
                .expect("the last segment", PATIENCE, is_last)
                .unwrap_or_else(|error| panic!("{error}: {protocol} {payload} {size}"));
        }
        let arrived: Vec<_> = witness.frames().iter().filter(|frame| ours(frame)).cloned().collect();
        assert!(arrived == all, "{} frames of {}", arrived.len(), all.len());

        // A tag is not taken off: what has one does not get through without.
        let datagram = wire::udp((address, 9), (gateway.1, 9), b"tagged");
        let tagged = wire::ethernet(gateway.0, MAC, VLAN, &[&[0, 5, 8, 0], &datagram[..]].concat());
        let long = wire::ethernet(gateway.0, MAC, IPV4, &wire::udp((address, 9), (gateway.1, 9), &[7; 1473]));
        // Fragments are nobody's offload, and IPv6 is not softnet's: the kernel takes both.
        let (mut six, _) = offloaded(model::TCP, 3_000, 1_000, (address, gateway));
        six[1] = 4;
        six[10 + 12..10 + 14].copy_from_slice(&IPV6.to_be_bytes());
        for frame in [&[&[0; 10], &tagged[..]].concat(), &[&[0; 10], &long[..]].concat(), &six] {
            let _ = device.write(frame);
        }
        let (last, expected) = offloaded(model::UDP, 77, 0, (address, gateway));
        device.write_all(&last).expect("taken");
        witness.expect("the last frame", PATIENCE, |frame| frame == expected[0]).expect("it goes on");
        assert_eq!(witness.count(ours), all.len() + 1);
        running.run.signal(Signal::SIGTERM);
        let ended = running.run.wait_end(PATIENCE);
        assert_eq!((ended.dropped("frame-too-long"), ended.dropped("ether-type")), (1, 0), "{}", ended.said);
    });
}

#[test]
fn what_is_joined_for_a_program_that_knows_no_large_frames_comes_apart_again() {
    in_own_network(|| {
        let bed = bed();
        let mut running = Running::start(&bed, "");
        let (mut guest, pump) = running.guest(MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        let (address, gateway) = (guest.address(), guest.gateway());
        drop((guest, pump));
        tools::run(&format!("ip neigh replace {address} lladdr {MAC} dev softnet0"));
        // All of it waits for the pump at once.
        let before = to_the_guest(&mut running);
        kill(running.pump(), Signal::SIGSTOP).expect("stopped");
        let host = UdpSocket::bind((gateway, 0)).expect("a socket");
        let sent: Vec<Vec<u8>> = (0..20_u8).map(|number| vec![number; 1000]).collect();
        for payload in &sent {
            host.send_to(payload, (address, 9)).expect("sent");
        }
        wait::until("all has passed softnet", PATIENCE, || (to_the_guest(&mut running) >= before + 20).then_some(()))
            .expect("softnet goes on");
        let mut device = running.plain();
        kill(running.pump(), Signal::SIGCONT).expect("goes on");
        let frames = read_all(&mut device, SILENCE);
        let payloads: Vec<_> =
            frames.iter().filter(|frame| frame.len() > 1000).map(|frame| frame[42..].to_vec()).collect();
        assert!(payloads == sent, "{} of {}", payloads.len(), sent.len());
        for frame in &frames {
            let mut right = frame.clone();
            model::fill_checksums(&mut right);
            assert!(*frame == right, "a checksum of {frame:02x?}");
        }
    });
}

/// How many frames softnet has passed to the guest.
fn to_the_guest(running: &mut Running) -> usize {
    const COUNTER: &str = "\"from_host\":{\"frames\":";
    let asked = running.run.said().matches(COUNTER).count();
    kill(relay(), Signal::SIGUSR1).expect("asked");
    let answer = wait::until("the counters", PATIENCE, || {
        let said = running.run.said();
        let rest = said.split(COUNTER).nth(asked + 1)?;
        rest.split(',').next()?.parse().ok()
    });
    answer.expect("softnet answers")
}

#[test]
fn the_network_of_the_device_answers_nothing_and_says_nothing() {
    in_own_network(|| {
        let bed = bed();
        let running = Running::start(&bed, "");
        let mut device = running.plain();
        let own = running.inside(|| mac_of(DEVICE));
        let link = running
            .inside(|| tools::text(&tools::output(&mut tools::command(&format!("ip -o link show dev {DEVICE}")))));
        assert!(link.contains("NOARP") && !link.contains("MULTICAST"), "{link}");

        let mut frames = Vec::new();
        let any = Ipv4Addr::new(192, 168, 64, 77);
        for to in [own, Mac::BROADCAST] {
            for target in [[192, 168, 64, 1], [10, 0, 0, 1], [127, 0, 0, 1], [169, 254, 1, 1], [0, 0, 0, 0]] {
                let target = Ipv4Addr::from(target);
                frames.push(wire::ethernet(to, MAC, wire::ARP, &Arp::request(any, MAC, target).bytes()));
                frames.push(wire::ethernet(to, MAC, IPV4, &wire::echo(any, target, 5)));
                let mut lapsing = wire::ethernet(to, MAC, IPV4, &wire::udp((any, 9), (target, 9), b"to a closed port"));
                frames.push(lapsing.clone());
                lapsing[22] = 1;
                wire::fill_header_checksum(&mut lapsing);
                frames.push(lapsing);
            }
            frames.push(wire::ethernet(to, MAC, IPV4, &wire::echo(any, Ipv4Addr::BROADCAST, 5)));
            frames.push(wire::ethernet(to, MAC, IPV4, &wire::echo(any, Ipv4Addr::new(224, 0, 0, 1), 5)));
            // IGMP's and MLD's questions, router solicitation, neighbour solicitation, echo.
            frames.push(wire::ethernet(
                to,
                MAC,
                IPV4,
                &wire::ipv4(any, Ipv4Addr::new(224, 0, 0, 1), 2, &[0x11, 100, 0xee, 0x9b, 0, 0, 0, 0]),
            ));
            let [a, b, c, d, e, f] = own.0;
            let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
            let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            for target in [local, group] {
                frames.push(wire::ethernet(to, MAC, IPV6, &icmpv6(target, &[128, 0, 0, 0, 0, 1, 0, 1])));
                frames.push(wire::ethernet(to, MAC, IPV6, &icmpv6(target, &[133, 0, 0, 0, 0, 0, 0, 0])));
                let ask = [&[135, 0, 0, 0, 0, 0, 0, 0], &local[..]].concat();
                frames.push(wire::ethernet(to, MAC, IPV6, &icmpv6(target, &ask)));
                frames.push(wire::ethernet(
                    to,
                    MAC,
                    IPV6,
                    &icmpv6(target, &[130, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                ));
            }
        }
        for frame in &frames {
            device.write_all(frame).expect("taken");
        }
        // The kernel delays what it announces by up to a second.
        let heard = read_all(&mut device, Duration::from_millis(1500));
        assert!(heard.is_empty(), "{heard:02x?}");
        // It was there to be heard: softnet's answer is.
        drop(device);
        let (mut guest, _pump) = running.guest(MAC);
        guest.dhcp(PATIENCE).expect("a lease");
    });
}

/// An ICMPv6 message with its checksum, from a link-local address.
fn icmpv6(target: [u8; 16], message: &[u8]) -> Vec<u8> {
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 9];
    let length = message.len() as u8;
    let pseudo = [&source[..], &target, &[0, 0, 0, length, 0, 0, 0, 58]].concat();
    let mut message = message.to_vec();
    let sum = !model::ones_sum(&message, model::ones_sum(&pseudo, 0));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [&[0x60, 0, 0, 0, 0, length, 58, 255], &source[..], &target, &message].concat()
}
