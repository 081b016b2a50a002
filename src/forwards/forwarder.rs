//! The companion that forwards: what comes to the host's ports goes to the guest's, and back.
//!
//! # Theory of operation
//! One thread, one wait (epoll(7)), no read or write that waits. Each turn does a bounded amount for each socket that is ready, so that
//! no connection holds up another. There are at most [`MOST_CONNECTIONS`] of TCP at a time and `super::udp::MOST_CLIENTS` clients of UDP; whoever
//! comes then is refused at once. The relay says what the lease is, whenever that changes; the forwarder says how many go through each
//! port when that has changed, once a second at the most (`words.rs`).
//!
//! It runs inside the sandbox of [`crate::sandbox::calls::FORWARDER`], as the user that softnet has become. It sees what clients send
//! and what the guest answers, as any proxy does, and looks at none of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::ports::Port;
use super::tcp::{self, Connection, Progress, Side};
use super::udp::Clients;
use super::words;
use crate::cli::Carrier;
use crate::companion::line::{Heard, Line, MAX_MESSAGE, Told};
use crate::engine::{Duration, Instant};
use crate::sys::clock;

/// The most TCP connections at a time.
pub const MOST_CONNECTIONS: usize = 256;
/// No descriptor of the companion's has this number: two a connection, one a client of UDP, the ports, and few more.
pub const DESCRIPTORS: u64 = 1024;
/// Connections that are taken from one port in a turn.
const ACCEPTS_A_TURN: usize = 16;
/// Events of a turn.
const EVENTS: usize = 64;
/// How often the deadlines of connections and clients are looked at, and how many they are.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const SCRATCH: usize = tcp::MOST_HELD;

/// All that the companion has, made in the setup phase.
pub struct Forwarder {
    epoll: Epoll,
    ports: Vec<Open>,
    lease: Option<Ipv4Addr>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    /// Free after this turn, whose events may still name them.
    freed: Vec<usize>,
    clients: Clients,
    /// What goes through each port, as the relay was told last.
    told: Vec<u16>,
    scratch: Vec<u8>,
}

/// One of the host's ports.
pub(super) enum Open {
    Tcp(TcpListener, u16),
    Udp(UdpSocket, u16),
}

impl Forwarder {
    /// A forwarder of these ports, without a lease.
    ///
    /// # Errors
    /// Those of epoll_create(2).
    pub fn new(ports: Vec<Port>) -> io::Result<Self> {
        let open = |port: Port| match port.forward.carrier {
            Carrier::Tcp => Open::Tcp(TcpListener::from(port.socket), port.forward.internal),
            Carrier::Udp => Open::Udp(UdpSocket::from(port.socket), port.forward.internal),
        };
        Ok(Forwarder {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            told: vec![0; ports.len()],
            ports: ports.into_iter().map(open).collect(),
            lease: None,
            connections: Vec::new(),
            free: Vec::new(),
            freed: Vec::new(),
            clients: Clients::default(),
            scratch: vec![0; SCRATCH],
        })
    }

    /// The descriptors that it has.
    #[must_use]
    pub fn descriptors(&self) -> Vec<RawFd> {
        let ports = self.ports.iter().map(|port| port.as_fd().as_raw_fd());
        ports.chain([self.epoll.0.as_raw_fd()]).collect()
    }

    /// Forwards until the line ends.
    pub fn run(mut self, line: Line) {
        if let Err(errno) = self.turns(&line) {
            log::warn!("the port forwards end: {errno}");
        }
        // The ports first: when the line ends they are free.
        drop(self);
        drop(line);
    }

    fn turns(&mut self, line: &Line) -> nix::Result<()> {
        let add = |fd, token| self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN, token));
        add(line.as_fd(), Token::LINE)?;
        for (index, port) in self.ports.iter().enumerate() {
            add(port.as_fd(), Token::port(index))?;
        }
        let mut events = [EpollEvent::empty(); EVENTS];
        let mut next_look = clock::now();
        loop {
            // Nothing has a deadline while there is nothing, and the relay knows.
            let is_idle = self.clients.is_empty()
                && self.connections.iter().all(Option::is_none)
                && self.told.iter().all(|&count| count == 0);
            let timeout = if is_idle { EpollTimeout::NONE } else { EpollTimeout::from(1000u16) };
            let count = match self.epoll.wait(&mut events, timeout) {
                Err(Errno::EINTR) => 0,
                count => count?,
            };
            let now = clock::now();
            // What the relay says of the lease comes first: nothing that waited meanwhile goes where the guest was.
            if events[..count].iter().any(|event| event.data() == Token::LINE) && !self.listen(line) {
                return Ok(());
            }
            for event in &events[..count] {
                match Token::of(event.data()) {
                    Token::Line => {}
                    Token::Port(index) => self.on_port(index, now),
                    Token::Connection(index, side) => self.on_connection(index, side, event.events()),
                    Token::Client(index) => self.clients.on_answer(index, &self.ports, &mut self.scratch, now),
                }
            }
            if now >= next_look {
                next_look = now + LOOK_EVERY;
                self.clients.forget(|client| client.is_idle(now));
                self.end_connections(|connection| connection.is_overdue(now));
                self.tell_counts(line);
            }
            self.free.append(&mut self.freed);
            self.clients.reuse();
        }
    }

    /// Whether to go on.
    fn listen(&mut self, line: &Line) -> bool {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            match line.hear(&mut buffer) {
                Heard::Nothing => return true,
                Heard::End => return false,
                Heard::Message(length) => {
                    let lease = words::read_lease(&buffer[..length]);
                    // What led to the old address leads nowhere.
                    if lease != self.lease {
                        self.lease = lease;
                        self.end_connections(|_| true);
                        self.clients.forget(|_| true);
                    }
                }
            }
        }
    }

    /// What goes through each port. A line that is full takes the next look's.
    fn tell_counts(&mut self, line: &Line) {
        let mut counts = vec![0; self.ports.len()];
        let through = self.connections.iter().flatten().map(|connection| connection.port);
        for port in through.chain(self.clients.ports()) {
            if let Some(count) = counts.get_mut(port) {
                *count += 1;
            }
        }
        if counts != self.told && line.tell(words::counts(&counts).as_bytes()) == Told::Sent {
            self.told = counts;
        }
    }

    fn on_port(&mut self, index: usize, now: Instant) {
        match self.ports.get(index) {
            Some(&Open::Tcp(_, internal)) => {
                for _ in 0..ACCEPTS_A_TURN {
                    let Some(Open::Tcp(listener, _)) = self.ports.get(index) else { return };
                    match listener.accept() {
                        Ok((client, _)) => self.begin(client.into(), index, internal, now),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                        // One that was gone before it was taken, for instance (accept(2)).
                        Err(_) => {}
                    }
                }
            }
            Some(Open::Udp(socket, internal)) => {
                let to = self.lease.map(|lease| SocketAddrV4::new(lease, *internal));
                self.clients.on_question(index, socket, to, &self.epoll, &mut self.scratch, now);
            }
            None => {}
        }
    }

    fn begin(&mut self, client: OwnedFd, port: usize, internal: u16, now: Instant) {
        let used = self.connections.len() - self.free.len() - self.freed.len();
        let (Some(lease), true) = (self.lease, used < MOST_CONNECTIONS) else {
            tcp::reset(client);
            return;
        };
        let connection = match Connection::begin(client, port, SocketAddrV4::new(lease, internal), now) {
            Ok(connection) => connection,
            Err((client, _)) => {
                tcp::reset(client);
                return;
            }
        };
        let index = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        if let Some(slot) = self.connections.get_mut(index) {
            *slot = Some(connection);
        }
        self.ask(index);
    }

    fn on_connection(&mut self, index: usize, side: Side, flags: EpollFlags) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        match connection.on_ready(side, flags, &mut self.scratch) {
            Progress::Open => self.ask(index),
            Progress::Done => drop(self.take(index)),
            Progress::Failed => {
                if let Some(connection) = self.take(index) {
                    connection.reset();
                }
            }
        }
    }

    /// Asks epoll(7) for what the connection waits for. A socket of which nothing is wanted is taken out: it would tell of its
    /// end again and again.
    fn ask(&mut self, index: usize) {
        let Some(Some(connection)) = self.connections.get_mut(index) else { return };
        let wanted = connection.wanted();
        let mut failed = false;
        for (which, side) in [Side::Client, Side::Guest].into_iter().enumerate() {
            let (had, wants) = (connection.interest[which], wanted[which]);
            if had == wants {
                continue;
            }
            let mut event = EpollEvent::new(wants, Token::connection(index, side));
            let socket = connection.sockets()[which];
            let asked = match (had.is_empty(), wants.is_empty()) {
                (true, _) => self.epoll.add(socket, event),
                (false, true) => self.epoll.delete(socket),
                (false, false) => self.epoll.modify(socket, &mut event),
            };
            failed |= asked.is_err();
            connection.interest[which] = wants;
        }
        if failed && let Some(connection) = self.take(index) {
            connection.reset();
        }
    }

    /// A closed socket leaves epoll(7) by itself: nobody else has it.
    fn take(&mut self, index: usize) -> Option<Connection> {
        let connection = self.connections.get_mut(index)?.take()?;
        self.freed.push(index);
        Some(connection)
    }

    fn end_connections(&mut self, which: impl Fn(&Connection) -> bool) {
        for index in 0..self.connections.len() {
            if self.connections[index].as_ref().is_some_and(&which)
                && let Some(connection) = self.take(index)
            {
                connection.reset();
            }
        }
    }
}

impl Open {
    /// The socket, if it is one of UDP.
    pub(super) fn udp(&self) -> Option<&UdpSocket> {
        match self {
            Open::Udp(socket, _) => Some(socket),
            Open::Tcp(..) => None,
        }
    }
}

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Open::Tcp(listener, _) => listener.as_fd(),
            Open::Udp(socket, _) => socket.as_fd(),
        }
    }
}

/// What an event is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    Line,
    Port(usize),
    Connection(usize, Side),
    Client(usize),
}

impl Token {
    pub(super) const LINE: u64 = 0;

    const fn with(kind: u64, index: usize) -> u64 {
        (index as u64) << 3 | kind
    }

    pub(super) const fn port(index: usize) -> u64 {
        Self::with(1, index)
    }

    pub(super) const fn connection(index: usize, side: Side) -> u64 {
        Self::with(if matches!(side, Side::Client) { 2 } else { 3 }, index)
    }

    pub(super) const fn client(index: usize) -> u64 {
        Self::with(4, index)
    }

    fn of(data: u64) -> Self {
        let index = usize::try_from(data >> 3).unwrap_or(usize::MAX);
        match data & 7 {
            1 => Token::Port(index),
            2 => Token::Connection(index, Side::Client),
            3 => Token::Connection(index, Side::Guest),
            4 => Token::Client(index),
            _ => Token::Line,
        }
    }
}
