//! What tells one flow from another, and where it stands in the table.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use siphasher::sip::SipHasher13;

use super::super::policy::Carried;
use super::super::verdict::Direction;

/// The protocols that have flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(in super::super) enum Protocol {
    #[default]
    Tcp,
    Udp,
    /// An echo that the guest asks for. Both sides may ask with the same identifier, and these are two flows.
    EchoOfGuest,
    /// An echo that the guest is asked for.
    EchoOfFar,
}

impl Protocol {
    /// The echo whose request goes this way.
    pub(super) fn echo(request: Direction) -> Self {
        match request {
            Direction::FromGuest => Protocol::EchoOfGuest,
            Direction::FromHost => Protocol::EchoOfFar,
        }
    }
}

/// The five that name a flow. For an echo, both ports are its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Key {
    pub(in super::super) guest: Ipv4Addr,
    pub(in super::super) far: Ipv4Addr,
    pub(in super::super) guest_port: u16,
    pub(in super::super) far_port: u16,
    pub(in super::super) protocol: Protocol,
}

impl Default for Key {
    fn default() -> Self {
        let any = Ipv4Addr::UNSPECIFIED;
        Key { guest: any, far: any, guest_port: 0, far_port: 0, protocol: Protocol::default() }
    }
}

impl Key {
    /// What a rule with ports can see of every datagram of the flow.
    pub(in super::super) fn carried(&self) -> Carried {
        match self.protocol {
            Protocol::Tcp | Protocol::Udp => Carried::Ports { far: self.far_port, guest: self.guest_port },
            Protocol::EchoOfGuest | Protocol::EchoOfFar => Carried::NoPorts,
        }
    }
}

/// Keys to a place, by SipHash: a guest that does not know the secret cannot choose flows that end up in one place.
#[derive(Clone, Debug)]
pub(super) struct Places {
    hasher: SipHasher13,
}

impl Places {
    pub(super) fn new(secret: [u64; 2]) -> Self {
        let [first, second] = secret;
        Places { hasher: SipHasher13::new_with_keys(first, second) }
    }

    /// A place from 0 to 65535.
    #[inline]
    pub(super) fn of(&self, key: &Key) -> u16 {
        let addresses = u64::from(key.guest.to_bits()) << 32 | u64::from(key.far.to_bits());
        let ports = u64::from(key.guest_port) << 16 | u64::from(key.far_port);
        let bits = u128::from(addresses) << 64 | u128::from(ports << 8 | key.protocol as u64);
        let hash = self.hasher.hash(&bits.to_ne_bytes());
        // The cut to 16 bits is meant.
        (hash & u64::from(u16::MAX)) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_key_and_of_the_secret_moves_the_place() {
        let key = Key::default();
        let place = |key: &Key, secret| Places::new(secret).of(key);
        let here = place(&key, [1, 2]);
        let one = Ipv4Addr::from_bits(1);
        for other in [
            Key { guest: one, ..key },
            Key { far: one, ..key },
            Key { guest_port: 1, ..key },
            Key { far_port: 1, ..key },
            Key { protocol: Protocol::Udp, ..key },
        ] {
            assert_ne!(place(&other, [1, 2]), here, "{other:?}");
        }
        for secret in [[2, 2], [1, 1], [2, 1]] {
            assert_ne!(place(&key, secret), here);
        }
    }
}
