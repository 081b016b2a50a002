//! The pipe by which softnet tells the program that started it that the guest is served from now on.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, RawFd};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat};

/// The writing end of a pipe.
#[derive(Debug)]
pub struct ReadyPipe(File);

/// Looks at descriptor `fd` without changing anything: a pipe that can be written to. To anything else a byte might mean
/// something.
///
/// # Errors
/// What it is instead, in words.
pub fn check(fd: RawFd) -> io::Result<()> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(libc::EBADF));
    }
    // SAFETY: the number is not negative, and the borrow is used for questions alone, which fail when nothing is open there.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    let kind = SFlag::from_bits_truncate(fstat(borrowed)?.st_mode & SFlag::S_IFMT.bits());
    let flags = OFlag::from_bits_retain(fcntl(borrowed, FcntlArg::F_GETFL)?);
    if kind != SFlag::S_IFIFO || !flags.intersects(OFlag::O_WRONLY | OFlag::O_RDWR) {
        return Err(io::Error::other("not a pipe that can be written to"));
    }
    Ok(())
}

impl ReadyPipe {
    /// Takes over descriptor `fd`; a standard descriptor becomes /dev/null in its place.
    ///
    /// # Errors
    /// What [`check`] finds, and those of fcntl(2), open(2) and dup2(2).
    pub fn adopt(fd: RawFd) -> io::Result<Self> {
        check(fd)?;
        Ok(ReadyPipe(super::inherited::take_over(fd)?.into()))
    }

    /// Says that softnet is ready: one byte, and the end. Waits for nobody: a reader that is behind, or gone, goes without.
    pub fn tell(mut self) {
        let mut polled = [PollFd::new(self.0.as_fd(), PollFlags::POLLOUT)];
        if matches!(poll(&mut polled, PollTimeout::ZERO), Ok(1)) {
            let _ = self.0.write(b"\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
    use std::os::unix::net::UnixStream;

    use nix::fcntl::FdFlag;

    use super::*;

    #[test]
    fn one_byte_comes_and_then_the_end() {
        let (mut reader, writer) = io::pipe().unwrap();
        let pipe = ReadyPipe::adopt(writer.into_raw_fd()).unwrap();
        let flags = fcntl(&pipe.0, FcntlArg::F_GETFD).unwrap();
        assert!(FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC));
        pipe.tell();
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"\n");
    }

    #[test]
    fn a_full_pipe_and_one_without_a_reader_hold_up_nobody() {
        let (reader, mut writer) = io::pipe().unwrap();
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while writer.write(&[0; 4096]).is_ok() {}
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).unwrap();
        ReadyPipe(OwnedFd::from(writer.try_clone().unwrap()).into()).tell();
        drop(reader);
        ReadyPipe(OwnedFd::from(writer).into()).tell();
    }

    #[test]
    fn nothing_but_a_pipe_is_written_to() {
        let (reader, _writer) = io::pipe().unwrap();
        let (socket, _other) = UnixStream::pair().unwrap();
        let null = File::options().write(true).open("/dev/null").unwrap();
        for fd in [reader.as_raw_fd(), socket.as_raw_fd(), null.as_raw_fd(), 900_000, -1] {
            assert!(ReadyPipe::adopt(fd).is_err(), "{fd}");
        }
    }
}
