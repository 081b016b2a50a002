//! The companion for `--metrics-file`: it replaces its file, and can do nothing else with files.

use std::fs;
use std::os::fd::AsFd;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use softnet::companion::line::{Heard, Line, MAX_MESSAGE, Told};
use softnet::companion::{self, Companion, Plan};
use softnet::lifeline::Lifeline;
use softnet::metrics::MetricsWriter;
use softnet::privilege::{Identity, Standing};
use softnet::sandbox::{Features, Leave, Room, calls};

use super::child::{call, inside_with_features};

/// A directory that the companion's user may write.
struct Place(PathBuf);

impl Place {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("softnet-sandbox-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        nix::unistd::chown(&path, Some(4711.into()), Some(4712.into())).unwrap();
        fs::write(path.join("other"), "other").unwrap();
        Place(path)
    }

    fn open(&self) -> OwnedFd {
        fs::File::open(&self.0).unwrap().into()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(directory: RawFd, work: impl FnOnce(Line)) -> Companion {
    let (ours, guest) = UnixDatagram::pair().unwrap();
    let mut lifeline = Lifeline::new(ours.as_fd()).unwrap();
    let identity = Identity::choose(Standing::Root, Some("4711"), Some("4712")).unwrap();
    let left = [Leave::WriteIn(directory)];
    let room = Room { calls: calls::METRICS, left: &left, descriptors: 64 };
    let plan = Plan { purpose: "tests", name: c"softnet-tests", kept: &[directory], room, work };
    let companion = companion::start(identity, plan, &mut lifeline).unwrap();
    drop(guest);
    companion
}

fn wait(line: impl AsFd) {
    poll(&mut [PollFd::new(line.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE).unwrap();
}

#[test]
fn it_replaces_its_file_again_and_again() {
    let place = Place::new("keeps");
    let directory = place.open();
    let prepare = || {
        let number = directory.as_raw_fd();
        let writer = MetricsWriter::new(directory, std::ffi::OsStr::new("guest.prom"), 7);
        (Features::default(), start(number, move |line| writer.keep(line)))
    };
    inside_with_features(prepare, |mut companion| {
        wait(companion.line().unwrap());
        let mut buffer = [0; MAX_MESSAGE];
        assert_eq!(companion.hear(&mut buffer), Heard::Message(5));
        assert_eq!(&buffer[..5], b"ready");
        for message in [&b"\x03first"[..], b"\x01sec", b"\x02ond"] {
            assert_eq!(companion.tell(message), Told::Sent);
        }
        companion.end();
    })
    .assert_exited(0);
    assert_eq!(fs::read_to_string(place.0.join("guest.prom")).unwrap(), "second");
}

/// The companion does `what` with its directory, and has to be gone by it.
#[track_caller]
fn assert_killed(test: &str, what: impl FnOnce(RawFd)) {
    let place = Place::new(test);
    let directory = place.open();
    let prepare = || {
        let number = directory.as_raw_fd();
        (
            Features::default(),
            start(number, move |line| {
                what(number);
                line.tell(b"still there");
                std::mem::forget(directory);
            }),
        )
    };
    inside_with_features(prepare, |mut companion| {
        wait(companion.line().unwrap());
        assert_eq!(companion.hear(&mut [0; MAX_MESSAGE]), Heard::End);
    })
    .assert_exited(0);
    assert_eq!(fs::read_to_string(place.0.join("other")).unwrap(), "other");
}

#[test]
fn it_opens_no_file_that_is_there() {
    for (test, flags) in [
        ("reads", libc::O_RDONLY),
        ("writes", libc::O_WRONLY | libc::O_TRUNC),
        ("follows", libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL),
    ] {
        assert_killed(test, |directory| {
            call(libc::SYS_openat, [directory.into(), c"other".as_ptr() as libc::c_long, flags.into(), 0o644]);
        });
    }
}

#[test]
fn it_removes_no_directory() {
    assert_killed("removes", |directory| {
        call(libc::SYS_unlinkat, [directory.into(), c"x".as_ptr() as libc::c_long, libc::AT_REMOVEDIR.into()]);
    });
}

/// By Landlock: the directory above is reached by its name, `..`, which no filter sees.
#[test]
fn it_makes_and_removes_nothing_beside_its_directory() {
    let above = Place::new("above");
    let inner = above.0.join("inner");
    fs::create_dir(&inner).unwrap();
    nix::unistd::chown(&inner, Some(4711.into()), Some(4712.into())).unwrap();
    let directory: OwnedFd = fs::File::open(&inner).unwrap().into();
    let prepare = || {
        let number = directory.as_raw_fd();
        let work = move |line: Line| {
            let new = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let is_made = openat(&directory, "../new", new, Mode::empty()).is_ok();
            let is_removed = unlinkat(&directory, "../other", UnlinkatFlags::NoRemoveDir).is_ok();
            let inside = openat(&directory, "new", new, Mode::empty()).is_ok();
            line.tell(&[u8::from(is_made), u8::from(is_removed), u8::from(inside)]);
        };
        (Features::default(), start(number, work))
    };
    inside_with_features(prepare, |mut companion| {
        wait(companion.line().unwrap());
        let mut buffer = [0; MAX_MESSAGE];
        assert_eq!(companion.hear(&mut buffer), Heard::Message(3));
        assert_eq!(buffer[..3], [0, 0, 1]);
    })
    .assert_exited(0);
}
