//! The file as a file: root's, and nobody else's to change.
//!
//! Whoever can write to it, or replace it, decides what every caller may do. So it is a regular file of root's that neither group
//! nor others may write to, and so is each directory above it, which none of them may replace. It is no symbolic link: where that
//! leads, another directory decides.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where it is. On macOS `/etc` is a symbolic link.
#[cfg(target_os = "macos")]
pub const FILE: &str = "/private/etc/softnet.toml";
/// Where it is.
#[cfg(not(target_os = "macos"))]
pub const FILE: &str = "/etc/softnet.toml";

/// The most bytes that are read: as many as 4096 entries take.
const MAX_BYTES: u64 = 256 * 1024;
/// Write permission of group and others.
const WRITABLE: u32 = 0o022;

/// Why a file is not read.
#[derive(Debug, Error)]
pub enum FileError {
    /// It, or a directory above it, is somebody else's.
    #[error("{} belongs to uid {owner}, not to root, who alone may say what it says: `sudo chown root {}`", .path.display(), .path.display())]
    NotRoots {
        /// Which.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// Group or others may write to it, or to a directory above it.
    #[error("others than root may write to {} (mode {:04o}): `sudo chmod go-w {}`", .path.display(), .mode, .path.display())]
    Writable {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is a symbolic link.
    #[error("{} is a symbolic link, which is not followed: put the file itself there", .0.display())]
    Link(PathBuf),
    /// It is a directory, a device or the like.
    #[error("{} is no regular file: put one there, or remove it", .0.display())]
    NotAFile(PathBuf),
    /// It is too long.
    #[error("{} is longer than {MAX_BYTES} bytes: make it shorter", .0.display())]
    TooLong(PathBuf),
    /// It is no text.
    #[error("{} is not UTF-8: save it as plain text", .0.display())]
    NotText(PathBuf),
    /// It cannot be read.
    #[error("{} cannot be read: {source}: without its word softnet does not start", .path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// The text of the file at an absolute path, if there is one.
pub(super) fn read(path: &Path) -> Result<Option<String>, FileError> {
    let unreadable = |source| FileError::Unreadable { path: path.to_owned(), source };
    // Not blocking, should it be a pipe.
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // ELOOP is also said of a way with too many links, which is no less wrong.
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Err(FileError::Link(path.to_owned())),
        Err(error) => return Err(unreadable(error)),
    };
    let metadata = file.metadata().map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile(path.to_owned()));
    }
    check(path, &metadata)?;
    for directory in path.ancestors().skip(1) {
        check(directory, &fs::symlink_metadata(directory).map_err(unreadable)?)?;
    }
    text(path, &file)
}

fn check(path: &Path, metadata: &fs::Metadata) -> Result<(), FileError> {
    let path = || path.to_owned();
    if metadata.uid() != 0 {
        return Err(FileError::NotRoots { path: path(), owner: metadata.uid() });
    }
    // The permissions of a symbolic link say nothing: whoever may change it owns it, or the directory that it is in.
    if !metadata.is_symlink() && metadata.mode() & WRITABLE != 0 {
        return Err(FileError::Writable { path: path(), mode: metadata.mode() & 0o7777 });
    }
    Ok(())
}

fn text(path: &Path, file: &File) -> Result<Option<String>, FileError> {
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|source| FileError::Unreadable { path: path.to_owned(), source })?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FileError::TooLong(path.to_owned()));
    }
    String::from_utf8(bytes).map(Some).map_err(|_| FileError::NotText(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_that_is_not_there_says_nothing() {
        assert!(matches!(read(Path::new("/nonexistent/softnet.toml")), Ok(None)));
    }

    #[test]
    fn a_link_and_what_is_no_file_are_refused() {
        let directory = std::env::temp_dir().join(format!("softnet-administrator-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("made");
        let path = directory.join("softnet.toml");
        symlink("/dev/null", &path).expect("linked");
        assert!(matches!(read(&path), Err(FileError::Link(_))));
        assert!(matches!(read(&directory), Err(FileError::NotAFile(_))));
        assert!(matches!(read(Path::new("/dev/null")), Err(FileError::NotAFile(_))));
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_file_below_a_directory_that_others_write_to_is_refused() {
        // /tmp is such a directory on every system; whoever runs this test owns the file, or root does.
        let path = std::env::temp_dir().join(format!("softnet-administrator-{}.toml", std::process::id()));
        fs::write(&path, "").expect("written");
        let refused = read(&path);
        fs::remove_file(&path).expect("removed");
        assert!(matches!(refused, Err(FileError::Writable { .. } | FileError::NotRoots { .. })), "{refused:?}");
    }
}
