//! Captures: pcapng written from frames as they were judged, pcap and pcapng read again.
//!
//! PURE: no operating system, no clock, no `unsafe`, no logging. Bytes and times in, bytes and frames out. Who opens the file
//! and writes to it is `sys::sink`; who hands in the frames is `watch`.
//!
//! # What is written
//! One section, one interface, a packet for each frame that either side sent, dropped or not, and for each of softnet's own
//! replies ([`pcapng`]). Whatever waits to be written waits in a [`Queue`] of fixed size, which holds whole blocks: a reader
//! that is slow, or not there, costs frames of the capture, counted, and never a frame of the guest's, nor half a block.
#![forbid(unsafe_code)]

pub mod pcapng;
mod queue;
pub mod read;

pub use queue::{NoRoom, Queue};

/// The comment of a frame of softnet's own, which nobody judged.
pub const OWN_ANSWER: &str = "softnet's own answer";

/// Which way a frame went, as seen from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To the guest: inbound.
    In,
    /// From the guest: outbound.
    Out,
}
