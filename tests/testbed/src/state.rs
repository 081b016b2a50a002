//! What is there on the host, as anyone there sees it.

use std::fs;

use crate::tools;
use crate::wire::Mac;

/// The process identifiers of every program `name` that runs.
///
/// # Panics
/// When there is no /proc.
#[must_use]
pub fn processes(name: &str) -> Vec<u32> {
    // "PID (name) STATE ...", where a Z has ended and only waits to be reaped.
    let name = format!("({name}) ");
    let runs = |stat: String| stat.split_once(&name).is_some_and(|(_, rest)| !rest.starts_with('Z'));
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let named = entries.filter(|entry| fs::read_to_string(entry.path().join("stat")).is_ok_and(runs));
    named.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The hardware address of the interface `name`.
///
/// # Panics
/// When there is no such interface, or it has none.
#[must_use]
pub fn mac_of(name: &str) -> Mac {
    let line = tools::run(&format!("ip -o link show {name}"));
    let text = line.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a hardware address");
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("an octet")).collect();
    Mac(octets.try_into().expect("six octets"))
}
