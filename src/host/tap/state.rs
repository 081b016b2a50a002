//! What softnet keeps under /run/softnet, and the lock that guards it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `lock` | the lock of everything here and of both bridges; holds the number of the process that took it last |
//! | `BRIDGE.subnet` | the address and prefix that the bridge was given, so that a repair gives the same |
//! | `BRIDGE.pid`, `BRIDGE.leases` | dnsmasq's |
//! | `BRIDGE.hosts/` | a lease time for each guest, see [`super::dhcp`] |
//! | `BRIDGE.guests/` | a lock for each guest, see [`super::claim`] |
//!
//! Nothing here outlives a reboot, and a file that a crash left behind is replaced or removed by the next start. The lock
//! files can be opened by root alone: whoever can open a file can also lock it (flock(2)).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use super::Error;
use crate::host::Wait;

const DIRECTORY: &str = "/run/softnet";
/// A start holds the lock for some 50 ms; a minute of starts at once is more than a host takes.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The state directory, locked.
#[derive(Debug)]
pub(super) struct State {
    _lock: Flock<File>,
}

impl State {
    /// Makes the directory where it is missing, and waits for the lock.
    pub(super) fn lock(wait: &mut Wait<'_>) -> Result<Self, Error> {
        let directory = Path::new(DIRECTORY);
        let path = directory.join("lock");
        let start = Instant::now();
        loop {
            make_directory(directory, 0o755)?;
            match try_lock(&path) {
                Ok(Some(lock)) => {
                    sign(&lock);
                    return Ok(State { _lock: lock });
                }
                // `network down` has just removed the directory.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(None) => {}
                Err(error) => return Err(Error::os(format!("lock {}", path.display()))(error)),
            }
            if start.elapsed() > LOCK_LIMIT {
                let holder = holder(&path);
                return Err(Error::LockBusy { path, holder, waited: LOCK_LIMIT });
            }
            wait(LOCK_PAUSE)?;
        }
    }

    /// The path of a file of a bridge.
    pub(super) fn path(bridge: &str, what: &str) -> PathBuf {
        Path::new(DIRECTORY).join(format!("{bridge}.{what}"))
    }

    /// Removes every file of a bridge.
    pub(super) fn forget(&self, bridge: &str) -> Result<(), Error> {
        for what in ["subnet", "pid", "leases"] {
            remove(&Self::path(bridge, what))?;
        }
        for what in ["hosts", "guests"] {
            let path = Self::path(bridge, what);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::os(format!("remove {}", path.display()))(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the directory when nothing but the lock is left in it. Whoever waits for the lock makes it anew.
    pub(super) fn finish(self) {
        let only_lock =
            fs::read_dir(DIRECTORY).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == "lock"));
        if only_lock {
            let _ = fs::remove_file(Path::new(DIRECTORY).join("lock"));
            let _ = fs::remove_dir(DIRECTORY);
        }
    }
}

/// Takes a lock file without blocking; `None` when another process has it.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    // The caller's umask may have narrowed it.
    if file.metadata()?.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => {
            // The holder before us may have removed the file while we waited: then this is no lock of anything.
            let same = fs::symlink_metadata(path)
                .and_then(|now| Ok((now.ino(), now.dev()) == lock.metadata().map(|ours| (ours.ino(), ours.dev()))?))
                .unwrap_or(false);
            Ok(same.then_some(lock))
        }
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Writes our process number into a lock file, for the error message of whoever finds it locked.
pub(super) fn sign(mut lock: &File) {
    let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
}

/// The process that signed a lock file last.
pub(super) fn holder(path: &Path) -> String {
    let number = read_line(path).unwrap_or_default();
    match number.trim() {
        "" => "?".to_owned(),
        number => number.to_owned(),
    }
}

/// Whether something had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// It is new.
    Now,
    /// It was there.
    Before,
}

/// Makes a directory of root's with exactly these permissions, or checks the one that is there.
pub(super) fn make_directory(path: &Path, mode: u32) -> Result<Made, Error> {
    let what = || format!("make the directory {}", path.display());
    let made = match fs::DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Made::Now,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Made::Before,
        Err(error) => return Err(Error::os(what())(error)),
    };
    let directory = OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW).open(path);
    let directory = match directory.map_err(|error| (error.raw_os_error(), error)) {
        Ok(directory) => directory,
        Err((Some(libc::ENOTDIR | libc::ELOOP), _)) => return Err(Error::StateUnsafe { path: path.to_owned() }),
        Err((_, error)) => return Err(Error::os(what())(error)),
    };
    let metadata = directory.metadata().map_err(Error::os(what()))?;
    if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(Error::StateUnsafe { path: path.to_owned() });
    }
    // The caller's umask may have narrowed it.
    if metadata.mode() & 0o777 != mode {
        directory.set_permissions(Permissions::from_mode(mode)).map_err(Error::os(what()))?;
    }
    Ok(made)
}

/// Replaces a file in one step; readers see the old or the new one, whole.
///
/// The name of the file in between starts with a dot, by which dnsmasq passes over it (dnsmasq(8), `--dhcp-hostsdir`).
pub(super) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let result = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o644)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&temporary)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(text.as_bytes())?;
        fs::rename(&temporary, path)
    })();
    result.map_err(|error| {
        let _ = fs::remove_file(&temporary);
        Error::os(format!("write {}", path.display()))(error)
    })
}

/// Reads a file of one line; `None` when it is not there or is no text.
pub(super) fn read_line(path: &Path) -> Option<String> {
    read_start(path, 4096)
}

/// Reads a file of many lines.
pub(super) fn read(path: &Path) -> Option<String> {
    read_start(path, 16 << 20)
}

fn read_start(path: &Path, limit: u64) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(limit).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::os(format!("remove {}", path.display()))(error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("softnet-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("made");
        path
    }

    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        let path = directory("others");
        fs::set_permissions(&path, Permissions::from_mode(0o775)).expect("set");
        assert!(matches!(make_directory(&path, 0o755), Err(Error::StateUnsafe { .. })));
        fs::set_permissions(&path, Permissions::from_mode(0o700)).expect("set");
        make_directory(&path, 0o755).expect("made right");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o755);
        fs::remove_dir(&path).expect("removed");
    }

    #[test]
    fn a_symbolic_link_is_no_directory_and_no_lock() {
        let path = directory("link");
        std::os::unix::fs::symlink("/tmp", path.join("link")).expect("linked");
        assert!(matches!(make_directory(&path.join("link"), 0o755), Err(Error::StateUnsafe { .. })));
        assert_eq!(try_lock(&path.join("link")).expect_err("refused").raw_os_error(), Some(libc::ELOOP));
        fs::remove_dir_all(&path).expect("removed");
    }

    #[test]
    fn a_lock_is_held_once_and_told_who_holds_it() {
        let path = directory("lock");
        let file = path.join("lock");
        let held = try_lock(&file).expect("no error").expect("free");
        sign(&held);
        assert!(try_lock(&file).expect("no error").is_none());
        assert_eq!(holder(&file), std::process::id().to_string());
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o600);
        drop(held);
        assert!(try_lock(&file).expect("no error").is_some());
        fs::remove_dir_all(&path).expect("removed");
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let path = directory("write");
        let file = path.join("file");
        write(&file, "long text").expect("written");
        write(&file, "short").expect("written");
        assert_eq!(read_line(&file).as_deref(), Some("short"));
        assert_eq!(fs::read_dir(&path).expect("listed").count(), 1);
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o644);
        fs::remove_dir_all(&path).expect("removed");
    }
}
