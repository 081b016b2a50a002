//! Standard error as a terminal that nobody empties: it holds up no frame.
#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller};
use softnet_testbed::sys;
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// A new terminal: what a terminal emulator has of it, and what a program has.
fn terminal() -> (File, File) {
    let open = |path: &str| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOCTTY).open(path).expect("a terminal is opened")
    };
    let emulator = open("/dev/ptmx");
    let mut number: libc::c_uint = 0;
    let unlock: libc::c_int = 0;
    // SAFETY: both take a pointer to an int that lives here (ioctl_tty(2)).
    let made = unsafe {
        libc::ioctl(emulator.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlock)
            | libc::ioctl(emulator.as_raw_fd(), libc::TIOCGPTN, &raw mut number)
    };
    assert_eq!(made, 0);
    let program = open(&format!("/dev/pts/{number}"));
    (emulator, program)
}

/// Fills it but for the last room that it has.
fn fill(emulator: &mut File, program: &mut File) {
    fcntl(&*program, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("non-blocking");
    while program.write(b"x").is_ok() {}
    fcntl(&*program, FcntlArg::F_SETFL(OFlag::empty())).expect("blocking again");
    while !is_writable(program) {
        assert!(emulator.read(&mut [0]).expect("read") > 0);
    }
}

/// Whether it has room for a byte, or for more.
fn is_writable(program: &File) -> bool {
    let mut polled = [PollFd::new(program.as_fd(), PollFlags::POLLOUT)];
    poll(&mut polled, PollTimeout::ZERO).expect("asked") > 0
}

#[test]
fn a_terminal_with_room_for_a_few_bytes_holds_up_neither_frames_nor_the_end() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (caller, program) in [(Caller::User, bed.setuid.as_path()), (Caller::Root, std::path::Path::new(SOFTNET))] {
            let (mut emulator, mut terminal) = terminal();
            fill(&mut emulator, &mut terminal);
            let (guest, other) = sys::frame_sockets();
            let mut command = softnet::command(program, caller);
            command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]);
            let theirs = terminal.try_clone().expect("another descriptor");
            command.env("RUST_LOG", "info").stdin(OwnedFd::from(other)).stderr(theirs);
            let mut stuck = command.spawn().expect("it starts");
            drop(command);
            let mut guest = PortableGuest::new(guest, MAC);
            guest.dhcp(PATIENCE).expect("the guest is served");
            let process = Pid::from_raw(stuck.id().cast_signed());
            // It says lines until one has no room but in part.
            wait::until("a full terminal", PATIENCE, || {
                // Asked before it is signalled: a signal ends a write that waits.
                let is_full = !is_writable(&terminal);
                if !is_full {
                    kill(process, Signal::SIGUSR1).expect("signalled");
                }
                is_full.then_some(())
            })
            .expect("full");
            guest.ping(guest.gateway(), PATIENCE).expect("frames pass");
            let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("its status");
            let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("its signals");
            let ignored = u64::from_str_radix(ignored.trim(), 16).expect("a set of signals");
            assert_ne!(ignored & 1 << (libc::SIGTTOU - 1), 0, "a terminal with tostop would stop it");
            kill(process, Signal::SIGTERM).expect("sent");
            let status = wait::until("its end", Duration::from_secs(5), || stuck.try_wait().expect("asked"));
            let _ = stuck.kill();
            assert!(status.expect("SIGTERM ends it").success());
            drop(emulator);
        }
    });
}
