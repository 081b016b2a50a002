//! A file, or a FIFO, that is written to while frames pass: made in the setup phase at a path of the caller's, by whose rights
//! is the business of [`Identity::act`](crate::privilege::Identity::act).
//!
//! - A regular file is begun anew. One that was not there is made with mode 0600.
//! - A FIFO is written to without waiting. It may have no reader yet: whoever opens it later gets what was not written before.
//! - Whatever else there is at the path is refused: no device is opened for the effect that opening it has, no terminal gets
//!   bytes of a guest's.
//!
//! The last part of a path may not be a symbolic link: others may have put it there, and it has no use. `/dev/stdout`,
//! `/dev/fd/N` and `/proc/self/fd/N` are links that the kernel makes, and what a shell's `>(program)` comes to: they are
//! followed, to a description of our own, so that no flag of another's is changed.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{ftruncate, write};
use thiserror::Error;

/// What a write to a FIFO may have in one piece (pipe(7)).
const ATOMIC: usize = libc::PIPE_BUF;

/// Why a path cannot be written to.
#[derive(Debug, Error)]
pub enum SinkError {
    /// Relative to nothing.
    #[error("the working directory cannot be opened: name an absolute path")]
    NoDirectory,
    /// A symbolic link.
    #[error("is a symbolic link: name what it leads to")]
    Link,
    /// A device, a socket, a directory.
    #[error("is neither a regular file nor a FIFO: name one of these, or a file that is not there yet")]
    Kind,
    /// What the system said.
    #[error("cannot be opened for writing by the rights of the user whom softnet becomes: {0}")]
    Open(#[from] io::Error),
}

impl From<Errno> for SinkError {
    fn from(errno: Errno) -> Self {
        SinkError::Open(errno.into())
    }
}

/// What a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Fifo,
}

/// A regular file or a FIFO, open for writing.
#[derive(Debug)]
pub struct Sink {
    descriptor: OwnedFd,
    kind: Kind,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// So many bytes were taken.
    Bytes(usize),
    /// None now: the reader is slow.
    Later,
    /// There is no reader.
    NoReader,
}

impl Sink {
    /// Opens `path`, which is relative to `directory` unless it is absolute.
    ///
    /// # Errors
    /// See [`SinkError`].
    pub fn open(directory: Option<BorrowedFd<'_>>, path: &Path) -> Result<Self, SinkError> {
        let directory = match directory {
            Some(directory) => directory,
            None if path.is_absolute() => AT_FDCWD,
            None => return Err(SinkError::NoDirectory),
        };
        let follow = if is_descriptor(path) { OFlag::empty() } else { OFlag::O_NOFOLLOW };
        let common = OFlag::O_CLOEXEC | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | follow;
        let open = |flags: OFlag| match openat(directory, path, common | flags, Mode::from_bits_truncate(0o600)) {
            Ok(descriptor) => Ok(descriptor),
            Err(Errno::ELOOP) => Err(SinkError::Link),
            Err(errno) => Err(errno.into()),
        };
        let writing = OFlag::O_WRONLY | OFlag::O_CREAT;
        match open(writing) {
            Ok(descriptor) => Sink::of(descriptor),
            // A FIFO without a reader, or a socket (open(2)). It has one while we read it ourselves.
            Err(SinkError::Open(error)) if error.raw_os_error() == Some(libc::ENXIO) => {
                let Ok(reader) = open(OFlag::O_RDONLY) else { return Err(SinkError::Kind) };
                if Kind::of(&fstat(&reader)?) != Some(Kind::Fifo) {
                    return Err(SinkError::Kind);
                }
                let descriptor = open(writing)?;
                drop(reader);
                Sink::of(descriptor)
            }
            Err(SinkError::Open(error)) if error.raw_os_error() == Some(libc::EISDIR) => Err(SinkError::Kind),
            Err(error) => Err(error),
        }
    }

    fn of(descriptor: OwnedFd) -> Result<Self, SinkError> {
        let kind = Kind::of(&fstat(&descriptor)?).ok_or(SinkError::Kind)?;
        match kind {
            Kind::File => ftruncate(&descriptor, 0)?,
            // On a Mac, /dev/fd/N is descriptor N itself, flags and all.
            Kind::Fifo => {
                fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
            }
        }
        Ok(Sink { descriptor, kind })
    }

    /// How many bytes are to be given at once at most, so that what is given is taken whole or not at all; a regular file takes
    /// what there is.
    #[must_use]
    pub fn at_once(&self) -> usize {
        match self.kind {
            Kind::File => usize::MAX,
            Kind::Fifo => ATOMIC,
        }
    }

    /// Writes from `bytes`. To a FIFO it does not wait.
    ///
    /// # Errors
    /// Those of write(2): the disk is full, the file may not grow.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<Written> {
        match write(&self.descriptor, bytes) {
            Ok(count) => Ok(Written::Bytes(count)),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(Written::Later),
            Err(Errno::EPIPE) => Ok(Written::NoReader),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Sink {
    /// Waits until it takes more, as long as that.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&self, limit: Duration) -> io::Result<()> {
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        poll(&mut [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)], limit)?;
        Ok(())
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Kind {
    fn of(stat: &FileStat) -> Option<Self> {
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFREG => Some(Kind::File),
            SFlag::S_IFIFO => Some(Kind::Fifo),
            _ => None,
        }
    }
}

/// Whether a path is one of the kernel's names for a descriptor of this process.
fn is_descriptor(path: &Path) -> bool {
    let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let path = path.as_os_str();
    let numbered = |prefix: &str| path.as_bytes().strip_prefix(prefix.as_bytes()).is_some_and(is_number);
    path == OsStr::new("/dev/stdout") || numbered("/dev/fd/") || numbered("/proc/self/fd/")
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File, OpenOptions};
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
    use std::path::PathBuf;

    use super::*;

    /// A directory that goes with the test.
    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("softnet-sink-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Directory(path)
        }

        fn file(&self, name: &str) -> PathBuf {
            self.0.join(name)
        }

        fn fifo(&self) -> PathBuf {
            let path = self.file("fifo");
            nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_file_is_made_for_its_owner_alone_and_begun_anew() {
        let directory = Directory::new("file");
        let path = directory.file("f");
        let mut sink = Sink::open(None, &path).unwrap();
        assert_eq!(sink.write(b"something long").unwrap(), Written::Bytes(14));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let mut sink = Sink::open(None, &path).unwrap();
        assert_eq!(sink.write(b"short").unwrap(), Written::Bytes(5));
        assert_eq!(fs::read(&path).unwrap(), b"short");
    }

    #[test]
    fn a_relative_path_is_relative_to_the_directory_that_is_named() {
        let directory = Directory::new("relative");
        let opened = File::open(&directory.0).unwrap();
        Sink::open(Some(opened.as_fd()), Path::new("f")).unwrap();
        assert!(directory.file("f").exists());
        assert!(matches!(Sink::open(None, Path::new("f")), Err(SinkError::NoDirectory)));
    }

    #[test]
    fn what_is_neither_a_file_nor_a_fifo_is_refused_and_a_link_is_too() {
        let directory = Directory::new("kinds");
        let (link, socket, target) = (directory.file("link"), directory.file("socket"), directory.file("target"));
        fs::write(&target, "kept").unwrap();
        symlink(&target, &link).unwrap();
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(Sink::open(None, &link), Err(SinkError::Link)));
        for path in [&directory.0, &socket, Path::new("/dev/null")] {
            assert!(matches!(Sink::open(None, path), Err(SinkError::Kind)), "{}", path.display());
        }
        assert_eq!(fs::read(&target).unwrap(), b"kept");
        assert!(matches!(Sink::open(None, &directory.file("no/such")), Err(SinkError::Open(_))));
    }

    #[test]
    fn a_fifo_without_a_reader_holds_up_nobody_and_its_first_reader_gets_the_first_byte() {
        let directory = Directory::new("fifo");
        let path = directory.fifo();
        let mut sink = Sink::open(None, &path).unwrap();
        assert_eq!(sink.write(b"lost?").unwrap(), Written::NoReader);
        let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
        assert_eq!(sink.write(b"first").unwrap(), Written::Bytes(5));
        let mut read = [0; 16];
        assert_eq!(reader.read(&mut read).unwrap(), 5);
        let chunk = [0; ATOMIC];
        while sink.write(&chunk).unwrap() == Written::Bytes(ATOMIC) {}
        assert_eq!(sink.write(&chunk).unwrap(), Written::Later, "a full one is taken whole or not at all");
        drop(reader);
        assert_eq!(sink.write(&chunk).unwrap(), Written::NoReader);
    }

    #[test]
    fn a_descriptor_of_the_callers_is_followed_and_keeps_its_own_flags() {
        let (reader, writer) = nix::unistd::pipe().unwrap();
        let path = format!("/dev/fd/{}", writer.as_raw_fd());
        let mut sink = Sink::open(None, Path::new(&path)).unwrap();
        assert_eq!(sink.write(b"x").unwrap(), Written::Bytes(1));
        let flags = nix::fcntl::fcntl(&writer, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_truncate(flags).contains(OFlag::O_NONBLOCK));
        drop(reader);
        for path in ["/dev/fd/", "/dev/fd/x", "/dev/fd/1/x", "/dev/stdout/", "stdout", "/tmp/1"] {
            assert!(!is_descriptor(Path::new(path)), "{path}");
        }
    }
}
