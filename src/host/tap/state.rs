//! What softnet keeps under /run/softnet, and the lock that guards it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `lock` | the lock of everything here and of both bridges; holds the number of the process that took it last |
//! | `BRIDGE.subnet` | the address and prefix that the bridge was given, so that a repair gives the same |
//! | `BRIDGE.pid`, `BRIDGE.leases` | dnsmasq's |
//! | `BRIDGE.hosts/` | a lease time for each guest, see [`super::dhcp`] |
//! | `BRIDGE.guests/` | a lock and a record for each guest, see [`super::claim`] |
//!
//! Nothing here outlives a reboot, and a file that a crash left behind is replaced or removed by the next start. The lock
//! files can be opened by root alone: whoever can open a file can also lock it (flock(2)).

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, Flock, FlockArg, fcntl};

use super::Error;
use crate::host::Wait;
use crate::sys::watchdog::Watchdog;

pub(super) const DIRECTORY: &str = "/run/softnet";
/// A start holds the lock for some 50 ms, and for 12 s if every program that it runs takes the longest it may.
const HOLD_LIMIT: Duration = Duration::from_secs(15);
/// One that is stopped, and a minute of starts at once, which is more than a host takes.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// The state directory, locked.
///
/// Whoever started a setuid softnet may stop it for good while it holds the lock (SIGSTOP, a frozen control group), or its
/// child before that has ids of its own. So the lock is one of fcntl_locking(2), which no child inherits, and it is held
/// against the clock: a softnet that holds it for too long is killed, as anyone may kill it at any time.
///
/// Such a lock is the process's: threads are kept apart by [`THREADS`], which is taken first and let go last.
#[derive(Debug)]
pub(super) struct State {
    _lock: File,
    _watchdog: Watchdog,
    _thread: MutexGuard<'static, ()>,
}

static THREADS: Mutex<()> = Mutex::new(());

impl State {
    /// Makes the directory where it is missing, and waits for the lock.
    pub(super) fn lock(wait: &mut Wait<'_>) -> Result<Self, Error> {
        let directory = Path::new(DIRECTORY);
        let path = directory.join("lock");
        let start = Instant::now();
        loop {
            make_directory(directory, 0o755)?;
            let thread = match THREADS.try_lock() {
                Ok(thread) => Some(thread),
                Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
                Err(TryLockError::WouldBlock) => None,
            };
            if let Some(thread) = thread {
                match try_lock_for_this_process(&path) {
                    Ok(Some(lock)) => {
                        let watchdog = Watchdog::arm(HOLD_LIMIT).map_err(Error::os("make a timer"))?;
                        sign(&lock);
                        return Ok(State { _lock: lock, _watchdog: watchdog, _thread: thread });
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
            }
            wait(LOCK_PAUSE)?;
        }
    }

    /// The path of a file of a bridge.
    pub(super) fn path(bridge: &str, what: &str) -> PathBuf {
        Path::new(DIRECTORY).join(format!("{bridge}.{what}"))
    }

    /// The bridges that have a file of a kind.
    pub(super) fn bridges(what: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(DIRECTORY) else { return Vec::new() };
        let suffix = format!(".{what}");
        let bridge = |name: std::ffi::OsString| name.to_str()?.strip_suffix(&suffix).map(str::to_owned);
        entries.flatten().filter_map(|entry| bridge(entry.file_name())).collect()
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

/// Takes a lock file without blocking, for this open file; `None` when another has it.
pub(super) fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    // Read-only is enough for flock(2). What the file says was then written by root alone, however long it is held.
    let mut options = OpenOptions::new();
    let options = options.read(true).custom_flags(libc::O_CREAT | libc::O_NOFOLLOW);
    match Flock::lock(open_lock(path, options)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(is_still(path, &lock).then_some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(error.into()),
    }
}

/// Takes a lock file without blocking, for this process alone; `None` when another process has it. It ends when the process
/// closes the file, by whatever descriptor.
fn try_lock_for_this_process(path: &Path) -> io::Result<Option<File>> {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).custom_flags(libc::O_NOFOLLOW);
    let file = open_lock(path, options)?;
    // SAFETY: all zeroes are a valid flock: from the start (SEEK_SET, 0) to wherever the end is (0).
    let mut whole: libc::flock = unsafe { std::mem::zeroed() };
    whole.l_type = libc::F_WRLCK as libc::c_short;
    match fcntl(&file, FcntlArg::F_SETLK(&whole)) {
        Ok(_) => Ok(is_still(path, &file).then_some(file)),
        Err(Errno::EACCES | Errno::EAGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn open_lock(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.mode(0o600).open(path)?;
    // The caller's umask may have narrowed it.
    if file.metadata()?.mode() & 0o777 != 0o600 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Whether a locked file is still the one of this path. The holder before us may have removed it while we waited: then it is
/// no lock of anything.
fn is_still(path: &Path, lock: &File) -> bool {
    let inode = |metadata: fs::Metadata| (metadata.ino(), metadata.dev());
    let (now, ours) = (fs::symlink_metadata(path).map(inode), lock.metadata().map(inode));
    matches!((now, ours), (Ok(now), Ok(ours)) if now == ours)
}

/// Writes our process number into a lock file, for the error message of whoever finds it locked.
fn sign(mut lock: &File) {
    let _ = lock.set_len(0).and_then(|()| lock.rewind()).and_then(|()| writeln!(lock, "{}", std::process::id()));
}

/// The process that signed a lock file last, in its first line; a number or "?", since the text ends in messages, and the file is open in a
/// process that has dropped root.
pub(super) fn holder(path: &Path) -> String {
    let number = read_line(path).and_then(|text| text.lines().next()?.trim().parse::<u32>().ok());
    number.map_or("?".to_owned(), |number| number.to_string())
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
        fs::write(&file, std::process::id().to_string()).expect("signed");
        assert!(try_lock(&file).expect("no error").is_none());
        assert_eq!(holder(&file), std::process::id().to_string());
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o600);
        drop(held);
        assert!(try_lock(&file).expect("no error").is_some());
        fs::remove_dir_all(&path).expect("removed");
    }

    #[test]
    fn a_lock_of_this_process_is_no_childs() {
        let path = directory("process-lock");
        let file = path.join("lock");
        let held = try_lock_for_this_process(&file).expect("no error").expect("free");
        // Open in the child too, as between fork and exec.
        fcntl(&held, FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("inheritable");
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep, of coreutils, starts");
        let inode = format!(":{} ", held.metadata().expect("there").ino());
        let is_locked = || fs::read_to_string("/proc/locks").expect("read").lines().any(|line| line.contains(&inode));
        assert!(is_locked());
        drop(held);
        assert!(!is_locked(), "the child holds it");
        child.kill().and_then(|()| child.wait()).expect("ended");
        fs::remove_dir_all(&path).expect("removed");
    }

    #[test]
    fn only_a_number_is_told_as_the_holder() {
        let path = directory("holder");
        let file = path.join("lock");
        for (text, told) in
            [("77\n", "77"), ("", "?"), ("7\x1b[2J", "?"), ("-1", "?"), ("1 2", "?"), ("77\nname x\n", "77")]
        {
            fs::write(&file, text).expect("written");
            assert_eq!(holder(&file), told);
        }
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
