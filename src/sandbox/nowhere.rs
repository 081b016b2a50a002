//! A root directory with nothing in it, for good: one that has been removed.
//!
//! The filter allows no call that opens a file. But a message on a Unix datagram socket can name another socket by its
//! path (unix(7)), in memory, where a filter cannot look. Every path is looked up from the process's root directory: in one
//! that was removed there is nothing, and nothing can be made. It costs nothing and leaves nothing behind.
//!
//! A mount namespace of our own would do the same and needs CAP_SYS_ADMIN; a network namespace would do nothing, since
//! abstract addresses are looked up in that of the *socket*, which the caller made (Landlock covers them).

use std::fs::{self, DirBuilder};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;

/// One name for all, so that what a crash between two lines leaves behind is used by the next start and removed.
const NAME: &str = "/run/softnet.nowhere";
/// Another softnet may remove it at any time.
const TRIES: u32 = 1000;

/// Makes the working directory one that is empty and removed. Whoever then makes it the root directory is nowhere.
///
/// # Errors
/// What the file system said about [`NAME`].
pub(crate) fn go() -> io::Result<()> {
    for _ in 0..TRIES {
        accept(DirBuilder::new().mode(0o755).create(NAME), ErrorKind::AlreadyExists)?;
        match std::env::set_current_dir(NAME) {
            Ok(()) => return accept(fs::remove_dir(NAME), ErrorKind::NotFound),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("{NAME} is removed by others again and again")))
}

/// Whether the root directory shows nothing.
pub(super) fn is_empty() -> bool {
    match fs::read_dir("/") {
        Ok(mut entries) => !entries.any(|entry| entry.is_ok()),
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

fn accept(result: io::Result<()>, but: ErrorKind) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == but => Ok(()),
        result => result,
    }
}
