//! Thin safe wrappers over system calls; with `host/` the only place of `unsafe`.

pub mod batch;
#[cfg(target_os = "linux")]
pub mod command;
#[cfg(target_os = "linux")]
pub mod process;
#[cfg(target_os = "linux")]
pub mod tun;
