//! What a process that only moves frames may still do.
//!
//! # Theory of operation
//! The guest is the attacker, and one day a byte of it may make softnet run what softnet never meant to. The drop has
//! taken root away by then; the sandbox takes away what any user has. Linux, in this order:
//!
//! | when | what | holds against |
//! | --- | --- | --- |
//! | before the drop | no capability in the bounding set, secure bits locked (`capabilities`) | rights that a later program or uid would bring |
//! | at the drop | the root directory is one that is empty and removed (`nowhere`) | paths, also those that a *message* names |
//! | after it | one thread; limits | what the filter does not cover: a second thread, descriptors that a message brings |
//! | | Landlock: no file, no TCP, no signal, no abstract socket | the same as the filter, should that have a hole |
//! | last | seccomp: [`calls::EVERY`] and [`calls::RELAY`], the process is killed at any other call | everything else |
//!
//! A part of it that a kernel may lack, and without which the rest still holds, is left out with a line at debug level:
//! Landlock alone. Anything else that fails ends the start.
//!
//! [`enter`] takes the proof of the drop and gives the one that the relay asks for: both have happened. A companion
//! ([`crate::companion`]) enters one with a list of calls and leaves of its own, [`enter_as`].
//!
//! May: system calls that only take something away from this process. Must not: need root after the drop.

#[cfg(target_os = "linux")]
pub mod calls;
#[cfg(target_os = "linux")]
pub(crate) mod capabilities;
#[cfg(target_os = "linux")]
mod landlock;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) mod nowhere;

use std::io;
use std::os::fd::RawFd;

#[cfg(target_os = "linux")]
pub use landlock::Leave;
use thiserror::Error;

use crate::privilege::Unprivileged;

/// Why the sandbox cannot be entered.
#[derive(Debug, Error)]
pub enum SandboxError {
    /// What holds for one thread would not hold for the other.
    #[error("the sandbox: this process has more than one thread")]
    Threads,
    /// A limit cannot be set.
    #[error("the sandbox: the limit of {what}: {source}")]
    Limit {
        /// What it limits.
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The root directory is still one with something in it.
    #[error("the sandbox: the root directory is not empty after the drop")]
    Root,
    /// A capability stays.
    #[error("the sandbox: capabilities: {0}")]
    Capabilities(String),
    /// The kernel takes no filter.
    #[error(
        "the sandbox: the kernel takes no seccomp filter: {0}; softnet needs a Linux kernel with CONFIG_SECCOMP_FILTER, and \
         a container that allows seccomp(2)"
    )]
    Filter(String),
}

/// How much Landlock this kernel has, in words; none is no Landlock.
#[cfg(target_os = "linux")]
#[must_use]
pub fn landlock_version() -> Option<String> {
    landlock::version().ok().map(|abi| abi.to_string())
}

/// The proof that this process has dropped root and is in the sandbox. Only [`enter`] makes one.
#[derive(Debug)]
pub struct Confined(());

#[cfg(test)]
impl Confined {
    /// A proof that proves nothing, for tests of what runs inside: the sandbox would kill the other tests.
    pub(crate) fn assumed() -> Self {
        Confined(())
    }
}

/// What only some runs need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// The control channel's socket.
    pub channel: Option<RawFd>,
    /// The records of the link's DHCP server.
    pub leases: Option<RawFd>,
    /// The file of the record for `softnet list`.
    pub record: Option<RawFd>,
}

/// What a companion may still do.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// The calls that it makes besides [`calls::EVERY`].
    pub calls: &'a [calls::Allowed],
    /// What Landlock leaves to it.
    pub left: &'a [Leave],
    /// No descriptor has this number or a higher one (RLIMIT_NOFILE).
    pub descriptors: u64,
}

/// Enters a companion's sandbox, for the rest of the process's life.
///
/// # Errors
/// As [`enter`].
#[cfg(target_os = "linux")]
pub fn enter_as(_dropped: Unprivileged, room: &Room<'_>) -> Result<(), SandboxError> {
    linux::confine_as(room)
}

/// Takes from a process of the caller's what it does not need: each capability that it has in a namespace of its own, and what a
/// companion's sandbox takes. The root directory is the one that it had: `nowhere` is root's to go.
///
/// # Errors
/// As [`enter`].
#[cfg(target_os = "linux")]
pub fn enter_as_caller(room: &Room<'_>) -> Result<(), SandboxError> {
    linux::confine_caller(room)
}

/// Enters the sandbox, for the rest of the process's life. Every descriptor and all code that is needed from here on is
/// there already.
///
/// # Errors
/// What is missing; the process must end then.
pub fn enter(_dropped: Unprivileged, features: Features) -> Result<Confined, SandboxError> {
    #[cfg(target_os = "linux")]
    linux::confine(features)?;
    #[cfg(not(target_os = "linux"))]
    let _ = features;
    Ok(Confined(()))
}
