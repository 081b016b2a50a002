//! How long an answer takes: a byte over TCP, a ping, a ping while a bulk transfer fills the path.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use softnet_testbed::netns::Netns;

use super::server::ECHO;

/// Questions a round.
const QUESTIONS: usize = 1000;
/// Between two questions where the path is full.
const BEAT: Duration = Duration::from_millis(1);
/// After which an answer counts as lost, which is longer than any takes.
const LOST: Duration = Duration::from_millis(500);

/// Two points of a distribution, in microseconds.
pub(crate) struct Percentiles {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Percentiles {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e6;
        Percentiles { p50: at(0.5), p99: at(0.99) }
    }
}

/// What asks a contender's guest's question once, and waits for the answer.
pub(crate) type Asker = Box<dyn FnMut() -> io::Result<()>>;

/// Asks through each contender in turn, again and again, so that what else the machine does falls on all of them.
pub(crate) fn in_turns(mut askers: Vec<Asker>) -> Vec<Percentiles> {
    let mut times = vec![Vec::new(); askers.len()];
    for _ in 0..QUESTIONS {
        for (asker, times) in askers.iter_mut().zip(&mut times) {
            times.push(time(asker));
        }
    }
    times.into_iter().map(Percentiles::of).collect()
}

/// Asks once a millisecond, or when the answer is there if that takes longer, for as long as `limit`. Without such a beat a
/// moment in which answers are quick would count for as many as there is room for in it.
pub(crate) fn for_a_while(mut asker: Asker, limit: Duration) -> Percentiles {
    let (began, mut times) = (Instant::now(), Vec::new());
    let mut next = Duration::ZERO;
    while next < limit {
        thread::sleep(next.saturating_sub(began.elapsed()));
        times.push(time(&mut asker));
        next = began.elapsed().max(next + BEAT);
    }
    Percentiles::of(times)
}

fn time(asker: &mut Asker) -> Duration {
    let start = Instant::now();
    match asker() {
        Ok(()) => start.elapsed(),
        Err(_) => LOST,
    }
}

/// One byte there and one back, on one connection.
pub(crate) fn exchange(guest: &Netns, target: Ipv4Addr) -> Asker {
    let mut connection =
        guest.enter(|| TcpStream::connect((target, ECHO))).expect("the contender lets the guest connect");
    connection.set_nodelay(true).expect("a connection can be without delay");
    Box::new(move || {
        let mut byte = [1];
        connection.write_all(&byte)?;
        connection.read_exact(&mut byte)
    })
}

/// A ping.
pub(crate) fn ping(guest: &Netns, target: Ipv4Addr) -> Asker {
    let icmp = guest.enter(|| socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), SockProtocol::Icmp));
    let socket = UdpSocket::from(icmp.expect("a socket for pings"));
    socket.connect((target, 0)).expect("a target for pings");
    socket.set_read_timeout(Some(LOST)).expect("a socket has a time limit");
    let mut sequence: u16 = 0;
    Box::new(move || {
        sequence = sequence.wrapping_add(1);
        answered(&socket, sequence)
    })
}

/// One ping. The kernel fills in identifier and checksum (ping_v4_sendmsg).
fn answered(socket: &UdpSocket, sequence: u16) -> io::Result<()> {
    let [high, low] = sequence.to_be_bytes();
    let mut message = [0; 64];
    message[0] = 8; // echo request, RFC 792
    message[6..8].copy_from_slice(&[high, low]);
    socket.send(&message)?;
    let mut answer = [0; 128];
    loop {
        let length = socket.recv(&mut answer)?;
        // A late answer to a lost one is not this one's.
        if length >= 8 && answer[0] == 0 && answer[6..8] == [high, low] {
            return Ok(());
        }
    }
}
