//! softnet ends when it is told to or its guest is gone, in silence and under a flood, and by nothing else.
#![cfg(target_os = "linux")]

use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use softnet_testbed::attack::{self, Party};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::internet;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::sys;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4, Mac};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
const AT_ONCE: Duration = Duration::from_secs(2);
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Something that is done again and again, as fast as it goes, until this is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn of(mut once: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                once();
            }
        });
        Flood { stop, thread: Some(thread) }
    }

    /// Broadcasts of the host's, which need no answer to an ARP request.
    fn from_host(guest: &PortableGuest) -> Self {
        let Ok(host) = UdpSocket::bind((guest.gateway(), 0)) else { panic!("the gateway is an address of the host") };
        host.set_broadcast(true).expect("the host may broadcast");
        let [a, b, c, _] = guest.gateway().octets();
        Flood::of(move || drop(host.send_to(&[0x55; 1400], (Ipv4Addr::new(a, b, c, 255), 9))))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

fn assert_ends_at_once(softnet: Softnet, cause: &str) {
    let ended = softnet.wait_end(AT_ONCE);
    assert_eq!(ended.status.code(), Some(0), "{cause}: it ended with {}: {}", ended.status, ended.said);
    assert!(ended.printed.is_empty(), "{cause}: nothing belongs on standard output");
}

/// A whole frame for the gateway.
fn frame_of(guest: &PortableGuest, payload: &[u8]) -> Vec<u8> {
    let datagram = wire::udp((guest.address(), 4000), (guest.gateway(), 9), payload);
    wire::ethernet(Mac::BROADCAST, guest.mac(), IPV4, &datagram)
}

#[test]
fn the_frame_socket_may_be_any_descriptor() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (guest, other) = sys::frame_sockets();
        let line = format!("exec {} --vm-fd 9 --vm-mac-address {MAC} 9<&0 0</dev/null", bed.setuid.display());
        let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
        let mut softnet = Softnet::spawn(command.args(["-c", &line]).stdin(OwnedFd::from(other)));
        softnet.wait_ready();
        let mut guest = PortableGuest::new(guest, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        drop(guest);
        assert_ends_at_once(softnet, "the guest's socket was closed");
    });
}

/// softnet as the plain caller starts it through a shell, which first does what `before` says.
fn start_after(bed: &LinuxTestbed, before: &str, redirections: &str) -> (Softnet, PortableGuest) {
    let (guest, other) = sys::frame_sockets();
    let line = format!("{before} exec {} --vm-fd 0 --vm-mac-address {MAC} {redirections}", bed.setuid.display());
    let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
    let softnet = Softnet::spawn(command.args(["-c", &line]).stdin(OwnedFd::from(other)));
    (softnet, PortableGuest::new(guest, MAC))
}

#[test]
fn a_caller_that_ignores_signals_does_not_make_it_ignore_them() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for signal in SIGNALS {
            let (softnet, mut guest) = start_after(&bed, "trap '' INT TERM HUP;", "");
            guest.dhcp(PATIENCE).expect("a lease");
            softnet.signal(signal);
            assert_ends_at_once(softnet, signal.as_str());
        }
    });
}

#[test]
fn a_caller_that_blocks_signals_does_not_block_them_for_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for signal in SIGNALS {
            let (guest, other) = sys::frame_sockets();
            let mut command = softnet::command(Path::new("/usr/bin/env"), Caller::User);
            command.args(SIGNALS.map(|blocked| format!("--block-signal={}", &blocked.as_str()[3..])));
            command.arg(&bed.setuid).args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]);
            let softnet = Softnet::spawn(command.stdin(OwnedFd::from(other)));
            let mut guest = PortableGuest::new(guest, MAC);
            guest.dhcp(PATIENCE).expect("a lease");
            softnet.signal(signal);
            assert_ends_at_once(softnet, signal.as_str());
        }
    });
}

#[test]
fn closed_standard_outputs_end_nothing() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = start_after(&bed, "", ">&- 2>&-");
        guest.dhcp(PATIENCE).expect("a lease");
        for number in [1, 2] {
            // Were one of them the TAP device or a socket, a message would be written into it.
            let target = std::fs::read_link(format!("/proc/{}/fd/{number}", softnet.pid())).expect("it is open");
            assert_eq!(target, Path::new("/dev/null"), "descriptor {number}");
        }
        guest.flush();
        softnet.signal(Signal::SIGINT);
        assert_ends_at_once(softnet, "SIGINT");
    });
}

#[test]
fn a_standard_error_that_nobody_reads_any_more_ends_nothing() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let (guest, other) = sys::frame_sockets();
        let mut command = softnet::command(&bed.setuid, Caller::User);
        let command = command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]);
        let mut child = command.stdin(OwnedFd::from(other)).stderr(writer).spawn().expect("softnet starts");
        drop(reader);
        // A lease is something that it would tell.
        let mut guest = PortableGuest::new(guest, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        guest.dhcp(PATIENCE).expect("a lease again");
        guest.flush();
        assert!(child.try_wait().expect("a child can be asked").is_none(), "it lives on");
        drop(guest);
        let status = wait::until("its end", AT_ONCE, || child.try_wait().expect("a child can be asked"));
        assert!(status.expect("it ends").success());
    });
}

#[test]
fn a_signal_ends_it_in_silence() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for signal in SIGNALS {
            let (softnet, _guest) = bed.guest(MAC, "");
            softnet.signal(signal);
            assert_ends_at_once(softnet, signal.as_str());
        }
    });
}

#[test]
fn a_signal_ends_it_under_a_flood_from_both_sides() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for signal in SIGNALS {
            let (softnet, guest) = bed.guest(MAC, "");
            let _from_host = Flood::from_host(&guest);
            let frame = frame_of(&guest, &[0; 1000]);
            let socket = guest.into_socket();
            let mut buffer = vec![0; 2048];
            let _from_guest = Flood::of(move || {
                let _ = socket.send(&frame);
                let _ = socket.recv(&mut buffer);
            });
            std::thread::sleep(Duration::from_millis(200)); // of flood
            softnet.signal(signal);
            assert_ends_at_once(softnet, signal.as_str());
        }
    });
}

#[test]
fn a_closed_guest_socket_ends_it_in_silence() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, socket) = bed.launch(MAC).start();
        drop(socket);
        assert_ends_at_once(softnet, "the guest's socket was closed before a lease");
        let (softnet, guest) = bed.guest(MAC, "");
        drop(guest);
        assert_ends_at_once(softnet, "the guest's socket was closed");
    });
}

#[test]
fn a_closed_guest_socket_ends_it_under_traffic_from_the_host() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.guest(MAC, "");
        let _flood = Flood::from_host(&guest);
        drop(guest);
        assert_ends_at_once(softnet, "the guest's socket was closed");
    });
}

#[test]
fn a_guest_that_is_gone_during_the_setup_ends_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for _ in 0..3 {
            let (softnet, socket) = bed.launch(MAC).spawn();
            drop(socket);
            assert_ends_at_once(softnet, "the guest's socket was closed during the setup");
        }
        let (softnet, _guest) = bed.guest(MAC, "");
        softnet.stop();
    });
}

#[test]
fn a_guest_that_does_not_read_loses_frames_and_nothing_else() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (mut softnet, mut guest) = bed.guest(MAC, "");
        let flood = Flood::from_host(&guest);
        // While the guest's queue is full, what it sends is still judged: its frames reach the host.
        let host = UdpSocket::bind((guest.gateway(), 4099)).expect("the gateway is an address of the host");
        host.set_read_timeout(Some(PATIENCE)).expect("a time limit");
        std::thread::sleep(Duration::from_millis(500)); // of flood, so that the queue is full
        let gateway = host.local_addr().expect("an address");
        let datagram = wire::udp((guest.address(), 4000), (guest.gateway(), gateway.port()), b"still here");
        let to = wire::source(&guest.seen()[0]).expect("a frame of the gateway's");
        guest.send_raw(&wire::ethernet(to, MAC, IPV4, &datagram)).expect("the socket takes a frame");
        let mut buffer = [0; 64];
        let length = host.recv(&mut buffer).expect("the host hears the guest meanwhile");
        assert_eq!(&buffer[..length], b"still here");
        drop(flood);
        assert!(softnet.is_alive());
        guest.flush();
        softnet.stop();
    });
}

#[test]
fn odd_datagrams_are_dropped_and_end_nothing() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (mut softnet, mut guest) = bed.guest(MAC, "");
        let whole = frame_of(&guest, &[0x55; 65_000]);
        let lengths = (0..=60).chain([1_513, 1_514, 1_515, 1_518, 4_096, 9_000, 65_000]);
        for length in lengths {
            for fill in [0x00, 0xff] {
                let _ = guest.send_raw(&vec![fill; length]);
            }
            guest.send_raw(&whole[..length]).expect("the socket takes a frame");
            guest.flush();
        }
        assert!(softnet.is_alive(), "it lives on: {}", softnet.said());
        softnet.stop();
    });
}

#[test]
fn no_frame_that_is_dropped_writes_a_line_but_the_first_of_another_mac() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut guest) = bed.guest(MAC, "");
        guest.flush();
        let me = Party::of(&guest);
        let spoofs = attack::spoofs(me, Party::gateway_of(&guest), me, internet::PRIVATE, internet::WEB);
        let before = first.said();
        for _ in 0..50 {
            for spoof in &spoofs {
                let _ = guest.send_raw(&spoof.frame);
            }
        }
        guest.flush();
        let said = first.said();
        let lines: Vec<&str> = said.strip_prefix(&before).expect("it goes on").lines().collect();
        assert!(matches!(lines[..], [only] if only.contains("the guest sends from ")), "RUST_LOG=info: {lines:?}");
        first.stop();
    });
}

#[test]
fn an_idle_softnet_wakes_at_most_once_a_second() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "");
        let wakes = || softnet.status("voluntary_ctxt_switches").parse::<u32>().expect("a number");
        // IPv6 and IGMP of a bridge that has just come up are no idleness: wait for a quiet second first.
        let mut before = wakes();
        let mut since = Instant::now();
        wait::until("a quiet second", PATIENCE, || {
            if wakes() > before + 1 {
                (before, since) = (wakes(), Instant::now());
            }
            (since.elapsed() > Duration::from_secs(1)).then_some(())
        })
        .expect("it gets quiet");
        let before = wakes();
        std::thread::sleep(Duration::from_secs(3)); // what is measured
        let woken = wakes() - before;
        assert!(woken <= 4, "woken {woken} times in 3 idle seconds");
        softnet.stop();
    });
}

#[test]
fn memory_stays_small_under_a_flood() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.guest(MAC, "");
        // Without the pages of its file, which are many in a program that was built for debugging.
        let resident = || softnet.status("RssAnon").trim_end_matches(" kB").parse::<u32>().expect("a number of kB");
        let flood = Flood::from_host(&guest);
        std::thread::sleep(Duration::from_millis(500)); // of flood
        drop(flood);
        assert!(resident() <= 4 * 1024, "{} kB resident", resident());
        softnet.stop();
    });
}
