//! The engine's rules as scenarios in virtual time: each frame, its verdict, its reason, and that just its counter moved
//! (`World` checks that for every frame).
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

mod engine_world;

#[path = "engine_scenarios/administrator.rs"]
mod administrator;
#[path = "engine_scenarios/dhcp_from_guest.rs"]
mod dhcp_from_guest;
#[path = "engine_scenarios/dhcp_from_host.rs"]
mod dhcp_from_host;
#[path = "engine_scenarios/directions_and_ports.rs"]
mod directions_and_ports;
#[path = "engine_scenarios/dns_names_only.rs"]
mod dns_names_only;
#[path = "engine_scenarios/edges.rs"]
mod edges;
#[path = "engine_scenarios/exposed.rs"]
mod exposed;
#[path = "engine_scenarios/flows.rs"]
mod flows;
#[path = "engine_scenarios/flows_and_policy.rs"]
mod flows_and_policy;
#[path = "engine_scenarios/frames_and_arp.rs"]
mod frames_and_arp;
#[path = "engine_scenarios/from_host.rs"]
mod from_host;
#[path = "engine_scenarios/ipv4_from_guest.rs"]
mod ipv4_from_guest;
#[path = "engine_scenarios/lease_life.rs"]
mod lease_life;
#[path = "engine_scenarios/names.rs"]
mod names;
#[path = "engine_scenarios/names_answers.rs"]
mod names_answers;
#[path = "engine_scenarios/rate_limit.rs"]
mod rate_limit;
#[path = "engine_scenarios/reachability.rs"]
mod reachability;
#[path = "engine_scenarios/refusals.rs"]
mod refusals;
#[path = "engine_scenarios/refusals_to_host.rs"]
mod refusals_to_host;
#[path = "engine_scenarios/troubles.rs"]
mod troubles;
