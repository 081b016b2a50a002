//! The run phase: moves frames between the guest and the host, in batches, and asks the engine about each.
//!
//! # Theory of operation
//! One thread, one wait. poll(2) tells which side has frames, that a signal came, or that it is time to look whether the
//! guest is still there. Each turn reads at most `BATCHES_A_TURN` batches from each side, one side after the other, so
//! that a flood one way starves neither the other way nor the signals; what is left makes the next poll return at once.
//! Nothing here blocks on one peer: a guest that does not read, or a host whose queue is full, loses frames, counted.
//!
//! May: the engine, the `Host`, `sys`. Must not: look into frames, decide, need root.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use crate::engine::{Direction, Engine, Event, Instant, Traffic, Verdict};
use crate::host::Host;
use crate::lifeline::{End, Lifeline, timeout_until};
use crate::sandbox::Confined;
use crate::sys::batch::{Batch, FRAMES};
use crate::sys::clock;
use crate::sys::datagram::{DatagramIo, Sent};

/// Batches from one side before the other side and the signals have their turn.
const BATCHES_A_TURN: usize = 2;

/// Why the relay cannot go on.
#[derive(Debug, Error)]
pub enum RelayError {
    /// The guest's socket fails otherwise than by being closed.
    #[error("the guest's socket (--vm-fd) fails: {0}")]
    Guest(io::Error),
    /// The host's link is lost.
    #[error("the host's network link is lost: {0}")]
    Host(io::Error),
    /// poll(2) fails.
    #[error("waiting for frames fails: {0}")]
    Poll(Errno),
}

/// Frames that passed the filter and were lost all the same, since the receiver did not take them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// The guest's socket was full, or the frame was too large for it.
    pub to_guest: u64,
    /// The host's queue was full.
    pub to_host: u64,
}

/// One guest's relay. Made in the setup phase, so that all memory is there before the first frame.
pub struct Relay {
    guest: OwnedFd,
    host: Box<dyn Host>,
    engine: Engine,
    lifeline: Lifeline,
    io: DatagramIo,
    batch: Batch,
    losses: Losses,
}

/// What the wait found out.
#[derive(Default)]
struct Ready {
    guest: bool,
    host: bool,
    signal: bool,
}

impl Relay {
    /// A relay between `guest`, a connected datagram socket, and `host`.
    #[must_use]
    pub fn new(guest: OwnedFd, host: Box<dyn Host>, engine: Engine, lifeline: Lifeline) -> Self {
        let max_frame = host.network().max_frame;
        Relay {
            guest,
            host,
            engine,
            lifeline,
            io: DatagramIo::new(FRAMES),
            batch: Batch::new(FRAMES, max_frame),
            losses: Losses::default(),
        }
    }

    /// Moves frames until a signal comes or the guest is gone. The proof says that root was dropped and the
    /// sandbox entered.
    ///
    /// # Errors
    /// That one of the two sides failed for good.
    pub fn run(mut self, _proof: &Confined) -> Result<End, RelayError> {
        let result = self.turns();
        self.report_at_the_end();
        if let Err(error) = self.host.stop() {
            log::warn!("closing the host's link: {error}");
        }
        result
    }

    fn turns(&mut self) -> Result<End, RelayError> {
        loop {
            let ready = self.wait()?;
            let now = clock::now();
            if ready.signal && self.lifeline.signalled() {
                return Ok(End::Signal);
            }
            if self.lifeline.guest_gone(now) {
                return Ok(End::GuestGone);
            }
            self.engine.advance(now);
            if ready.guest {
                self.relay_guest_frames(now)?;
            }
            if ready.host
                && let Some(end) = self.relay_host_frames(now)?
            {
                return Ok(end);
            }
            self.report_events();
        }
    }

    /// Sleeps until a frame or a signal comes, the guest should be looked at, or the engine's time has come.
    fn wait(&mut self) -> Result<Ready, RelayError> {
        let now = clock::now();
        let look = self.lifeline.next_look();
        let deadline = self.engine.next_deadline().map_or(look, |deadline| deadline.min(look));
        let (signals, maker) = self.lifeline.descriptors();
        let readable = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds =
            [readable(self.guest.as_fd()), readable(self.host.readiness()), readable(signals), readable(signals)];
        if let Some(maker) = maker {
            fds[3] = readable(maker);
        }
        let held = self.host.holds_frames();
        let timeout = if held { PollTimeout::ZERO } else { timeout_until(deadline, now) };
        match poll(&mut fds, timeout) {
            Ok(_) => {}
            Err(Errno::EINTR) => return Ok(Ready::default()),
            Err(errno) => return Err(RelayError::Poll(errno)),
        }
        // An error or a hang-up is found out by the read or the look that follows.
        let [guest, host, signal, maker_ended] = fds.map(|fd| fd.any().unwrap_or(true));
        if maker.is_some() && maker_ended {
            self.lifeline.maker_ended(now);
        }
        Ok(Ready { guest, host: host || held, signal })
    }

    fn relay_guest_frames(&mut self, now: Instant) -> Result<(), RelayError> {
        for _ in 0..BATCHES_A_TURN {
            self.batch.clear();
            self.io.receive(self.guest.as_fd(), &mut self.batch).map_err(RelayError::Guest)?;
            let more = self.batch.room() == 0;
            self.judge(Direction::FromGuest, now);
            if !self.batch.is_empty() {
                let taken = self.host.send(&self.batch).map_err(RelayError::Host)?;
                self.losses.to_host += (self.batch.len() - taken) as u64;
            }
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn relay_host_frames(&mut self, now: Instant) -> Result<Option<End>, RelayError> {
        for _ in 0..BATCHES_A_TURN {
            self.batch.clear();
            self.host.receive(&mut self.batch).map_err(RelayError::Host)?;
            let more = self.batch.room() == 0;
            self.judge(Direction::FromHost, now);
            if !self.batch.is_empty() {
                match self.io.send(self.guest.as_fd(), &self.batch).map_err(RelayError::Guest)? {
                    Sent::Taken(taken) => self.losses.to_guest += (self.batch.len() - taken) as u64,
                    Sent::PeerGone => return Ok(Some(End::GuestGone)),
                }
            }
            if !more {
                break;
            }
        }
        Ok(None)
    }

    fn judge(&mut self, direction: Direction, now: Instant) {
        let engine = &mut self.engine;
        match direction {
            Direction::FromGuest => self.batch.retain(|frame| engine.on_guest_frame(frame, now) == Verdict::Forward),
            Direction::FromHost => self.batch.retain(|frame| engine.on_host_frame(frame, now) == Verdict::Forward),
        }
    }

    fn report_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::LeaseGranted { address, seconds } => log::info!("the guest has {address} for {seconds} s"),
                Event::LeaseEnded { address, cause } => log::info!("the guest has lost {address}: {cause}"),
            }
        }
    }

    fn report_at_the_end(&mut self) {
        self.report_events();
        let counters = self.engine.counters();
        for (side, direction) in [("guest", Direction::FromGuest), ("host", Direction::FromHost)] {
            let Traffic { frames, bytes } = counters.forwarded(direction);
            let drops: Vec<String> =
                counters.drops(direction).map(|(reason, count)| format!("{} {count}", reason.name())).collect();
            log::info!("from the {side}: {frames} frames, {bytes} bytes; dropped: [{}]", drops.join(", "));
        }
        let Losses { to_guest, to_host } = self.losses;
        log::info!("lost: {to_guest} frames to a slow guest, {to_host} to a busy host");
        match self.host.unusable() {
            0 => {}
            unusable => {
                log::warn!("{unusable} frames of the host's were not what their headers said, and went nowhere")
            }
        }
    }
}

#[cfg(test)]
mod held;

#[cfg(test)]
mod tests {
    use std::os::fd::BorrowedFd;
    use std::os::unix::net::UnixDatagram;
    use std::thread::{self, JoinHandle};
    use std::time::{Duration, Instant as Clock};

    use super::*;
    use crate::engine::{Config, EthernetAddress, Isolation, NetType, Network, PolicyEntries};

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
        let network = Network {
            gateway: [192, 168, 64, 1].into(),
            gateway_mac: Some(EthernetAddress(GATEWAY)),
            subnet: "192.168.64.0/24".parse().unwrap(),
            max_frame: 1514,
        };
        let relay = thread::spawn(move || {
            let guest_side = OwnedFd::from(guest_side);
            let lifeline = Lifeline::new(guest_side.as_fd()).unwrap();
            let engine = Engine::new(Config {
                guest_mac: EthernetAddress(GUEST),
                net_type: NetType::Nat,
                isolation: Isolation::Isolated,
                network,
                policy: PolicyEntries::default(),
            });
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
}
