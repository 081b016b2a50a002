//! The host's ports, bound in the setup phase: before anything is set up, so that a port that is not to be had costs nothing.

use std::io;
use std::net::SocketAddrV4;
#[cfg(target_os = "linux")]
use std::net::{TcpListener, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

#[cfg(any(not(target_os = "linux"), test))]
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, SockaddrIn};
#[cfg(target_os = "linux")]
use nix::sys::socket::{setsockopt, sockopt};
use thiserror::Error;

#[cfg(target_os = "linux")]
use super::tcp;
#[cfg(target_os = "linux")]
use crate::cli::Carrier;
use crate::cli::Forward;

/// The lowest port that anybody may bind.
pub const FREE_FOR_ALL: u16 = 1024;

/// A port that is ours.
#[derive(Debug)]
pub struct Port {
    /// Whose it is.
    pub forward: Forward,
    /// A listening TCP socket, or a UDP one; never blocks. On macOS one that holds the port and does nothing else.
    pub socket: OwnedFd,
}

impl Port {
    /// Its descriptor.
    #[must_use]
    pub fn number(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
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

/// The command that lists who has which port.
const LISTS: &str = if cfg!(target_os = "linux") { "ss -lnp" } else { "lsof -nP -i" };

fn mend(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("is taken: end what has it ('{LISTS}' names it), or choose another"),
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

/// Where the link forwards, the port is held: whoever else has it, or wants it, keeps out of it.
#[cfg(not(target_os = "linux"))]
fn bind_one(forward: &Forward) -> io::Result<OwnedFd> {
    hold(SocketAddrV4::new(forward.address(), forward.external))
}

/// Binds a TCP port and does not listen: what comes is refused, but nobody else gets it. Without `SO_REUSEADDR`, by which BSDs would let one
/// address of a port be taken from beside another.
#[cfg(any(not(target_os = "linux"), test))]
fn hold(address: SocketAddrV4) -> io::Result<OwnedFd> {
    let socket = socket::socket(AddressFamily::Inet, SockType::Stream, SockFlag::empty(), None)?;
    socket::bind(socket.as_raw_fd(), &SockaddrIn::from(address))?;
    Ok(socket)
}

#[cfg(target_os = "linux")]
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_held_port_is_taken_and_refuses() {
        // A port that is free a moment ago: another process may take it first, which the loop bears.
        let (address, held) = (0..100)
            .find_map(|_| {
                let free = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?.local_addr().ok()?.port();
                let address = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, free);
                hold(address).ok().map(|held| (address, held))
            })
            .expect("a free port");
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, address.port());
        assert_eq!(hold(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(hold(local).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(TcpStream::connect(local).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        drop(held);
    }
}
