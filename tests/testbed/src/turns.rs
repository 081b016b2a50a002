//! macOS has no namespaces: the tests take turns on the machine's one vmnet.
//!
//! All guests of a Mac are on one subnet of one DHCP server, whose lease time is for all of them. So whoever uses it holds a
//! lock for that time, whether tests run on threads of one process or in one process each. What is left after it: the
//! DHCP server's records, and its lease time, which every start of softnet sets anew.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

/// How long a body may take if it does not say otherwise, once it is its turn.
const LIMIT: Duration = Duration::from_secs(180);

/// A directory that only root may write to, on a file system where the setuid bit counts. It is empty after a restart.
pub const SCRATCH: &str = "/private/var/run/softnet-testbed";

/// What is held by the one whose turn it is. It may belong to root or to a user, and outlives both.
const LOCK: &str = "/private/tmp/softnet-testbed.lock";

/// The turn, until it is dropped.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held, not used")] Flock<File>);

/// Waits until nobody else uses the machine's vmnet for tests.
///
/// # Panics
/// When the lock cannot be taken.
#[must_use]
pub fn take_turn() -> Turn {
    // Open to everyone: one test run may be root's and the next one not.
    let open = || {
        OpenOptions::new().read(true).append(true).create(true).mode(0o666).custom_flags(libc::O_NOFOLLOW).open(LOCK)
    };
    let file = open().or_else(|_| File::open(LOCK)).unwrap_or_else(|error| panic!("{LOCK} cannot be opened: {error}"));
    Turn(
        Flock::lock(file, FlockArg::LockExclusive)
            .unwrap_or_else(|(_, error)| panic!("{LOCK} cannot be locked: {error}")),
    )
}

/// Runs `body` when it is its turn.
///
/// # Panics
/// When the body does. A body that hangs ends the process.
pub fn in_own_network<F: FnOnce()>(body: F) {
    in_own_network_within(LIMIT, body);
}

/// [`in_own_network`] with another deadline.
///
/// # Panics
/// When the body does. A body that does not end within `limit` ends the process, and with it the guests of every softnet
/// that it started, which then end as well.
pub fn in_own_network_within<F: FnOnce()>(limit: Duration, body: F) {
    let _turn = take_turn();
    let (_ended, waiting) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if waiting.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            eprintln!("killed: a test did not end within {} s", limit.as_secs());
            std::process::abort();
        }
    });
    body();
}
