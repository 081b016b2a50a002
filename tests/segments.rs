//! Runs of frames against a model of what the kernel makes of them, which shares no code with the library.
//!
//! | module | what |
//! | --- | --- |
//! | `model` | frames, and the kernel's own cutting |
//! | `traffic` | streams of several flows with everything that can happen to a frame |
//! | `joining` | what is written is, once the kernel has cut it, what was to be sent |
//! | `cutting` | what the kernel gives uncut is cut as the kernel would have, whatever the bytes |
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

#[path = "segments/cutting.rs"]
mod cutting;
#[path = "segments/joining.rs"]
mod joining;
#[path = "segments/model.rs"]
mod model;
#[path = "segments/traffic.rs"]
mod traffic;
