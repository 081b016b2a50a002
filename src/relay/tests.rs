use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant as Clock};

use super::*;
use crate::engine::{Config, EthernetAddress, Network, sample};

const GUEST: [u8; 6] = [0x5a, 0x94, 0xef, 0xe4, 0x0c, 0xee];
pub(super) const GATEWAY: [u8; 6] = [0x02, 0, 0, 0, 0, 1];

/// A host that is the far end of a socket pair.
struct FakeHost {
    network: Network,
    link: UnixDatagram,
    io: DatagramIo,
}

impl Host for FakeHost {
    fn network(&self) -> &Network {
        &self.network
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        self.io.receive(self.link.as_fd(), batch)
    }

    fn send(&mut self, batch: &Batch) -> io::Result<usize> {
        match self.io.send(self.link.as_fd(), batch)? {
            Sent::Taken(taken) => Ok(taken),
            Sent::PeerGone => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn stop(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

/// A relay in a thread of its own, its two sides in our hands.
pub(super) struct Bench {
    pub(super) guest: UnixDatagram,
    pub(super) host: UnixDatagram,
    relay: JoinHandle<Result<End, RelayError>>,
}

fn bench() -> Bench {
    bench_with(|network, link| Box::new(FakeHost { network, link, io: DatagramIo::new(FRAMES) }))
}

pub(super) fn bench_with(open: impl FnOnce(Network, UnixDatagram) -> Box<dyn Host> + Send + 'static) -> Bench {
    let (guest, guest_side) = UnixDatagram::pair().unwrap();
    let (host, host_side) = UnixDatagram::pair().unwrap();
    for socket in [&guest, &host] {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    }
    let network = Network { gateway_mac: Some(EthernetAddress(GATEWAY)), ..sample::network() };
    let relay = thread::spawn(move || {
        let guest_side = OwnedFd::from(guest_side);
        let lifeline = Lifeline::new(guest_side.as_fd()).unwrap();
        let engine = Engine::new(Config::new(EthernetAddress(GUEST), network, [1, 2]));
        Relay::new(guest_side, open(network, host_side), engine, lifeline).run(&Confined::assumed())
    });
    Bench { guest, host, relay }
}

/// An ARP request (RFC 826) from `mac`, whose address is `sender`, for 192.168.64.1.
pub(super) fn arp_request(mac: [u8; 6], sender: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    frame.extend(mac);
    frame.extend(sender);
    frame.extend([0; 6]);
    frame.extend([192, 168, 64, 1]);
    frame
}

fn probe(mac: [u8; 6]) -> Vec<u8> {
    arp_request(mac, [0; 4])
}

pub(super) fn receive(socket: &UnixDatagram) -> Vec<u8> {
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer).expect("a frame in time");
    buffer[..length].to_vec()
}

#[test]
fn frames_that_pass_arrive_unchanged_and_in_order_both_ways() {
    let bench = bench();
    for padding in 0..200 {
        let mut frame = probe(GUEST);
        frame.resize(42 + padding, 0);
        bench.guest.send(&frame).unwrap();
        assert_eq!(receive(&bench.host), frame);
    }
    let question = arp_request(GATEWAY, [192, 168, 64, 1]);
    bench.host.send(&question).unwrap();
    assert_eq!(receive(&bench.guest), question);
}

#[test]
fn frames_that_the_engine_drops_go_nowhere_and_hold_up_nothing() {
    let bench = bench();
    for bad in [&[][..], &[0; 5], &probe([2, 2, 2, 2, 2, 2]), &[0x55; 9000]] {
        bench.guest.send(bad).unwrap();
    }
    bench.guest.send(&probe(GUEST)).unwrap();
    assert_eq!(receive(&bench.host), probe(GUEST));
}

#[test]
fn the_end_of_the_guest_ends_the_relay_in_silence() {
    let bench = bench();
    let start = Clock::now();
    drop(bench.guest);
    assert_eq!(bench.relay.join().unwrap().unwrap(), End::GuestGone);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn the_end_of_the_guest_ends_the_relay_under_a_flood() {
    let bench = bench();
    let host = bench.host.try_clone().unwrap();
    let flood = thread::spawn(move || while host.send(&arp_request(GATEWAY, [192, 168, 64, 1])).is_ok() {});
    receive(&bench.guest);
    drop(bench.guest);
    assert_eq!(bench.relay.join().unwrap().unwrap(), End::GuestGone);
    flood.join().unwrap();
}

#[test]
fn a_guest_that_does_not_read_stops_nothing() {
    let bench = bench();
    for _ in 0..10_000 {
        bench.host.send(&arp_request(GATEWAY, [192, 168, 64, 1])).unwrap();
    }
    bench.guest.send(&probe(GUEST)).unwrap();
    assert_eq!(receive(&bench.host), probe(GUEST));
}

#[test]
fn a_lost_host_link_ends_the_relay_with_an_error() {
    let bench = bench();
    drop(bench.host);
    bench.guest.send(&probe(GUEST)).unwrap();
    assert!(matches!(bench.relay.join().unwrap(), Err(RelayError::Host(_))));
}
