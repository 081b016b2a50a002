//! The control channel's socket: bytes between a client and its [`Session`], a bounded number a turn.
//!
//! # Theory of operation
//! [`Channel::turn`] is called once between frames, when its socket is ready or there is work left. It sends what waits, and
//! then either reads 4 KiB or lets the session do one step: nothing of it takes as long as a frame may wait. While a
//! byte of a reply is unsent nothing is read, so that a client that does not read holds up itself alone.
//!
//! When the client has sent its last byte, what it asked is done and answered first. Then, as when the channel fails or its
//! session is over, the socket is shut down both ways: others may hold copies of it, and the client is to see the end all
//! the same. The descriptor stays open, for its number must not become free (`sandbox`). The policy stays as it is, and frames
//! go on. A client that is gone before it has read its replies has asked all the same: what it had sent is done.
//!
//! The socket is used by MSG_DONTWAIT: O_NONBLOCK would be set for the program that started us as well.
//!
//! May: the session, the engine by way of it, `sys`. Must not: block, end softnet.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::poll::{PollFd, PollFlags};

use crate::control::{ChannelNames, Session};
use crate::engine::Engine;
use crate::sys::stream;

/// Bytes that are read a turn. 4 KiB of a request take some 0.02 ms, and of the shortest entries 0.1 ms.
const PIECE: usize = 4 << 10;

/// The control channel of one guest.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    session: Session,
    input: Box<[u8; PIECE]>,
    /// The part of `input` that the session has not read.
    start: usize,
    end: usize,
    state: State,
}

/// How far the channel's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The client may send.
    Open,
    /// The client sends no more; replies may be on their way.
    Ending,
    /// Shut down.
    Over,
}

impl Channel {
    /// A channel on `socket`, a connected stream, about the policy of `engine`, whose clients may use names or not.
    #[must_use]
    pub fn new(socket: OwnedFd, engine: &Engine, names: ChannelNames) -> Self {
        Channel {
            socket,
            session: Session::new(engine, names),
            input: Box::new([0; PIECE]),
            start: 0,
            end: 0,
            state: State::Open,
        }
    }

    /// What to wait for, if for anything.
    #[must_use]
    pub fn poll_fd(&self) -> Option<PollFd<'_>> {
        let flags = match self.state {
            State::Over => return None,
            _ if !self.session.unsent().is_empty() => PollFlags::POLLOUT,
            State::Open => PollFlags::POLLIN,
            State::Ending => return None,
        };
        Some(PollFd::new(self.socket.as_fd(), flags))
    }

    /// Whether there is work that waits for nothing.
    #[must_use]
    pub fn has_work(&self) -> bool {
        self.state != State::Over
            && self.session.unsent().is_empty()
            && (self.session.is_busy() || self.has_input() || self.state == State::Ending)
    }

    /// Does what can be done now, in bounded time.
    pub fn turn(&mut self, engine: &mut Engine) {
        if self.state == State::Over {
            return;
        }
        self.send();
        if !self.is_flushed() {
            return;
        }
        if self.has_input() || self.session.is_busy() || self.state == State::Ending {
            self.start += self.session.advance(&self.input[self.start..self.end], engine);
        } else if let Err(error) = self.receive() {
            log::info!("the control channel fails, and the policy stays as it is: {error}");
            self.shut_down();
            return;
        }
        self.send();
        if self.session.is_over() {
            log::info!("the control channel is shut down: too many replies wait for its client");
            self.shut_down();
        } else if self.state == State::Ending && !self.has_input() && !self.session.is_busy() && self.is_flushed() {
            log::info!("the control channel's client has ended it, and the policy stays as it is");
            self.shut_down();
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        (self.start, self.end) = (0, 0);
        match stream::receive(self.socket.as_fd(), &mut self.input[..])? {
            Some(0) => self.state = State::Ending,
            Some(count) => self.end = count,
            None => {}
        }
        Ok(())
    }

    fn send(&mut self) {
        while !self.is_flushed() {
            match stream::send(self.socket.as_fd(), self.session.unsent()) {
                Ok(Some(count)) => self.session.mark_sent(count),
                Ok(None) => return,
                Err(error) => {
                    log::debug!("nobody reads a reply on the control channel: {error}");
                    self.session.mark_sent(usize::MAX);
                }
            }
        }
    }

    fn has_input(&self) -> bool {
        self.start < self.end
    }

    fn is_flushed(&self) -> bool {
        self.session.unsent().is_empty()
    }

    /// Ends it, at once, so that the client sees the end whoever else holds a copy of the socket.
    pub fn shut_down(&mut self) {
        if self.state == State::Over {
            return;
        }
        self.state = State::Over;
        if let Err(error) = stream::shut_down(self.socket.as_fd()) {
            log::debug!("shutting the control channel down: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;
    use crate::engine::sample;

    const GET: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"softnet.policy.get\"}\n";
    /// Of one rule.
    const SET: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"softnet.policy.set\",\
        \"params\":{\"allow\":[\"@host\"],\"block\":[]}}\n";

    struct Bench {
        channel: Channel,
        engine: Engine,
        client: UnixStream,
        /// Another descriptor of the channel's own end.
        copy: UnixStream,
    }

    fn bench() -> Bench {
        let (ours, client) = UnixStream::pair().unwrap();
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let engine = sample::engine();
        let copy = ours.try_clone().unwrap();
        Bench { channel: Channel::new(ours.into(), &engine, ChannelNames::Refused), engine, client, copy }
    }

    impl Bench {
        fn turns(&mut self, count: usize) {
            for _ in 0..count {
                self.channel.turn(&mut self.engine);
            }
        }

        /// The client goes away; what it has asked for, a policy of one rule, is done, and the channel is over.
        fn expect_all_done_without_client(&mut self) {
            let (placeholder, _) = UnixStream::pair().unwrap();
            drop(std::mem::replace(&mut self.client, placeholder));
            self.turns(40);
            assert!(self.is_over());
            assert_eq!(self.engine.rule_count(), 1);
        }

        /// Bytes that wait to be received by the channel.
        fn waiting(&self) -> usize {
            let mut buffer = vec![0; 1 << 20];
            let flags = nix::sys::socket::MsgFlags::MSG_PEEK | nix::sys::socket::MsgFlags::MSG_DONTWAIT;
            nix::sys::socket::recv(std::os::fd::AsRawFd::as_raw_fd(&self.copy), &mut buffer, flags).unwrap_or(0)
        }

        fn waits_for(&self) -> Option<PollFlags> {
            self.channel.poll_fd().map(|fd| fd.events())
        }

        fn is_over(&self) -> bool {
            self.waits_for().is_none() && !self.channel.has_work()
        }
    }

    #[test]
    fn a_turn_reads_a_bounded_number_of_bytes() {
        let mut bench = bench();
        bench.client.write_all(&[b' '; 16 * PIECE]).unwrap();
        let before = bench.waiting();
        bench.turns(1);
        assert_eq!(before - bench.waiting(), PIECE);
        assert!(bench.channel.has_work(), "what was read is for the next turn");
    }

    #[test]
    fn without_anything_to_do_it_waits_for_the_client() {
        let mut bench = bench();
        bench.turns(3);
        assert_eq!((bench.waits_for(), bench.channel.has_work()), (Some(PollFlags::POLLIN), false));
    }

    #[test]
    fn while_a_byte_of_a_reply_is_unsent_nothing_is_read() {
        let mut bench = bench();
        setsockopt(&bench.copy, sockopt::SndBuf, &4096).unwrap();
        bench.client.write_all(&GET.repeat(1000)).unwrap();
        // A piece and its replies at a time, until the client's side is full.
        bench.turns(2000);
        assert_eq!((bench.waits_for(), bench.channel.has_work()), (Some(PollFlags::POLLOUT), false));
        let waiting = bench.waiting();
        assert!(waiting > PIECE, "{waiting}");
        bench.turns(100);
        assert_eq!(bench.waiting(), waiting);
        // Each reply comes once the client reads.
        let mut replies = Vec::new();
        bench.client.set_nonblocking(true).unwrap();
        while replies.iter().filter(|&&byte| byte == b'\n').count() < 1000 {
            let mut buffer = [0; 4096];
            if let Ok(count) = bench.client.read(&mut buffer) {
                replies.extend_from_slice(&buffer[..count]);
            }
            bench.turns(1);
        }
        assert_eq!(bench.waits_for(), Some(PollFlags::POLLIN));
    }

    #[test]
    fn the_end_comes_behind_the_replies_and_is_seen_though_there_are_copies() {
        let mut bench = bench();
        bench.client.write_all(&[GET, GET, b"no line feed"].concat()).unwrap();
        bench.client.shutdown(Shutdown::Write).unwrap();
        bench.turns(20);
        assert!(bench.is_over());
        let mut replies = String::new();
        bench.client.read_to_string(&mut replies).unwrap();
        assert_eq!(replies.lines().count(), 2);
    }

    #[test]
    fn what_was_asked_by_a_client_that_is_gone_is_done() {
        let mut bench = bench();
        bench.client.write_all(&[GET, GET, SET].concat()).unwrap();
        bench.expect_all_done_without_client();
    }

    #[test]
    fn replies_that_a_client_has_left_unread_do_not_keep_its_requests_from_being_done() {
        let mut bench = bench();
        bench.client.write_all(GET).unwrap();
        bench.turns(10);
        bench.client.write_all(SET).unwrap();
        bench.expect_all_done_without_client();
    }

    #[test]
    fn a_client_that_only_stops_reading_is_still_heard() {
        let mut bench = bench();
        bench.client.shutdown(Shutdown::Read).unwrap();
        bench.client.write_all(GET).unwrap();
        bench.turns(20);
        assert_eq!((bench.waits_for(), bench.channel.has_work()), (Some(PollFlags::POLLIN), false));
        drop(bench.client.shutdown(Shutdown::Both));
        bench.turns(20);
        assert!(bench.is_over());
    }
}
