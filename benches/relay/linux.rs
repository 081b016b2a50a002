//! The runs, in namespaces of their own.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::load::{Guest, Ids};
use super::tap::{self, Tap};
use super::tcp::{From, Rate, Subject};
use super::{bridge, guest};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::softnet::{Launch, Softnet};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;
use softnet_testbed::{isolate, sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
/// How long a whole run may take.
const LIMIT: Duration = Duration::from_secs(900);
const ROUNDS: usize = 5;
const STARTS: usize = 20;

pub(crate) fn main() {
    let executable = std::env::current_exe().expect("this bench knows its executable");
    if std::env::args().nth(1).as_deref() == Some(bridge::ARGUMENT) {
        return bridge::run(&std::env::args().nth(2).expect("the name of its port"));
    }
    if !isolate::is_inside() {
        let status = isolate::command(&executable, LIMIT)
            .args(std::env::args().skip(1))
            .status()
            .expect("the bench starts again in its namespaces");
        assert!(status.success(), "the bench failed inside its namespaces: {status}");
        return;
    }
    let chosen = std::env::args().nth(1).filter(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| chosen.as_deref().is_none_or(|chosen| chosen == name);
    lengthen_queues();
    if wanted("udp") {
        udp();
    }
    if wanted("tcp") {
        tcp();
    }
    if chosen.as_deref() == Some("tap") {
        behind_a_tap();
    }
    if wanted("life") {
        life();
    }
}

/// Hosts with systemd let more datagrams wait in a socket than the kernel does by itself.
fn lengthen_queues() {
    fs::write("/proc/sys/net/unix/max_dgram_qlen", "512").expect("the queue of datagrams is set");
}

/// Frames of two sizes.
fn udp() {
    let (softnet, guest) = softnet_with_guest();
    println!("CPU a frame, UDP, median of {ROUNDS} rounds             bridge      softnet     ratio");
    let subject = Guest::new(guest);
    let (reference, socket) = Bridge::start("filterless0");
    for (name, length) in [("64 bytes", 64), ("1514 bytes", 1514)] {
        for (of, ids) in [("", Ids::Counting), (", none joined", Ids::Odd)] {
            row(&format!("guest to host, {name}{of}"), "ns", &mut || {
                let bridge = subject.send_to_host(reference.pid(), &socket, length, ids);
                (bridge.nanos_a_frame(), subject.send(softnet.pid(), length, ids).nanos_a_frame())
            });
        }
        row(&format!("host to guest, {name}"), "ns", &mut || {
            let bridge = subject.receive_beside(reference.pid(), &socket, length);
            (bridge.nanos_a_frame(), subject.receive(softnet.pid(), length).nanos_a_frame())
        });
    }
    softnet.stop();
    println!();
}

/// `softnet run --tap`, and a program that has the socket itself.
fn behind_a_tap() {
    let (softnet, guest) = softnet_with_guest();
    let mac = Mac::guest(3);
    // A softnet that starts has the host forget what it was told of its neighbours.
    let tap = Tap::start(Path::new(SOFTNET), mac);
    let subject = Guest::new(guest);
    let mut load = tap::Load::new(&tap, mac, subject.gateway_mac);
    println!("CPU a frame, UDP, median of {ROUNDS} rounds             straight   relay  pump  program  frames/s  lost");
    let directions = [
        ("guest to host", Some(Ids::Counting)),
        ("guest to host, none joined", Some(Ids::Odd)),
        ("host to guest", None),
    ];
    for length in [64, 1514] {
        for (name, ids) in directions {
            let mut rounds: Vec<(f64, tap::Nanos)> = (0..ROUNDS)
                .map(|_| match ids {
                    Some(ids) => (
                        subject.send(softnet.pid(), length, ids).nanos_a_frame(),
                        load.send(&tap, length, ids, &subject.sink),
                    ),
                    None => (subject.receive(softnet.pid(), length).nanos_a_frame(), load.receive(&tap, length)),
                })
                .collect();
            rounds.sort_by(|a, b| a.1.pump.total_cmp(&b.1.pump));
            let mut straight: Vec<f64> = rounds.iter().map(|round| round.0).collect();
            straight.sort_by(f64::total_cmp);
            let tap::Nanos { relay, pump, program, frames, lost } = rounds[ROUNDS / 2].1;
            let straight = straight[ROUNDS / 2];
            println!(
                "{name}, {length} bytes: straight {straight:.0} relay {relay:.0} pump {pump:.0} program {program:.0} ns, {frames:.0}/s, {lost} lost"
            );
        }
    }
    drop(load);
    softnet.stop();

    let (softnet, socket) = Launch::new(Path::new(SOFTNET), MAC).start();
    let mut guest = guest::start("behind", MAC, socket);
    guest.dhcp();
    let gateway = guest.gateway();
    let straight = Subject { guest, pid: softnet.pid() };
    let mut behind = tap.kernel_guest("tapped", mac);
    behind.guest.dhcp();
    let median = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    for (name, from) in [("guest to host", From::Guest), ("host to guest", From::Host)] {
        let rounds: Vec<[f64; 5]> = (0..ROUNDS)
            .map(|_| {
                let one = straight.measure(gateway, from);
                let pump = super::load::on_cpu(tap.pump);
                let two = behind.measure(gateway, from);
                let pump = super::load::on_cpu(tap.pump) - pump;
                let gigabits = two.cpu_ms_a_gigabit();
                [one.gigabits_a_second(), one.cpu_ms_a_gigabit(), two.gigabits_a_second(), gigabits, two.share(pump)]
            })
            .collect();
        let [a, b, c, d, e] = std::array::from_fn(|column| median(rounds.iter().map(|round| round[column]).collect()));
        println!(
            "TCP {name}: straight {a:.2} Gbit/s, relay {b:.0} ms/Gbit; tap {c:.2} Gbit/s, relay {d:.0}, pump {e:.0} ms/Gbit"
        );
    }
    softnet.stop();
}

/// One connection of TCP, either way.
fn tcp() {
    let (softnet, socket) = Launch::new(Path::new(SOFTNET), MAC).start();
    let mut guest = guest::start("behind", MAC, socket);
    let lease = guest.dhcp();
    let gateway = guest.gateway();
    let subject = Subject { guest, pid: softnet.pid() };

    let (reference, socket) = Bridge::start("filterless1");
    let beside = guest::start("beside", Mac::guest(2), socket);
    let [a, b, c, _] = gateway.octets();
    beside.run(&format!("ip addr add {a}.{b}.{c}.252/{} dev eth0", lease.prefix));
    let reference = (Subject { guest: beside, pid: reference.pid() }, reference);

    println!("TCP, median of {ROUNDS} rounds                         bridge      softnet     ratio");
    for (name, from) in [("guest to host", From::Guest), ("host to guest", From::Host)] {
        let mut rounds: Vec<(Rate, Rate)> = Vec::new();
        for _ in 0..ROUNDS {
            rounds.push((reference.0.measure(gateway, from), subject.measure(gateway, from)));
        }
        let mut each = rounds.iter();
        row(&format!("{name}, CPU a gigabit"), "ms", &mut || {
            let (bridge, softnet) = each.next().expect("a round");
            (bridge.cpu_ms_a_gigabit(), softnet.cpu_ms_a_gigabit())
        });
        let mut each = rounds.iter();
        row(&format!("{name}, speed"), "Gbit/s", &mut || {
            let (bridge, softnet) = each.next().expect("a round");
            (bridge.gigabits_a_second(), softnet.gigabits_a_second())
        });
    }
    softnet.stop();
    println!();
}

fn softnet_with_guest() -> (Softnet, PortableGuest) {
    let (softnet, socket) = Launch::new(Path::new(SOFTNET), MAC).start();
    let mut guest = PortableGuest::new(socket, MAC);
    guest.dhcp(PATIENCE).expect("a lease");
    (softnet, guest)
}

/// What it is while it does nothing, and how it begins.
fn life() {
    let (softnet, guest) = softnet_with_guest();
    let idle_memory = kib(&softnet, "VmRSS");
    let wakeups = wakeups_a_second(&softnet);
    let subject = Guest::new(guest);
    subject.send(softnet.pid(), 1514, Ids::Counting);
    subject.receive(softnet.pid(), 1514);
    let busy_memory = kib(&softnet, "VmRSS");
    softnet.stop();

    let starts = starts();
    println!("idle wake-ups a second          {wakeups:.2}");
    println!("resident, idle / after load     {idle_memory} / {busy_memory} KiB");
    println!(
        "start to ready, p50 / max       {:.1} / {:.1} ms",
        ms(starts[starts.len() / 2]),
        ms(starts[starts.len() - 1])
    );
    println!(
        "binary, stripped                {} KiB",
        fs::metadata(SOFTNET).expect("the binary is there").len() / 1024
    );
}

/// The filterless bridge, on a port of softnet's own bridge, in a process of its own.
struct Bridge(Softnet);

impl Bridge {
    /// With the port of that name, and its guest's socket.
    fn start(port: &str) -> (Self, UnixDatagram) {
        let (guest, other) = sys::frame_sockets();
        let mut command = std::process::Command::new(std::env::current_exe().expect("this bench"));
        command.args([bridge::ARGUMENT, port]).stdin(Stdio::from(OwnedFd::from(other)));
        let mut process = Softnet::spawn(&mut command);
        process.wait_ready();
        tools::run(&format!("ip link set {port} master softnet0 up"));
        (Bridge(process), guest)
    }

    fn pid(&self) -> u32 {
        self.0.pid()
    }
}

/// Measures both a few times, one after the other, and prints the medians. A ratio above one is softnet's advantage.
fn row(name: &str, unit: &str, measure: &mut dyn FnMut() -> (f64, f64)) {
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| measure()).collect();
    let median = |pick: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(pick).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (bridge, softnet) = (median(|round| round.0), median(|round| round.1));
    let (digits, ratio) = if unit == "Gbit/s" { (2, softnet / bridge) } else { (0, bridge / softnet) };
    println!("{name:<40}{bridge:>8.digits$} {unit:<6} {softnet:>8.digits$} {unit:<6} {ratio:>7.2}");
}

/// From the start of the process to the line that says "ready", on a network that is up, sorted.
fn starts() -> Vec<Duration> {
    let mut durations: Vec<Duration> = (0..STARTS)
        .map(|_| {
            let start = Instant::now();
            let (softnet, _guest) = Launch::new(Path::new(SOFTNET), MAC).start();
            let duration = start.elapsed();
            softnet.stop();
            duration
        })
        .collect();
    durations.sort();
    durations
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn kib(softnet: &Softnet, field: &str) -> u64 {
    softnet.status(field).trim_end_matches(" kB").parse().expect("a number of KiB")
}

fn wakeups_a_second(softnet: &Softnet) -> f64 {
    let count = || softnet.status("voluntary_ctxt_switches").parse::<u32>().expect("a number");
    std::thread::sleep(Duration::from_secs(1)); // for the last frames of the lease
    let (before, start) = (count(), Instant::now());
    std::thread::sleep(Duration::from_secs(20));
    f64::from(count() - before) / start.elapsed().as_secs_f64()
}
