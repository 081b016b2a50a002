//! One guest a MAC: a lock file for each guest of a bridge, held by its softnet for life.
//!
//! Two ports with one MAC on one bridge means that whoever spoke last gets the other's traffic. The lock is the kernel's
//! (flock(2)): it ends with the process, however that ends, so that a file whose lock is free belongs to nobody. Claims
//! are made and files removed under the lock of [`State`] alone, so that no claim is made on a file that is being removed.

use std::fs::{self, File};
use std::path::PathBuf;

use nix::fcntl::Flock;

use super::Error;
use super::state::{self, State};
use crate::engine::{EthernetAddress, colons};

/// The right to be the guest of a MAC on a bridge; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: Flock<File>,
}

/// A guest that is being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) mac: EthernetAddress,
    /// The process that serves it.
    pub(super) process: String,
}

/// Claims a MAC; `None` when another process has it.
pub(super) fn claim(_locked: &State, bridge: &str, mac: EthernetAddress) -> Result<Option<Claim>, Error> {
    let directory = State::path(bridge, "guests");
    state::make_directory(&directory, 0o700)?;
    let path = directory.join(colons(mac));
    let lock = state::try_lock(&path).map_err(Error::os(format!("lock {}", path.display())))?;
    Ok(lock.map(|lock| {
        state::sign(&lock);
        Claim { _lock: lock }
    }))
}

/// The process that has a MAC.
pub(super) fn holder(bridge: &str, mac: EthernetAddress) -> String {
    state::holder(&State::path(bridge, "guests").join(colons(mac)))
}

/// The guests that are being served, this process's own included.
pub(super) fn guests(_locked: &State, bridge: &str) -> Result<Vec<Guest>, Error> {
    let claims = files(bridge)?.into_iter().filter(|claim| !claim.free);
    Ok(claims.map(|claim| Guest { mac: claim.mac, process: state::holder(&claim.path) }).collect())
}

/// Removes the files of the guests that ended, and returns whose they were.
pub(super) fn sweep(_locked: &State, bridge: &str) -> Result<Vec<EthernetAddress>, Error> {
    let ended: Vec<ClaimFile> = files(bridge)?.into_iter().filter(|claim| claim.free).collect();
    for claim in &ended {
        state::remove(&claim.path)?;
    }
    Ok(ended.into_iter().map(|claim| claim.mac).collect())
}

struct ClaimFile {
    path: PathBuf,
    mac: EthernetAddress,
    free: bool,
}

fn files(bridge: &str) -> Result<Vec<ClaimFile>, Error> {
    let mut claims = Vec::new();
    let Ok(entries) = fs::read_dir(State::path(bridge, "guests")) else { return Ok(claims) };
    for entry in entries.flatten() {
        let path = entry.path();
        let Some(mac) = entry.file_name().to_str().and_then(|name| name.parse::<EthernetAddress>().ok()) else {
            continue;
        };
        let lock = state::try_lock(&path).map_err(Error::os(format!("lock {}", path.display())))?;
        claims.push(ClaimFile { path, mac, free: lock.is_some() });
    }
    Ok(claims)
}
