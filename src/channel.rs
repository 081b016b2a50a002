//! The control channel's socket: bytes between a client and its [`Session`], a bounded number a turn.
//!
//! # Theory of operation
//! [`Channel::turn`] is called once between frames, when its socket is ready or there is work left. It sends what waits, and
//! then either reads [`PIECE`] bytes or lets the session do one step: nothing of it takes as long as a frame may wait. While a
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

use crate::control::Session;
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
    /// A channel on `socket`, a connected stream, about the policy of `engine`.
    #[must_use]
    pub fn new(socket: OwnedFd, engine: &Engine) -> Self {
        Channel {
            socket,
            session: Session::new(engine),
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

    fn shut_down(&mut self) {
        self.state = State::Over;
        if let Err(error) = stream::shut_down(self.socket.as_fd()) {
            log::debug!("shutting the control channel down: {error}");
        }
    }
}
