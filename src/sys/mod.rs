//! Thin safe wrappers over system calls; with `host/` the only place of `unsafe`.
//!
//! * [`batch`]: frames in memory, allocated once.
//! * [`clock`]: the clock that leases lapse by.
//! * [`inherited`]: descriptors that another program gave us, checked before they are used.
//! * [`datagram`]: frames to and from the guest's socket, many a system call.
//! * [`peer`]: whether the guest's end of the socket is still there.
//! * [`process`]: what of this process the caller must not decide.
//! * [`signals`]: the signals that end softnet, as a descriptor.

pub mod batch;
pub mod clock;
pub mod datagram;
pub mod inherited;
pub mod peer;
pub mod process;
pub mod signals;
