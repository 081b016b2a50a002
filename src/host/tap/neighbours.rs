//! Whose MAC the host itself has for an address of the bridge's: its neighbour table (arp(7)), asked by a netlink socket that
//! was opened in the setup.
//!
//! Guests that are isolated from each other do not hear each other's ARP. When two have one address, the host does, and sends
//! what is for that address to whoever spoke last: that is how it shows.

use std::io;
use std::net::Ipv4Addr;

use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::engine::EthernetAddress;

/// Answers for one interface.
#[derive(Debug)]
pub(super) struct Neighbours {
    socket: Socket,
    index: u32,
}

impl Neighbours {
    /// Those behind the interface `index`.
    pub(super) fn open(index: u32) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Neighbours { socket, index })
    }

    /// The MAC of whoever has `address`, as far as the host has one.
    ///
    /// # Errors
    /// Those of netlink(7): ENOENT where the host has none, EOPNOTSUPP before Linux 5.0, which answers no such question.
    pub(super) fn mac_of(&self, address: Ipv4Addr) -> io::Result<Option<EthernetAddress>> {
        let mut question = NeighbourMessage::default();
        question.header.family = AddressFamily::Inet;
        question.header.ifindex = self.index;
        question.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(Message::GetNeighbour(question)));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        // The kernel answers within send(2): nothing to wait for.
        let mut answer = Vec::with_capacity(4096);
        self.socket.recv(&mut answer, libc::MSG_DONTWAIT)?;
        let answer = NetlinkMessage::<Message>::deserialize(&answer).map_err(io::Error::other)?;
        match answer.payload {
            NetlinkPayload::InnerMessage(Message::NewNeighbour(neighbour)) => Ok(mac(&neighbour)),
            NetlinkPayload::Error(error) => Err(error.to_io()),
            other => Err(io::Error::other(format!("the neighbour table answered {other:?}"))),
        }
    }
}

fn mac(neighbour: &NeighbourMessage) -> Option<EthernetAddress> {
    let is_known = !matches!(
        neighbour.header.state,
        NeighbourState::Incomplete | NeighbourState::Failed | NeighbourState::None | NeighbourState::Noarp
    );
    let bytes = neighbour.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => <[u8; 6]>::try_from(&bytes[..]).ok(),
        _ => None,
    });
    bytes.filter(|_| is_known).map(EthernetAddress)
}
