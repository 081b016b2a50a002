//! The host's ports, bound in the setup phase: before anything is set up, so that a port that is not to be had costs nothing.

use std::io;
use std::net::{SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use nix::sys::socket::{setsockopt, sockopt};
use thiserror::Error;

use super::tcp;
use crate::cli::{Carrier, Forward};

/// A port that is ours.
#[derive(Debug)]
pub struct Port {
    /// Whose it is.
    pub forward: Forward,
    /// A listening TCP socket, or a UDP one; never blocks.
    pub socket: OwnedFd,
}

/// A port is not to be had.
#[derive(Debug, Error)]
#[error("--expose {forward}: port {} of {} {}", .forward.external, .forward.address(), mend(.source))]
pub struct PortError {
    forward: Forward,
    source: io::Error,
}

impl PortError {
    /// Whether somebody else has it.
    #[must_use]
    pub fn is_taken(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

fn mend(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "is taken: end what has it ('ss -lnp' names it), or choose another".into(),
        io::ErrorKind::AddrNotAvailable => {
            "cannot be bound, since that is no address of this host: name one that is, or none for all of them".into()
        }
        io::ErrorKind::PermissionDenied => "is not for this caller: choose one from 1024 on".into(),
        _ => format!("cannot be bound: {error}"),
    }
}

/// Binds all of them.
///
/// # Errors
/// The first that is not to be had.
pub fn bind(forwards: &[Forward]) -> Result<Vec<Port>, PortError> {
    forwards
        .iter()
        .map(|&forward| match bind_one(&forward) {
            Ok(socket) => Ok(Port { forward, socket }),
            Err(source) => Err(PortError { forward, source }),
        })
        .collect()
}

fn bind_one(forward: &Forward) -> io::Result<OwnedFd> {
    let address = SocketAddrV4::new(forward.address(), forward.external);
    match forward.carrier {
        Carrier::Tcp => {
            let listener = TcpListener::bind(address)?;
            listener.set_nonblocking(true)?;
            // What is accepted has them from here.
            tcp::tune(&listener)?;
            Ok(listener.into())
        }
        Carrier::Udp => {
            let socket = UdpSocket::bind(address)?;
            socket.set_nonblocking(true)?;
            setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
            Ok(socket.into())
        }
    }
}
