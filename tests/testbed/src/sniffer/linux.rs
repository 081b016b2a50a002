//! Linux: a packet socket.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{MsgFlags, recv};

use crate::sys;

#[derive(Debug)]
pub(super) struct Tap {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Tap {
    pub(super) fn on(interface: &str) -> Self {
        let index = if_nametoindex(interface).unwrap_or_else(|error| panic!("no interface {interface}: {error}"));
        Tap { socket: sys::packet_socket(index), buffer: vec![0; 65536] }
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => return Some(self.buffer[..length].to_vec()),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }

    pub(super) fn wait(&self, limit: Duration) {
        sys::wait_readable(&[&self.socket], limit);
    }
}
