//! The frames that are carried, and what the process that carries them spends on them.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use softnet_testbed::guest::PortableGuest;
use softnet_testbed::tools;
use softnet_testbed::wire::{self, IPV4, Mac};

/// Frames a measurement, either way.
const FRAMES: u32 = 100_000;
const PORT: u16 = 9;
/// Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;
/// Where the identification is.
const ID: usize = 14 + 4;
/// Where the filterless bridge's guest is: an address that DHCP has not given away.
const BESIDE: u8 = 253;

/// What a process spent on how many frames.
pub(crate) struct Cost {
    cpu: Duration,
    frames: u32,
}

impl Cost {
    pub(crate) fn nanos_a_frame(&self) -> f64 {
        self.cpu.as_nanos() as f64 / f64::from(self.frames.max(1))
    }
}

/// The identifications of a guest's datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ids {
    /// They count up, as those of a connected socket of Linux do.
    Counting,
    /// They do not: no two datagrams can be told to the kernel as one.
    Odd,
}

/// The guest on both: the one with a lease behind softnet, and its double behind the filterless bridge.
pub(crate) struct Guest {
    mac: Mac,
    pub(crate) gateway_mac: Mac,
    address: Ipv4Addr,
    gateway: Ipv4Addr,
    socket: UnixDatagram,
    /// What swallows the datagrams that arrive at the host, so that it does not answer with ICMP errors.
    pub(crate) sink: UdpSocket,
}

impl Guest {
    pub(crate) fn new(guest: PortableGuest) -> Self {
        let (mac, address, gateway) = (guest.mac(), guest.address(), guest.gateway());
        let text = tools::run("ip -o link show softnet0");
        let gateway_mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
        let gateway_mac = parse_mac(gateway_mac.expect("a bridge has a MAC"));
        let [a, b, c, _] = gateway.octets();
        for (address, mac) in [(address, mac), (Ipv4Addr::new(a, b, c, BESIDE), Mac::guest(2))] {
            tools::run(&format!("ip neigh replace {address} lladdr {mac} dev softnet0"));
        }
        let socket = guest.into_socket();
        socket.set_nonblocking(false).expect("a socket can block");
        let sink = UdpSocket::bind((gateway, PORT)).expect("the gateway is an address of the host");
        Guest { mac, gateway_mac, address, gateway, socket, sink }
    }

    /// The guest sends, through softnet.
    pub(crate) fn send(&self, pid: u32, length: usize, ids: Ids) -> Cost {
        self.flood_host(pid, (&self.socket, self.mac, self.address), length, ids)
    }

    /// Its double sends, through the filterless bridge.
    pub(crate) fn send_to_host(&self, pid: u32, socket: &UnixDatagram, length: usize, ids: Ids) -> Cost {
        self.flood_host(pid, (socket, Mac::guest(2), self.beside()), length, ids)
    }

    /// The guest receives, through softnet.
    pub(crate) fn receive(&self, pid: u32, length: usize) -> Cost {
        self.flood_guest(pid, &self.socket, self.address, length)
    }

    /// Its double receives, through the filterless bridge.
    pub(crate) fn receive_beside(&self, pid: u32, socket: &UnixDatagram, length: usize) -> Cost {
        self.flood_guest(pid, socket, self.beside(), length)
    }

    fn beside(&self) -> Ipv4Addr {
        let [a, b, c, _] = self.gateway.octets();
        Ipv4Addr::new(a, b, c, BESIDE)
    }

    fn flood_host(&self, pid: u32, from: (&UnixDatagram, Mac, Ipv4Addr), length: usize, ids: Ids) -> Cost {
        let (socket, mac, address) = from;
        let payload = vec![0x55; length - HEADERS];
        let datagram = wire::udp((address, PORT), (self.gateway, PORT), &payload);
        let mut frame = wire::ethernet(self.gateway_mac, mac, IPV4, &datagram);
        let before = on_cpu(pid);
        for id in 0..FRAMES {
            if ids == Ids::Counting {
                frame[ID..ID + 2].copy_from_slice(&(id as u16).to_be_bytes());
                wire::fill_header_checksum(&mut frame);
            }
            // Blocks while the socket is full, so that no frame is lost before it is carried.
            socket.send(&frame).expect("the relay reads");
        }
        Cost { cpu: settled(pid) - before, frames: FRAMES }
    }

    fn flood_guest(&self, pid: u32, socket: &UnixDatagram, address: Ipv4Addr, length: usize) -> Cost {
        let host = UdpSocket::bind((self.gateway, 0)).expect("the gateway is an address of the host");
        let payload = vec![0x55; length - HEADERS];
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a socket has a time limit");
        let done = AtomicBool::new(false);
        let before = on_cpu(pid);
        let received = thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let (mut buffer, mut count) = ([0; 2048], 0);
                loop {
                    match socket.recv(&mut buffer) {
                        Ok(_) => count += 1,
                        Err(_) if done.load(Ordering::Relaxed) => return count,
                        Err(_) => {}
                    }
                }
            });
            for _ in 0..FRAMES {
                // The TAP's queue is short: what overflows it never reaches the relay, and is not counted.
                let _ = host.send_to(&payload, (address, PORT));
            }
            done.store(true, Ordering::Relaxed);
            reader.join().expect("the reader ends")
        });
        Cost { cpu: settled(pid) - before, frames: received }
    }
}

/// The time that process `pid` has spent on a processor (proc_pid_schedstat(5), first field).
pub(crate) fn on_cpu(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).expect("the relay runs, and the kernel counts");
    Duration::from_nanos(text.split_whitespace().next().and_then(|word| word.parse().ok()).expect("nanoseconds"))
}

/// The same, once what was sent has been carried: it does not grow any more.
pub(crate) fn settled(pid: u32) -> Duration {
    let (mut last, mut since) = (on_cpu(pid), Instant::now());
    while since.elapsed() < Duration::from_millis(100) {
        thread::sleep(Duration::from_millis(20));
        let now = on_cpu(pid);
        if now - last > Duration::from_micros(500) {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

fn parse_mac(text: &str) -> Mac {
    let mut octets = text.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("an octet"));
    Mac(std::array::from_fn(|_| octets.next().expect("six octets")))
}
