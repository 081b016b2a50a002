//! A double of the API of the crate `vmnet` 0.10, as far as softnet uses it: the same names, types and signatures, so
//! that the source of softnet's macOS host compiles against either. The other side of an interface, and what goes wrong
//! there, is in the hands of a test: [`Wire`].
//!
//! It behaves as vmnet.framework is known to (vmnet.h, and the tests of the crate `vmnet`): an event says once that
//! packets came, and nothing reminds of those that were left; a read or a write moves at most 256 packets, fewer if it
//! pleases; a full kernel queue refuses a write; callbacks run one after the other on a thread of their own; stopping
//! waits for a callback that is still running. It is stricter where vmnet leaves things open: more packets than allowed,
//! a buffer that is too small for the largest packet, or a call on a stopped interface is refused each time.

mod error;
mod interface;
pub mod mode;
pub mod parameters;
pub mod port_forwarding;
mod wire;

pub use error::{Error, Result, Status};
pub use interface::{Batch, Interface};
pub use wire::{Call, Facts, Wire};

/// Options that are common to all interface modes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether vmnet makes up a MAC address for the interface.
    pub allocate_mac_address: Option<bool>,
    /// Whether checksums are left to the host.
    pub enable_checksum_offload: Option<bool>,
    /// Whether the interface is kept apart from others.
    pub enable_isolation: Option<bool>,
    /// Whether segmentation is left to the host.
    pub enable_tso: Option<bool>,
}

/// What an event callback is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events(u32);

impl Events {
    /// Packets can be read.
    pub const PACKETS_AVAILABLE: Events = Events(1);
}
