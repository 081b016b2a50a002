//! Who runs here: the guests of all bridges, by their claims and their records.

use super::Error;
use super::claim::{self, Guest};
use super::state::State;
use crate::engine::EthernetAddress;
use crate::host::Wait;
use crate::record::Record;

/// A guest that is being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// The bridge that it is on.
    pub bridge: String,
    /// Its MAC.
    pub mac: EthernetAddress,
    /// The process that serves it: for people to read, and for nobody to signal.
    pub process: String,
    /// The user whose it is.
    pub uid: u32,
    /// What it is called.
    pub name: Option<String>,
    /// When it was started, in microseconds of the clock of `sys::clock`.
    pub since: u64,
    /// What its softnet says of it, if that makes sense.
    pub record: Option<Record>,
}

/// The guests that are being served, of whomever, by bridge and MAC. Changes nothing.
///
/// The state's lock is held meanwhile, as for a start: a lock file is looked at by taking it, and whoever is stopped in the
/// middle of that is ended by the kernel.
///
/// # Errors
/// See [`Error`]; needs root.
pub fn running(wait: &mut Wait<'_>) -> Result<Vec<Running>, Error> {
    let locked = State::lock(wait)?;
    let mut running = Vec::new();
    for bridge in State::bridges("guests") {
        for Guest { mac, process, uid, name, since, record } in claim::guests(&locked, &bridge)? {
            running.push(Running { bridge: bridge.clone(), mac, process, uid, name, since, record });
        }
    }
    locked.finish();
    running.sort_by(|a, b| (&a.bridge, a.mac.0).cmp(&(&b.bridge, b.mac.0)));
    Ok(running)
}
