//! A DHCP message by fixed positions (RFC 2131, figure 1), and its options as one list.

use std::net::Ipv4Addr;

use super::{address, mac};
use crate::frames::Mac;

const FILE: std::ops::Range<usize> = 108..236;
const SNAME: std::ops::Range<usize> = 44..108;

/// A message of sound form.
#[derive(Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    options: Vec<(u8, &'a [u8])>,
}

impl<'a> Message<'a> {
    /// Reads a message; with `follow`, options in `file` and `sname` too, which otherwise make it unsound.
    pub(super) fn read(bytes: &'a [u8], follow: bool) -> Option<Self> {
        if bytes.len() < 240 || bytes[236..240] != [99, 130, 83, 99] {
            return None;
        }
        let mut options = field(&bytes[240..])?;
        let overload = options.iter().find(|(code, _)| *code == 52).map(|(_, value)| value.to_vec());
        match overload.as_deref() {
            None => {}
            Some([1]) if follow => options.extend(field(&bytes[FILE])?),
            Some([2]) if follow => options.extend(field(&bytes[SNAME])?),
            Some([3]) if follow => {
                options.extend(field(&bytes[FILE])?);
                options.extend(field(&bytes[SNAME])?);
            }
            Some(_) => return None,
        }
        let message = Message { bytes, options };
        let is_sound = |code, is_length: fn(usize) -> bool| {
            let mut found = message.options.iter().filter(|(each, _)| *each == code);
            found.next().is_none_or(|(_, value)| is_length(value.len())) && found.next().is_none()
        };
        let all_are_sound = is_sound(53, |length| length == 1)
            && is_sound(52, |length| length == 1)
            && is_sound(50, |length| length == 4)
            && is_sound(51, |length| length == 4)
            && is_sound(61, |_| true)
            && is_sound(6, |length| length > 0 && length % 4 == 0);
        (all_are_sound && message.option(53).is_some()).then_some(message)
    }

    pub(super) fn option(&self, code: u8) -> Option<&'a [u8]> {
        self.options.iter().find(|(each, _)| *each == code).map(|(_, value)| *value)
    }

    /// `op`, `htype`, `hlen`.
    pub(super) fn is_of_ethernet(&self, op: u8) -> bool {
        self.bytes[..3] == [op, 1, 6]
    }

    pub(super) fn xid(&self) -> [u8; 4] {
        [self.bytes[4], self.bytes[5], self.bytes[6], self.bytes[7]]
    }

    pub(super) fn ciaddr(&self) -> Ipv4Addr {
        address(self.bytes, 12)
    }

    pub(super) fn yiaddr(&self) -> Ipv4Addr {
        address(self.bytes, 16)
    }

    /// `yiaddr`, `siaddr` and `giaddr` are nothing.
    pub(super) fn is_plain_request(&self) -> bool {
        self.bytes[16..28].iter().all(|byte| *byte == 0)
    }

    pub(super) fn chaddr(&self) -> Mac {
        mac(self.bytes, 28)
    }

    pub(super) fn kind(&self) -> u8 {
        self.option(53).map_or(0, |value| value[0])
    }

    /// Option 50.
    pub(super) fn requested(&self) -> Option<Ipv4Addr> {
        self.option(50).map(|value| address(value, 0))
    }

    /// Option 51.
    pub(super) fn seconds(&self) -> i64 {
        self.option(51).map_or(0, |value| value.iter().fold(0, |seconds, byte| seconds << 8 | i64::from(*byte)))
    }
}

/// The options of a field up to its END; `None` where it has none, or an option runs past it.
fn field(bytes: &[u8]) -> Option<Vec<(u8, &[u8])>> {
    let mut options = Vec::with_capacity(8);
    let mut at = 0;
    loop {
        match *bytes.get(at)? {
            255 => return Some(options),
            0 => at += 1,
            code => {
                let length = usize::from(*bytes.get(at + 1)?);
                options.push((code, bytes.get(at + 2..at + 2 + length)?));
                at += 2 + length;
            }
        }
    }
}
