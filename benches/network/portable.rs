//! What can be measured wherever softnet runs, on a Mac through vmnet: softnet alone, behind it a portable guest, whose own
//! frames are all that it takes. There is nothing beside it: no filterless bridge is made of vmnet.
//!
//! It has never run on a Mac.

use std::net::UdpSocket;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::table::{Better, Table};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::softnet::{Caller, Launch, Softnet};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::{self, ARP, Arp, IPV4, Mac};
use softnet_testbed::{isolate, tools};

/// The argument that asks for this part where there is more.
pub(crate) const ARGUMENT: &str = "--portable";

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
/// How long a whole run may take.
const LIMIT: Duration = Duration::from_secs(180);
const STARTS: usize = 9;
const PINGS: u16 = 1000;
/// Frames a measurement. The processor time of a process comes in hundredths of a second.
const FRAMES: u32 = 300_000;
const PORT: u16 = 9;
/// Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;
/// After which a ping counts as lost.
const LOST: Duration = Duration::from_millis(500);

#[cfg(target_os = "linux")]
pub(crate) fn main() {
    let executable = std::env::current_exe().expect("this bench knows its executable");
    if !isolate::is_inside() {
        let status =
            isolate::command(&executable, LIMIT).arg(ARGUMENT).status().expect("the bench starts again inside");
        assert!(status.success(), "the bench failed inside its namespaces: {status}");
        return;
    }
    measure();
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn main() {
    isolate::in_own_network_within(LIMIT, measure);
}

fn measure() {
    let mut table = Table::new("softnet alone, a portable guest", ["softnet"]);
    let mut row = |name: &str, better, samples: Vec<f64>| table.row(name, better, vec![samples]);

    let starts: Vec<f64> = (0..STARTS).map(|_| start()).collect();
    row("start to ready, p50, ms", Better::Less, starts.clone());
    row("start to ready, max, ms", Better::Less, starts.into_iter().max_by(f64::total_cmp).into_iter().collect());

    let (softnet, socket) = launch().start();
    let mut guest = PortableGuest::new(socket, MAC);
    guest.dhcp(PATIENCE).expect("a lease");
    row("resident, idle, KiB", Better::Less, vec![ps(&softnet, "rss=")]);

    let way = Way::of(&mut guest);
    let (p50, p99) = way.pings(&mut guest);
    row("ping, p50, us", Better::Less, vec![p50]);
    row("ping, p99, us", Better::Less, vec![p99]);
    for length in [64, 1514] {
        let (nanos, rate) = way.flood(&softnet, &guest_frame(&way, length), &mut guest);
        row(&format!("UDP guest to host, {length} bytes, CPU ns a frame"), Better::Less, vec![nanos]);
        row(&format!("UDP guest to host, {length} bytes, frames a second"), Better::More, vec![rate]);
    }
    row("resident, after load, KiB", Better::Less, vec![ps(&softnet, "rss=")]);
    softnet.stop();
    print!("{}", table.text());
}

/// softnet as root starts it, where this is root, else as a user does.
fn launch() -> Launch {
    let caller = if nix::unistd::geteuid().is_root() { Caller::Root } else { Caller::User };
    Launch::new(Path::new(SOFTNET), MAC).by(caller)
}

/// From the start of the process to the line that says "ready", in milliseconds.
fn start() -> f64 {
    let start = Instant::now();
    let (softnet, _guest) = launch().start();
    let took = start.elapsed();
    softnet.stop();
    took.as_secs_f64() * 1e3
}

/// What ps(1) says of softnet, a number.
fn ps(softnet: &Softnet, column: &str) -> f64 {
    let text = tools::run(&format!("ps -o {column} -p {}", softnet.pid()));
    text.trim().parse().expect("ps prints a number")
}

/// The processor time of softnet, in seconds: `[[DD-]HH:]MM:SS[.CC]`, as ps(1) prints it. Linux's has no hundredths.
fn on_cpu(softnet: &Softnet) -> f64 {
    let text = tools::run(&format!("ps -o time= -p {}", softnet.pid()));
    let parts = text.trim().split(['-', ':']).map(|part| part.parse::<f64>().expect("ps prints a time"));
    parts.fold(0.0, |sum, part| sum * 60.0 + part)
}

/// The guest's way to its gateway.
struct Way {
    guest: (Mac, std::net::Ipv4Addr),
    gateway: (Mac, std::net::Ipv4Addr),
}

impl Way {
    fn of(guest: &mut PortableGuest) -> Self {
        let (address, gateway) = (guest.address(), guest.gateway());
        let question = Arp::request(address, MAC, gateway).bytes();
        guest.send_raw(&wire::ethernet(Mac::BROADCAST, MAC, ARP, &question)).expect("the socket takes a frame");
        let is_answer = |frame: &[u8]| Arp::read(frame).filter(|arp| arp.operation == 2 && arp.sender_ip == gateway);
        let frame = guest.expect_frame("the gateway's address", PATIENCE, |frame| is_answer(frame).is_some());
        let mac = frame.ok().and_then(|frame| is_answer(&frame)).expect("the gateway answers").sender_mac;
        Way { guest: (MAC, address), gateway: (mac, gateway) }
    }

    /// The median and the 99th percentile of the time that the gateway takes to answer a ping, in microseconds.
    fn pings(&self, guest: &mut PortableGuest) -> (f64, f64) {
        let mut times: Vec<f64> = (0..PINGS)
            .map(|number| {
                let echo = wire::echo(self.guest.1, self.gateway.1, number);
                let frame = wire::ethernet(self.gateway.0, MAC, IPV4, &echo);
                guest.forget_seen();
                let start = Instant::now();
                guest.send_raw(&frame).expect("the socket takes a frame");
                let is_answer =
                    |frame: &[u8]| frame.get(34) == Some(&0) && frame.get(38..40) == Some(&number.to_be_bytes());
                let answered = guest.expect_frame("an answer", LOST, |frame| {
                    wire::ip_addresses(frame) == Some((self.gateway.1, self.guest.1)) && is_answer(frame)
                });
                if answered.is_ok() { start.elapsed() } else { LOST }.as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() * 99 / 100])
    }

    /// Sends a frame again and again; returns softnet's processor time for each, in nanoseconds, and how many it takes a second.
    fn flood(&self, softnet: &Softnet, frame: &[u8], guest: &mut PortableGuest) -> (f64, f64) {
        let _sink = UdpSocket::bind((self.gateway.1, PORT)); // not where vmnet keeps the gateway to itself
        let (before, start) = (on_cpu(softnet), Instant::now());
        for _ in 0..FRAMES {
            while guest.send_raw(frame).is_err() {
                thread::sleep(Duration::from_micros(100));
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        thread::sleep(Duration::from_millis(200)); // for what waits in the socket
        ((on_cpu(softnet) - before) * 1e9 / f64::from(FRAMES), f64::from(FRAMES) / seconds)
    }
}

fn guest_frame(way: &Way, length: usize) -> Vec<u8> {
    let payload = vec![0x55; length - HEADERS];
    let datagram = wire::udp((way.guest.1, PORT), (way.gateway.1, PORT), &payload);
    wire::ethernet(way.gateway.0, way.guest.0, IPV4, &datagram)
}
