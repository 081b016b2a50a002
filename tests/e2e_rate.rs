//! `--rate-limit`: what a guest may send and be sent a second.
#![cfg(target_os = "linux")]

use std::process::{Child, Stdio};

use softnet_testbed::guest::KernelGuest;
use softnet_testbed::internet::WEB;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

fn guest(bed: &LinuxTestbed, number: u8, options: &str) -> (Softnet, KernelGuest) {
    let mac = Mac::guest(number);
    let (softnet, socket) = bed.launch(mac).with(options).start();
    let mut guest = KernelGuest::new(&format!("guest{number}"), socket, mac);
    guest.dhcp();
    (softnet, guest)
}

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
fn a_tcp_stream_gets_what_the_limit_says_both_ways() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mut server = iperf_server(&bed);
        for (number, (limit, rate)) in
            [("20mbit/s", 20e6), ("100mbit/s", 100e6), ("400mbit/s", 400e6)].into_iter().enumerate()
        {
            let (softnet, guest) = guest(&bed, number as u8 + 1, &format!("--rate-limit {limit}"));
            for direction in ["", "--reverse"] {
                let share = goodput(&guest, direction, 5) / rate;
                eprintln!("{limit} {direction}: {share:.3} of the limit");
            }
            let ended = softnet.stop();
            eprintln!("{}", ended.said);
        }
        let _ = server.kill();
        let _ = server.wait();
    });
}
