//! The engine compiled by itself, and a door to each of its functions that a frame or the clock calls. scripts/engine-panics.sh
//! looks at the machine code behind the doors: nothing there calls a function that panics or allocates.
//!
//! By itself: the engine knows no other part of softnet (tests/engine_purity.rs), so it can be had without them, and what it
//! reaches is not mixed with what the relay reaches.

#[path = "../../../src/engine/mod.rs"]
pub mod engine;

use engine::{Engine, Event, Instant, Verdict};

/// [`Engine::on_guest_frame`].
#[unsafe(no_mangle)]
pub fn door_guest_frame(engine: &mut Engine, frame: &[u8], micros: i64) -> Verdict {
    engine.on_guest_frame(frame, Instant::from_micros_const(micros))
}

/// [`Engine::on_host_frame`].
#[unsafe(no_mangle)]
pub fn door_host_frame(engine: &mut Engine, frame: &[u8], micros: i64) -> Verdict {
    engine.on_host_frame(frame, Instant::from_micros_const(micros))
}

/// [`Engine::advance`].
#[unsafe(no_mangle)]
pub fn door_advance(engine: &mut Engine, micros: i64) -> Option<i64> {
    engine.advance(Instant::from_micros_const(micros));
    engine.next_deadline().map(|at| at.total_micros())
}

/// [`Engine::poll_event`].
#[unsafe(no_mangle)]
pub fn door_poll_event(engine: &mut Engine) -> Option<Event> {
    engine.poll_event()
}
