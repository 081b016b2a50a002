//! The runs, in namespaces of their own.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::bridge;
use super::load::{Cost, Guest};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::softnet::{Launch, Softnet};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;
use softnet_testbed::{isolate, sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
/// How long a whole run may take.
const LIMIT: Duration = Duration::from_secs(180);
const ROUNDS: usize = 3;
const STARTS: usize = 20;

pub(crate) fn main() {
    let executable = std::env::current_exe().expect("this bench knows its executable");
    if std::env::args().nth(1).as_deref() == Some(bridge::ARGUMENT) {
        return bridge::run();
    }
    if !isolate::is_inside() {
        let status = isolate::command(&executable, LIMIT).status().expect("the bench starts again in its namespaces");
        assert!(status.success(), "the bench failed inside its namespaces: {status}");
        return;
    }
    let (softnet, socket) = Launch::new(Path::new(SOFTNET), MAC).start();
    let mut guest = PortableGuest::new(socket, MAC);
    guest.dhcp(PATIENCE).expect("a lease");
    let idle_memory = kib(&softnet, "VmRSS");
    let wakeups = wakeups_a_second(&softnet);

    println!("CPU a frame, UDP, median of {ROUNDS} rounds             bridge      softnet     ratio");
    let subject = Guest::new(guest);
    let reference = Bridge::start();
    for (name, length) in [("64 bytes", 64), ("1514 bytes", 1514)] {
        row(&format!("guest to host, {name}"), &mut || {
            (subject.send_to_host(reference.pid(), &reference.guest, length), subject.send(softnet.pid(), length))
        });
        row(&format!("host to guest, {name}"), &mut || {
            (subject.receive_beside(reference.pid(), &reference.guest, length), subject.receive(softnet.pid(), length))
        });
    }
    let busy_memory = kib(&softnet, "VmRSS");
    softnet.stop();

    let starts = starts();
    println!();
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
struct Bridge {
    process: Softnet,
    guest: std::os::unix::net::UnixDatagram,
}

impl Bridge {
    fn start() -> Self {
        let (guest, other) = sys::frame_sockets();
        let mut command = std::process::Command::new(std::env::current_exe().expect("this bench"));
        command.arg(bridge::ARGUMENT).stdin(Stdio::from(OwnedFd::from(other)));
        let mut process = Softnet::spawn(&mut command);
        process.wait_ready();
        tools::run(&format!("ip link set {} master softnet0 up", bridge::PORT));
        Bridge { process, guest }
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn row(name: &str, measure: &mut dyn FnMut() -> (Cost, Cost)) {
    let rounds: Vec<(Cost, Cost)> = (0..ROUNDS).map(|_| measure()).collect();
    let median = |pick: fn(&(Cost, Cost)) -> &Cost| {
        let mut values: Vec<f64> = rounds.iter().map(|round| pick(round).nanos_a_frame()).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (bridge, softnet) = (median(|round| &round.0), median(|round| &round.1));
    println!("{name:<44}{bridge:>8.0} ns {softnet:>9.0} ns {:>9.2}", softnet / bridge);
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
