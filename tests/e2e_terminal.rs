//! Standard error as a terminal that nobody empties: it holds up no frame.
#![cfg(target_os = "linux")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller};
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;
use softnet_testbed::sys;

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

/// Fills it but for room for a few bytes, which poll(2) calls writable.
fn fill(emulator: &mut File, program: &mut File) {
    fcntl(&*program, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("non-blocking");
    while program.write(&[b'x'; 100]).is_ok() {}
    while program.write(b"x").is_ok() {}
    fcntl(&*program, FcntlArg::F_SETFL(OFlag::empty())).expect("blocking again");
    let mut polled = [nix::poll::PollFd::new(std::os::fd::AsFd::as_fd(program), nix::poll::PollFlags::POLLOUT)];
    // Somebody reads, a little.
    for _ in 0..64 {
        if nix::poll::poll(&mut polled, nix::poll::PollTimeout::ZERO).expect("asked") > 0 {
            return;
        }
        assert!(emulator.read(&mut [0; 64]).expect("read") > 0);
    }
    panic!("a terminal has room again when it was read from");
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
            command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--log-drops"]);
            command.env("RUST_LOG", "info").stdin(OwnedFd::from(other)).stderr(terminal);
            let mut stuck = command.spawn().expect("it starts");
            drop(command);
            PortableGuest::new(guest, MAC).dhcp(PATIENCE).expect("the guest is served");
            kill(Pid::from_raw(stuck.id().cast_signed()), Signal::SIGTERM).expect("sent");
            let status = wait::until("its end", Duration::from_secs(5), || stuck.try_wait().expect("asked"));
            let _ = stuck.kill();
            assert!(status.expect("SIGTERM ends it").success());
            drop(emulator);
        }
    });
}
