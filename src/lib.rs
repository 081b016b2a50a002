//! softnet: a filtering network helper for virtual machines.
//!
//! # Theory of operation
//! One softnet serves one guest. Its Ethernet frames come and go through a Unix datagram socket, one frame a datagram;
//! the other side is the host's network ([`host`]). Two phases: **setup**, as root ([`setup`], [`privilege`]), opens
//! the host's link, drops root and enters the [`sandbox`]; **run** ([`relay`]) moves frames in batches and asks the [`engine`] about each. The
//! engine is pure: bytes and the time go in, verdicts come out.
//!
//! # Trust
//! The guest is hostile: nothing that it sends is believed before it is checked, and no byte of it can do more than be
//! dropped. The caller is hostile when softnet is setuid: arguments, environment, descriptors and limits are its. Trusted
//! are root, the kernel, the host's DHCP server, and what root installed in the system's program directories.
//!
//! # Modules
//! | module | may | must not |
//! | --- | --- | --- |
//! | [`engine`] | smoltcp's wire types, ipnet, a hash | clocks, descriptors, threads, environment, logging, `unsafe` |
//! | [`control`] | the engine's policy | what the engine must not |
//! | [`capture`] | bytes of frames | the same |
//! | [`segments`] | bytes of frames | the same, and decide what passes |
//! | [`record`] | one file, opened before the drop | name a path |
//! | [`relay`], [`lifeline`], [`channel`] | engine, control, [`host::Host`], [`sys`] | parse frames, decide, need root, block on one peer |
//! | [`watch`] | verdicts, and the engine's words about frames | change a verdict, block |
//! | [`stats`] | the engine's counters | see a frame; a system call |
//! | `metrics` | a companion that keeps the counters in a file | see a frame |
//! | [`forwards`] | the relay's side of port forwards, and the companion that moves their bytes | see a frame |
//! | `companion` | [`privilege`], [`sandbox`], [`sys`] | see a frame; outlive the relay |
//! | [`host`], [`sys`] | the system's interfaces, `unsafe` with a reason | look inside frames, know the policy |
//! | [`sandbox`] | system calls that only take away, `unsafe` with a reason | give anything back |
//! | [`setup`], [`listener`], [`privilege`], [`administrator`] | root | read bytes of the guest |
//! | [`run`] | start programs, as the caller; move frames | have a right; decide what passes |
//! | [`cli`] | what was typed | a system call |
//! | [`logging`] | standard error | standard output |
//! | `subcommand` | standard output | |
//! | everything else | standard error | standard output, which may be a control socket |

#![deny(clippy::print_stdout)]
#![warn(clippy::unwrap_used)]

pub mod administrator;
pub mod capture;
pub mod channel;
pub mod cli;
#[cfg(target_os = "linux")]
pub mod companion;
pub mod control;
pub mod engine;
pub mod forwards;
pub mod host;
pub mod lifeline;
pub mod listener;
pub mod logging;
#[cfg(target_os = "linux")]
pub mod metrics;
pub mod privilege;
pub mod record;
pub mod relay;
pub mod run;
pub mod sandbox;
pub mod segments;
pub mod setup;
pub mod stats;
pub mod subcommand;
pub mod sys;
pub mod watch;
