//! One TCP connection between a guest's kernel and the host's, and what the process between spends on it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use softnet_testbed::guest::KernelGuest;
use softnet_testbed::netns::Netns;

use super::load::on_cpu;

/// How long one measurement takes.
const TIME: Duration = Duration::from_millis(1500);
/// A write.
const CHUNK: usize = 128 << 10;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Guest,
    Host,
}

/// What was carried, in which time, and for how much of a processor.
pub(crate) struct Rate {
    bytes: u64,
    elapsed: Duration,
    cpu: Duration,
}

impl Rate {
    pub(crate) fn gigabits_a_second(&self) -> f64 {
        self.bytes as f64 * 8e-9 / self.elapsed.as_secs_f64()
    }

    pub(crate) fn cpu_ms_a_gigabit(&self) -> f64 {
        self.share(self.cpu)
    }

    /// What `cpu` is of a gigabit, in milliseconds.
    pub(crate) fn share(&self, cpu: Duration) -> f64 {
        cpu.as_secs_f64() * 1e3 / (self.bytes as f64 * 8e-9)
    }
}

/// A guest, and the process that carries its frames.
pub(crate) struct Subject {
    pub(crate) guest: KernelGuest,
    pub(crate) pid: u32,
}

impl Subject {
    /// One connection to the host, over which `from` sends as fast as it can.
    pub(crate) fn measure(&self, gateway: Ipv4Addr, from: From) -> Rate {
        let listener = TcpListener::bind((gateway, 0)).expect("the gateway is an address of the host");
        let address = listener.local_addr().expect("its port");
        let netns: &Netns = self.guest.netns();
        thread::scope(|scope| {
            let host = scope.spawn(|| {
                let (stream, _) = listener.accept().expect("the guest connects");
                match from {
                    From::Guest => receive(stream),
                    From::Host => send(stream),
                }
            });
            let before = on_cpu(self.pid);
            let start = Instant::now();
            let in_guest = netns.enter(|| {
                let stream = TcpStream::connect(address).expect("the guest reaches the host");
                match from {
                    From::Guest => send(stream),
                    From::Host => receive(stream),
                }
            });
            let in_host = host.join().expect("the host's end");
            let elapsed = start.elapsed();
            let bytes = if from == From::Guest { in_host } else { in_guest };
            Rate { bytes, elapsed, cpu: on_cpu(self.pid) - before }
        })
    }
}

fn send(mut stream: TcpStream) -> u64 {
    let (chunk, start, mut sent) = (vec![0x55; CHUNK], Instant::now(), 0);
    while start.elapsed() < TIME {
        stream.write_all(&chunk).expect("the other end reads");
        sent += CHUNK as u64;
    }
    stream.shutdown(Shutdown::Write).expect("an end");
    // Until all has arrived.
    let _ = stream.read(&mut [0]);
    sent
}

fn receive(mut stream: TcpStream) -> u64 {
    let (mut chunk, mut received) = (vec![0; CHUNK], 0);
    loop {
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return received,
            Ok(length) => received += length as u64,
        }
    }
}
