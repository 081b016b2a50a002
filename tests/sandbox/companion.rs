//! A companion: it has what it was given and no more, and does not outlive the relay.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;
use softnet::companion::line::{Heard, Line, MAX_MESSAGE, Told};
use softnet::companion::{self, Companion, Plan};
use softnet::lifeline::Lifeline;
use softnet::privilege::{Identity, Standing};
use softnet::sandbox::{Features, Leave, Room, calls};

use super::child::{Ended, call, exit_at_once, inside_with_features};

/// What the tests' companion is, besides what it does.
struct Given<'a> {
    kept: &'a [RawFd],
    room: Room<'a>,
}

const ROOM: Room<'_> = Room { calls: &[], left: &[], descriptors: 64 };
const NOTHING: Given<'_> = Given { kept: &[], room: ROOM };
/// As the forwarder of port 22.
const FORWARDER: Given<'_> =
    Given { kept: &[], room: Room { calls: calls::FORWARDER, left: &[Leave::ConnectTcp(22)], descriptors: 64 } };

/// Starts one, as the setup does; whoever calls this is forked.
fn start(given: &Given<'_>, work: impl FnOnce(Line)) -> Companion {
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut lifeline = Lifeline::new(ours.as_fd()).unwrap();
    let identity = Identity::choose(Standing::Root, Some("4711"), Some("4712")).unwrap();
    let plan = Plan { purpose: "tests", name: c"softnet-tests", kept: given.kept, room: given.room, work };
    let companion = companion::start(identity, plan, &mut lifeline).unwrap();
    drop(guest);
    companion
}

/// Runs `relay` with a companion that does `work`, in a process that is confined as the relay is.
fn beside(work: impl FnOnce(Line), relay: impl FnOnce(Companion)) -> Ended {
    inside_with_features(|| (Features::default(), start(&NOTHING, work)), relay)
}

/// Listens until something comes.
fn wait(line: impl AsFd) {
    poll(&mut [PollFd::new(line.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
}

fn hear_all(line: Line) {
    let mut buffer = [0; MAX_MESSAGE];
    while line.hear(&mut buffer) != Heard::End {
        wait(&line);
    }
}

#[test]
fn both_sides_talk_and_the_end_is_waited_for() {
    let answer = |line: Line| {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            match line.hear(&mut buffer) {
                Heard::Message(length) => assert_eq!(line.tell(&buffer[..length]), Told::Sent),
                Heard::Nothing => wait(&line),
                Heard::End => return,
            }
        }
    };
    beside(answer, |mut companion| {
        let mut buffer = [0; MAX_MESSAGE];
        for word in [&b"one"[..], b"two"] {
            assert_eq!(companion.tell(word), Told::Sent);
            wait(companion.line().unwrap());
            assert_eq!(companion.hear(&mut buffer), Heard::Message(3));
            assert_eq!(&buffer[..3], word);
        }
        companion.end();
    })
    .assert_exited(0);
}

#[test]
fn what_is_not_in_its_list_ends_it() {
    beside(
        |line| {
            call(libc::SYS_socket, [libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0]);
            hear_all(line);
        },
        |mut companion| {
            wait(companion.line().unwrap());
            for _ in 0..3 {
                assert_eq!(companion.hear(&mut [0; MAX_MESSAGE]), Heard::End);
                assert_eq!(companion.tell(b"x"), Told::End);
            }
            assert!(companion.line().is_none());
        },
    )
    .assert_exited(0);
}

#[test]
fn a_panic_of_its_own_is_its_end() {
    beside(
        |_line| panic!("for a test"),
        |mut companion| {
            wait(companion.line().unwrap());
            assert_eq!(companion.hear(&mut [0; MAX_MESSAGE]), Heard::End);
        },
    )
    .assert_exited(0);
}

#[test]
fn signals_for_the_relay_do_not_end_it() {
    let work = |line: Line| {
        let own = std::process::id();
        assert_eq!(line.tell(&own.to_ne_bytes()), Told::Sent);
        hear_all(line);
    };
    let prepare = || {
        let mut companion = start(&NOTHING, work);
        let pid = number(&mut companion);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGPIPE] {
            kill(pid, signal).unwrap();
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        for line in [
            "Seccomp:\t2",
            "NoNewPrivs:\t1",
            "CapBnd:\t0000000000000000",
            "Uid:\t4711\t4711\t4711\t4711",
            "SigBlk:\t0000000000000000",
        ] {
            assert!(status.contains(line), "{line}: {status}");
        }
        assert!(status.starts_with("Name:\tsoftnet-tests\n"), "{status}");
        (Features::default(), companion)
    };
    inside_with_features(prepare, |mut companion| {
        assert_eq!(companion.tell(b"are you there"), Told::Sent);
        companion.end();
    })
    .assert_exited(0);
}

/// The number that a companion says.
fn number(companion: &mut Companion) -> Pid {
    wait(companion.line().unwrap());
    let mut buffer = [0; MAX_MESSAGE];
    assert_eq!(companion.hear(&mut buffer), Heard::Message(4));
    Pid::from_raw(i32::from_ne_bytes(buffer[..4].try_into().unwrap()))
}

#[test]
fn it_holds_what_it_was_given_and_nothing_else() {
    let prepare = || {
        let given = TcpListener::bind("127.0.0.1:0").unwrap();
        let (not_given, _far) = UnixDatagram::pair().unwrap();
        let kept = [given.as_raw_fd()];
        let mut companion = start(&Given { kept: &kept, room: ROOM }, |line| {
            assert_eq!(line.tell(&std::process::id().to_ne_bytes()), Told::Sent);
            hear_all(line);
        });
        let pid = number(&mut companion);
        let place = |fd: &str| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
        let mut open: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        open.retain(|fd| fd != "2" && *fd != kept[0].to_string());
        assert_eq!(open.len(), 3, "{open:?}");
        assert_eq!([place("0"), place("1")], [Path::new("/dev/null"); 2]);
        drop((not_given, given));
        (Features::default(), companion)
    };
    inside_with_features(prepare, Companion::end).assert_exited(0);
}

/// The companion holds the other end of a pipe, which tells of its end whoever is its parent by then.
#[test]
fn a_relay_that_is_killed_takes_it_along() {
    let (ends, held) = io::pipe().unwrap();
    let held = OwnedFd::from(held);
    let prepare = || {
        let companion = start(&Given { kept: &[held.as_raw_fd()], room: ROOM }, hear_all);
        (Features::default(), companion)
    };
    // The one signal that a confined process can be ended by from within: the filter's.
    inside_with_features(prepare, |_companion| {
        let _ = raise(Signal::SIGKILL);
        exit_at_once(0);
    })
    .assert_killed_by_the_filter();
    drop(held);
    let mut polled = [PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
    assert_eq!(poll(&mut polled, PollTimeout::from(10_000u16)), Ok(1), "the companion has ended");
    assert_eq!(io::Read::read(&mut File::from(OwnedFd::from(ends)), &mut [0]).unwrap(), 0);
}

/// Runs `work` in a forwarder's sandbox, and gives what it says; `None` if it is killed before.
fn in_a_forwarder(work: impl FnOnce() -> i32) -> Option<i32> {
    let (mut said, told) = io::pipe().unwrap();
    let prepare = || {
        let companion = start(&FORWARDER, |line| {
            assert_eq!(line.tell(&work().to_ne_bytes()), Told::Sent);
            hear_all(line);
        });
        (Features::default(), (companion, told))
    };
    inside_with_features(prepare, |(mut companion, mut told)| {
        wait(companion.line().unwrap());
        let mut buffer = [0; MAX_MESSAGE];
        if let Heard::Message(length) = companion.hear(&mut buffer) {
            io::Write::write_all(&mut told, &buffer[..length]).unwrap();
        }
        companion.end();
    })
    .assert_exited(0);
    let mut answer = [0; 4];
    io::Read::read_exact(&mut said, &mut answer).ok().map(|()| i32::from_ne_bytes(answer))
}

#[test]
fn the_forwarder_makes_no_socket_but_its_own_kinds() {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let socket = |family: i32, kind: i32| {
        in_a_forwarder(move || i32::from(call(libc::SYS_socket, [family.into(), kind.into(), 0]) >= 0))
    };
    for kind in [libc::SOCK_STREAM, libc::SOCK_DGRAM] {
        assert_eq!(socket(libc::AF_INET, kind | flags), Some(1));
        assert_eq!(socket(libc::AF_INET, kind), None);
        for family in [libc::AF_UNIX, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET] {
            assert_eq!(socket(family, kind | flags), None, "{family}");
        }
    }
    assert_eq!(socket(libc::AF_INET, libc::SOCK_RAW | flags), None);
}

#[test]
fn the_forwarder_binds_listens_opens_and_sets_nothing_else() {
    for (number, arguments) in [
        (libc::SYS_bind, [0; 5]),
        (libc::SYS_listen, [0; 5]),
        (libc::SYS_openat, [0; 5]),
        (libc::SYS_ioctl, [0; 5]),
        (libc::SYS_accept4, [0; 5]),
        (libc::SYS_setsockopt, [0, libc::SOL_SOCKET.into(), libc::SO_BINDTODEVICE.into(), 0, 0]),
        (libc::SYS_setsockopt, [0, libc::IPPROTO_IP.into(), libc::IP_TRANSPARENT.into(), 0, 0]),
        (libc::SYS_getsockopt, [0, libc::SOL_SOCKET.into(), libc::SO_PEERCRED.into(), 0, 0]),
        (libc::SYS_shutdown, [0, libc::SHUT_RDWR.into(), 0, 0, 0]),
        (libc::SYS_sendmsg, [0; 5]),
        (libc::SYS_recvmsg, [0; 5]),
    ] {
        let ended = in_a_forwarder(move || {
            call(number, arguments);
            0
        });
        assert_eq!(ended, None, "{number} {arguments:?}");
    }
}

#[test]
fn the_forwarder_connects_by_tcp_to_exposed_port_numbers_alone() {
    // SAFETY: asked for the version, the kernel takes no pointer.
    let abi = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, 0, 0, 1) };
    if abi < 4 {
        eprintln!("skipped: Landlock's ABI is {abi}, and 4 is the first that knows TCP");
        return;
    }
    let connect = |port: u16| {
        in_a_forwarder(move || {
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
            let socket = call(libc::SYS_socket, [libc::AF_INET.into(), kind.into(), 0]);
            let address = nix::sys::socket::SockaddrIn::new(127, 0, 0, 1, port);
            match nix::sys::socket::connect(socket as RawFd, &address) {
                Ok(()) => 0,
                Err(errno) => errno as i32,
            }
        })
    };
    assert_ne!(connect(22), Some(libc::EACCES));
    assert_eq!(connect(23), Some(libc::EACCES));
}
