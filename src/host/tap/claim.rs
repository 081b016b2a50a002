//! One guest a MAC: a lock file for each guest of a bridge, held by its softnet for life.
//!
//! Two ports with one MAC on one bridge means that whoever spoke last gets the other's traffic. The lock is the kernel's
//! (flock(2)): it ends with the process, however that ends, so that a file whose lock is free belongs to nobody. Claims
//! are made and files removed under the lock of [`State`] alone, so that no claim is made on a file that is being removed.
//!
//! | file | what | held by its softnet |
//! | --- | --- | --- |
//! | `MAC` | the lock; who holds it, since when, and its name, written by root before the drop | for reading alone |
//! | `MAC.record` | how it does: [`crate::record`] | for writing |
//!
//! Whose guest it is, is whose lock file it is: the process that has become that user can neither write to it nor give it
//! away (chown(2)). Nobody but root gets to either by its path, since the directory is root's alone: so nobody else can hold a
//! lock to look alive or to keep others out. What a record says is its writer's word for its own guest, and no more.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::Flock;

use super::Error;
use super::state::{self, State};
use crate::engine::{EthernetAddress, colons};
use crate::host::LinkRequest;
use crate::record::{LENGTH, Record};
use crate::sys::clock;

/// The right to be the guest of a MAC on a bridge; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: Flock<File>,
    pub(super) record: Option<File>,
}

/// A guest that is being served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) mac: EthernetAddress,
    /// The process that serves it.
    pub(super) process: String,
    /// The user whose guest it is.
    pub(super) uid: u32,
    /// What it is called.
    pub(super) name: Option<String>,
    /// When it was started, in microseconds of [`clock`].
    pub(super) since: u64,
    /// How it says that it does.
    pub(super) record: Option<Record>,
}

/// Claims a MAC; `None` when another process has it.
pub(super) fn claim(_locked: &State, bridge: &str, request: &LinkRequest) -> Result<Option<Claim>, Error> {
    let (mac, owner) = (request.guest_mac, request.owner.uid);
    let directory = State::path(bridge, "guests");
    state::make_directory(&directory, 0o700)?;
    let path = directory.join(colons(mac));
    let lock = state::try_lock(&path).map_err(Error::os(format!("lock {}", path.display())))?;
    let Some(lock) = lock else { return Ok(None) };
    fchown(&*lock, Some(owner), None).map_err(Error::os(format!("give {} to uid {owner}", path.display())))?;
    sign(&path, request.name.as_deref()).map_err(Error::os(format!("write {}", path.display())))?;
    let path = record_of(&path);
    let record = make_record(&path).map_err(Error::os(format!("make {}", path.display())))?;
    Ok(Some(Claim { _lock: lock, record: Some(record) }))
}

/// Says who holds a claim: a line each, the process first ([`state::holder`]).
fn sign(path: &Path, name: Option<&str>) -> io::Result<()> {
    let mut file = for_writing().truncate(true).open(path)?;
    let since = clock::now().total_micros();
    writeln!(file, "{}\n{since}\n{}", std::process::id(), name.unwrap_or_default())
}

/// A new file, never the one of before: whoever has served a guest of this MAC may still have that open for writing.
fn make_record(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = for_writing().create_new(true).mode(0o600).open(path)?;
    // The caller's umask may have narrowed it.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

fn for_writing() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOFOLLOW);
    options
}

fn record_of(path: &Path) -> PathBuf {
    path.with_added_extension("record")
}

/// Gives a claim back that is not to be, and leaves nothing of it.
pub(super) fn withdraw(_locked: &State, bridge: &str, mac: EthernetAddress, claim: Claim) -> Result<(), Error> {
    remove(&State::path(bridge, "guests").join(colons(mac)))?;
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
    Ok(claims.map(|claim| claim.read()).collect())
}

/// The record first: what is left without it is swept by the next start, and not the other way round.
fn remove(path: &Path) -> Result<(), Error> {
    state::remove(&record_of(path))?;
    state::remove(path)
}

/// Removes the files of the guests that ended, and returns whose they were.
pub(super) fn sweep(_locked: &State, bridge: &str) -> Result<Vec<EthernetAddress>, Error> {
    let ended: Vec<ClaimFile> = files(bridge)?.into_iter().filter(|claim| claim.free).collect();
    for claim in &ended {
        remove(&claim.path)?;
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

impl ClaimFile {
    fn read(self) -> Guest {
        let text = state::read_line(&self.path).unwrap_or_default();
        let mut lines = text.lines().skip(1);
        let since = lines.next().and_then(|line| line.parse().ok()).unwrap_or_default();
        let name = lines.next().filter(|name| !name.is_empty()).map(str::to_owned);
        let record = read_record(&record_of(&self.path));
        Guest { mac: self.mac, process: state::holder(&self.path), uid: self.owner, name, since, record }
    }
}

/// The record of a guest. It is rewritten at any time: what does not fit together is read again.
fn read_record(path: &Path) -> Option<Record> {
    (0..3).find_map(|_| {
        let mut bytes = Vec::with_capacity(LENGTH + 1);
        File::open(path).ok()?.take(LENGTH as u64 + 1).read_to_end(&mut bytes).ok()?;
        Record::decode(&bytes)
    })
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn who_kept_the_record_of_an_earlier_guest_writes_nothing_into_the_next_ones() {
        let path = std::env::temp_dir().join(format!("softnet-claim-{}.record", std::process::id()));
        let earlier = make_record(&path).expect("made");
        let _new = make_record(&path).expect("made anew");
        earlier.write_at(b"forged", 0).expect("written to what has no name any more");
        let length = fs::metadata(&path).expect("it is there").len();
        fs::remove_file(&path).expect("removed");
        assert_eq!(length, 0);
    }
}
