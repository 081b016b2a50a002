//! What the caller hands over: descriptors, looked at before any right is used and adopted when it is time.

use std::io;
use std::os::fd::{OwnedFd, RawFd};

use thiserror::Error;

use crate::cli::ServeOptions;
use crate::sys::inherited::{self, DescriptorError, Role};
use crate::sys::process;
use crate::sys::ready::{self, ReadyPipe};

/// What is wrong with what the caller hands over.
#[derive(Debug, Error)]
pub enum SocketsError {
    /// An inherited descriptor is not what it must be.
    #[error("{0}: {1}")]
    Descriptor(&'static str, DescriptorError),
    /// Two of them are one.
    #[error(
        "--control-fd: descriptor {0} is that of --vm-fd: pass another socket, of type SOCK_STREAM, or leave --control-fd out"
    )]
    OneForBoth(RawFd),
    /// Nothing to say "ready" to.
    #[error("--ready-fd: descriptor {0}: {1}")]
    Ready(RawFd, io::Error),
    /// What else is open cannot be closed.
    #[error("the caller's other descriptors cannot be closed: {0}")]
    Others(io::Error),
}

/// The descriptors, looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sockets {
    /// None where softnet makes the guest's socket itself (`--socket`).
    guest: Option<RawFd>,
    control: Option<RawFd>,
    ready: Option<RawFd>,
}

/// The same, taken over.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) guest: Option<OwnedFd>,
    pub(super) control: Option<OwnedFd>,
    pub(super) ready: Option<ReadyPipe>,
}

impl Sockets {
    const FRAMES: &str = "--vm-fd";
    const CONTROL: &str = "--control-fd";

    /// Looks at them, without changing anything.
    pub(super) fn of(serve: &ServeOptions) -> Result<Self, SocketsError> {
        let ServeOptions { vm_fd: guest, control_fd: control, ready_fd: ready, .. } = *serve;
        if let Some(fd) = guest {
            inherited::check(fd, Role::Frames).map_err(|error| SocketsError::Descriptor(Self::FRAMES, error))?;
        }
        if let Some(fd) = control {
            if guest == Some(fd) {
                return Err(SocketsError::OneForBoth(fd));
            }
            inherited::check(fd, Role::Control).map_err(|error| SocketsError::Descriptor(Self::CONTROL, error))?;
        }
        if let Some(fd) = ready {
            ready::check(fd).map_err(|error| SocketsError::Ready(fd, error))?;
        }
        Ok(Sockets { guest, control, ready })
    }

    /// Takes them over, and closes every other descriptor but those that were opened for the caller.
    pub(super) fn adopt(self, opened: [Option<RawFd>; 2]) -> Result<Adopted, SocketsError> {
        let kept: Vec<RawFd> = [self.guest, self.control, self.ready].into_iter().chain(opened).flatten().collect();
        process::close_all_but(&kept).map_err(SocketsError::Others)?;
        let adopt = |flag, fd: Option<RawFd>, role| {
            fd.map(|fd| inherited::adopt(fd, role)).transpose().map_err(|error| SocketsError::Descriptor(flag, error))
        };
        let guest = adopt(Self::FRAMES, self.guest, Role::Frames)?;
        let control = adopt(Self::CONTROL, self.control, Role::Control)?;
        let adopt_pipe = |fd| ReadyPipe::adopt(fd).map_err(|error| SocketsError::Ready(fd, error));
        let ready = self.ready.map(adopt_pipe).transpose()?;
        Ok(Adopted { guest, control, ready })
    }
}
