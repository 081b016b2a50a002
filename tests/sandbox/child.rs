//! A child that drops root, enters the sandbox, and then does one thing.
//!
//! It is forked, not started: so it has one thread, as softnet has, whatever the test program has.

use std::io::{self, Read};
use std::os::fd::AsRawFd;

use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, dup2_stderr, fork};
use softnet::privilege::{self, Identity, Standing};
use softnet::sandbox::{self, Features};
use softnet::sys::process;

/// How a child ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: WaitStatus,
    /// It got into the sandbox.
    pub(crate) was_inside: bool,
    /// What it said on standard error.
    pub(crate) said: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn assert_killed_by_the_filter(&self) {
        assert!(self.was_inside, "the sandbox was entered: {self:?}");
        assert!(matches!(self.status, WaitStatus::Signaled(_, Signal::SIGSYS, _)), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn assert_exited(&self, code: i32) {
        assert!(self.was_inside, "the sandbox was entered: {self:?}");
        assert!(matches!(self.status, WaitStatus::Exited(_, ended) if ended == code), "{self:?}");
    }

    #[track_caller]
    pub(crate) fn assert_signalled(&self, signal: Signal) {
        assert!(self.was_inside, "the sandbox was entered: {self:?}");
        assert!(matches!(self.status, WaitStatus::Signaled(_, by, _) if by == signal), "{self:?}");
    }
}

/// Runs `body` inside; it ends the child with exit code 0 when it returns.
pub(crate) fn inside(body: impl FnOnce()) -> Ended {
    inside_with(|| (), |()| body())
}

/// Runs `prepare` in the child before it drops root, and `body` with what that made inside.
pub(crate) fn inside_with<T>(prepare: impl FnOnce() -> T, body: impl FnOnce(T)) -> Ended {
    inside_with_features(|| (Features::default(), prepare()), body)
}

/// The same, in a sandbox for the features that `prepare` names.
pub(crate) fn inside_with_features<T>(prepare: impl FnOnce() -> (Features, T), body: impl FnOnce(T)) -> Ended {
    assert!(nix::unistd::geteuid().is_root(), "the sandbox follows a drop of root: run this by scripts/test.sh");
    let (mut entered, tell_entered) = io::pipe().unwrap();
    let (mut said, standard_error) = io::pipe().unwrap();
    // SAFETY: the C library makes malloc usable in the child, and no other thread of this program holds a lock that the
    // child needs: they run such tests or wait.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            drop((entered, said));
            dup2_stderr(&standard_error).unwrap();
            drop(standard_error);
            // As softnet does first of all. With it goes RUST_BACKTRACE: to print a backtrace is to open files, and a panic would
            // end by the filter.
            process::clear_environment();
            let (features, prepared) = prepare();
            let identity = Identity::choose(Standing::Root, Some("4711"), Some("4712")).unwrap();
            let confined = privilege::drop_to(identity).map(|dropped| sandbox::enter(dropped, features));
            if !matches!(confined, Ok(Ok(_))) {
                io::Write::write_all(&mut io::stderr(), format!("{confined:?}").as_bytes()).unwrap();
                exit_at_once(99);
            }
            // SAFETY: the descriptor is open and the byte is there.
            unsafe { libc::write(tell_entered.as_raw_fd(), b"+".as_ptr().cast(), 1) };
            body(prepared);
            exit_at_once(0);
        }
        ForkResult::Parent { child } => {
            drop((tell_entered, standard_error));
            let mut byte = [0];
            let was_inside = entered.read(&mut byte).unwrap() == 1;
            let mut text = String::new();
            said.read_to_string(&mut text).unwrap();
            Ended { status: waitpid(child, None).unwrap(), was_inside, said: text }
        }
    }
}

/// Ends the process without what a program does at its end.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(code) }
}

/// A system call with up to six numbers.
pub(crate) fn call<const N: usize>(number: libc::c_long, arguments: [libc::c_long; N]) -> libc::c_long {
    let mut six = [0; 6];
    six[..N].copy_from_slice(&arguments);
    let [a, b, c, d, e, f] = six;
    // SAFETY: made where the call does not come back, or takes no pointer.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}
