//! Files that nobody should touch, and a witness of who does (inotify(7)).

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

use crate::isolate;

/// A folder that anyone may write to, every file of which is watched.
#[derive(Debug)]
pub struct Traps {
    folder: PathBuf,
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, PathBuf>,
}

impl Traps {
    /// An empty folder.
    ///
    /// # Panics
    /// When it cannot be made or watched.
    #[must_use]
    pub fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).expect("inotify is there");
        let mut traps = Traps { folder: Path::new(isolate::SCRATCH).join("traps"), inotify, watched: HashMap::new() };
        traps.watch(&traps.folder.clone());
        traps
    }

    /// Where they are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts a file there, in folders of its own if its name says so.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn plant(&mut self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        let folders: Vec<_> = path.ancestors().skip(1).take_while(|folder| *folder != self.folder).collect();
        folders.into_iter().rev().for_each(|folder| self.watch(folder));
        fs::write(&path, content).expect("a trap is written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("anyone may read a trap");
        self.touched();
        path
    }

    /// Who was opened, read, or made since this was asked last, each once.
    ///
    /// # Panics
    /// When inotify fails.
    pub fn touched(&mut self) -> Vec<String> {
        let mut touched = Vec::new();
        loop {
            match self.inotify.read_events() {
                Ok(events) => touched.extend(events.into_iter().map(|event| {
                    let folder = self.watched.get(&event.wd).cloned().unwrap_or_default();
                    let path = event.name.map_or(folder.clone(), |name| folder.join(name));
                    path.strip_prefix(&self.folder).unwrap_or(&path).display().to_string()
                })),
                Err(Errno::EAGAIN) => break,
                Err(error) => panic!("inotify: {error}"),
            }
        }
        touched.sort();
        touched.dedup();
        touched
    }

    fn watch(&mut self, folder: &Path) {
        if self.watched.values().any(|watched| watched == folder) {
            return;
        }
        fs::create_dir_all(folder).expect("a folder is made");
        fs::set_permissions(folder, Permissions::from_mode(0o777)).expect("anyone may write there");
        let flags = AddWatchFlags::IN_OPEN | AddWatchFlags::IN_ACCESS | AddWatchFlags::IN_CREATE;
        let watch = self.inotify.add_watch(folder, flags).expect("a folder is watched");
        self.watched.insert(watch, folder.to_owned());
    }
}

impl Default for Traps {
    fn default() -> Self {
        Self::new()
    }
}
