//! Frames written by hand, byte by byte, for attacks and for reading what came. No code is shared with softnet's parser.

use std::fmt;
use std::net::Ipv4Addr;

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Everyone on the link.
    pub const BROADCAST: Mac = Mac([0xff; 6]);

    /// The `n`th of the tests' guests: locally administered, unicast.
    #[must_use]
    pub const fn guest(n: u8) -> Mac {
        Mac([0x02, 0, 0, 0, 0x47, n])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Ethernet type of IPv4.
pub const IPV4: u16 = 0x0800;
/// Ethernet type of ARP.
pub const ARP: u16 = 0x0806;
/// Ethernet type of IPv6.
pub const IPV6: u16 = 0x86dd;
/// Ethernet type of a VLAN tag.
pub const VLAN: u16 = 0x8100;
/// Ethernet type of a provider's VLAN tag, around another one.
pub const PROVIDER_VLAN: u16 = 0x88a8;

/// An ARP message of Ethernet and IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// 1 request, 2 reply.
    pub operation: u16,
    /// The hardware address that the sender claims.
    pub sender_mac: Mac,
    /// The protocol address that the sender claims.
    pub sender_ip: Ipv4Addr,
    /// Whom it is for.
    pub target_mac: Mac,
    /// Whom it is for, or is asked about.
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// "`ip` is at `mac`", told to `target`.
    #[must_use]
    pub fn claim(ip: Ipv4Addr, mac: Mac, target: (Mac, Ipv4Addr)) -> Arp {
        Arp { operation: 2, sender_mac: mac, sender_ip: ip, target_mac: target.0, target_ip: target.1 }
    }

    /// "Who has `target`? Tell `ip` at `mac`."
    #[must_use]
    pub fn request(ip: Ipv4Addr, mac: Mac, target: Ipv4Addr) -> Arp {
        Arp { operation: 1, sender_mac: mac, sender_ip: ip, target_mac: Mac([0; 6]), target_ip: target }
    }

    /// Its 28 bytes.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0, 1, 8, 0, 6, 4];
        bytes.extend(self.operation.to_be_bytes());
        bytes.extend(self.sender_mac.0);
        bytes.extend(self.sender_ip.octets());
        bytes.extend(self.target_mac.0);
        bytes.extend(self.target_ip.octets());
        bytes
    }

    /// Reads the frame's ARP message, if it is one.
    #[must_use]
    pub fn read(frame: &[u8]) -> Option<Arp> {
        (ether_type(frame)? == ARP).then_some(())?;
        let body = frame.get(14..42)?;
        Some(Arp {
            operation: u16::from_be_bytes([body[6], body[7]]),
            sender_mac: mac_at(body, 8)?,
            sender_ip: ip_at(body, 14)?,
            target_mac: mac_at(body, 18)?,
            target_ip: ip_at(body, 24)?,
        })
    }
}

/// An Ethernet II frame, padded to the 60 bytes that a wire has at least.
#[must_use]
pub fn ethernet(destination: Mac, source: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(60.max(14 + payload.len()));
    frame.extend(destination.0);
    frame.extend(source.0);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// An IPv4 datagram without options.
#[must_use]
pub fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with_options(source, destination, protocol, &[], payload)
}

/// An IPv4 datagram with `options`, whose length is a multiple of four.
#[must_use]
pub fn ipv4_with_options(
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let length = u16::try_from(20 + options.len() + payload.len()).expect("a datagram is below 64 KiB");
    let words = u8::try_from(5 + options.len() / 4).expect("options are below 40 bytes");
    let mut bytes = vec![0x40 | words, 0];
    bytes.extend(length.to_be_bytes());
    bytes.extend([0x13, 0x37, 0, 0, 64, protocol, 0, 0]);
    bytes.extend(source.octets());
    bytes.extend(destination.octets());
    bytes.extend(options);
    let sum = checksum(&[&bytes]);
    bytes[10..12].copy_from_slice(&sum.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Makes the checksum of the IPv4 header in an Ethernet frame, without options, right again.
pub fn fill_header_checksum(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = checksum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}

/// A UDP datagram in IPv4.
#[must_use]
pub fn udp(source: (Ipv4Addr, u16), destination: (Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("a datagram is below 64 KiB");
    let mut bytes = Vec::with_capacity(usize::from(length));
    bytes.extend(source.1.to_be_bytes());
    bytes.extend(destination.1.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let mut pseudo = Vec::with_capacity(12);
    pseudo.extend(source.0.octets());
    pseudo.extend(destination.0.octets());
    pseudo.extend([0, 17]);
    pseudo.extend(length.to_be_bytes());
    let sum = checksum(&[&pseudo, &bytes]);
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    ipv4(source.0, destination.0, 17, &bytes)
}

/// A ping in IPv4, marked with `ident`.
#[must_use]
pub fn echo(source: Ipv4Addr, destination: Ipv4Addr, ident: u16) -> Vec<u8> {
    let [a, b] = ident.to_be_bytes();
    icmp(source, destination, (8, 0), &[&[a, b, 0, 1][..], b"softnet testbed"].concat())
}

/// An ICMP message of this type and code in IPv4; `rest` is what follows the checksum.
#[must_use]
pub fn icmp(source: Ipv4Addr, destination: Ipv4Addr, kind: (u8, u8), rest: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind.0, kind.1, 0, 0];
    bytes.extend(rest);
    let sum = checksum(&[&bytes]);
    bytes[2..4].copy_from_slice(&sum.to_be_bytes());
    ipv4(source, destination, 1, &bytes)
}

/// A DHCP message's body: BOOTP header, cookie, options, end.
#[must_use]
pub fn dhcp(operation: u8, xid: u32, client: Mac, your_ip: Ipv4Addr, options: &[(u8, &[u8])]) -> Vec<u8> {
    let mut bytes = vec![operation, 1, 6, 0];
    bytes.extend(xid.to_be_bytes());
    bytes.extend([0, 0, 0x80, 0]); // seconds; flags: answer by broadcast
    bytes.extend([0; 4]);
    bytes.extend(your_ip.octets());
    bytes.extend([0; 8]);
    bytes.extend(client.0);
    bytes.resize(236, 0);
    bytes.extend([99, 130, 83, 99]);
    for (code, value) in options {
        bytes.extend([*code, u8::try_from(value.len()).expect("an option is below 256 bytes")]);
        bytes.extend(*value);
    }
    bytes.push(255);
    bytes
}

/// A DHCP message of `client`'s that has no address yet, broadcast from `source`.
#[must_use]
pub fn dhcp_request(source: Mac, client: Mac, xid: u32, options: &[(u8, &[u8])]) -> Vec<u8> {
    let body = dhcp(1, xid, client, Ipv4Addr::UNSPECIFIED, options);
    let datagram = udp((Ipv4Addr::UNSPECIFIED, 68), (Ipv4Addr::BROADCAST, 67), &body);
    ethernet(Mac::BROADCAST, source, IPV4, &datagram)
}

/// The value of option `code` in the DHCP reply to `xid` that `frame` is, if it is one and has it.
#[must_use]
pub fn dhcp_option(frame: &[u8], xid: u32, code: u8) -> Option<&[u8]> {
    // Behind the headers of Ethernet, IPv4 without options, UDP from port 67: what `dhcp` writes.
    let is_reply = ether_type(frame)? == IPV4
        && frame.get(23)? == &17
        && frame.get(34..36)? == [0, 67]
        && frame.get(42)? == &2
        && frame.get(46..50)? == xid.to_be_bytes();
    let mut rest = is_reply.then_some(frame.get(42 + 240..)?)?;
    while let [kind, length, after @ ..] = rest {
        let (value, next) = after.split_at_checked(usize::from(*length))?;
        if *kind == code {
            return Some(value);
        }
        rest = next;
    }
    None
}

/// The Internet checksum over `parts`, each but the last of even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u32;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

fn mac_at(bytes: &[u8], at: usize) -> Option<Mac> {
    Some(Mac(bytes.get(at..at + 6)?.try_into().ok()?))
}

fn ip_at(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

/// The frame's destination.
#[must_use]
pub fn destination(frame: &[u8]) -> Option<Mac> {
    mac_at(frame, 0)
}

/// The frame's source.
#[must_use]
pub fn source(frame: &[u8]) -> Option<Mac> {
    mac_at(frame, 6)
}

/// The frame's Ethernet type.
#[must_use]
pub fn ether_type(frame: &[u8]) -> Option<u16> {
    Some(u16::from_be_bytes(frame.get(12..14)?.try_into().ok()?))
}

/// Source and destination address of the frame's IPv4 datagram, if it is one.
#[must_use]
pub fn ip_addresses(frame: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    (ether_type(frame)? == IPV4).then_some(())?;
    Some((ip_at(frame, 26)?, ip_at(frame, 30)?))
}
