//! `softnet run --tap` beside a program that takes the socket itself: what the pump costs besides the relay.
//!
//! The program that runs the VM is played here: it opens the TAP device where `run` has started its command, with the header that
//! such programs ask for.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use softnet::host::Offload;
use softnet::sys::tun::{self, Header};
use softnet_testbed::guest::{KernelGuest, PortableGuest};
use softnet_testbed::softnet::{Caller, Softnet, command};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4, Mac};
use softnet_testbed::{pump, sys, tools};

use super::load::{Ids, on_cpu, settled};
use super::tcp::Subject;

const DEVICE: &str = "vm0";
const HEADER: usize = 10;
/// Frames a measurement, and how many may be on their way: a TAP device makes nobody wait.
const FRAMES: u32 = 50_000;
const WINDOW: u32 = 96;
const PORT: u16 = 9;

/// A `softnet run --tap`, and the processes of it.
pub(crate) struct Tap {
    _run: Softnet,
    pub(crate) relay: u32,
    pub(crate) pump: u32,
    command: u32,
}

impl Tap {
    pub(crate) fn start(program: &Path, mac: Mac) -> Self {
        let mut words = command(program, Caller::Root);
        words.args(["run", "--vm-mac-address", &mac.to_string(), "--tap", DEVICE, "--", "sleep", "10007"]);
        let run = Softnet::spawn(&mut words);
        let found = |what: &str| wait::until(what, PATIENCE, || find(what)).expect("it starts");
        let command = found("sleep\x0010007");
        Tap { command, relay: found(&mac.to_string()), pump: found("(softnet-tap)"), _run: run }
    }

    /// The device, whose guest has been offered large frames or not.
    fn open(&self, offload: Offload) -> File {
        let network = File::open(format!("/proc/{}/ns/net", self.command)).expect("the command runs");
        let open = || {
            setns(&network, CloneFlags::CLONE_NEWNET).expect("root enters a namespace");
            let (device, _) = tun::create_tap(DEVICE, Header::Vnet).expect("the device is there");
            if offload == Offload::Wanted {
                tun::leave_to_us(&device).expect("offload");
            }
            File::from(device)
        };
        thread::scope(|scope| scope.spawn(open).join().expect("it does not panic"))
    }

    /// A guest with a kernel's stack, whose large frames the program passes on as they are.
    pub(crate) fn kernel_guest(&self, name: &str, mac: Mac) -> Subject {
        let device = self.open(Offload::Wanted);
        let guest = KernelGuest::behind(name, mac, || {
            let (eth0, _) = tun::create_tap("eth0", Header::Vnet).expect("a TAP device");
            tun::leave_to_us(&eth0).expect("offload");
            Program::start(File::from(eth0), device)
        });
        Subject { guest, pid: self.relay }
    }
}

/// The process whose arguments, or whose name, have `what` in them.
fn find(what: &str) -> Option<u32> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let matches = |folder: PathBuf| {
        let number: u32 = folder.file_name()?.to_str()?.parse().ok()?;
        let words = fs::read_to_string(folder.join("cmdline")).unwrap_or_default();
        let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
        let fits = (words.contains(what) && !words.contains("--tap")) || stat.contains(what);
        (fits && number != std::process::id()).then_some(number)
    };
    processes.filter_map(|entry| matches(entry.path())).max()
}

/// What the program does between its guest and the device.
struct Program(std::sync::Arc<AtomicBool>, Vec<thread::JoinHandle<()>>);

impl Program {
    fn start(eth0: File, device: File) -> Self {
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let way = |mut from: File, mut to: File| {
            let stop = stop.clone();
            thread::spawn(move || {
                let mut buffer = vec![0; 70_000];
                while !stop.load(Ordering::Relaxed) {
                    match from.read(&mut buffer) {
                        Ok(length) => drop(to.write(&buffer[..length])),
                        Err(_) => sys::wait_readable(&[&from], Duration::from_millis(100)),
                    }
                }
            })
        };
        let (a, b) = (eth0.try_clone().expect("a copy"), device.try_clone().expect("a copy"));
        let threads = vec![way(eth0, device), way(b, a)];
        Program(stop, threads)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        for thread in self.1.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Nanoseconds a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nanos {
    pub(crate) relay: f64,
    pub(crate) pump: f64,
    pub(crate) program: f64,
    /// A second, as they arrived.
    pub(crate) frames: f64,
    pub(crate) lost: u32,
}

/// A guest behind the device that sends and receives raw frames.
pub(crate) struct Load {
    device: File,
    mac: Mac,
    gateway_mac: Mac,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
}

impl Load {
    pub(crate) fn new(tap: &Tap, mac: Mac, gateway_mac: Mac) -> Self {
        // The lease, by a program that has no header; the device stays.
        let (ours, theirs) = sys::frame_sockets();
        let network = File::open(format!("/proc/{}/ns/net", tap.command)).expect("the command runs");
        let plain = thread::scope(|scope| {
            let open = || {
                setns(&network, CloneFlags::CLONE_NEWNET).expect("root enters a namespace");
                sys::tap(DEVICE)
            };
            scope.spawn(open).join().expect("it does not panic")
        });
        let pump = pump::Pump::start(plain, theirs);
        let mut guest = PortableGuest::new(ours, mac);
        guest.dhcp(PATIENCE).expect("a lease through the device");
        let (address, gateway) = (guest.address(), guest.gateway());
        drop(pump);
        tools::run(&format!("ip neigh replace {address} lladdr {mac} dev softnet0"));
        Load { device: tap.open(Offload::Off), mac, gateway_mac, address, gateway }
    }

    pub(crate) fn send(&mut self, tap: &Tap, length: usize, ids: Ids, sink: &UdpSocket) -> Nanos {
        let datagram = wire::udp((self.address, PORT), (self.gateway, PORT), &vec![0x55; length - 42]);
        let mut frame = wire::ethernet(self.gateway_mac, self.mac, IPV4, &datagram);
        let (arrived, done) = (AtomicU32::new(0), AtomicBool::new(false));
        let before = (on_cpu(tap.relay), on_cpu(tap.pump));
        sink.set_read_timeout(Some(Duration::from_millis(100))).expect("a limit");
        let (start, program) = (
            Instant::now(),
            thread::scope(|scope| {
                scope.spawn(|| {
                    let mut buffer = [0; 2048];
                    while !done.load(Ordering::Relaxed) {
                        if sink.recv(&mut buffer).is_ok() {
                            arrived.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
                let program = on_this_thread();
                let mut lost = 0;
                let mut spun = Duration::ZERO;
                for id in 0..FRAMES {
                    if ids == Ids::Counting {
                        frame[18..20].copy_from_slice(&(id as u16).to_be_bytes());
                        wire::fill_header_checksum(&mut frame);
                    }
                    let _ = self.device.write(&[&[0; HEADER][..], &frame].concat());
                    if id % 32 == 0 {
                        let wait = on_this_thread();
                        let since = Instant::now();
                        while id.saturating_sub(arrived.load(Ordering::Relaxed) + lost) > WINDOW {
                            if since.elapsed() > Duration::from_millis(100) {
                                lost = id - arrived.load(Ordering::Relaxed);
                            }
                            thread::sleep(Duration::from_micros(20));
                        }
                        spun += on_this_thread() - wait;
                    }
                }
                let program = on_this_thread() - program - spun;
                thread::sleep(Duration::from_millis(50));
                done.store(true, Ordering::Relaxed);
                program
            }),
        );
        let elapsed = start.elapsed();
        let arrived = arrived.load(Ordering::Relaxed);
        self.nanos(tap, before, program, elapsed, (FRAMES, arrived))
    }

    pub(crate) fn receive(&mut self, tap: &Tap, length: usize) -> Nanos {
        let host = UdpSocket::bind((self.gateway, 0)).expect("the gateway is an address of the host");
        let payload = vec![0x55; length - 42];
        let done = AtomicBool::new(false);
        let before = (on_cpu(tap.relay), on_cpu(tap.pump));
        let start = Instant::now();
        let (arrived, program) = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut buffer, mut count, mut device) = ([0; 2048], 0, &self.device);
                let begun = on_this_thread();
                loop {
                    match device.read(&mut buffer) {
                        Ok(_) => count += 1,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => {
                            if done.load(Ordering::Relaxed) {
                                return (count, on_this_thread() - begun);
                            }
                            sys::wait_readable(&[device], Duration::from_millis(100));
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
            for number in 0..FRAMES {
                let _ = host.send_to(&payload, (self.address, PORT));
                if number % 64 == 0 {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            thread::sleep(Duration::from_millis(50));
            done.store(true, Ordering::Relaxed);
            reader.join().expect("the reader ends")
        });
        self.nanos(tap, before, program, start.elapsed(), (FRAMES, arrived))
    }

    fn nanos(
        &self,
        tap: &Tap,
        before: (Duration, Duration),
        program: Duration,
        elapsed: Duration,
        (sent, arrived): (u32, u32),
    ) -> Nanos {
        let a_frame = |time: Duration| time.as_nanos() as f64 / f64::from(arrived.max(1));
        Nanos {
            relay: a_frame(settled(tap.relay) - before.0),
            pump: a_frame(settled(tap.pump) - before.1),
            program: a_frame(program),
            frames: f64::from(arrived) / elapsed.as_secs_f64(),
            lost: sent - arrived.min(sent),
        }
    }
}

fn on_this_thread() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts");
    Duration::from_nanos(text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("nanoseconds"))
}
