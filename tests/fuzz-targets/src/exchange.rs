//! Steps of connections: a few ends and ports that meet again and again, so that flows begin, go on and end, and are refused.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use crate::frames::*;
use crate::input::Input;
use crate::mutation::Frame;
use crate::session::{DIRECTED_FROM, Session};
use crate::templates::ADDRESSES;

const PORTS: [u16; 4] = [22, 53, 5000, 68];
const PROTOCOLS: [u8; 8] = [TCP, TCP, TCP, TCP, TCP, UDP, UDP, ICMP];
const FLAGS: [&str; 12] = ["S", "SA", "A", "S", "SA", "A", "PA", "FA", "R", "RA", "SF", ""];

/// Sends one datagram of some connection, or word of one; mostly as it is.
pub fn step(session: &mut Session, input: &mut Input<'_>) {
    let direction = if input.rarely(2) { Direction::FromGuest } else { Direction::FromHost };
    let protocol = input.choose(&PROTOCOLS);
    let mut frame = Frame::new(&Ends::read(input).frame(direction, protocol, input));
    if input.rarely(8) {
        frame.mutate(input);
    }
    session.send(direction, frame.bytes());
}

/// Sends the same one again and again, faster than all can be answered.
pub fn burst(session: &mut Session, input: &mut Input<'_>) {
    let direction = if input.rarely(2) { Direction::FromGuest } else { Direction::FromHost };
    let protocol = input.choose(&PROTOCOLS);
    let frame = Ends::read(input).frame(direction, protocol, input);
    let pause = input.choose(&[0, 0, 1, 500, 999, 1000]);
    for _ in 0..60 + input.byte() % 64 {
        session.send(direction, &frame);
        session.wait(pause);
    }
    session.wait(input.choose(&[0, 999, 1000, 63_999, 64_000, 1_000_000]));
    session.send(direction, &frame);
}

/// Times on which the lives of flows turn, in microseconds.
const WAITS: [i64; 12] = [
    1,
    999_999,
    1_000_000,
    9_000_000,
    10_000_000,
    20_000_000,
    29_000_000,
    29_999_999,
    30_000_000,
    60_000_000,
    299_000_000,
    300_000_000,
];

/// Keeps to one connection, both ways, while time passes and policies come and go.
pub fn talk(session: &mut Session, input: &mut Input<'_>) {
    session.obtain(LEASED, u32::MAX);
    let ends = Ends::read(input);
    let protocol = input.choose(&[TCP, TCP, UDP, UDP, TCP, ICMP]);
    for _ in 0..4 + input.byte() % 28 {
        match input.byte() % 16 {
            0 => session.set_policy(DIRECTED_FROM + input.byte() % (u8::MAX - DIRECTED_FROM)),
            1 => session.set_policy(input.byte()),
            2..=4 => session.wait(input.choose(&WAITS)),
            5..=9 => session.send(Direction::FromGuest, &ends.frame(Direction::FromGuest, protocol, input)),
            _ => session.send(Direction::FromHost, &ends.frame(Direction::FromHost, protocol, input)),
        }
    }
}

/// Of a connection: the far side and the ports.
#[derive(Clone, Copy, Debug)]
struct Ends {
    far: Ipv4Addr,
    guest_port: u16,
    far_port: u16,
    mac: Mac,
}

impl Ends {
    fn read(input: &mut Input<'_>) -> Self {
        let far = match input.byte() {
            byte @ 0..32 => ADDRESSES[usize::from(byte) % ADDRESSES.len()],
            byte => [GATEWAY, GATEWAY, GATEWAY, WORLD, NEIGHBOUR, Ipv4Addr::new(8, 8, 8, 8)][usize::from(byte) % 6],
        };
        let mac = if far == NEIGHBOUR { input.choose(&[NEIGHBOUR_MAC, GATEWAY_MAC]) } else { GATEWAY_MAC };
        Ends { far, guest_port: input.choose(&PORTS), far_port: input.choose(&[5000, 53, 5000]), mac }
    }

    fn out(self, protocol: u8, input: &mut Input<'_>) -> Ip {
        datagram(LEASED, self.far, (self.guest_port, self.far_port), protocol, input)
    }

    fn back(self, protocol: u8, input: &mut Input<'_>) -> Ip {
        datagram(self.far, LEASED, (self.far_port, self.guest_port), protocol, input)
    }

    /// A datagram of it, or word of one that went the other way.
    fn frame(self, direction: Direction, protocol: u8, input: &mut Input<'_>) -> Vec<u8> {
        let is_error = input.rarely(6);
        let kind = if is_error { input.choose(&[3, 11, 12]) } else { 0 };
        match direction {
            Direction::FromGuest => {
                let datagram = match is_error {
                    true => Ip::error(LEASED, self.far, kind, &self.back(protocol, input)),
                    false => self.out(protocol, input),
                };
                let [_, b, c, d] = self.far.octets();
                let mac = match self.far {
                    ALL | SUBNET_BROADCAST => BROADCAST,
                    far if far.is_multicast() => [1, 0, 0x5e, b % 128, c, d],
                    _ => self.mac,
                };
                datagram.frame(mac, GUEST_MAC)
            }
            Direction::FromHost => {
                let datagram = match is_error {
                    true => {
                        let by = input.choose(&[self.far, self.far, WORLD, NEIGHBOUR]);
                        Ip::error(by, LEASED, kind, &self.out(protocol, input))
                    }
                    false => self.back(protocol, input),
                };
                datagram.frame(GUEST_MAC, self.mac)
            }
        }
    }
}

fn datagram(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16), protocol: u8, input: &mut Input<'_>) -> Ip {
    match protocol {
        TCP => {
            let mut datagram = Ip::segment(source, destination, ports, input.choose(&FLAGS));
            datagram.payload[4..12].fill(input.byte());
            let data = usize::from(input.byte() % 4);
            datagram.payload.extend_from_slice(input.take(data));
            datagram
        }
        UDP => Ip::udp(source, destination, ports, input.take(2)),
        _ => Ip::echo(source, destination, input.choose(&[8, 0, 8, 13, 14, 42]), ports.0.min(ports.1)),
    }
}
