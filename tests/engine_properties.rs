//! What holds of the engine whatever comes: no panic, no address but the guest's own, the policy and its flows as a naive
//! model reads them, and a lease that the server knows of.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

mod engine_world;

#[path = "engine_properties/any_frame.rs"]
mod any_frame;
#[path = "engine_properties/decider.rs"]
mod decider;
#[path = "engine_properties/dns_answers.rs"]
mod dns_answers;
#[path = "engine_properties/flow_model.rs"]
mod flow_model;
#[path = "engine_properties/flow_reference.rs"]
mod flow_reference;
#[path = "engine_properties/lease_walk.rs"]
mod lease_walk;
#[path = "engine_properties/mutation.rs"]
mod mutation;
#[path = "engine_properties/policy_model.rs"]
mod policy_model;
#[path = "engine_properties/ride.rs"]
mod ride;

/// So many cases, or as many as PROPTEST_CASES asks for; and no files of failures in the source tree: a failure becomes a
/// scenario.
fn without_files(usual: u32) -> proptest::test_runner::Config {
    let default = proptest::test_runner::Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { default.cases } else { usual };
    proptest::test_runner::Config { cases, failure_persistence: None, ..default }
}
