//! Thin safe wrappers over system calls; with `host/` the only place of `unsafe`.

pub mod batch;
