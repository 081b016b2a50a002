//! softnet: a filtering network helper for virtual machines.

pub mod engine;
pub mod host;
pub mod sys;
