//! Thin safe wrappers over system calls; with `host/` the only place of `unsafe`.
//!
//! * [`batch`]: frames in memory, allocated once.
//! * [`clock`]: the clock that leases lapse by.
//! * [`command`]: programs started with nothing of the caller's.
//! * [`fork`]: a second process of softnet's own.
//! * [`ids`]: who this process is to the kernel, on each system.
//! * [`inherited`]: descriptors that another program gave us, checked before they are used.
//! * [`datagram`]: frames to and from the guest's socket, many a system call.
//! * [`limits`]: resource limits that are not the caller's.
//! * [`listeners`]: which sockets wait at a port.
//! * [`named`]: a datagram socket with a path.
//! * [`namespace`]: a network of a process's own.
//! * [`offspring`]: programs started for a caller without privilege.
//! * [`packet`]: the kernel's end of a link.
//! * [`passing`]: signals that are another program's too.
//! * [`peer`]: whether the guest's end of the socket is still there.
//! * [`pidfd`]: signals to a process that is no child of ours.
//! * [`port`]: frames to and from a TAP device, with offload or without.
//! * [`process`]: what of this process the caller must not decide.
//! * [`ready`]: the pipe that is told when the guest is served.
//! * [`sender`]: who sent a datagram that waits.
//! * [`signals`]: the signals that end softnet, as a descriptor.
//! * [`sink`]: a file or FIFO of the caller's that is written to and never waited for.
//! * [`stderr`]: messages that nobody waits for.
//! * [`stream`]: a stream socket that is never waited for.
//! * [`tun`]: TAP devices.
//! * [`watchdog`]: an end for this process, should it not get on.

pub mod batch;
pub mod clock;
#[cfg(target_os = "linux")]
pub mod command;
pub mod datagram;
#[cfg(target_os = "linux")]
pub mod fork;
pub mod ids;
pub mod inherited;
#[cfg(target_os = "linux")]
pub mod limits;
#[cfg(target_os = "linux")]
pub mod listeners;
pub mod named;
#[cfg(target_os = "linux")]
pub mod namespace;
pub mod offspring;
#[cfg(target_os = "linux")]
pub mod packet;
pub mod passing;
pub mod peer;
#[cfg(target_os = "linux")]
pub mod pidfd;
#[cfg(target_os = "linux")]
pub mod port;
pub mod process;
pub mod ready;
pub mod sender;
pub mod signals;
pub mod sink;
pub mod stderr;
pub mod stream;
#[cfg(target_os = "linux")]
pub mod tun;
#[cfg(target_os = "linux")]
pub mod watchdog;
