//! The target `dhcp`: a client, a server and liars in a long talk, from fields and options of their own making, so that states
//! behind several sound messages are reached.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use crate::frames::*;
use crate::input::Input;
use crate::mutation::Frame;
use crate::session::{Session, Tally};
use crate::templates::{ADDRESSES, MACS, OTHER};

/// The target.
#[must_use]
pub fn dhcp(data: &[u8]) -> Tally {
    let mut input = Input::new(data);
    let mut session = Session::new(&mut input);
    while !input.is_empty() {
        match input.byte() % 16 {
            0..=4 => {
                let (destination, source) = (if input.rarely(4) { GATEWAY_MAC } else { BROADCAST }, GUEST_MAC);
                let message = from_client(&mut input);
                let datagram =
                    if destination == BROADCAST { message.to_all() } else { message.to_gateway(leased(&mut input)) };
                send(&mut session, Direction::FromGuest, datagram.frame(destination, source), &mut input);
            }
            5..=10 => {
                let destination = input.choose(&[GUEST_MAC, BROADCAST, GUEST_MAC, NEIGHBOUR_MAC]);
                let source = input.choose(&[GATEWAY_MAC, GATEWAY_MAC, GATEWAY_MAC, NEIGHBOUR_MAC]);
                let frame = from_server(&mut input).by_gateway().frame(destination, source);
                send(&mut session, Direction::FromHost, frame, &mut input);
            }
            11 | 12 => {
                // Whom the guest may speak for by now.
                let frame = Ip::ping(leased(&mut input), WORLD).frame(GATEWAY_MAC, GUEST_MAC);
                session.send(Direction::FromGuest, &frame);
            }
            _ => session.pass(&mut input),
        }
    }
    session.finish()
}

/// Two addresses mostly, so that they meet.
fn leased(input: &mut Input<'_>) -> Ipv4Addr {
    let byte = input.byte();
    match byte % 8 {
        0..=4 => LEASED,
        5 | 6 => OTHER,
        _ => ADDRESSES[usize::from(byte >> 3) % ADDRESSES.len()],
    }
}

fn xid(input: &mut Input<'_>) -> u32 {
    u32::from(input.byte() % 3) + 1
}

fn from_client(input: &mut Input<'_>) -> Dhcp {
    let kind = input.choose(&[REQUEST, REQUEST, DISCOVER, RELEASE, DECLINE, INFORM, REQUEST, REQUEST]);
    let mut message = Dhcp::from_guest(kind, xid(input));
    if input.rarely(3) {
        message.ciaddr = leased(input);
    } else {
        message = message.option(50, &leased(input).octets());
    }
    if input.rarely(4) {
        message = message.option(61, &[input.byte() % 5]);
    }
    odd(message, input)
}

fn from_server(input: &mut Input<'_>) -> Dhcp {
    let kind = input.choose(&[ACK, ACK, ACK, OFFER, NAK, ACK, ACK, INFORM]);
    let mut message = Dhcp { yiaddr: leased(input), ..Dhcp::from_server(kind, xid(input)) };
    if input.rarely(6) {
        message.yiaddr = ANY;
    }
    let seconds = input.choose(&[600u32, 60, 1, 5, u32::MAX, 0]).to_be_bytes();
    match input.byte() % 8 {
        // Overloaded: the time is in `file` or `sname`, and either may be endless.
        0 => {
            message = message.option(52, &[input.byte() % 5]);
            message.file[..7].copy_from_slice(&[51, 4, seconds[0], seconds[1], seconds[2], seconds[3], 255]);
            message.sname[..3].copy_from_slice(&[12, input.byte() % 80, b'a']);
            message.sname[63] = input.choose(&[255, 0]);
        }
        1 => {}
        _ => message = message.option(51, &seconds),
    }
    if input.rarely(3) {
        let servers: Vec<u8> = (0..input.byte() % 7).flat_map(|_| input.choose(&ADDRESSES).octets()).collect();
        message = message.option(6, &servers);
    }
    odd(message, input)
}

/// Mostly nothing; else a field or an option that does not belong.
fn odd(mut message: Dhcp, input: &mut Input<'_>) -> Dhcp {
    match input.byte() % 32 {
        0 => message.op = input.byte() % 4,
        1 => message.hardware_type = input.byte() % 3,
        2 => message.hardware_length = input.byte(),
        3 => message.chaddr = input.choose(&MACS),
        4 => message.giaddr = input.choose(&ADDRESSES),
        5 => message.siaddr = input.choose(&ADDRESSES),
        6 => message.yiaddr = input.choose(&ADDRESSES),
        7 => message.cookie[usize::from(input.byte() % 4)] ^= 1,
        8..=11 => {
            let code = input.choose(&[53, 50, 51, 52, 61, 6, 82, 118, 0, 255, 12]);
            let length = usize::from(input.byte() % 9);
            let value = input.take(length).to_vec();
            message = message.option(code, &value);
        }
        12 => {
            let length = usize::from(input.byte());
            let bytes = input.take(length).to_vec();
            message = message.raw_options(&bytes);
        }
        // Overloaded and sound: followed from the server, refused from the guest.
        13 => {
            message = message.option(52, &[input.byte() % 3 + 1]);
            (message.file[0], message.sname[0]) = (255, 255);
        }
        _ => {}
    }
    message
}

/// As it is mostly; else with something done to its bytes.
fn send(session: &mut Session, direction: Direction, frame: Vec<u8>, input: &mut Input<'_>) {
    let mut frame = Frame::new(&frame);
    if input.rarely(4) {
        frame.mutate(input);
    }
    session.send(direction, frame.bytes());
}
