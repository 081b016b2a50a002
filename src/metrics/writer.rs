//! The companion's side: a file that is replaced by the next version of it, in a directory that is held open.
//!
//! In its sandbox it has no other name to go to: its root directory is empty and removed, and where the kernel has Landlock, it
//! may make, replace and remove files in that directory and below, and nothing else.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::part::Assembly;
use crate::companion::line::{Line, MAX_MESSAGE};

/// What it says when a file can be made.
pub(super) const READY: &[u8] = b"ready";

/// A new file, which nobody else has made: neither a link of that name is followed, nor a file of another's written.
const NEW: OFlag =
    OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_EXCL).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Whoever collects the numbers is another user. softnet's umask, 022, leaves it so.
const MODE: Mode = Mode::from_bits_truncate(0o644);

/// Keeps the file.
#[derive(Debug)]
pub struct MetricsWriter {
    directory: OwnedFd,
    name: OsString,
    temporary: OsString,
    /// The last version could not be written, and that was said.
    has_failed: bool,
}

/// The name of a version that is not whole: hidden, with no ending that a collector looks for.
pub(super) fn temporary(name: &[u8], process: u32) -> Vec<u8> {
    [b".", name, format!(".{process}.new").as_bytes()].concat()
}

impl MetricsWriter {
    /// Keeps the file `name` of `directory`; `process` tells it from others that keep one of that name.
    #[must_use]
    pub fn new(directory: OwnedFd, name: &OsStr, process: u32) -> Self {
        MetricsWriter {
            directory,
            temporary: OsString::from_vec(temporary(name.as_bytes(), process)),
            name: name.to_owned(),
            has_failed: false,
        }
    }

    /// Says whether a file can be made, then takes versions until the line ends.
    pub fn keep(mut self, line: Line) {
        match self.try_out() {
            Ok(()) => line.tell(READY),
            Err(error) => line.tell(error.to_string().as_bytes()),
        };
        let mut assembly = Assembly::default();
        let mut buffer = [0; MAX_MESSAGE];
        while let Some(length) = line.wait(&mut buffer) {
            if let Some(text) = buffer.get(..length).and_then(|message| assembly.take(message)) {
                self.replace(text);
            }
        }
    }

    /// Makes a file, and removes it.
    pub(super) fn try_out(&self) -> io::Result<()> {
        drop(self.make()?);
        self.remove();
        Ok(())
    }

    fn make(&self) -> io::Result<OwnedFd> {
        // A process of the same number may have been killed before it was done.
        self.remove();
        Ok(openat(&self.directory, self.temporary.as_os_str(), NEW, MODE)?)
    }

    fn remove(&self) {
        let _ = unlinkat(&self.directory, self.temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
    }

    /// Replaces the file, or leaves it as it is and says why, once until it can be written again.
    fn replace(&mut self, text: &[u8]) {
        match self.try_replace(text) {
            Ok(()) => self.has_failed = false,
            Err(error) => {
                self.remove();
                if !self.has_failed {
                    log::warn!("--metrics-file: it stays as it is, for it cannot be written: {error}");
                }
                self.has_failed = true;
            }
        }
    }

    fn try_replace(&self, text: &[u8]) -> io::Result<()> {
        super::write_all(self.make()?, text)?;
        let (from, to) = (self.temporary.as_os_str(), self.name.as_os_str());
        Ok(renameat(&self.directory, from, &self.directory, to)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::path::PathBuf;

    use super::*;

    struct Place {
        path: PathBuf,
    }

    impl Place {
        fn new(test: &str) -> Self {
            let path = std::env::temp_dir().join(format!("softnet-metrics-{test}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Place { path }
        }

        fn writer(&self) -> MetricsWriter {
            let directory = fs::File::open(&self.path).unwrap();
            MetricsWriter::new(directory.into(), OsStr::new("guest.prom"), 7)
        }

        fn names(&self) -> Vec<OsString> {
            fs::read_dir(&self.path).unwrap().map(|entry| entry.unwrap().file_name()).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.path);
        }
    }

    #[test]
    fn each_version_takes_the_place_of_the_one_before() {
        let place = Place::new("versions");
        let mut writer = place.writer();
        writer.try_out().unwrap();
        assert!(place.names().is_empty(), "the trial leaves nothing");
        for text in ["a long first version", "short"] {
            writer.replace(text.as_bytes());
            assert_eq!(fs::read_to_string(place.path.join("guest.prom")).unwrap(), text);
            assert_eq!(place.names(), ["guest.prom"]);
        }
    }

    #[test]
    fn links_that_somebody_has_put_there_are_replaced_and_not_followed() {
        let place = Place::new("links");
        let victim = place.path.join("victim");
        fs::write(&victim, "untouched").unwrap();
        symlink(&victim, place.path.join("guest.prom")).unwrap();
        symlink(&victim, place.path.join(".guest.prom.7.new")).unwrap();
        place.writer().replace(b"text");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "untouched");
        let made = fs::symlink_metadata(place.path.join("guest.prom")).unwrap();
        assert!(made.is_file() && made.size() == 4);
    }

    #[test]
    fn what_cannot_take_the_place_leaves_nothing_behind() {
        let place = Place::new("directory");
        fs::create_dir(place.path.join("guest.prom")).unwrap();
        let mut writer = place.writer();
        writer.replace(b"text");
        assert!(writer.has_failed);
        assert_eq!(place.names(), ["guest.prom"]);
        fs::remove_dir(place.path.join("guest.prom")).unwrap();
        writer.replace(b"text");
        assert!(!writer.has_failed);
    }
}
