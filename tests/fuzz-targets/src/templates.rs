//! Valid frames of every class, to start from, and the values that are worth putting into them.

use std::net::Ipv4Addr;
use std::sync::OnceLock;

use crate::frames::*;

/// A frame, or a class of frames, that passes as it is.
#[derive(Debug)]
pub struct Templates {
    /// From the guest.
    pub guest: Vec<Vec<u8>>,
    /// From the host.
    pub host: Vec<Vec<u8>>,
}

/// Made once.
pub fn templates() -> &'static Templates {
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    TEMPLATES.get_or_init(|| Templates { guest: guest(), host: host() })
}

fn fragment(source: Ipv4Addr, protocol: u8, offset: u16, more: bool, payload: Vec<u8>) -> Ip {
    Ip { fragment_offset: offset, more_fragments: more, ..Ip::new(source, WORLD, protocol, payload) }
}

/// An ICMP error that quotes a datagram.
fn unreachable(quoted: &Ip) -> Vec<u8> {
    [vec![3, 3, 0, 0, 0, 0, 0, 0], quoted.bytes()].concat()
}

/// What a guest with [`LEASED`] may send. DHCP, of which a guest may send little, is a small part.
fn guest() -> Vec<Vec<u8>> {
    let ip = |datagram: Ip| datagram.frame(GATEWAY_MAC, GUEST_MAC);
    let all = |message: Dhcp| message.to_all().frame(BROADCAST, GUEST_MAC);
    let multicast = Ipv4Addr::new(224, 0, 0, 251);
    vec![
        Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC),
        Arp::request(GUEST_MAC, ANY, LEASED).frame(BROADCAST, GUEST_MAC),
        Arp::reply(GUEST_MAC, LEASED, GATEWAY_MAC, GATEWAY).frame(GATEWAY_MAC, GUEST_MAC),
        ip(Ip::ping(LEASED, WORLD)),
        ip(Ip::ping(LEASED, GATEWAY)),
        ip(Ip::udp(LEASED, WORLD, (5000, 53), &[0; 20])),
        ip(Ip::udp(LEASED, DNS, (5000, 53), &[0; 20])),
        ip(Ip::udp(LEASED, WORLD, (68, 4000), &[0; 300])),
        ip(Ip::tcp(LEASED, WORLD, (5000, 443))),
        ip(Ip::tcp(LEASED, DNS, (5000, 53))),
        ip(fragment(LEASED, UDP, 0, true, udp(5000, 5000, &[0; 24]))),
        ip(fragment(LEASED, UDP, 4, false, vec![7; 9])),
        ip(Ip { destination: DNS, ..fragment(LEASED, UDP, 0, true, udp(5000, 53, &[0; 24])) }),
        ip(fragment(LEASED, TCP, 0, true, [tcp(1, 2), vec![0; 4]].concat())),
        ip(fragment(LEASED, TCP, 3, true, vec![0; 16])),
        ip(Ip::new(LEASED, WORLD, ICMP, unreachable(&Ip::udp(WORLD, LEASED, (53, 5000), &[])))),
        Ip::udp(LEASED, multicast, (5353, 5353), &[0; 12]).frame([1, 0, 0x5e, 0, 0, 251], GUEST_MAC),
        Ip::udp(LEASED, Ipv4Addr::new(239, 128, 0, 1), (5353, 5353), &[]).frame([1, 0, 0x5e, 0, 0, 1], GUEST_MAC),
        Ip::udp(LEASED, SUBNET_BROADCAST, (137, 137), &[0; 12]).frame(BROADCAST, GUEST_MAC),
        ip(Dhcp::renewal(2, LEASED).to_gateway(LEASED)),
        all(Dhcp::discover(2).option(61, &[1, 2, 3])),
        all(Dhcp::request(2, LEASED)),
        all(Dhcp::request(1, OTHER)),
        ip(Dhcp::release(3, LEASED).to_gateway(LEASED)),
        all(Dhcp::decline(3, OTHER)),
        all(Dhcp { ciaddr: LEASED, ..Dhcp::from_guest(INFORM, 3) }),
    ]
}

/// What may reach a guest with [`LEASED`].
fn host() -> Vec<Vec<u8>> {
    let ip = |datagram: Ip| datagram.frame(GUEST_MAC, GATEWAY_MAC);
    let dns = [DNS.octets(), GATEWAY.octets()].concat();
    let mut overloaded = Dhcp { yiaddr: LEASED, ..Dhcp::from_server(ACK, 2) }.option(52, &[3]);
    overloaded.file[..7].copy_from_slice(&[51, 4, 0, 0, 2, 88, 255]);
    overloaded.sname[0] = 255;
    vec![
        Arp::request(GATEWAY_MAC, GATEWAY, LEASED).frame(BROADCAST, GATEWAY_MAC),
        Arp::reply(GATEWAY_MAC, GATEWAY, GUEST_MAC, LEASED).frame(GUEST_MAC, GATEWAY_MAC),
        Arp::request(NEIGHBOUR_MAC, ANY, LEASED).frame(BROADCAST, NEIGHBOUR_MAC),
        Arp::reply(NEIGHBOUR_MAC, NEIGHBOUR, GUEST_MAC, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC),
        ip(Ip::tcp(WORLD, LEASED, (443, 5000))),
        ip(Ip { options: vec![1; 8], ..Ip::ping(WORLD, LEASED) }),
        ip(Ip::udp(GATEWAY, LEASED, (53, 5000), &[0; 30])),
        ip(Ip { destination: LEASED, ..fragment(WORLD, UDP, 0, true, udp(5000, 5000, &[0; 24])) }),
        ip(Ip { destination: LEASED, ..fragment(WORLD, UDP, 4, false, vec![7; 9]) }),
        Ip::ping(NEIGHBOUR, LEASED).frame(GUEST_MAC, NEIGHBOUR_MAC),
        ip(Dhcp::offer(2, LEASED).by_gateway()),
        ip(Dhcp::ack(2, LEASED, 600).option(6, &dns).by_gateway()),
        ip(Dhcp::ack(1, OTHER, 5).by_gateway()),
        ip(Dhcp::nak(2).by_gateway()),
        ip(overloaded.by_gateway()),
        ip(Dhcp::from_server(ACK, 3).by_gateway()),
    ]
}

/// Another address of the subnet that may be leased.
pub const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 5);
/// A DNS server that is not of the world.
pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 53);

/// Addresses on which rules turn.
pub const ADDRESSES: [Ipv4Addr; 28] = [
    LEASED,
    GATEWAY,
    NEIGHBOUR,
    OTHER,
    ANY,
    ALL,
    SUBNET_BROADCAST,
    WORLD,
    DNS,
    Ipv4Addr::new(192, 168, 64, 0),
    Ipv4Addr::new(192, 168, 65, 7),
    Ipv4Addr::new(192, 168, 255, 255),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(127, 0, 0, 1),
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(10, 1, 2, 3),
    Ipv4Addr::new(172, 16, 0, 1),
    Ipv4Addr::new(100, 64, 0, 1),
    Ipv4Addr::new(192, 0, 0, 9),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(192, 88, 99, 1),
    Ipv4Addr::new(198, 18, 0, 1),
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(203, 0, 113, 1),
    Ipv4Addr::new(224, 0, 0, 251),
    Ipv4Addr::new(239, 255, 255, 250),
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(8, 8, 8, 8),
];

/// MACs on which rules turn.
pub const MACS: [Mac; 7] =
    [GUEST_MAC, GATEWAY_MAC, NEIGHBOUR_MAC, BROADCAST, [0; 6], [1, 0, 0x5e, 0, 0, 251], [0x33, 0x33, 0, 0, 0, 1]];

/// Numbers of two bytes on which rules turn: ports, types, lengths, fragments.
pub const WORDS: [u16; 24] = [
    0, 1, 2, 7, 8, 20, 21, 53, 67, 68, 80, 443, 0x0604, 0x0800, 0x0806, 0x8100, 0x86dd, 0x88a8, 0x2000, 0x2001, 0x4000,
    0x1fff, 0x3fff, 0xffff,
];
