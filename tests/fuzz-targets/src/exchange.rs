//! Steps of connections: a few ends and ports that meet again and again, so that flows begin, go on and end, and are refused.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use crate::frames::*;
use crate::input::Input;
use crate::mutation::Frame;
use crate::session::Session;
use crate::templates::ADDRESSES;

const PORTS: [u16; 4] = [22, 53, 5000, 68];
const FLAGS: [&str; 12] = ["S", "SA", "A", "S", "SA", "A", "PA", "FA", "R", "RA", "SF", ""];

/// Sends one datagram of some connection, or word of one; mostly as it is.
pub fn step(session: &mut Session, input: &mut Input<'_>) {
    let direction = if input.rarely(2) { Direction::FromGuest } else { Direction::FromHost };
    let mut frame = Frame::new(&frame(direction, input));
    if input.rarely(8) {
        frame.mutate(input);
    }
    session.send(direction, frame.bytes());
}

/// Sends the same one again and again, faster than all can be answered.
pub fn burst(session: &mut Session, input: &mut Input<'_>) {
    let direction = if input.rarely(2) { Direction::FromGuest } else { Direction::FromHost };
    let frame = frame(direction, input);
    let pause = input.choose(&[0, 0, 1, 500, 999, 1000]);
    for _ in 0..60 + input.byte() % 64 {
        session.send(direction, &frame);
        session.wait(pause);
    }
    session.wait(input.choose(&[0, 999, 1000, 63_999, 64_000, 1_000_000]));
    session.send(direction, &frame);
}

fn frame(direction: Direction, input: &mut Input<'_>) -> Vec<u8> {
    let far = match input.byte() {
        byte @ 0..32 => ADDRESSES[usize::from(byte) % ADDRESSES.len()],
        byte => [GATEWAY, GATEWAY, GATEWAY, WORLD, NEIGHBOUR, Ipv4Addr::new(8, 8, 8, 8)][usize::from(byte) % 6],
    };
    let (guest_port, far_port) = (input.choose(&PORTS), input.choose(&[5000, 53, 5000]));
    let (out, back) = (datagram(LEASED, far, (guest_port, far_port), input), LEASED);
    let mac = if far == NEIGHBOUR { input.choose(&[NEIGHBOUR_MAC, GATEWAY_MAC]) } else { GATEWAY_MAC };
    match direction {
        Direction::FromGuest => {
            let of_host = if input.rarely(6) {
                let quoted = datagram(far, LEASED, (far_port, guest_port), input);
                Ip::error(back, far, input.choose(&[3, 11, 12]), &quoted)
            } else {
                out
            };
            let mac = if far.is_multicast() { [1, 0, 0x5e, 0, 0, 251] } else { mac };
            of_host.frame(if far == ALL { BROADCAST } else { mac }, GUEST_MAC)
        }
        Direction::FromHost => {
            let by = input.choose(&[far, far, WORLD, NEIGHBOUR]);
            let datagram = if input.rarely(6) {
                Ip::error(by, LEASED, input.choose(&[3, 11, 12]), &out)
            } else {
                datagram(far, LEASED, (far_port, guest_port), input)
            };
            datagram.frame(GUEST_MAC, mac)
        }
    }
}

fn datagram(source: Ipv4Addr, destination: Ipv4Addr, ports: (u16, u16), input: &mut Input<'_>) -> Ip {
    match input.byte() % 8 {
        0..=4 => {
            let mut datagram = Ip::segment(source, destination, ports, input.choose(&FLAGS));
            datagram.payload[4..12].fill(input.byte());
            let data = usize::from(input.byte() % 4);
            datagram.payload.extend_from_slice(input.take(data));
            datagram
        }
        5 | 6 => Ip::udp(source, destination, ports, input.take(2)),
        _ => Ip::echo(source, destination, input.choose(&[8, 0, 8, 13, 14, 42]), ports.0.min(ports.1)),
    }
}
