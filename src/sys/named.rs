//! A datagram socket with a name in the file system: made for its owner alone, and removed by who made it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::socket::{UnixAddr, bind};
use nix::sys::stat::{Mode, fstatat, umask};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use thiserror::Error;

use super::offspring;

/// How its directory is opened: on Linux without the right to read it.
#[cfg(target_os = "linux")]
const DIRECTORY: libc::c_int = libc::O_PATH | libc::O_DIRECTORY;
#[cfg(target_os = "macos")]
const DIRECTORY: libc::c_int = libc::O_DIRECTORY;

/// Why there is no socket with this name.
#[derive(Debug, Error)]
pub enum NameError {
    /// Something else is there.
    #[error("there is something else already, which softnet does not remove: name another path, or remove it")]
    NotASocket,
    /// Another user's.
    #[error("there is a socket of uid {0} already, which softnet does not remove: name another path")]
    AnothersSocket(u32),
    /// Somebody listens.
    #[error("another program listens there: name another path, or end that program")]
    InUse,
    /// No right, no such directory, no room.
    #[error("{0}")]
    Os(#[from] io::Error),
}

impl From<Errno> for NameError {
    fn from(errno: Errno) -> Self {
        NameError::Os(errno.into())
    }
}

/// A socket's name. It is known by its directory's descriptor, which leads there also where no path does.
#[derive(Debug)]
pub struct Name {
    directory: File,
    name: OsString,
    /// Device and inode: what stands there later may be another's.
    file: (libc::dev_t, libc::ino_t),
}

/// Makes a socket at `path` that this process's effective user alone may send to (0600). One that is there already is replaced if it is
/// this user's and nobody listens.
///
/// # Errors
/// What is there, or what the kernel said.
pub fn make(path: &Path) -> Result<(UnixDatagram, Name), NameError> {
    remove_stale(path)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(NameError::NotASocket) };
    let directory = OpenOptions::new().read(true).custom_flags(DIRECTORY).open(parent)?;
    let socket = UnixDatagram::unbound()?;
    offspring::set_buffers(&socket)?;
    #[cfg(target_os = "linux")]
    super::inherited::refuse_descriptors(&socket);
    let address = UnixAddr::new(path)?;
    // The mode is there from the first moment; connecting takes the right to write.
    let mask = umask(Mode::from_bits_truncate(0o177));
    let bound = bind(socket.as_raw_fd(), &address);
    umask(mask);
    match bound {
        // A link, which is not followed, or somebody was quicker.
        Err(Errno::EADDRINUSE) => return Err(NameError::InUse),
        bound => bound?,
    }
    let mut name = Name { directory, name: name.to_owned(), file: (0, 0) };
    name.file = name.identity()?;
    Ok((socket, name))
}

fn remove_stale(path: &Path) -> Result<(), NameError> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    if !found.file_type().is_socket() {
        return Err(NameError::NotASocket);
    }
    if found.uid() != geteuid().as_raw() {
        return Err(NameError::AnothersSocket(found.uid()));
    }
    // To connect a datagram socket tells its other end nothing. A stream socket that listens there refuses the type.
    match UnixDatagram::unbound()?.connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(fs::remove_file(path)?),
        _ => Err(NameError::InUse),
    }
}

impl Name {
    /// Removes the name, if it is still this socket's: by newfstatat(2) and unlinkat(2) alone.
    pub fn remove(&self) {
        if self.identity().is_ok_and(|file| file == self.file) {
            let _ = unlinkat(&self.directory, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }

    /// The descriptor of its directory.
    #[must_use]
    pub fn directory(&self) -> RawFd {
        self.directory.as_fd().as_raw_fd()
    }

    fn identity(&self) -> io::Result<(libc::dev_t, libc::ino_t)> {
        let found = fstatat(&self.directory, self.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
        Ok((found.st_dev, found.st_ino))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    use super::*;

    /// A folder of this test's own, removed with what is in it.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("softnet-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Folder(path)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_socket_is_for_its_owner_alone_and_removed_by_its_name() {
        let folder = Folder::new("own");
        let path = folder.0.join("vm.sock");
        let (_socket, name) = make(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        name.remove();
        assert!(!path.exists());
        // What stands there by then is another's.
        fs::write(&path, "another's").unwrap();
        name.remove();
        assert!(path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_one_that_is_listened_to_is_not() {
        let folder = Folder::new("stale");
        let path = folder.0.join("vm.sock");
        let (first, _name) = make(&path).unwrap();
        assert!(matches!(make(&path), Err(NameError::InUse)));
        // Also once its peer is there, which has the kernel refuse another one.
        let vm = UnixDatagram::bind(folder.0.join("vm")).unwrap();
        first.connect(folder.0.join("vm")).unwrap();
        assert!(matches!(make(&path), Err(NameError::InUse)));
        drop((first, vm));
        let (_second, _name) = make(&path).unwrap();
    }

    #[test]
    fn nothing_else_is_ever_removed() {
        let folder = Folder::new("else");
        let path = |name: &str| folder.0.join(name);
        fs::write(path("file"), "").unwrap();
        fs::create_dir(path("folder")).unwrap();
        drop(UnixDatagram::bind(path("stale")).unwrap());
        std::os::unix::fs::symlink(path("stale"), path("link")).unwrap();
        std::os::unix::fs::symlink(path("nowhere"), path("dangling")).unwrap();
        let _stream = UnixListener::bind(path("stream")).unwrap();
        for name in ["file", "folder", "link", "dangling"] {
            assert!(matches!(make(&path(name)), Err(NameError::NotASocket)), "{name}");
        }
        assert!(matches!(make(&path("stream")), Err(NameError::InUse)));
        for name in ["file", "folder", "stale", "link", "dangling", "stream"] {
            assert!(fs::symlink_metadata(path(name)).is_ok(), "{name} is gone");
        }
    }
}
