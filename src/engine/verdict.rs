//! Verdicts, their reasons, and one counter a reason.

/// Which way a frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the guest to the host.
    FromGuest,
    /// From the host to the guest.
    FromHost,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on, unchanged.
    Forward,
    /// It is dropped.
    Drop(DropReason),
}

/// Why a frame was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropReason {
    /// Shorter than an Ethernet header.
    FrameTooShort,
}

/// What an engine has done so far.
#[derive(Clone, Debug, Default)]
pub struct Counters {}
