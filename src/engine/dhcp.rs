//! A DHCP message as the rules need it (RFC 2131, RFC 2132): read once, strictly, within its bounds.
//!
//! smoltcp reads the fixed fields; the options are walked here, since its own walk ends in silence where an option
//! overruns, and what ends early for us may not end there for the server. One pass over each field that may hold options;
//! a message without END, with an option past the end, or with two of an option that matters is malformed as a whole.
//!
//! *Overload* (option 52) moves options into the `file` and `sname` fields. From the guest it is refused: no client needs
//! it, and it is a second place to hide a second message type. From the server it is followed, since dnsmasq uses it when
//! the options do not fit: the `options` field, then `file`, then `sname` (RFC 2131, section 4.1), each once, and none of
//! them may overload again.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;
use std::ops::Range;

use smoltcp::wire::{ArpHardware, DhcpMessageType, DhcpOpCode, DhcpPacket, EthernetAddress};

const MAGIC_COOKIE: u32 = 0x6382_5363;
// smoltcp takes `sname` to start right after a 6 byte `chaddr`; it starts after 16 bytes of it.
const SNAME: Range<usize> = 44..108;
const FILE: Range<usize> = 108..236;
const OPTIONS: usize = 240;

const PAD: u8 = 0;
const DNS_SERVERS: u8 = 6;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
const OVERLOAD: u8 = 52;
const MESSAGE_TYPE: u8 = 53;
const CLIENT_IDENTIFIER: u8 = 61;
const RELAY_AGENT: u8 = 82;
const SUBNET_SELECTION: u8 = 118;
const END: u8 = 255;

/// Options where they do not belong, or that are cut short, doubled or endless; or no DHCP at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What to do with options in `file` and `sname`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overload {
    /// Such a message is malformed.
    Refused,
    /// They are read.
    Followed,
}

/// What a message says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message<'a> {
    pub(super) op: DhcpOpCode,
    /// Whether `htype` is 1 and `hlen` 6, so that [`Message::client`] means something.
    pub(super) is_ethernet: bool,
    pub(super) xid: u32,
    pub(super) client: EthernetAddress,
    pub(super) ciaddr: Ipv4Addr,
    pub(super) yiaddr: Ipv4Addr,
    pub(super) siaddr: Ipv4Addr,
    pub(super) giaddr: Ipv4Addr,
    pub(super) kind: DhcpMessageType,
    pub(super) options: Options<'a>,
}

/// The options that matter, each at most once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Options<'a> {
    message_type: Option<u8>,
    overload: Option<u8>,
    /// Option 61, byte for byte.
    pub(super) client_identifier: Option<&'a [u8]>,
    /// Option 50.
    pub(super) requested: Option<Ipv4Addr>,
    /// Option 51, in seconds.
    pub(super) lease_seconds: Option<u32>,
    /// Option 6: a whole number of addresses.
    pub(super) dns_servers: Option<&'a [u8]>,
    /// Option 82 (RFC 3046) or 118 (RFC 3011): the message speaks for another link than its own.
    pub(super) for_another_link: bool,
}

impl<'a> Message<'a> {
    /// Reads the payload of a UDP datagram.
    pub(super) fn parse(payload: &'a [u8], overload: Overload) -> Result<Self, Malformed> {
        let packet = DhcpPacket::new_checked(payload).map_err(|_| Malformed)?;
        if packet.magic_number() != MAGIC_COOKIE {
            return Err(Malformed);
        }
        let mut options = Options::default();
        options.read(payload.get(OPTIONS..).ok_or(Malformed)?)?;
        match (options.overload, overload) {
            (None, _) => {}
            (Some(_), Overload::Refused) => return Err(Malformed),
            (Some(fields), Overload::Followed) => {
                for field in overloaded(fields)?.into_iter().flatten() {
                    options.read(payload.get(field).ok_or(Malformed)?)?;
                }
            }
        }
        Ok(Message {
            op: packet.opcode(),
            is_ethernet: packet.hardware_type() == ArpHardware::Ethernet && packet.hardware_len() == 6,
            xid: packet.transaction_id(),
            client: packet.client_hardware_address(),
            ciaddr: packet.client_ip(),
            yiaddr: packet.your_ip(),
            siaddr: packet.server_ip(),
            giaddr: packet.relay_agent_ip(),
            kind: options.message_type.ok_or(Malformed)?.into(),
            options,
        })
    }
}

/// The fields that option 52 says hold options (RFC 2132, section 9.3).
fn overloaded(value: u8) -> Result<[Option<Range<usize>>; 2], Malformed> {
    match value {
        1 => Ok([Some(FILE), None]),
        2 => Ok([None, Some(SNAME)]),
        3 => Ok([Some(FILE), Some(SNAME)]),
        _ => Err(Malformed),
    }
}

impl<'a> Options<'a> {
    /// Reads one field of options, up to its END, which it must have. What follows END is padding and not looked at.
    fn read(&mut self, mut field: &'a [u8]) -> Result<(), Malformed> {
        loop {
            let (&code, rest) = field.split_first().ok_or(Malformed)?;
            match code {
                END => return Ok(()),
                PAD => field = rest,
                _ => {
                    let (&length, rest) = rest.split_first().ok_or(Malformed)?;
                    let (value, rest) = rest.split_at_checked(length.into()).ok_or(Malformed)?;
                    self.take(code, value)?;
                    field = rest;
                }
            }
        }
    }

    fn take(&mut self, code: u8, value: &'a [u8]) -> Result<(), Malformed> {
        match code {
            MESSAGE_TYPE => once(&mut self.message_type, u8::from_be_bytes(exactly(value)?)),
            OVERLOAD => once(&mut self.overload, u8::from_be_bytes(exactly(value)?)),
            REQUESTED_ADDRESS => once(&mut self.requested, Ipv4Addr::from(exactly::<4>(value)?)),
            LEASE_TIME => once(&mut self.lease_seconds, u32::from_be_bytes(exactly(value)?)),
            CLIENT_IDENTIFIER => once(&mut self.client_identifier, value),
            DNS_SERVERS if value.is_empty() || !value.len().is_multiple_of(4) => Err(Malformed),
            DNS_SERVERS => once(&mut self.dns_servers, value),
            RELAY_AGENT | SUBNET_SELECTION => {
                self.for_another_link = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

fn exactly<const N: usize>(value: &[u8]) -> Result<[u8; N], Malformed> {
    value.try_into().map_err(|_| Malformed)
}

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Malformed> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; OPTIONS];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[236..240].copy_from_slice(&[99, 130, 83, 99]);
        bytes.extend_from_slice(options);
        bytes
    }

    fn kind(bytes: &[u8], overload: Overload) -> Result<DhcpMessageType, Malformed> {
        Message::parse(bytes, overload).map(|message| message.kind)
    }

    #[test]
    fn options_are_read_in_one_pass_with_pads_between() {
        let bytes = message(&[0, 53, 1, 3, 0, 0, 50, 4, 10, 0, 0, 9, 61, 3, 1, 2, 3, 51, 4, 0, 0, 2, 88, 255, 7, 7]);
        let message = Message::parse(&bytes, Overload::Refused).unwrap();
        assert_eq!(message.kind, DhcpMessageType::Request);
        assert_eq!(message.options.requested, Some(Ipv4Addr::new(10, 0, 0, 9)));
        assert_eq!(message.options.client_identifier, Some(&[1, 2, 3][..]));
        assert_eq!(message.options.lease_seconds, Some(600));
        assert!(message.is_ethernet);
    }

    #[test]
    fn a_message_whose_options_are_cut_short_doubled_or_endless_is_malformed() {
        for options in [
            &[][..],                    // nothing
            &[53],                      // no length
            &[53, 1],                   // no value
            &[53, 1, 1],                // no END
            &[53, 1, 1, 0, 0, 0],       // pads to the end
            &[255, 53, 1, 1],           // type behind END
            &[53, 1, 1, 12, 9, 1, 255], // another option overruns
            &[53, 1, 1, 53, 1, 1, 255], // doubled, the same
            &[53, 2, 1, 1, 255],        // wrong lengths
            &[53, 0, 255],
            &[53, 1, 1, 50, 3, 1, 2, 3, 255],
            &[53, 1, 1, 51, 2, 1, 2, 255],
            &[53, 1, 1, 6, 5, 1, 2, 3, 4, 5, 255],
            &[53, 1, 1, 6, 0, 255],
            &[53, 1, 1, 61, 1, 1, 61, 1, 2, 255],
            &[53, 1, 1, 52, 1, 4, 255], // overload of nothing
        ] {
            assert_eq!(kind(&message(options), Overload::Followed), Err(Malformed), "{options:?}");
        }
    }

    #[test]
    fn a_message_without_the_magic_cookie_or_shorter_than_it_is_malformed() {
        let mut bytes = message(&[53, 1, 1, 255]);
        bytes[239] = 98;
        assert_eq!(kind(&bytes, Overload::Refused), Err(Malformed));
        assert_eq!(kind(&bytes[..239], Overload::Refused), Err(Malformed));
        assert_eq!(kind(&[], Overload::Refused), Err(Malformed));
    }

    #[test]
    fn overload_is_followed_once_or_refused() {
        let mut bytes = message(&[52, 1, 3, 255]);
        bytes[108..112].copy_from_slice(&[53, 1, 5, 255]);
        bytes[44] = 255;
        assert_eq!(kind(&bytes, Overload::Followed), Ok(DhcpMessageType::Ack));
        assert_eq!(kind(&bytes, Overload::Refused), Err(Malformed));
        bytes[44..48].copy_from_slice(&[53, 1, 6, 255]);
        assert_eq!(kind(&bytes, Overload::Followed), Err(Malformed), "a second type in sname");
        bytes[44..48].copy_from_slice(&[52, 1, 1, 255]);
        assert_eq!(kind(&bytes, Overload::Followed), Err(Malformed), "overload in an overloaded field");
        bytes[44..108].fill(0);
        assert_eq!(kind(&bytes, Overload::Followed), Err(Malformed), "no END in sname");
    }
}
