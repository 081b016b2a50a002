//! `--socket PATH`: the guest's socket made by softnet, for VMs that know a path only, and the first who speaks to it.
//!
//! # Theory of operation
//! There is no accept(2) for datagrams. Whoever sends the first one from an address of its own is the guest's side, for good: the socket
//! is connected to that address, and is then what an inherited one would be, with an other end that can be watched. On Linux the
//! kernel refuses anyone else's datagrams from then on (EPERM); on macOS the path is removed at once, and nobody else finds it.
//!
//! All of it happens in the setup phase, since a path means nothing after the drop, but **by the caller's rights**
//! ([`crate::privilege::Identity::act`]), and **no byte is read**: a datagram is asked for its length and its sender. vfkit, and libkrun where it is
//! asked to, greet with four bytes (`VFKT`) for want of a frame to send: a first datagram that is shorter than an Ethernet
//! header is a greeting, whatever it says, and thrown away.
//!
//! softnet waits for as long as it takes, and holds nothing of the host's meanwhile: the link is opened afterwards.

#[cfg(target_os = "linux")]
pub(crate) mod remover;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use log::{debug, info, warn};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

#[cfg(target_os = "linux")]
use crate::companion::{Companion, CompanionError};
#[cfg(target_os = "linux")]
use crate::lifeline::Lifeline;
use crate::lifeline::{End, Stop};
use crate::privilege::{Identity, Standing};
use crate::sys::named::{self, Name, NameError};
use crate::sys::sender::{self, Sender, Waiting};
use crate::sys::signals::Signals;

/// Shorter than this is no frame: two MACs and a type.
const ETHERNET_HEADER: usize = 14;
/// How many datagrams are looked at once the peer is known: more than a queue holds (net.unix.max_dgram_qlen).
const MOST_QUEUED: usize = 4096;

/// Why nobody can be met.
#[derive(Debug, Error)]
pub enum ListenError {
    /// No socket.
    #[error("--socket {}: {source}", .path.display())]
    Name {
        /// Where it was to be.
        path: PathBuf,
        /// What is there, or what the kernel said.
        source: NameError,
    },
    /// It cannot be waited for.
    #[error("--socket: waiting for the VM fails: {0}")]
    Wait(io::Error),
}

/// The guest's socket, and the name that it was met by.
#[derive(Debug)]
pub struct Met {
    /// Connected to the guest's side.
    pub socket: OwnedFd,
    /// What is left of it in the file system.
    pub name: Name,
}

/// A name that is removed with this value, by the rights of whom it was made for: until a companion sees to it, or should the setup fail.
#[derive(Debug)]
pub struct Leftover {
    /// None once it was handed over.
    name: Option<Name>,
    identity: Identity,
    standing: Standing,
}

impl Leftover {
    /// That of a socket that was made acting for `identity`.
    #[must_use]
    pub fn new(name: Name, identity: Identity, standing: Standing) -> Self {
        Leftover { name: Some(name), identity, standing }
    }

    /// Has a companion see to it.
    ///
    /// # Errors
    /// That there is no companion, or softnet's own end.
    #[cfg(target_os = "linux")]
    pub fn hand_over(mut self, lifeline: &mut Lifeline) -> Result<Option<Companion>, Stop<CompanionError>> {
        let Some(name) = &self.name else { return Ok(None) };
        let companion = remover::start(name, self.identity, lifeline)?;
        self.name = None;
        Ok(Some(companion))
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // What cannot be removed is replaced by the next start.
            let _ = self.identity.act(self.standing, || name.remove());
        }
    }
}

/// Makes the socket at `path` and waits for the first who speaks to it. By the rights of whoever the process acts for.
///
/// # Errors
/// What failed, on what, or that a signal came first. No socket stays behind.
pub fn meet(path: &Path, signals: &Signals) -> Result<Met, Stop<ListenError>> {
    let failed = |source| Stop::Failed(ListenError::Name { path: path.to_owned(), source });
    let (socket, name) = named::make(path).map_err(failed)?;
    info!("waiting for the VM at {}", path.display());
    let met = first_peer(&socket, signals).and_then(|peer| clear_the_way(&socket, &peer).map_err(failed_waiting));
    if met.is_err() || cfg!(target_os = "macos") {
        name.remove();
    }
    met.map(|()| Met { socket: socket.into(), name })
}

fn failed_waiting(error: io::Error) -> Stop<ListenError> {
    Stop::Failed(ListenError::Wait(error))
}

/// Waits for a datagram of somebody who can be answered, and connects to them.
fn first_peer(socket: &UnixDatagram, signals: &Signals) -> Result<Sender, Stop<ListenError>> {
    loop {
        let mut polled = [socket.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed_waiting(errno.into())),
        }
        if signals.caught() {
            return Err(End::Signal.into());
        }
        let Some(Waiting { sender: from, .. }) = sender::waiting(socket).map_err(failed_waiting)? else { continue };
        let reason = match from {
            Some(peer) => match sender::connect(socket, &peer) {
                Ok(()) => return Ok(peer),
                Err(error) => format!("{peer} cannot be answered: {error}"),
            },
            None => "its sender has no address to answer to: the VM has to bind its own socket".into(),
        };
        warn!("--socket: a datagram was thrown away: {reason}");
        sender::discard(socket).map_err(failed_waiting)?;
    }
}

/// Throws away what is in the way of the peer's first frame: its greeting, and what others sent before it was there.
fn clear_the_way(socket: &UnixDatagram, peer: &Sender) -> io::Result<()> {
    let (mut greeted, mut strangers) = (false, 0u32);
    for _ in 0..MOST_QUEUED {
        match sender::waiting(socket)? {
            Some(Waiting { sender: from, .. }) if from.as_ref() != Some(peer) => strangers += 1,
            Some(Waiting { length, .. }) if length < ETHERNET_HEADER && !greeted => greeted = true,
            _ => break,
        }
        sender::discard(socket)?;
    }
    if strangers > 0 {
        warn!("--socket: {strangers} datagrams of others than the first were thrown away");
    }
    debug!("the guest's side is {peer}{}", if greeted { ", which has greeted" } else { "" });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test's own.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("softnet-{name}-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn socket(&self, name: &str) -> UnixDatagram {
            UnixDatagram::bind(self.0.join(name)).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn lengths(socket: &UnixDatagram) -> Vec<usize> {
        socket.set_nonblocking(true).unwrap();
        std::iter::from_fn(|| socket.recv(&mut [0; 100]).ok()).collect()
    }

    #[test]
    fn a_greeting_is_thrown_away_and_frames_are_not() {
        let folder = Folder::new("greeting");
        let (vm, signals) = (folder.socket("vm"), Signals::catch().unwrap());
        for (index, first) in [&b"VFKT"[..], &[7; 60]].into_iter().enumerate() {
            let path = folder.0.join(format!("ours-{index}"));
            let (ours, _name) = named::make(&path).unwrap();
            vm.send_to(first, &path).unwrap();
            // What is short afterwards is a bad frame, to be counted as one.
            vm.send_to(&[7; 4], &path).unwrap();
            vm.send_to(&[7; 61], &path).unwrap();
            let peer = first_peer(&ours, &signals).unwrap();
            clear_the_way(&ours, &peer).unwrap();
            let expected = if index == 0 { vec![4, 61] } else { vec![60, 4, 61] };
            assert_eq!(lengths(&ours), expected);
        }
    }

    #[test]
    fn the_first_with_an_address_is_the_peer_and_nobody_else() {
        let folder = Folder::new("first");
        let path = folder.0.join("ours");
        let (ours, _name) = named::make(&path).unwrap();
        let (vm, other, signals) = (folder.socket("vm"), folder.socket("other"), Signals::catch().unwrap());
        UnixDatagram::unbound().unwrap().send_to(&[1; 60], &path).unwrap();
        vm.send_to(b"VFKT", &path).unwrap();
        other.send_to(&[2; 70], &path).unwrap();
        vm.send_to(&[3; 80], &path).unwrap();
        let peer = first_peer(&ours, &signals).unwrap();
        assert_eq!(peer.path(), Some(folder.0.join("vm").as_path()));
        clear_the_way(&ours, &peer).unwrap();
        assert_eq!(lengths(&ours), [80]);
        #[cfg(target_os = "linux")]
        assert_eq!(other.send_to(&[2; 70], &path).unwrap_err().raw_os_error(), Some(Errno::EPERM as i32));
        ours.send(&[4; 90]).unwrap();
        assert_eq!(lengths(&vm), [90]);
    }
}
