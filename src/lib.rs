//! softnet: a filtering network helper for virtual machines.

pub mod cli;
pub mod engine;
pub mod host;
pub mod sys;
