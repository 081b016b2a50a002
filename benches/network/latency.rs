//! How long an answer takes: a byte over TCP, a ping, a ping while a bulk transfer fills the path.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
use softnet_testbed::netns::Netns;

use super::server::ECHO;

/// Questions in a row.
const QUESTIONS: usize = 2000;
/// After which a ping counts as lost, which is longer than any.
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

/// One byte there and one back, on one connection.
pub(crate) fn request_response(guest: &Netns, target: Ipv4Addr) -> Percentiles {
    guest.enter(|| {
        let mut connection = TcpStream::connect((target, ECHO)).expect("the contender lets the guest connect");
        connection.set_nodelay(true).expect("a connection can be without delay");
        let times = (0..QUESTIONS).map(|_| {
            let (start, mut byte) = (Instant::now(), [1]);
            connection.write_all(&byte).and_then(|()| connection.read_exact(&mut byte)).expect("the host answers");
            start.elapsed()
        });
        Percentiles::of(times.collect())
    })
}

/// Pings, one after the other, `QUESTIONS` or for as long as `limit`.
pub(crate) fn ping(guest: &Netns, target: Ipv4Addr, limit: Duration) -> Percentiles {
    guest.enter(|| {
        let icmp = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::empty(), SockProtocol::Icmp);
        let socket = UdpSocket::from(icmp.expect("a socket for pings"));
        socket.connect((target, 0)).expect("a target for pings");
        socket.set_read_timeout(Some(LOST)).expect("a socket has a time limit");
        let (began, mut times) = (Instant::now(), Vec::new());
        while times.len() < QUESTIONS && began.elapsed() < limit {
            let start = Instant::now();
            times.push(match answered(&socket, times.len() as u16) {
                Ok(()) => start.elapsed(),
                Err(_) => LOST,
            });
        }
        Percentiles::of(times)
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
