//! The run, in namespaces of its own: every measure of every contender, in turns.

use std::fs;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread;
use std::time::{Duration, Instant};

use super::contender::{CONTENDERS, Contender};
use super::latency::Asker;
use super::plug::{Link, Plug};
use super::table::{Better, Table};
use super::transfer::{self, Way, while_busy};
use super::{bridge, latency, process, server};
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::netns::Netns;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::{self, ARP, Arp, Mac};
use softnet_testbed::{isolate, sys, tools};

/// How long a whole run may take.
const LIMIT: Duration = Duration::from_secs(400);
const ROUNDS: usize = 7;
const STARTS: usize = 15;
/// How long nobody asks anything of anyone.
const IDLE: Duration = Duration::from_secs(10);
/// How long pings go while the path is full.
const BUSY: Duration = Duration::from_millis(400);
/// Between two questions of a guest that waits for the first answer.
const ASKING: Duration = Duration::from_millis(1);

pub(crate) fn main() {
    let executable = std::env::current_exe().expect("this bench knows its executable");
    if std::env::args().nth(1).as_deref() == Some(bridge::ARGUMENT) {
        return bridge::run();
    }
    if !isolate::is_inside() {
        let programs: Vec<_> = CONTENDERS.iter().flat_map(|contender| contender.programs()).copied().collect();
        tools::require(&[&programs[..], &["busybox", "taskset"]].concat());
        let status = isolate::command(&executable, LIMIT).status().expect("the bench starts again in its namespaces");
        assert!(status.success(), "the bench failed inside its namespaces: {status}");
        return;
    }
    furnish();
    print!("{}", measure().text());
}

/// An uplink with a router, from which passt takes its guest's addresses, and to which it sends pings for the gateway; queues
/// as on a Debian host.
fn furnish() {
    let router = Netns::new("router");
    tools::run("ip link add uplink type veth peer name beyond netns router");
    tools::run("ip addr add 10.99.0.2/24 dev uplink");
    tools::run("ip link set uplink up");
    router.run("ip addr add 10.99.0.1/24 dev beyond");
    router.run("ip link set beyond up");
    tools::run("ip route add default via 10.99.0.1");
    // A new network namespace has the kernel's 10; systemd's sysctl.d makes it 512 on a host.
    fs::write("/proc/sys/net/unix/max_dgram_qlen", "512").expect("the length of queues is set");
    adjust();
}

/// Settings of the calling thread's network namespace, the host's and each guest's.
///
/// A TAP device loses what its queue of 1000 frames cannot take, where a VM's interface makes the sender wait. So one
/// connection has no more under way than about 350 frames, which keep the path full: nothing is lost, nothing is sent twice.
fn adjust() {
    let set = |name: &str, value: &str| {
        fs::write(format!("/proc/sys/net/ipv4/{name}"), value).unwrap_or_else(|error| panic!("{name}: {error}"));
    };
    set("tcp_wmem", "4096 65536 524288");
    set("tcp_congestion_control", "reno"); // the one that every network namespace may choose
    // Everyone may open the sockets that pings take (icmp(7)).
    set("ping_group_range", "0 2147483647");
}

/// A contender at work for a guest.
struct Subject {
    process: Softnet,
    guest: KernelGuest,
    target: Ipv4Addr,
}

impl Subject {
    fn new(contender: &dyn Contender, number: u8) -> Self {
        let (mut process, link) = contender.spawn(Mac::guest(number));
        contender.finish(&mut process);
        let mut guest = KernelGuest::behind(&format!("guest{number}"), Mac::guest(number), || {
            adjust();
            Plug::join(sys::tap("eth0"), link)
        });
        guest.dhcp();
        let target = guest.gateway();
        Subject { process, guest, target }
    }

    fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn measure() -> Table {
    let taken = server::start();
    // The bridge that all stand on is made by the first softnet; it stays.
    let _host = CONTENDERS.iter().find(|contender| contender.name() == "softnet").map(|softnet| {
        let (mut process, link) = softnet.spawn(Mac::guest(100));
        softnet.finish(&mut process);
        (process, link)
    });
    let subjects: Vec<Subject> =
        CONTENDERS.iter().zip(1..).map(|(contender, number)| Subject::new(*contender, number)).collect();
    let title = format!("network: median of {ROUNDS} rounds");
    let mut table = Table::new(&title, CONTENDERS.iter().map(|contender| contender.name()));
    let cores = process::cores(std::process::id());
    let mut run = Run { table: &mut table, subjects: &subjects, taken, cores };
    let (wakeups, idle) = run.idle();
    let busy = run.transfers();
    run.latencies();
    run.rows(&["connections a second"], Better::More, |subject, _| {
        vec![transfer::connections_a_second(subject.guest.netns(), subject.target)]
    });
    table.row("idle wake-ups a second", Better::Less, wakeups);
    table.row("resident, idle, KiB", Better::Less, idle);
    table.row("resident, under load, KiB", Better::Less, busy);
    starts(&mut table, &subjects);
    table
}

struct Run<'a> {
    table: &'a mut Table,
    subjects: &'a [Subject],
    taken: Arc<AtomicU64>,
    /// Those that this process had in the beginning.
    cores: String,
}

impl Run<'_> {
    /// Measures every subject in turns, and adds a row for each of `names` with the medians of what `measure` returns.
    fn rows(&mut self, names: &[&str], better: Better, measure: impl Fn(&Subject, &AtomicU64) -> Vec<f64>) {
        let mut samples = vec![vec![Vec::new(); self.subjects.len()]; names.len()];
        for _ in 0..ROUNDS {
            for (column, subject) in self.subjects.iter().enumerate() {
                for (row, value) in measure(subject, &self.taken).into_iter().enumerate() {
                    samples[row][column].push(value);
                }
            }
        }
        for (name, row) in names.iter().zip(samples) {
            self.table.row(name, better, row);
        }
    }

    /// Wake-ups a second and resident memory of each, while nobody has anything to do.
    fn idle(&self) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
        thread::sleep(Duration::from_secs(2)); // for the last words of the leases
        let count = || self.subjects.iter().map(|subject| process::wakeups(subject.pid())).collect::<Vec<_>>();
        let (before, start) = (count(), Instant::now());
        thread::sleep(IDLE);
        let (after, seconds) = (count(), start.elapsed().as_secs_f64());
        let wakeups = before.iter().zip(after).map(|(before, after)| vec![(after - before) as f64 / seconds]);
        (wakeups.collect(), self.resident())
    }

    /// Puts everyone, guests and host's programs included, on these cores (taskset(1)).
    fn run_on(&self, cores: &str) {
        for pid in self.subjects.iter().map(Subject::pid).chain([std::process::id()]) {
            tools::run(&format!("taskset --all-tasks --cpu-list --pid {cores} {pid}"));
        }
    }

    fn resident(&self) -> Vec<Vec<f64>> {
        self.subjects.iter().map(|subject| vec![process::resident(subject.pid()) as f64]).collect()
    }

    /// Bulk transfers both ways; returns the resident memory at their end.
    fn transfers(&mut self) -> Vec<Vec<f64>> {
        for (way, name) in [(Way::ToHost, "guest to host"), (Way::ToGuest, "host to guest")] {
            let mut cpu = vec![Vec::new(); self.subjects.len()];
            let (mut speed, mut others) = (cpu.clone(), cpu.clone());
            for _ in 0..ROUNDS {
                for (column, subject) in self.subjects.iter().enumerate() {
                    let transfer =
                        transfer::measure(subject.guest.netns(), subject.target, way, &self.taken, subject.pid());
                    cpu[column].push(transfer.cpu_ms_a_gigabit);
                    speed[column].push(transfer.gigabits_a_second);
                    others[column].push(transfer.others_ms_a_gigabit);
                }
            }
            self.table.row(&format!("TCP {name}, CPU ms a gigabit"), Better::Less, cpu);
            self.table.row(&format!("TCP {name}, Gbit/s"), Better::More, speed);
            self.table.row(&format!("TCP {name}, all else, ms a gigabit"), Better::Less, others);
        }
        self.resident()
    }

    /// Who is asked in turns is asked on one core: which of two the kernel wakes somebody on makes some 30 us, by chance, and
    /// for one contender longer than for another.
    fn latencies(&mut self) {
        self.run_on("0");
        for (name, asker) in
            [("TCP request/response", latency::exchange as fn(&Netns, Ipv4Addr) -> Asker), ("ping", latency::ping)]
        {
            let (mut p50, mut p99) = (vec![Vec::new(); self.subjects.len()], vec![Vec::new(); self.subjects.len()]);
            for _ in 0..ROUNDS {
                let askers = self.subjects.iter().map(|subject| asker(subject.guest.netns(), subject.target)).collect();
                for (column, times) in latency::in_turns(askers).into_iter().enumerate() {
                    p50[column].push(times.p50);
                    p99[column].push(times.p99);
                }
            }
            self.table.row(&format!("{name}, p50, us"), Better::Less, p50);
            self.table.row(&format!("{name}, p99, us"), Better::Less, p99);
        }
        self.run_on(&self.cores);
        for (way, name) in [(Way::ToHost, "guest to host"), (Way::ToGuest, "host to guest")] {
            let names = [format!("ping under TCP {name}, p50, us"), format!("ping under TCP {name}, p99, us")];
            self.rows(&[&names[0], &names[1]], Better::Less, |subject, taken| {
                let guest = subject.guest.netns();
                let ping = latency::ping(guest, subject.target);
                let times = while_busy(guest, subject.target, way, taken, |_| latency::for_a_while(ping, BUSY));
                vec![times.p50, times.p99]
            });
        }
    }
}

/// From the start of a contender's process to the first answer that its guest gets: to "who has the gateway's address?", asked
/// again and again from the first moment on. softnet answers it before there is a lease; its network is there.
fn starts(table: &mut Table, subjects: &[Subject]) {
    let mut samples = vec![Vec::new(); CONTENDERS.len()];
    for _ in 0..STARTS {
        for (column, contender) in CONTENDERS.iter().enumerate().filter(|(_, contender)| contender.starts_alone()) {
            samples[column].push(first_answer(*contender, subjects[column].target).as_secs_f64() * 1e3);
        }
    }
    let largest = |samples: &Vec<f64>| samples.iter().copied().max_by(f64::total_cmp).into_iter().collect();
    let largest = samples.iter().map(largest).collect();
    table.row("start to first answer, p50, ms", Better::Less, samples);
    table.row("start to first answer, max, ms", Better::Less, largest);
}

fn first_answer(contender: &dyn Contender, gateway: Ipv4Addr) -> Duration {
    let mac = Mac::guest(99);
    let question = Arp::request(Ipv4Addr::UNSPECIFIED, mac, gateway).bytes();
    let question = wire::ethernet(Mac::BROADCAST, mac, ARP, &question);
    let start = Instant::now();
    let (_process, link): (Softnet, Link) = contender.spawn(mac);
    while start.elapsed() < PATIENCE {
        link.send(&question);
        let answer = link.receive(ASKING).and_then(|frame| Arp::read(&frame));
        if answer.is_some_and(|answer| answer.operation == 2 && answer.sender_ip == gateway) {
            return start.elapsed();
        }
    }
    panic!("{} answers nothing", contender.name());
}
