//! Runs of frames on a real kernel: what goes in large comes out as the segments that it was made of, both ways.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::internet::{UPLINK, WEB};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::pump::{Path, Pump};
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

#[path = "segments/model.rs"]
#[allow(dead_code)]
mod model;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
const PORT: u16 = 5001;
/// Whether bridges ask the firewall (the module br_netfilter, which docker loads).
const BRIDGE_ASKS: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
/// A frame of a link with the usual MTU.
const MAX_FRAME: usize = 1514;

/// A host whose uplink is a wire: what the far end sees are segments with all their checksums.
fn bed() -> LinuxTestbed {
    let bed = LinuxTestbed::new(SOFTNET);
    tools::run("ethtool -K uplink tx off tso off gso off");
    bed.internet.netns.run("ethtool -K beyond gro off");
    bed
}

fn guest(bed: &LinuxTestbed, options: &str, path: Path) -> (Softnet, KernelGuest) {
    guest_of("guest1", MAC, bed, options, path)
}

fn guest_of(name: &str, mac: Mac, bed: &LinuxTestbed, options: &str, path: Path) -> (Softnet, KernelGuest) {
    let (softnet, socket) = bed.launch(mac).with(options).start();
    let mut guest = KernelGuest::behind(name, mac, || Pump::along(path, sys::tap("eth0"), socket));
    guest.dhcp();
    (softnet, guest)
}

fn data(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

/// What a witness saw, by who sent it.
struct Seen {
    source: Ipv4Addr,
    protocol: u8,
    frame: Vec<u8>,
}

/// Watches interfaces while `body` runs: each by a name, made where it is.
fn watched<T>(sniffers: Vec<Sniffer>, body: impl FnOnce() -> T) -> (Vec<Vec<Seen>>, T) {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watches: Vec<_> = sniffers
            .into_iter()
            .map(|mut sniffer| {
                let done = &done;
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        sniffer.frames();
                        thread::sleep(Duration::from_millis(1)); // what comes meanwhile waits in the socket
                    }
                    sniffer.frames().iter().filter_map(|frame| seen(frame)).collect()
                })
            })
            .collect();
        let result = body();
        done.store(true, Ordering::Relaxed);
        (watches.into_iter().map(|watch| watch.join().expect("a witness")).collect(), result)
    })
}

fn seen(frame: &[u8]) -> Option<Seen> {
    let source: [u8; 4] = *frame.get(26..)?.first_chunk()?;
    (frame[12..15] == [8, 0, 0x45]).then(|| Seen { source: source.into(), protocol: frame[23], frame: frame.to_vec() })
}

/// Those of one sender and protocol with something in them.
fn of(seen: &[Seen], source: Ipv4Addr, protocol: u8) -> Vec<&[u8]> {
    let fits = |seen: &&Seen| seen.source == source && seen.protocol == protocol && seen.frame.len() > 80;
    seen.iter().filter(fits).map(|seen| seen.frame.as_slice()).collect()
}

/// Each is one segment of at most the MTU whose checksums are right.
#[track_caller]
fn assert_are_segments(frames: &[&[u8]]) {
    for frame in frames {
        assert!(frame.len() <= MAX_FRAME, "{} bytes", frame.len());
        let mut right = frame.to_vec();
        model::fill_checksums(&mut right);
        assert_eq!(right, *frame, "a checksum is wrong");
    }
}

fn longest(frames: &[&[u8]]) -> usize {
    frames.iter().map(|frame| frame.len()).max().unwrap_or(0)
}

/// The far end sends `down` and returns what it received.
fn far_end(bed: &LinuxTestbed, down: Vec<u8>) -> thread::JoinHandle<Vec<u8>> {
    let listener = bed.internet.netns.enter(|| TcpListener::bind((WEB, PORT)).expect("the far end listens"));
    thread::spawn(move || exchange(listener.accept().expect("the guest connects").0, down))
}

/// Sends all, then reads to the end: one way after the other.
fn exchange(mut stream: TcpStream, data: Vec<u8>) -> Vec<u8> {
    stream.set_read_timeout(Some(PATIENCE * 3)).expect("a limit");
    let mut writer = stream.try_clone().expect("a second handle");
    let writing = thread::spawn(move || {
        writer.write_all(&data).expect("all is sent");
        writer.shutdown(Shutdown::Write).expect("an end");
    });
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("all is received");
    writing.join().expect("the writer");
    received
}

fn transfer(options: &str, path: Path, length: usize) -> Vec<Vec<Seen>> {
    let bed = bed();
    let (softnet, guest) = guest(&bed, options, path);
    let (up, down) = (data(1, length), data(2, length));
    let far = far_end(&bed, down.clone());
    let sniffers = vec![
        guest.netns().enter(|| Sniffer::on("eth0")),
        Sniffer::on("softnet-0"),
        bed.internet.netns.enter(|| Sniffer::on("beyond")),
    ];
    let (seen, at_guest) = watched(sniffers, || {
        guest.netns().enter(|| {
            let stream = TcpStream::connect(SocketAddr::from((WEB, PORT))).expect("the guest reaches the far end");
            exchange(stream, up.clone())
        })
    });
    assert!(at_guest == down, "what the guest received is what was sent");
    assert!(far.join().expect("the far end") == up, "what the far end received is what was sent");
    // Both ends saw nothing but segments, whatever was in between.
    let own = guest.lease().address;
    let (to_guest, to_far) = (of(&seen[0], WEB, model::TCP), of(&seen[2], UPLINK, model::TCP));
    assert!(to_guest.len() > 100 && to_far.len() > 100, "{} and {}", to_guest.len(), to_far.len());
    assert_are_segments(&to_guest);
    assert_are_segments(&to_far);
    let between = [longest(&of(&seen[1], own, model::TCP)), longest(&of(&seen[1], WEB, model::TCP))];
    eprintln!("{options:?}, {path:?}: the longest between, from the guest and to it: {between:?}");
    if options.contains("--no-offload") {
        assert!(between[0] <= MAX_FRAME, "from the guest, each frame goes alone: {between:?}");
    } else {
        assert!(between.iter().all(|&longest| longest > MAX_FRAME), "runs in between: {between:?}");
    }
    let ended = softnet.stop();
    assert!(!ended.said.contains("not what their headers said"), "{}", ended.said);
    seen
}

#[test]
fn a_transfer_both_ways_is_whole_and_made_of_segments_at_both_ends() {
    in_own_network(|| {
        transfer("", Path::Clean, 8 << 20);
    });
}

#[test]
fn a_transfer_is_whole_where_frames_are_lost_and_overtaken() {
    in_own_network(|| {
        transfer("", Path::Rough(150), 2 << 20);
    });
}

#[test]
fn a_transfer_without_offload_is_whole_and_has_no_runs() {
    in_own_network(|| {
        transfer("--no-offload", Path::Clean, 2 << 20);
    });
}

#[test]
fn datagrams_that_wait_together_go_in_runs_and_arrive_one_by_one() {
    in_own_network(|| {
        let bed = bed();
        let (softnet, guest) = guest(&bed, "", Path::Clean);
        let far = bed.internet.netns.enter(|| UdpSocket::bind((WEB, PORT)).expect("the far end"));
        let near = guest.netns().enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket"));
        for socket in [&far, &near] {
            socket.set_read_timeout(Some(PATIENCE)).expect("a limit");
        }
        near.connect((WEB, PORT)).expect("a route");
        let sent: Vec<Vec<u8>> = (0..60).map(|n| data(n, if n == 59 { 700 } else { 1200 })).collect();
        let mut buffer = [0; 2048];
        near.send(b"first").expect("sent"); // addresses are resolved
        let (_, peer) = far.recv_from(&mut buffer).expect("it arrives");

        let sniffers = vec![Sniffer::on("softnet-0"), bed.internet.netns.enter(|| Sniffer::on("beyond"))];
        let (seen, ()) = watched(sniffers, || {
            // While softnet stands still, they come to wait in its socket, to be read as one batch.
            softnet.signal(Signal::SIGSTOP);
            for datagram in &sent {
                near.send(datagram).expect("sent");
            }
            thread::sleep(Duration::from_millis(300)); // the wire between has carried them
            softnet.signal(Signal::SIGCONT);
            for datagram in &sent {
                let length = far.recv(&mut buffer).expect("each arrives");
                assert!(buffer[..length] == **datagram, "in order and whole");
            }
        });
        let own = guest.lease().address;
        assert!(longest(&of(&seen[0], own, model::UDP)) > 10_000, "they went in runs");
        let at_far = of(&seen[1], UPLINK, model::UDP);
        assert_eq!(at_far.len(), sent.len());
        assert_are_segments(&at_far);

        // And back: the far end has its kernel cut one large write (UDP_SEGMENT), and ours gives it to softnet uncut.
        let size: libc::c_int = 1000;
        // SAFETY: the pointer is to an int, whose size is given.
        let set = unsafe {
            let length = size_of_val(&size) as libc::socklen_t;
            libc::setsockopt(far.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const size).cast(), length)
        };
        assert_eq!(set, 0, "the kernel cuts datagrams");
        let large = data(99, 9500);
        let sniffers = vec![Sniffer::on("softnet-0"), guest.netns().enter(|| Sniffer::on("eth0"))];
        let (seen, ()) = watched(sniffers, || {
            far.send_to(&large, peer).expect("sent");
            for part in large.chunks(1000) {
                let length = near.recv(&mut buffer).expect("each arrives");
                assert!(buffer[..length] == *part, "in order and whole");
            }
        });
        eprintln!("the longest to the guest: {}", longest(&of(&seen[0], WEB, model::UDP)));
        let at_guest = of(&seen[1], WEB, model::UDP);
        assert_eq!(at_guest.len(), 10);
        assert_are_segments(&at_guest);
        softnet.stop();
    });
}

/// The host's own answers come to the bridge without their checksums, which a network card would make.
#[test]
fn what_the_host_itself_says_comes_with_its_checksums() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = guest(&bed, "", Path::Clean);
        let gateway = guest.gateway();
        let sniffers = vec![guest.netns().enter(|| Sniffer::on("eth0"))];
        let (seen, ()) = watched(sniffers, || {
            let host = UdpSocket::bind((gateway, 0)).expect("the gateway is an address of the host");
            let near = guest.netns().enter(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket"));
            near.set_read_timeout(Some(PATIENCE)).expect("a limit");
            host.set_read_timeout(Some(PATIENCE)).expect("a limit");
            near.send_to(b"?", host.local_addr().expect("its port")).expect("sent");
            let (_, peer) = host.recv_from(&mut [0; 8]).expect("it arrives");
            host.send_to(&[7; 500], peer).expect("sent");
            near.recv(&mut [0; 500]).expect("it arrives");
            guest.run(&format!("ping -c 1 -W 2 {gateway}"));
            let page = data(5, 100_000);
            let listener = TcpListener::bind((gateway, 0)).expect("the host listens");
            let address = listener.local_addr().expect("its port");
            let sent = page.clone();
            let host = thread::spawn(move || exchange(listener.accept().expect("the guest connects").0, sent));
            let received = guest
                .netns()
                .enter(|| exchange(TcpStream::connect(address).expect("the guest reaches the host"), Vec::new()));
            assert!(received == page);
            assert!(host.join().expect("the host's end").is_empty());
        });
        for protocol in [model::UDP, model::TCP] {
            let frames = of(&seen[0], gateway, protocol);
            assert!(!frames.is_empty());
            assert_are_segments(&frames);
        }
        softnet.stop();
    });
}

/// What the guest sends is longer than the next wire takes: it learns so from the host, for a run as for a segment, and where
/// nobody may begin anything with it.
#[test]
fn a_run_that_is_too_wide_for_the_next_wire_is_told_and_sent_again_in_smaller_segments() {
    in_own_network(|| {
        let bed = bed();
        tools::run("ip link set uplink mtu 1300");
        let (softnet, guest) = guest(&bed, "--block 'in 0.0.0.0/0'", Path::Clean);
        let (up, far) = (data(3, 4 << 20), far_end(&bed, Vec::new()));
        let sniffers = vec![Sniffer::on("softnet-0"), bed.internet.netns.enter(|| Sniffer::on("beyond"))];
        let (seen, _) = watched(sniffers, || {
            guest.netns().enter(|| exchange(TcpStream::connect((WEB, PORT)).expect("a connection"), up.clone()))
        });
        assert!(far.join().expect("the far end") == up);
        let at_far = of(&seen[1], UPLINK, model::TCP);
        assert_are_segments(&at_far);
        assert!((1200..=1314).contains(&longest(&at_far)), "{}", longest(&at_far));
        assert!(longest(&of(&seen[0], guest.lease().address, model::TCP)) > MAX_FRAME, "in runs before and after");
        softnet.stop();
    });
}

/// Each way between two guests, of whom one may have no runs; where the bridge asks the firewall and where it does not.
#[test]
fn between_open_guests_runs_are_cut_for_the_one_that_gets_them() {
    in_own_network(|| {
        let bed = bed();
        let rows = [("", "", "0"), ("", "", "1"), ("--no-offload", "", "0"), ("", "--no-offload", "1")];
        for (number, (first, second, asks)) in (0..).zip(rows) {
            let start = |options: &str, number: u8| {
                let options = format!("--allow 0.0.0.0/0 {options}");
                guest_of(&format!("open{number}"), Mac::guest(number), &bed, &options, Path::Clean)
            };
            let ((one, near), (two, far)) = (start(first, 2 * number + 1), start(second, 2 * number + 2));
            if Err(ErrorKind::NotFound) == std::fs::write(BRIDGE_ASKS, asks).map_err(|error| error.kind()) {
                eprintln!("without br_netfilter, no bridge asks the firewall");
            }
            between(&near, &far, first.is_empty());
            for softnet in [one, two] {
                let ended = softnet.stop();
                assert!(!ended.said.contains("not what their headers said"), "{}", ended.said);
            }
        }
    });
}

fn between(near: &KernelGuest, far: &KernelGuest, runs: bool) {
    let (up, down) = (data(7, 4 << 20), data(8, 4 << 20));
    let to = SocketAddr::from((far.lease().address, PORT));
    let listener = far.netns().enter(|| TcpListener::bind(to).expect("it listens"));
    let sent = down.clone();
    let at_far = thread::spawn(move || exchange(listener.accept().expect("a connection").0, sent));
    let ends = [near, far].map(|guest| guest.netns().enter(|| Sniffer::on("eth0")));
    let (seen, at_near) = watched(ends.into_iter().chain([Sniffer::on("softnet-0")]).collect(), || {
        near.netns().enter(|| exchange(TcpStream::connect(to).expect("a connection"), up.clone()))
    });
    assert!(at_near == down && at_far.join().expect("the other guest") == up, "all that was sent");
    let (near, far) = (near.lease().address, far.lease().address);
    for frames in [of(&seen[0], far, model::TCP), of(&seen[1], near, model::TCP)] {
        assert!(frames.len() > 100, "{}", frames.len());
        assert_are_segments(&frames);
    }
    let longest = longest(&of(&seen[2], near, model::TCP));
    assert_eq!(longest > MAX_FRAME, runs, "{longest}");
}

/// The host's own connection to the guest, with options in each IPv4 header.
#[test]
fn a_connection_of_the_hosts_with_ip_options_is_whole() {
    in_own_network(|| {
        let bed = bed();
        let (softnet, guest) = guest(&bed, "", Path::Clean);
        let to = SocketAddr::from((guest.lease().address, PORT));
        let listener = guest.netns().enter(|| TcpListener::bind(to).expect("it listens"));
        let down = data(11, 1 << 20);
        let at_guest = thread::spawn(move || exchange(listener.accept().expect("a connection").0, Vec::new()));
        let host = TcpStream::connect(to).expect("the host reaches its guest");
        let options = [1_u8, 1, 1, 0];
        // SAFETY: the pointer is to the options, whose length is given.
        let set = unsafe {
            let length = options.len() as libc::socklen_t;
            libc::setsockopt(host.as_raw_fd(), libc::IPPROTO_IP, libc::IP_OPTIONS, options.as_ptr().cast(), length)
        };
        assert_eq!(set, 0, "the kernel takes options");
        exchange(host, down.clone());
        assert!(at_guest.join().expect("the guest") == down);
        let ended = softnet.stop();
        assert!(!ended.said.contains("not what their headers said"), "{}", ended.said);
    });
}
