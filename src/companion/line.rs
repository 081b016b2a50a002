//! The two ends of what relay and companion say to each other: whole messages, in order, and neither waits for the other.
//!
//! A pair of SOCK_SEQPACKET sockets (unix(7)): the end of either process is the end of the line, however it comes.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};

/// The longest message.
pub const MAX_MESSAGE: usize = 4096;

/// Says that the other end is to end, in order.
const END: &[u8] = b"end";

/// Room for a message.
pub type Buffer = [u8; MAX_MESSAGE];

/// What a look at the line brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next message, which has this length.
    Message(usize),
    /// There is none yet.
    Nothing,
    /// The other process has ended, or asks for the end.
    End,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is on its way.
    Sent,
    /// The other end is behind, and the message is lost.
    Full,
    /// The other process has ended.
    End,
}

/// One end. Neither [`Line::tell`] nor [`Line::hear`] ever blocks; [`Line::wait`] is for a companion that has nothing else to wait for.
#[derive(Debug)]
pub struct Line(OwnedFd);

impl Line {
    /// Both ends.
    ///
    /// # Errors
    /// Those of socketpair(2).
    pub fn pair() -> io::Result<(Line, Line)> {
        let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        Ok((Line(a), Line(b)))
    }

    /// Sends a message of 1 to [`MAX_MESSAGE`] bytes. The signal of a broken line (SIGPIPE) is ignored by the standard library from
    /// the start, so that no flag is needed.
    pub fn tell(&self, message: &[u8]) -> Told {
        loop {
            return match send(self.0.as_raw_fd(), message, MsgFlags::MSG_DONTWAIT) {
                Ok(_) => Told::Sent,
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN | Errno::ENOBUFS | Errno::ENOMEM) => Told::Full,
                Err(_) => Told::End,
            };
        }
    }

    /// Takes the next message into `buffer`.
    pub fn hear(&self, buffer: &mut Buffer) -> Heard {
        loop {
            return match recv(self.0.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => Heard::End,
                Ok(length) if buffer.get(..length) == Some(END) => Heard::End,
                Ok(length) => Heard::Message(length),
                Err(Errno::EINTR) => continue,
                Err(Errno::EAGAIN) => Heard::Nothing,
                Err(_) => Heard::End,
            };
        }
    }

    /// Waits for the next message, and gives its length; None at the end.
    pub fn wait(&self, buffer: &mut Buffer) -> Option<usize> {
        loop {
            match self.hear(buffer) {
                Heard::Message(length) => return Some(length),
                Heard::End => return None,
                Heard::Nothing => {
                    let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
                    let _ = poll(&mut polled, PollTimeout::NONE);
                }
            }
        }
    }

    /// Asks the other process to end and waits for that, `patience` milliseconds at most.
    pub fn end(self, patience: u16) {
        if self.tell(END) == Told::Sent {
            // What it had said before makes the line readable as well, and nobody listens to it any more.
            let mut buffer = [0; MAX_MESSAGE];
            while self.is_readable(patience) && self.hear(&mut buffer) != Heard::End {}
        }
    }

    fn is_readable(&self, patience: u16) -> bool {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut polled, PollTimeout::from(patience)).is_ok_and(|count| count > 0)
    }
}

impl AsFd for Line {
    /// Readable when a message waits, and at the end.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(line: &Line) -> Option<Vec<u8>> {
        let mut buffer = [0; MAX_MESSAGE];
        match line.hear(&mut buffer) {
            Heard::Message(length) => Some(buffer[..length].to_vec()),
            Heard::Nothing => None,
            Heard::End => Some(Vec::new()),
        }
    }

    #[test]
    fn messages_are_whole_and_in_order_and_the_end_comes_behind_them() {
        let (ours, other) = Line::pair().unwrap();
        assert_eq!(heard(&other), None);
        let messages = [&b"one"[..], &[7; MAX_MESSAGE], b"three"];
        for message in messages {
            assert_eq!(ours.tell(message), Told::Sent);
        }
        drop(ours);
        for message in messages {
            assert_eq!(heard(&other).as_deref(), Some(message));
        }
        assert_eq!(heard(&other), Some(Vec::new()), "the end");
        assert_eq!(other.tell(b"four"), Told::End);
    }

    #[test]
    fn nobody_waits_for_an_end_that_does_not_listen() {
        let (ours, _other) = Line::pair().unwrap();
        let sent = std::iter::repeat_with(|| ours.tell(&[1; 1000])).take(10_000).position(|told| told != Told::Sent);
        assert!(sent.is_some_and(|count| count > 1), "{sent:?}");
        assert_eq!(ours.tell(b"x"), Told::Full);
    }

    #[test]
    fn who_asks_for_the_end_waits_for_it_but_not_for_ever() {
        let (ours, other) = Line::pair().unwrap();
        other.tell(b"not heard any more");
        let other = std::thread::spawn(move || {
            while heard(&other) != Some(Vec::new()) {}
            other
        });
        ours.end(100);
        drop(other.join());
    }
}
