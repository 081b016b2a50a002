//! One guest a MAC: a lock file for each guest of a bridge, held by its softnet for life.
//!
//! Two ports with one MAC on one bridge means that whoever spoke last gets the other's traffic. The lock is the kernel's
//! (flock(2)): it ends with the process, however that ends, so that a file whose lock is free belongs to nobody. Claims
//! are made and files removed under the lock of [`State`] alone, so that no claim is made on a file that is being removed.
//!
//! Whose guest it is, is whose file it is: the file stays open in a process that has become that user, which can write to it, and
//! cannot give it away (chown(2)). Nobody but root gets to it by its path.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, fchown};
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
pub(super) fn claim(_locked: &State, bridge: &str, mac: EthernetAddress, owner: u32) -> Result<Option<Claim>, Error> {
    let directory = State::path(bridge, "guests");
    state::make_directory(&directory, 0o700)?;
    let path = directory.join(colons(mac));
    let lock = state::try_lock(&path).map_err(Error::os(format!("lock {}", path.display())))?;
    let Some(lock) = lock else { return Ok(None) };
    fchown(&*lock, Some(owner), None).map_err(Error::os(format!("give {} to uid {owner}", path.display())))?;
    state::sign(&lock);
    Ok(Some(Claim { _lock: lock }))
}

/// Gives a claim back that is not to be, and leaves nothing of it.
pub(super) fn withdraw(_locked: &State, bridge: &str, mac: EthernetAddress, claim: Claim) -> Result<(), Error> {
    state::remove(&State::path(bridge, "guests").join(colons(mac)))?;
    drop(claim);
    Ok(())
}

/// How many guests a user has on this host, on whichever bridge, this process's own included.
pub(super) fn count_of(_locked: &State, owner: u32) -> Result<u32, Error> {
    let mut count = 0;
    for bridge in State::bridges("guests") {
        count += files(&bridge)?.iter().filter(|claim| !claim.free && claim.owner == owner).count();
    }
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
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

/// Removes what ended guests left behind on bridges that others made.
pub(super) fn sweep_all(locked: &State) -> Result<(), Error> {
    for bridge in State::bridges("guests") {
        sweep(locked, &bridge)?;
        // It stays while a guest is being served.
        let _ = fs::remove_dir(State::path(&bridge, "guests"));
    }
    Ok(())
}

struct ClaimFile {
    path: PathBuf,
    mac: EthernetAddress,
    owner: u32,
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
        // One that is free has no owner any more, and may be gone.
        let owner = fs::symlink_metadata(&path).map_or(0, |metadata| metadata.uid());
        claims.push(ClaimFile { path, mac, owner, free: lock.is_some() });
    }
    Ok(claims)
}
