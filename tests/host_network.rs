//! The Linux host's side, for real, in namespaces of its own: what is made, adopted, repaired, refused and removed.
#![cfg(target_os = "linux")]

#[path = "host_network/guests.rs"]
mod guests;
#[path = "host_network/link.rs"]
mod link;
#[path = "host_network/manage.rs"]
mod manage;
#[path = "host_network/provision.rs"]
mod provision;
