//! Seeing what happens: counters by signal, by interval and in a file, and the drop log.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

#[path = "e2e_watch/metrics.rs"]
mod metrics;

use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4, Mac};
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// The lines of JSON among what softnet said.
fn objects(softnet: &Softnet) -> Vec<Value> {
    softnet.said().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn with_message<'a>(objects: &'a [Value], message: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["message"] == message).collect()
}

/// Asks for the counters and waits for them.
fn ask(softnet: &Softnet) -> Value {
    let before = with_message(&objects(softnet), "counters").len();
    softnet.signal(Signal::SIGUSR1);
    let line = wait::until("the counters", PATIENCE, || {
        with_message(&objects(softnet), "counters").get(before).map(|&value| value.clone())
    });
    line.unwrap()
}

/// A frame from the guest to `target`, UDP port 9 unless it says otherwise, as from `source`.
fn frame_to(guest: &PortableGuest, source: Ipv4Addr, target: (Ipv4Addr, u16)) -> Vec<u8> {
    wire::ethernet(gateway_mac(guest), guest.mac(), IPV4, &wire::udp((source, 4000), target, b"x"))
}

fn gateway_mac(guest: &PortableGuest) -> Mac {
    // The one that answers the guest.
    let frame = guest.seen().iter().rev().find(|frame| wire::source(frame).is_some_and(|mac| mac != guest.mac()));
    frame.and_then(|frame| wire::source(frame)).expect("the gateway has been heard")
}

#[test]
fn a_signal_brings_the_counters_with_the_numbers_of_what_was_sent() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "--block 203.0.113.0/24,10.0.0.0/8:443");
        guest.ping(guest.gateway(), PATIENCE).unwrap();
        let before = ask(&softnet);
        let me = guest.address();
        for _ in 0..7 {
            guest.send_raw_when_there_is_room(&frame_to(&guest, me, (Ipv4Addr::new(203, 0, 113, 9), 9)));
        }
        for _ in 0..3 {
            guest.send_raw_when_there_is_room(&frame_to(&guest, Ipv4Addr::new(10, 9, 9, 9), (guest.gateway(), 9)));
        }
        let passing = frame_to(&guest, me, (guest.gateway(), 9));
        for _ in 0..5 {
            guest.send_raw_when_there_is_room(&passing);
        }
        guest.ping(guest.gateway(), PATIENCE).unwrap();
        let after = ask(&softnet);
        let change = |place: &str| {
            after.pointer(place).unwrap().as_u64().unwrap() - before.pointer(place).and_then(Value::as_u64).unwrap_or(0)
        };
        assert_eq!(change("/from_guest/dropped/blocked"), 7);
        assert_eq!(change("/from_guest/dropped/source-address"), 3);
        let frames = change("/from_guest/frames");
        assert!(frames >= 6, "5 and the ping: {frames}");
        assert!(change("/from_guest/bytes") >= 5 * passing.len() as u64);
        assert!(
            change("/from_guest/frames_in_batches") >= 16
                && change("/from_guest/batches") >= 1
                && change("/from_host/frames") >= 1
        );
        assert_eq!(after["mac"], MAC.to_string());
        assert_eq!(after["pid"], softnet.pid());
        assert_eq!(after["lease"]["address"], me.to_string());
        let left = after["lease"]["seconds_left"].as_u64().unwrap();
        assert!((590..=600).contains(&left), "{left}");
        assert_eq!(after["policy"]["rules"], 2);
        assert_eq!(after["flows"], serde_json::json!({"live": 0, "limit": 32768}), "the policy keeps none");
        assert_eq!(after["forwards"], serde_json::json!([]));
        assert!(change("/wakeups") >= 1 && after["uptime_seconds"].as_u64().unwrap() < 60);
        softnet.stop();
    });
}

#[test]
fn a_question_while_it_starts_ends_nothing_and_is_answered() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (mut softnet, socket) = bed.launch(MAC).spawn();
        // From its very first moment as softnet on; before that it is the launcher's child, which a signal would kill.
        wait::until("the program", PATIENCE, || {
            fs::read_link(format!("/proc/{}/exe", softnet.pid())).ok().filter(|exe| *exe == bed.setuid)
        })
        .unwrap();
        wait::until("it ignores or catches the signal", PATIENCE, || {
            let bit = 1 << (Signal::SIGUSR1 as u32 - 1);
            let set = |name| u64::from_str_radix(&softnet.status(name), 16).unwrap() & bit != 0;
            (set("SigIgn") || set("SigCgt")).then_some(())
        })
        .unwrap();
        while !softnet.said().contains("ready") {
            softnet.signal(Signal::SIGUSR1);
            assert!(softnet.is_alive(), "{}", softnet.said());
        }
        drop(ask(&softnet));
        drop(socket);
        let ended = softnet.wait_end(PATIENCE);
        assert!(ended.status.success(), "{}", ended.said);
    });
}

#[test]
fn an_interval_repeats_the_counters_and_without_one_an_idle_softnet_sleeps() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "--stats-interval 1");
        let lines = wait::until("three lines", PATIENCE, || {
            let lines: Vec<Value> = with_message(&objects(&softnet), "counters").into_iter().cloned().collect();
            (lines.len() >= 3).then_some(lines)
        })
        .unwrap();
        let uptimes: Vec<u64> = lines.iter().map(|line| line["uptime_seconds"].as_u64().unwrap()).collect();
        assert!(uptimes.windows(2).all(|pair| pair[1] - pair[0] <= 2) && uptimes[0] >= 1, "{uptimes:?}");
        softnet.stop();

        let (softnet, _guest) = bed.guest(Mac::guest(2), "");
        let first = ask(&softnet);
        std::thread::sleep(Duration::from_secs(3)); // idle
        let second = ask(&softnet);
        let woken = second["wakeups"].as_u64().unwrap() - first["wakeups"].as_u64().unwrap();
        // One a second, the question, and what the host's bridge says by itself.
        assert!(woken <= 3 + 1 + 6, "{woken}");
        softnet.stop();
    });
}

#[test]
fn the_drop_log_names_reason_ends_and_entry_in_text() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "--log-drops --block 203.0.113.0/24:9");
        guest.ping(guest.gateway(), PATIENCE).unwrap();
        let me = guest.address();
        for _ in 0..50 {
            guest.send_raw_when_there_is_room(&frame_to(&guest, me, (Ipv4Addr::new(203, 0, 113, 9), 9)));
        }
        guest.send_raw_when_there_is_room(&frame_to(&guest, Ipv4Addr::new(10, 9, 9, 9), (guest.gateway(), 9)));
        for xid in 0..40 {
            guest.send_raw_when_there_is_room(&wire::dhcp_request(MAC, MAC, xid, &[(53, &[1])]));
        }
        let blocked =
            format!("dropped from the guest, blocked: UDP {me}:4000 > 203.0.113.9:9 (--block '203.0.113.0/24:9')");
        let spoofed = format!("dropped from the guest, source-address: UDP 10.9.9.9:4000 > {}:9", guest.gateway());
        for line in
            [blocked.as_str(), &spoofed, "dropped from the guest, dhcp-rate: UDP 0.0.0.0:68 > 255.255.255.255:67"]
        {
            wait::until(line, PATIENCE, || softnet.said().contains(line).then_some(()))
                .unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
        }
        // What was left out is told when its second is over, though no frame follows.
        wait::until("the rest", PATIENCE, || softnet.said().contains("blocked: 45 more").then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
        assert_eq!(softnet.said().matches(&blocked).count(), 5, "{}", softnet.said());
        softnet.stop();
    });
}

#[test]
fn every_line_is_an_object_where_that_was_asked_for() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "--log-drops --log-format json --block 203.0.113.9");
        guest.ping(guest.gateway(), PATIENCE).unwrap();
        let me = guest.address();
        guest.send_raw_when_there_is_room(&frame_to(&guest, me, (Ipv4Addr::new(203, 0, 113, 9), 443)));
        let drop = wait::until("the drop", PATIENCE, || {
            objects(&softnet).into_iter().find(|object| object["message"] == "dropped" && object["reason"] == "blocked")
        })
        .unwrap();
        let expected = serde_json::json!({
            "level": "info", "message": "dropped", "direction": "from_guest", "reason": "blocked", "bytes": 60,
            "source_mac": MAC.to_string(), "destination_mac": gateway_mac(&guest).to_string(), "protocol": "udp",
            "source": me.to_string(), "destination": "203.0.113.9", "source_port": 4000, "destination_port": 443,
            "decider": "block", "entry": "203.0.113.9/32", "left_out": 0
        });
        assert_eq!(drop, expected);
        assert_all_lines_are_objects(&softnet.stop().said);
        // A start that fails, after the arguments were read.
        let (softnet, _guest) = bed.launch(MAC).with("--log-format json --bridge br0").spawn();
        let ended = softnet.wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1));
        assert_all_lines_are_objects(&ended.said);
        let last: Value = serde_json::from_str(ended.said.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "error");
    });
}

fn assert_all_lines_are_objects(said: &str) {
    assert!(!said.is_empty());
    for line in said.lines() {
        let object: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(object["level"].is_string() && object["message"].is_string(), "{line}");
    }
}

/// Pings through a softnet whose drop log goes to `stderr`, while drops of every kind come.
fn drops_and_pings(bed: &LinuxTestbed, stderr: Stdio, more: &str) -> (std::process::Child, PortableGuest, Duration) {
    let (guest, other) = sys::frame_sockets();
    let mut command = softnet::command(&bed.setuid, Caller::User);
    command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--log-drops"]).args(more.split_whitespace());
    let child = command.stdin(OwnedFd::from(other)).stderr(stderr).spawn().unwrap();
    let mut guest = PortableGuest::new(guest, MAC);
    guest.dhcp(PATIENCE).unwrap();
    guest.ping(guest.gateway(), PATIENCE).unwrap();
    let mut slowest = Duration::ZERO;
    for round in 0..30 {
        for kind in 0..20_u16 {
            let payload = [round as u8; 40];
            guest.send_raw_when_there_is_room(&wire::ethernet(Mac::BROADCAST, MAC, 0x8600 + kind, &payload));
            guest.send_raw_when_there_is_room(&frame_to(&guest, Ipv4Addr::new(10, 9, 9, 9), (guest.gateway(), 9)));
        }
        let start = Instant::now();
        guest.ping(guest.gateway(), PATIENCE).unwrap();
        slowest = slowest.max(start.elapsed());
    }
    (child, guest, slowest)
}

fn end(mut child: std::process::Child, guest: PortableGuest) {
    drop(guest);
    let status = wait::until("its end", PATIENCE, || child.try_wait().unwrap()).unwrap();
    assert!(status.success());
}

#[test]
fn nobody_who_reads_standard_error_holds_up_no_frame() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // A pipe that is full from the start.
        let (mut reader, writer) = std::io::pipe().unwrap();
        let flags = nix::fcntl::OFlag::O_NONBLOCK;
        let copy = writer.try_clone().unwrap();
        nix::fcntl::fcntl(&copy, nix::fcntl::FcntlArg::F_SETFL(flags)).unwrap();
        while nix::unistd::write(&copy, &[b'.'; 4096]).is_ok() {}
        nix::fcntl::fcntl(&copy, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty())).unwrap();
        drop(copy);
        let (child, mut guest, slowest) = drops_and_pings(&bed, writer.into(), "");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        // Somebody reads again: what was lost is told.
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text
        });
        std::thread::sleep(Duration::from_millis(1100)); // the next second of the log
        for _ in 0..3 {
            guest.send_raw_when_there_is_room(&frame_to(&guest, Ipv4Addr::new(10, 9, 9, 9), (guest.gateway(), 9)));
            guest.ping(guest.gateway(), PATIENCE).unwrap();
        }
        end(child, guest);
        let text = reading.join().unwrap();
        assert!(
            text.contains("nobody read standard error:") && text.contains("lines were lost"),
            "{}",
            text.trim_start_matches('.')
        );

        // A pipe whose reader is gone, and none at all.
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        for stderr in [Stdio::from(writer), Stdio::null()] {
            let (child, guest, slowest) = drops_and_pings(&bed, stderr, "");
            assert!(slowest < Duration::from_secs(1), "{slowest:?}");
            end(child, guest);
        }
    });
}

/// A terminal that was halted (Ctrl-S).
#[test]
fn a_halted_terminal_holds_up_no_frame() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        tools::run("mount -t devpts -o newinstance,ptmxmode=0666 none /dev/pts");
        let master = fs::OpenOptions::new().read(true).write(true).open("/dev/pts/ptmx").unwrap();
        let terminal = terminal_of(&master);
        assert_eq!(halt(&terminal), 0);
        let (child, guest, slowest) = drops_and_pings(&bed, terminal.try_clone().unwrap().into(), "");
        assert!(slowest < Duration::from_secs(1), "{slowest:?}");
        end(child, guest);
    });
}

/// The other end of a pseudo terminal.
fn terminal_of(master: &fs::File) -> fs::File {
    use std::os::fd::AsRawFd;
    let (mut unlocked, mut number): (libc::c_int, libc::c_uint) = (0, 0);
    // SAFETY: both requests take a pointer to an int that lives through the call.
    unsafe {
        assert_eq!(libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw mut unlocked), 0);
        assert_eq!(libc::ioctl(master.as_raw_fd(), libc::TIOCGPTN, &raw mut number), 0);
    }
    fs::OpenOptions::new().read(true).write(true).open(format!("/dev/pts/{number}")).unwrap()
}

fn halt(terminal: &fs::File) -> libc::c_int {
    use std::os::fd::AsRawFd;
    // SAFETY: tcflow(3) takes a descriptor and a number.
    unsafe { libc::tcflow(terminal.as_raw_fd(), libc::TCOOFF) }
}
