//! Links, addresses, routes and forwarding tables, by rtnetlink (rtnetlink(7)).
//!
//! One socket, one request at a time, each answered in full before the next. No library that drives netlink brings less
//! than an async runtime into a root process, so only the message types are taken from one.

use std::io;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkBuffer,
    NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    BridgePortState, BridgeStpState, InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
};
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::engine::EthernetAddress;

/// The kernel sends parts of at most 32 KiB (netlink(7)); one that is longer is an error, not cut.
const PART_LIMIT: usize = 64 * 1024;
/// How often a dump is read again because the table changed meanwhile.
const DUMP_TRIES: u32 = 10;

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// "bridge", "tun", "veth"...; "device" when the kernel names no kind.
    pub(super) kind: String,
    pub(super) mac: EthernetAddress,
    pub(super) mtu: u32,
    pub(super) up: bool,
    /// Whether the link takes frames: up, with a carrier, and its queue in place (RFC 2863's operational status).
    pub(super) running: bool,
    /// As a port of a bridge: whether frames pass.
    pub(super) forwarding: bool,
}

/// An entry of a bridge's forwarding table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FdbEntry {
    pub(super) mac: EthernetAddress,
    /// The index of the port.
    pub(super) port: u32,
    /// The MAC of an interface of the host's own.
    pub(super) local: bool,
}

/// An address or a route, as far as collisions go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) prefix: Ipv4Net,
    /// The index of the interface, where there is one.
    pub(super) link: Option<u32>,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Kernels before 4.20 cannot filter dumps: all readers below filter again by themselves.
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Netlink { socket, sequence: 0, buffer: Vec::with_capacity(PART_LIMIT) })
    }

    /// The link of a name.
    pub(super) fn link(&mut self, name: &str) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.one_link(message).map(|link| link.filter(|link| link.name == name))
    }

    /// The link of an index.
    pub(super) fn link_by_index(&mut self, index: u32) -> io::Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.one_link(message)
    }

    fn one_link(&mut self, message: LinkMessage) -> io::Result<Option<Link>> {
        match self.request(Message::GetLink(message), NLM_F_ACK) {
            Ok(replies) => Ok(replies.into_iter().find_map(|reply| match reply {
                Message::NewLink(message) => Some(Link::from(message)),
                _ => None,
            })),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The ports of a bridge.
    pub(super) fn ports(&mut self, bridge: u32) -> io::Result<Vec<Link>> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::Controller(bridge));
        let is_port = |message: &LinkMessage| message.attributes.contains(&LinkAttribute::Controller(bridge));
        let replies = self.request(Message::GetLink(message), NLM_F_DUMP)?;
        let links = replies.into_iter().filter_map(|reply| match reply {
            Message::NewLink(message) if is_port(&message) => Some(Link::from(message)),
            _ => None,
        });
        Ok(links.collect())
    }

    /// Makes a bridge, down, with a MAC that stays as it is when ports come and go.
    pub(super) fn create_bridge(&mut self, name: &str, mac: EthernetAddress) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message.attributes.push(LinkAttribute::Address(mac.0.to_vec()));
        message.attributes.push(LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Bridge), bridge_options()]));
        self.request(Message::NewLink(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Spanning tree and multicast snooping off.
    pub(super) fn set_bridge_options(&mut self, index: u32) -> io::Result<()> {
        let info = vec![LinkInfo::Kind(InfoKind::Bridge), bridge_options()];
        self.change(index, vec![LinkAttribute::LinkInfo(info)])
    }

    pub(super) fn set_mac(&mut self, index: u32, mac: EthernetAddress) -> io::Result<()> {
        self.change(index, vec![LinkAttribute::Address(mac.0.to_vec())])
    }

    pub(super) fn set_mtu(&mut self, index: u32, mtu: u32) -> io::Result<()> {
        self.change(index, vec![LinkAttribute::Mtu(mtu)])
    }

    pub(super) fn set_master(&mut self, index: u32, bridge: u32) -> io::Result<()> {
        self.change(index, vec![LinkAttribute::Controller(bridge)])
    }

    pub(super) fn set_port(&mut self, index: u32, options: Vec<InfoBridgePort>) -> io::Result<()> {
        let info =
            vec![LinkInfo::PortKind(InfoPortKind::Bridge), LinkInfo::PortData(InfoPortData::BridgePort(options))];
        self.change(index, vec![LinkAttribute::LinkInfo(info)])
    }

    pub(super) fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.request(Message::NewLink(message), NLM_F_ACK).map(drop)
    }

    fn change(&mut self, index: u32, attributes: Vec<LinkAttribute>) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = attributes;
        self.request(Message::NewLink(message), NLM_F_ACK).map(drop)
    }

    pub(super) fn delete_link(&mut self, index: u32) -> io::Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        match self.request(Message::DelLink(message), NLM_F_ACK) {
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(()),
            result => result.map(drop),
        }
    }

    /// The IPv4 addresses of the host with their prefixes, in the order in which they were given.
    pub(super) fn addresses(&mut self) -> io::Result<Vec<(u32, Ipv4Net)>> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        let replies = self.request(Message::GetAddress(message), NLM_F_DUMP)?;
        Ok(replies.into_iter().filter_map(address).collect())
    }

    pub(super) fn add_address(&mut self, index: u32, address: Ipv4Net) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = address.prefix_len();
        message.header.index = index;
        message.attributes.push(AddressAttribute::Local(IpAddr::V4(address.addr())));
        message.attributes.push(AddressAttribute::Address(IpAddr::V4(address.addr())));
        message.attributes.push(AddressAttribute::Broadcast(address.broadcast()));
        self.request(Message::NewAddress(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// The IPv4 routes of all tables that lead somewhere.
    pub(super) fn routes(&mut self) -> io::Result<Vec<Use>> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet;
        let replies = self.request(Message::GetRoute(message), NLM_F_DUMP)?;
        Ok(replies.into_iter().filter_map(route).collect())
    }

    /// The forwarding table of a bridge.
    pub(super) fn fdb(&mut self, bridge: u32) -> io::Result<Vec<FdbEntry>> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.attributes.push(NeighbourAttribute::Controller(bridge));
        let replies = self.request(Message::GetNeighbour(message), NLM_F_DUMP)?;
        Ok(replies.into_iter().filter_map(|reply| fdb_entry(reply, bridge)).collect())
    }

    /// Says that `mac` is behind `port` of a bridge and nowhere else, until the port goes.
    pub(super) fn pin(&mut self, port: u32, mac: EthernetAddress) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Bridge;
        message.header.ifindex = port;
        message.header.state = NeighbourState::Noarp;
        message.header.flags = NeighbourFlags::Controller | NeighbourFlags::Sticky;
        message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()));
        self.request(Message::NewNeighbour(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE).map(drop)
    }

    /// Sends one request and reads its whole answer.
    fn request(&mut self, message: Message, flags: u16) -> io::Result<Vec<Message>> {
        for _ in 0..DUMP_TRIES {
            if let Some(replies) = self.request_once(message.clone(), flags)? {
                return Ok(replies);
            }
        }
        Err(io::Error::from_raw_os_error(libc::EINTR))
    }

    /// `None` says that the table changed while it was dumped.
    fn request_once(&mut self, message: Message, flags: u16) -> io::Result<Option<Vec<Message>>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(message);
        message.header.flags = NLM_F_REQUEST | flags;
        message.header.sequence_number = self.sequence;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        retry(|| self.socket.send(&bytes, 0))?;

        let mut replies = Vec::new();
        let mut consistent = true;
        loop {
            self.buffer.clear();
            let length = retry(|| self.socket.recv(&mut &mut self.buffer, libc::MSG_TRUNC))?;
            if length > self.buffer.len() {
                return Err(io::Error::from_raw_os_error(libc::EMSGSIZE));
            }
            let mut rest = &self.buffer[..];
            while !rest.is_empty() {
                let header = NetlinkBuffer::new_checked(rest).map_err(io::Error::other)?;
                let (length, sequence, flags) = (header.length() as usize, header.sequence_number(), header.flags());
                let part = &rest[..length];
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
                if sequence != self.sequence {
                    continue;
                }
                consistent &= flags & NLM_F_DUMP_INTR == 0;
                match NetlinkMessage::<Message>::deserialize(part).map(|message| message.payload) {
                    Ok(NetlinkPayload::InnerMessage(message)) => replies.push(message),
                    Ok(NetlinkPayload::Error(error)) if error.code.is_some() => return Err(error.to_io()),
                    Ok(NetlinkPayload::Done(done)) if done.code < 0 => {
                        return Err(io::Error::from_raw_os_error(-done.code));
                    }
                    Ok(NetlinkPayload::Error(_) | NetlinkPayload::Done(_)) => return Ok(consistent.then_some(replies)),
                    Ok(NetlinkPayload::Overrun(_)) => return Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
                    Ok(_) => {}
                    // A link or route of a kind that nobody here has heard of must not keep a guest from starting.
                    Err(error) => log::debug!("skipped a netlink message: {error}"),
                }
            }
        }
    }
}

fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

fn bridge_options() -> LinkInfo {
    LinkInfo::Data(InfoData::Bridge(vec![
        InfoBridge::StpState(BridgeStpState::Disabled),
        InfoBridge::MulticastSnooping(false),
    ]))
}

fn ethernet(bytes: &[u8]) -> Option<EthernetAddress> {
    <[u8; 6]>::try_from(bytes).ok().map(EthernetAddress)
}

impl From<LinkMessage> for Link {
    fn from(message: LinkMessage) -> Self {
        let mut link = Link {
            index: message.header.index,
            name: String::new(),
            kind: "device".to_owned(),
            mac: EthernetAddress([0; 6]),
            mtu: 0,
            up: message.header.flags.contains(LinkFlags::Up),
            running: false,
            forwarding: false,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(bytes) => link.mac = ethernet(&bytes).unwrap_or(link.mac),
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                // A kind of link that does not tell is Unknown.
                LinkAttribute::OperState(state) => link.running = matches!(state, State::Up | State::Unknown),
                LinkAttribute::LinkInfo(infos) => link.learn(infos),
                _ => {}
            }
        }
        link
    }
}

impl Link {
    fn learn(&mut self, infos: Vec<LinkInfo>) {
        for info in infos {
            match info {
                LinkInfo::Kind(kind) => self.kind = kind.to_string(),
                LinkInfo::PortData(InfoPortData::BridgePort(options)) => {
                    self.forwarding = options.contains(&InfoBridgePort::State(BridgePortState::Forwarding));
                }
                _ => {}
            }
        }
    }
}

/// The local address, which differs from the "address" on a point-to-point link.
fn address(reply: Message) -> Option<(u32, Ipv4Net)> {
    let Message::NewAddress(message) = reply else { return None };
    let mut local = None;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
            AddressAttribute::Address(IpAddr::V4(address)) if local.is_none() => local = Some(*address),
            _ => {}
        }
    }
    Some((message.header.index, Ipv4Net::new(local?, message.header.prefix_len).ok()?))
}

fn route(reply: Message) -> Option<Use> {
    let Message::NewRoute(message) = reply else { return None };
    let leads_nowhere = matches!(
        message.header.kind,
        RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit | RouteType::Throw
    );
    if leads_nowhere {
        return None;
    }
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let mut link = None;
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = *address,
            RouteAttribute::Oif(index) => link = Some(*index),
            _ => {}
        }
    }
    let prefix = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?;
    Some(Use { prefix: prefix.trunc(), link })
}

fn fdb_entry(reply: Message, bridge: u32) -> Option<FdbEntry> {
    let Message::NewNeighbour(message) = reply else { return None };
    let mut mac = None;
    let mut master = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = ethernet(bytes),
            NeighbourAttribute::Controller(index) => master = Some(*index),
            _ => {}
        }
    }
    let ours = master == Some(bridge) || message.header.ifindex == bridge;
    let local = message.header.state == NeighbourState::Permanent;
    ours.then_some(FdbEntry { mac: mac?, port: message.header.ifindex, local })
}
