//! `--rate-limit`: what a guest may send and be sent a second.
#![cfg(target_os = "linux")]

use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use softnet_testbed::attack::Party;
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::internet::WEB;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4, Mac};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

fn iperf_server(bed: &LinuxTestbed) -> Child {
    let server = bed.internet.netns.command("iperf3 --server").stdout(Stdio::null()).spawn().expect("iperf3 starts");
    wait::until("iperf3's server", PATIENCE, || {
        let sockets = bed.internet.netns.run("cat /proc/net/tcp6 /proc/net/tcp");
        sockets.contains(":1451 ").then_some(())
    })
    .expect("it listens");
    server
}

/// What arrives of a TCP stream, in bit/s.
fn goodput(guest: &KernelGuest, direction: &str, seconds: u32) -> f64 {
    let report = guest.run(&format!("iperf3 --client {WEB} --time {seconds} --json {direction}"));
    let moved = report.split("\"sum_received\"").nth(1).and_then(|rest| rest.split("\"bits_per_second\":").nth(1));
    moved.and_then(|rest| rest.split([',', '\n']).next()?.trim().parse().ok()).expect("a rate")
}

#[test]
fn a_tcp_stream_gets_what_the_limit_says_both_ways_and_no_more() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mut server = iperf_server(&bed);
        for (number, limit, rate) in [(1, "20mbit/s", 20e6), (2, "100mbit/s,20kpps", 100e6)] {
            let (softnet, guest) = bed.kernel_guest(number, &format!("--rate-limit {limit}"));
            for direction in ["", "--reverse"] {
                let share = goodput(&guest, direction, 5) / rate;
                eprintln!("{limit} {direction}: {share:.3} of the limit");
                // What a full bucket adds to 5 s is a twentieth at most.
                assert!((0.85..1.06).contains(&share), "{limit} {direction}: {share}");
            }
            let ended = softnet.stop();
            assert_eq!(ended.dropped("rate-limit"), 0, "nothing of the guest's is dropped for it: {}", ended.said);
        }
        let _ = server.kill();
        let _ = server.wait();
    });
}

/// The processor time that a softnet has taken so far (proc_pid_stat(5)), in hundredths of a second.
fn processor_time(softnet: &Softnet) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", softnet.pid())).expect("softnet runs");
    let (_, rest) = text.rsplit_once(')').expect("the name is in parentheses");
    rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// What a flood of a guest's is to others.
struct Flood {
    /// Frames that its softnet took.
    sent: u64,
    /// The part of a processor that its softnet took.
    processor: f64,
    /// What ping says of a neighbour's round trips.
    neighbour: String,
}

/// Lets a guest with `options` send as fast as it can for 3 s, what passes and what does not by turns, while a neighbour pings;
/// then it gets its lease again, behind all that it has sent.
fn flood(bed: &LinuxTestbed, neighbour: &KernelGuest, options: &str) -> Flood {
    let (noisy, mut flooder) = bed.guest(Mac::guest(2), options);
    flooder.flush();
    let (own, gateway) = (Party::of(&flooder), Party::gateway_of(&flooder));
    let passes = wire::ethernet(gateway.mac, own.mac, IPV4, &wire::udp((own.ip, 4000), (gateway.ip, 9), &[0; 1000]));
    let is_dropped =
        wire::ethernet(gateway.mac, own.mac, IPV4, &wire::udp((gateway.ip, 4000), (own.ip, 9), &[0; 1000]));
    let done = AtomicBool::new(false);
    let (start, before) = (Instant::now(), processor_time(&noisy));
    let (sent, text) = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                for frame in [&passes, &is_dropped] {
                    sent += u64::from(flooder.send_raw(frame).is_ok());
                }
                // A full socket is waited for, as a VM does; the end is not.
                flooder
                    .send_raw(&passes)
                    .err()
                    .map_or_else(|| sent += 1, |_| std::thread::sleep(Duration::from_millis(1)));
            }
            sent
        });
        let text = neighbour.run(&format!("ping -q -c 300 -i 0.01 -W 2 {}", gateway.ip));
        done.store(true, Ordering::Relaxed);
        (flooding.join().expect("the flood ends"), text)
    });
    let processor = (processor_time(&noisy) - before) as f64 / 100.0 / start.elapsed().as_secs_f64();
    let neighbour = text.lines().last().unwrap_or_default().to_owned();
    flooder.dhcp(PATIENCE).expect("its lease, behind its own flood");
    noisy.stop();
    Flood { sent, processor, neighbour }
}

#[test]
fn a_limit_makes_a_flood_cost_next_to_nothing_and_the_flooder_keeps_its_lease() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (quiet, neighbour) = bed.kernel_guest(1, "");
        let [free, limited] = ["", "--rate-limit 10mbit/s,1kpps"].map(|options| {
            let flood = flood(&bed, &neighbour, options);
            let Flood { sent, processor, neighbour } = &flood;
            eprintln!("{options:?}: {sent} frames, {processor:.2} of a processor; the neighbour: {neighbour}");
            flood
        });
        assert!(limited.sent < 10_000 && free.sent > 2 * limited.sent, "{} and {}", free.sent, limited.sent);
        assert!(limited.processor < free.processor / 3.0, "{} and {}", free.processor, limited.processor);
        quiet.stop();
    });
}
