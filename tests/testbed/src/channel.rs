//! A client of the control channel, and how long a guest's pings take meanwhile.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::{Duration, Instant};

use crate::guest::PortableGuest;
use crate::wait::PATIENCE;
use crate::wire::{self, IPV4, Mac};

/// A client that asks and reads the answers.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    replies: BufReader<UnixStream>,
}

impl Client {
    /// A client on its end of a channel.
    ///
    /// # Panics
    /// When the socket cannot be set up.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let replies = BufReader::new(stream.try_clone().expect("a descriptor can be copied"));
        Client { stream, replies }
    }

    /// Sends bytes.
    ///
    /// # Panics
    /// When they are not taken in time.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("softnet reads");
    }

    /// The next reply, without its line feed; nothing at the end of the stream.
    ///
    /// # Panics
    /// When none comes in time.
    #[must_use]
    pub fn reply(&mut self) -> String {
        let mut line = String::new();
        self.replies.read_line(&mut line).expect("a reply in time");
        assert!(line.is_empty() || line.ends_with('\n'), "a reply ends with a line feed: {line:?}");
        line.trim_end_matches('\n').to_owned()
    }

    /// Sends a line and returns its reply.
    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\n").as_bytes());
        self.reply()
    }

    /// Puts a policy into force; entries are separated by commas.
    pub fn set(&mut self, allow: &str, block: &str) -> String {
        self.ask(&set(allow, block))
    }

    /// Says that it sends no more, and returns all that comes until the end.
    ///
    /// # Panics
    /// When the end does not come in time.
    #[must_use]
    pub fn finish(mut self) -> String {
        self.stream.shutdown(std::net::Shutdown::Write).expect("a stream can be half closed");
        let mut rest = String::new();
        self.replies.read_to_string(&mut rest).expect("the end of the stream in time");
        rest
    }

    /// The socket.
    #[must_use]
    pub fn into_stream(self) -> UnixStream {
        self.stream
    }
}

/// A request that sets a policy; entries are separated by commas.
#[must_use]
pub fn set(allow: &str, block: &str) -> String {
    let list = |entries: &str| {
        let quoted: Vec<String> =
            entries.split(',').filter(|entry| !entry.is_empty()).map(|entry| format!("\"{entry}\"")).collect();
        quoted.join(",")
    };
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"softnet.policy.set","params":{{"allow":[{}],"block":[{}]}}}}"#,
        list(allow),
        list(block)
    )
}

/// The longest policy there is, and a different one for each `variant`.
#[must_use]
pub fn longest_policy(variant: u32) -> String {
    let entry = |n: u32| format!("in 172.{}.{}.{}/32:{}-65535", 16 + n / 4096, n / 256, n % 256, 10_000 + n + variant);
    set(&(0..4096).map(entry).collect::<Vec<_>>().join(","), "")
}

/// A guest's pings of its gateway, past its stack: one in flight at a time.
#[derive(Debug)]
pub struct Pings {
    socket: UnixDatagram,
    to_gateway: Vec<u8>,
}

impl Pings {
    /// Takes over a guest that has a lease.
    ///
    /// # Panics
    /// When its gateway does not answer.
    #[must_use]
    pub fn of(mut guest: PortableGuest) -> Self {
        guest.flush();
        let (address, gateway, mac) = (guest.address(), guest.gateway(), guest.mac());
        let is_answer = |frame: &&Vec<u8>| wire::ip_addresses(frame) == Some((gateway, address));
        let gateway_mac = guest.seen().iter().rfind(is_answer).and_then(|frame| wire::source(frame));
        let echo = wire::echo(address, gateway, 77);
        let to_gateway = wire::ethernet(gateway_mac.expect("the gateway has answered"), mac, IPV4, &echo);
        let socket = guest.into_socket();
        socket.set_nonblocking(false).expect("a socket can block");
        Pings { socket, to_gateway }
    }

    /// How long an answer takes.
    ///
    /// # Errors
    /// None came within `limit`.
    pub fn once(&self, limit: Duration) -> io::Result<Duration> {
        self.socket.set_read_timeout(Some(limit))?;
        let start = Instant::now();
        self.socket.send(&self.to_gateway)?;
        let mut frame = [0; 2048];
        loop {
            let length = self.socket.recv(&mut frame)?;
            if wire::ip_addresses(&frame[..length]).is_some_and(|(from, _)| Some(from) == self.gateway()) {
                return Ok(start.elapsed());
            }
        }
    }

    fn gateway(&self) -> Option<Ipv4Addr> {
        wire::ip_addresses(&self.to_gateway).map(|(_, to)| to)
    }

    /// How long answers take until `stop` says so, and at least a thousand of them.
    ///
    /// # Panics
    /// When one does not come.
    #[must_use]
    pub fn measure(&self, mut stop: impl FnMut() -> bool) -> Latencies {
        let mut all = Vec::new();
        while all.len() < 1000 || !stop() {
            all.push(self.once(PATIENCE).expect("the gateway answers"));
        }
        all.sort_unstable();
        Latencies(all)
    }
}

/// How long answers took, sorted.
#[derive(Debug)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// The time that so many of a hundred took at most.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        self.0[(self.0.len() - 1) * percent / 100]
    }
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let micros = |percent| self.percentile(percent).as_micros();
        write!(f, "{} pings: p50 {} us, p99 {} us, max {} us", self.0.len(), micros(50), micros(99), micros(100))
    }
}

/// The MAC of the guests of these tests.
pub const MAC: Mac = Mac::guest(1);
