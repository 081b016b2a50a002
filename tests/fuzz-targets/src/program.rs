//! Frames as a program: `guest_frames`, where most are from the guest, and `host_frames`, where most are from the host.

use softnet::engine::Direction;

use crate::exchange;
use crate::frames::LEASED;
use crate::input::Input;
use crate::mutation::Frame;
use crate::session::{Session, Tally};
use crate::templates::{OTHER, templates};

/// The target `guest_frames`.
#[must_use]
pub fn guest_frames(data: &[u8]) -> Tally {
    run(data, Direction::FromGuest, Direction::FromHost)
}

/// The target `host_frames`.
#[must_use]
pub fn host_frames(data: &[u8]) -> Tally {
    run(data, Direction::FromHost, Direction::FromGuest)
}

fn run(data: &[u8], mostly: Direction, rarely: Direction) -> Tally {
    let mut input = Input::new(data);
    let mut session = Session::new(&mut input);
    while !input.is_empty() {
        match input.byte() {
            192..=223 => exchange::step(&mut session, &mut input),
            250 => exchange::burst(&mut session, &mut input),
            byte => step(byte % 64, mostly, rarely, &mut session, &mut input),
        }
    }
    session.finish()
}

fn step(choice: u8, mostly: Direction, rarely: Direction, session: &mut Session, input: &mut Input<'_>) {
    match choice {
        0..=45 => send_mutated(session, mostly, input),
        46..=53 => send_mutated(session, rarely, input),
        54..=57 => session.pass(input),
        58 => session.set_policy(input),
        59..=61 => {
            let address = input.choose(&[LEASED, LEASED, LEASED, OTHER]);
            session.obtain(address, input.choose(&[600, 60, 5, 1, 0, u32::MAX]));
        }
        // Bytes as they are.
        62 => send_raw(session, mostly, input),
        _ => send_raw(session, rarely, input),
    }
}

#[inline]
fn send_mutated(session: &mut Session, direction: Direction, input: &mut Input<'_>) {
    let of = match direction {
        Direction::FromGuest => &templates().guest,
        Direction::FromHost => &templates().host,
    };
    let mut frame = Frame::new(&of[usize::from(input.byte()) % of.len()]);
    frame.mutate(input);
    session.send(direction, frame.bytes());
}

fn send_raw(session: &mut Session, direction: Direction, input: &mut Input<'_>) {
    let length = usize::from(input.byte());
    session.send(direction, input.take(length));
}
