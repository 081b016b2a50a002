//! Which UDP sockets wait at a port, by sock_diag(7), without any privilege: and whether each is bound to an interface, which
//! /proc/net/udp does not tell.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr};

/// A UDP socket over IPv4 with a local port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its address; unspecified for all.
    pub address: Ipv4Addr,
    /// Its port.
    pub port: u16,
    /// The interface that it is bound to (SO_BINDTODEVICE), 0 for none.
    pub interface: u32,
    /// Its number, by which /proc/PID/fd names it.
    pub inode: u32,
}

/// The UDP sockets of this network namespace.
///
/// # Errors
/// What the kernel said.
pub fn udp() -> io::Result<Vec<Listener>> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let request = InetRequest {
        family: libc::AF_INET as u8,
        protocol: libc::IPPROTO_UDP as u8,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id: SocketId::new_v4(),
    };
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(SockDiagMessage::InetRequest(request)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut found = Vec::new();
    loop {
        let mut buffer = Vec::with_capacity(64 * 1024);
        socket.recv(&mut buffer, 0)?;
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            let length = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?.length() as usize;
            let part = &rest[..length.min(rest.len())];
            rest = &rest[length.next_multiple_of(4).min(rest.len())..];
            match NetlinkMessage::<SockDiagMessage>::deserialize(part).map_err(io::Error::other)?.payload {
                NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                    let id = &response.header.socket_id;
                    if let IpAddr::V4(address) = id.source_address {
                        let (interface, inode) = (id.interface_id, response.header.inode);
                        found.push(Listener { address, port: id.source_port, interface, inode });
                    }
                }
                NetlinkPayload::Done(_) => return Ok(found),
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn a_socket_is_found_at_its_port() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("bound");
        let port = socket.local_addr().expect("an address").port();
        let found: Vec<_> = udp().expect("listed").into_iter().filter(|one| one.port == port).collect();
        assert!(found.iter().any(|one| one.address == Ipv4Addr::LOCALHOST && one.interface == 0), "{found:?}");
    }
}
