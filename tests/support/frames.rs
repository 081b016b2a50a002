//! Frames for tests, made byte by byte. Shares no code with what judges them: own layouts, own checksum.
#![allow(dead_code, unreachable_pub)] // Each test binary that includes this uses its own part.

use std::net::Ipv4Addr;

pub type Mac = [u8; 6];

pub const BROADCAST: Mac = [0xff; 6];
pub const GUEST_MAC: Mac = [0x02, 0, 0, 0, 0, 0x07];
pub const GATEWAY_MAC: Mac = [0x52, 0x54, 0, 0, 0, 0x01];
pub const NEIGHBOUR_MAC: Mac = [0x02, 0, 0, 0, 0, 0x08];

pub const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;
pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 1);
pub const LEASED: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 7);
pub const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 8);
pub const SUBNET_BROADCAST: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 255);
pub const ALL: Ipv4Addr = Ipv4Addr::BROADCAST;
pub const WORLD: Ipv4Addr = Ipv4Addr::new(93, 184, 215, 14);

pub const ARP: u16 = 0x0806;
pub const IPV4: u16 = 0x0800;
pub const IPV6: u16 = 0x86dd;

pub const ICMP: u8 = 1;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const DECLINE: u8 = 4;
pub const ACK: u8 = 5;
pub const NAK: u8 = 6;
pub const RELEASE: u8 = 7;
pub const INFORM: u8 = 8;

/// An Ethernet II frame.
pub fn ethernet(destination: Mac, source: Mac, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(14 + payload.len());
    frame.extend_from_slice(&destination);
    frame.extend_from_slice(&source);
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// The internet checksum (RFC 1071), one byte at a time.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u64 = 0;
    for (index, byte) in bytes.iter().enumerate() {
        sum += if index % 2 == 0 { u64::from(*byte) << 8 } else { u64::from(*byte) };
    }
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// An ARP packet for Ethernet and IPv4.
#[derive(Clone, Debug)]
pub struct Arp {
    pub hardware_type: u16,
    pub protocol_type: u16,
    pub hardware_length: u8,
    pub protocol_length: u8,
    pub operation: u16,
    pub sender_mac: Mac,
    pub sender: Ipv4Addr,
    pub target_mac: Mac,
    pub target: Ipv4Addr,
}

impl Arp {
    pub fn request(sender_mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Arp {
        Arp {
            hardware_type: 1,
            protocol_type: IPV4,
            hardware_length: 6,
            protocol_length: 4,
            operation: 1,
            sender_mac,
            sender,
            target_mac: [0; 6],
            target,
        }
    }

    pub fn reply(sender_mac: Mac, sender: Ipv4Addr, target_mac: Mac, target: Ipv4Addr) -> Arp {
        Arp { operation: 2, target_mac, ..Arp::request(sender_mac, sender, target) }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.hardware_type.to_be_bytes());
        bytes.extend_from_slice(&self.protocol_type.to_be_bytes());
        bytes.extend_from_slice(&[self.hardware_length, self.protocol_length]);
        bytes.extend_from_slice(&self.operation.to_be_bytes());
        bytes.extend_from_slice(&self.sender_mac);
        bytes.extend_from_slice(&self.sender.octets());
        bytes.extend_from_slice(&self.target_mac);
        bytes.extend_from_slice(&self.target.octets());
        bytes
    }

    pub fn frame(&self, destination: Mac, source: Mac) -> Vec<u8> {
        ethernet(destination, source, ARP, &self.bytes())
    }
}

/// An IPv4 datagram. `None` in a field means the right value.
#[derive(Clone, Debug)]
pub struct Ip {
    pub version: u8,
    pub header_words: Option<u8>,
    pub total_length: Option<u16>,
    pub more_fragments: bool,
    /// In units of 8 bytes.
    pub fragment_offset: u16,
    pub protocol: u8,
    pub checksum: Option<u16>,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    pub options: Vec<u8>,
    pub payload: Vec<u8>,
    /// Behind the total length.
    pub padding: usize,
}

impl Ip {
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: Vec<u8>) -> Ip {
        Ip {
            version: 4,
            header_words: None,
            total_length: None,
            more_fragments: false,
            fragment_offset: 0,
            protocol,
            checksum: None,
            source,
            destination,
            options: Vec::new(),
            payload,
            padding: 0,
        }
    }

    pub fn ping(source: Ipv4Addr, destination: Ipv4Addr) -> Ip {
        Ip::new(source, destination, ICMP, vec![8, 0, 0xf7, 0xff, 0, 0, 0, 0])
    }

    pub fn udp(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16), payload: &[u8]) -> Ip {
        Ip::new(source, destination, UDP, udp(ports.0, ports.1, payload))
    }

    pub fn tcp(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16)) -> Ip {
        Ip::new(source, destination, TCP, tcp(ports.0, ports.1))
    }

    /// A TCP segment with these flags, by their letters.
    pub fn segment(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16), flags: &str) -> Ip {
        Ip::new(source, destination, TCP, segment(ports.0, ports.1, flags))
    }

    /// A request for an echo (8) or the echo (0).
    pub fn echo(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, identifier: u16) -> Ip {
        Ip::new(source, destination, ICMP, icmp(kind, 0, identifier, &[]))
    }

    /// An ICMP error about a datagram, of which it quotes header and 8 bytes.
    pub fn error(source: Ipv4Addr, destination: Ipv4Addr, kind: u8, quoted: &Ip) -> Ip {
        let quote = quoted.bytes();
        Ip::new(source, destination, ICMP, icmp(kind, 0, 0, &quote[..quote.len().min(28)]))
    }

    pub fn bytes(&self) -> Vec<u8> {
        let header_words = self.header_words.unwrap_or((5 + self.options.len() / 4) as u8);
        let total_length = self.total_length.unwrap_or((20 + self.options.len() + self.payload.len()) as u16);
        let flags = self.fragment_offset | if self.more_fragments { 0x2000 } else { 0 };
        let mut bytes = vec![self.version << 4 | header_words, 0];
        bytes.extend_from_slice(&total_length.to_be_bytes());
        bytes.extend_from_slice(&[0x12, 0x34]);
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[64, self.protocol, 0, 0]);
        bytes.extend_from_slice(&self.source.octets());
        bytes.extend_from_slice(&self.destination.octets());
        bytes.extend_from_slice(&self.options);
        let sum = self.checksum.unwrap_or_else(|| checksum(&bytes));
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes.resize(bytes.len() + self.padding, 0);
        bytes
    }

    pub fn frame(&self, destination: Mac, source: Mac) -> Vec<u8> {
        ethernet(destination, source, IPV4, &self.bytes())
    }
}

/// A UDP header, without a checksum, which IPv4 allows, and what it carries.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&source.to_be_bytes());
    bytes.extend_from_slice(&destination.to_be_bytes());
    bytes.extend_from_slice(&((8 + payload.len()) as u16).to_be_bytes());
    bytes.extend_from_slice(&[0, 0]);
    bytes.extend_from_slice(payload);
    bytes
}

/// A TCP SYN without options. Its checksum is not filled in.
pub fn tcp(source: u16, destination: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend_from_slice(&source.to_be_bytes());
    bytes.extend_from_slice(&destination.to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 5 << 4, 2, 0xff, 0xff, 0, 0, 0, 0]);
    bytes
}

/// A TCP header with these flags, by their letters.
pub fn segment(source: u16, destination: u16, flags: &str) -> Vec<u8> {
    let bit = |letter| match letter {
        'F' => 1,
        'S' => 2,
        'R' => 4,
        'P' => 8,
        'A' => 16,
        _ => panic!("no flag {letter}"),
    };
    let mut bytes = tcp(source, destination);
    bytes[13] = flags.chars().map(bit).sum();
    bytes
}

/// An ICMP message: type, code, identifier and what follows the header.
pub fn icmp(kind: u8, code: u8, identifier: u16, rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind, code, 0, 0];
    bytes.extend_from_slice(&identifier.to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes.extend_from_slice(rest);
    let sum = checksum(&bytes);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A DHCP message.
#[derive(Clone, Debug)]
pub struct Dhcp {
    pub op: u8,
    pub hardware_type: u8,
    pub hardware_length: u8,
    pub xid: u32,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub siaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub chaddr: Mac,
    pub sname: [u8; 64],
    pub file: [u8; 128],
    pub cookie: [u8; 4],
    /// Code and value of each option; END is put behind them.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Instead of `options` and END.
    pub raw_options: Option<Vec<u8>>,
}

impl Dhcp {
    /// A message of the guest's, of this type.
    pub fn from_guest(kind: u8, xid: u32) -> Dhcp {
        Dhcp {
            op: 1,
            hardware_type: 1,
            hardware_length: 6,
            xid,
            ciaddr: ANY,
            yiaddr: ANY,
            siaddr: ANY,
            giaddr: ANY,
            chaddr: GUEST_MAC,
            sname: [0; 64],
            file: [0; 128],
            cookie: [99, 130, 83, 99],
            options: vec![(53, vec![kind])],
            raw_options: None,
        }
    }

    pub fn discover(xid: u32) -> Dhcp {
        Dhcp::from_guest(DISCOVER, xid)
    }

    /// A DHCPREQUEST as a client sends it that has just been offered `address`.
    pub fn request(xid: u32, address: Ipv4Addr) -> Dhcp {
        Dhcp::from_guest(REQUEST, xid).option(50, &address.octets()).option(54, &GATEWAY.octets())
    }

    /// A DHCPREQUEST as a client sends it that wants to keep `address`.
    pub fn renewal(xid: u32, address: Ipv4Addr) -> Dhcp {
        Dhcp { ciaddr: address, ..Dhcp::from_guest(REQUEST, xid) }
    }

    pub fn release(xid: u32, address: Ipv4Addr) -> Dhcp {
        Dhcp { ciaddr: address, ..Dhcp::from_guest(RELEASE, xid) }
    }

    pub fn decline(xid: u32, address: Ipv4Addr) -> Dhcp {
        Dhcp::from_guest(DECLINE, xid).option(50, &address.octets())
    }

    /// A message of the server's, of this type, with its identifier.
    pub fn from_server(kind: u8, xid: u32) -> Dhcp {
        Dhcp { op: 2, ..Dhcp::from_guest(kind, xid) }.option(54, &GATEWAY.octets())
    }

    pub fn offer(xid: u32, address: Ipv4Addr) -> Dhcp {
        Dhcp { yiaddr: address, ..Dhcp::from_server(OFFER, xid) }.option(51, &600u32.to_be_bytes())
    }

    pub fn ack(xid: u32, address: Ipv4Addr, seconds: u32) -> Dhcp {
        Dhcp { yiaddr: address, ..Dhcp::from_server(ACK, xid) }.option(51, &seconds.to_be_bytes())
    }

    pub fn nak(xid: u32) -> Dhcp {
        Dhcp::from_server(NAK, xid)
    }

    pub fn option(mut self, code: u8, value: &[u8]) -> Dhcp {
        self.options.push((code, value.to_vec()));
        self
    }

    pub fn raw_options(self, bytes: &[u8]) -> Dhcp {
        Dhcp { raw_options: Some(bytes.to_vec()), ..self }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.op, self.hardware_type, self.hardware_length, 0];
        bytes.extend_from_slice(&self.xid.to_be_bytes());
        bytes.extend_from_slice(&[0; 4]);
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend_from_slice(&address.octets());
        }
        bytes.extend_from_slice(&self.chaddr);
        bytes.extend_from_slice(&[0; 10]);
        bytes.extend_from_slice(&self.sname);
        bytes.extend_from_slice(&self.file);
        bytes.extend_from_slice(&self.cookie);
        match &self.raw_options {
            Some(raw) => bytes.extend_from_slice(raw),
            None => {
                for (code, value) in &self.options {
                    bytes.extend_from_slice(&[*code, value.len() as u8]);
                    bytes.extend_from_slice(value);
                }
                bytes.push(255);
            }
        }
        bytes
    }

    /// The datagram as a client without an address sends it.
    pub fn to_all(&self) -> Ip {
        Ip::udp(ANY, ALL, (68, 67), &self.bytes())
    }

    /// The datagram as a client sends it that keeps to its server.
    pub fn to_gateway(&self, source: Ipv4Addr) -> Ip {
        Ip::udp(source, GATEWAY, (68, 67), &self.bytes())
    }

    /// The datagram as the server sends it.
    pub fn by_gateway(&self) -> Ip {
        Ip::udp(GATEWAY, ALL, (67, 68), &self.bytes())
    }
}
