//! Bulk transfers over TCP, and connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::process::on_cpu;
use super::server::{CHUNK, ONCE, SINK, SOURCE};
use softnet_testbed::netns::Netns;

/// Until a connection has found its speed.
const RISE: Duration = Duration::from_millis(150);
/// What is measured of it.
const WINDOW: Duration = Duration::from_millis(500);
/// For how long connections are opened.
const OPENING: Duration = Duration::from_millis(200);

/// Which way the bytes go. The guest opens the connection either way.
#[derive(Clone, Copy)]
pub(crate) enum Way {
    ToHost,
    ToGuest,
}

/// A bulk transfer's speed, and what the contender spent on it.
pub(crate) struct Transfer {
    pub(crate) gigabits_a_second: f64,
    pub(crate) cpu_ms_a_gigabit: f64,
    /// What everything else spent on it: the guest's stack, its wire, the host's program.
    pub(crate) others_ms_a_gigabit: f64,
}

/// Runs `during` while bytes flow at full speed; it is given how many have arrived.
pub(crate) fn while_busy<T>(
    guest: &Netns,
    target: Ipv4Addr,
    way: Way,
    taken: &AtomicU64,
    during: impl FnOnce(&AtomicU64) -> T,
) -> T {
    let port = if matches!(way, Way::ToHost) { SINK } else { SOURCE };
    let mut connection =
        guest.enter(|| TcpStream::connect((target, port))).expect("the contender lets the guest connect");
    let closer = connection.try_clone().expect("a descriptor is doubled");
    let (stop, received) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = vec![0x55; CHUNK];
            while !stop.load(Ordering::Relaxed) {
                match way {
                    Way::ToHost => drop(connection.write(&buffer)),
                    Way::ToGuest => {
                        let length = connection.read(&mut buffer).unwrap_or(0);
                        received.fetch_add(length as u64, Ordering::Relaxed);
                    }
                }
            }
        });
        thread::sleep(RISE);
        let result = during(if matches!(way, Way::ToHost) { taken } else { &received });
        stop.store(true, Ordering::Relaxed);
        let _ = closer.shutdown(Shutdown::Both);
        result
    })
}

/// Measures a bulk transfer.
pub(crate) fn measure(guest: &Netns, target: Ipv4Addr, way: Way, taken: &AtomicU64, pid: u32) -> Transfer {
    while_busy(guest, target, way, taken, |count| {
        let sample = || (on_cpu(pid), count.load(Ordering::Relaxed), Instant::now(), on_cpu(std::process::id()));
        let before = sample();
        thread::sleep(WINDOW);
        let after = sample();
        let gigabits = (after.1 - before.1) as f64 * 8e-9;
        Transfer {
            gigabits_a_second: gigabits / (after.2 - before.2).as_secs_f64(),
            cpu_ms_a_gigabit: (after.0 - before.0).as_secs_f64() * 1e3 / gigabits,
            others_ms_a_gigabit: (after.3 - before.3).as_secs_f64() * 1e3 / gigabits,
        }
    })
}

/// Connections a second, one after the other: open, one byte each way, closed by the host.
pub(crate) fn connections_a_second(guest: &Netns, target: Ipv4Addr) -> f64 {
    guest.enter(|| {
        let (start, mut count) = (Instant::now(), 0);
        while start.elapsed() < OPENING {
            let mut connection = TcpStream::connect((target, ONCE)).expect("the contender lets the guest connect");
            let mut answer = Vec::new();
            connection.write_all(&[1]).and_then(|()| connection.read_to_end(&mut answer)).expect("the host answers");
            assert_eq!(answer, [1], "the host's answer");
            count += 1;
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    })
}
