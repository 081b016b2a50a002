//! What whoever starts a setuid softnet chose for it, and may do to it while it is root: nothing of it counts.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{IoSlice, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use nix::unistd::Pid;
use softnet_testbed::binary::CALLER;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{self, in_own_network};
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// `words`, a command that starts another, run by the caller to start the setuid softnet.
fn by_way_of(words: &str, bed: &LinuxTestbed, mac: Mac) -> (Command, UnixDatagram) {
    let (guest, other) = sys::frame_sockets();
    let mut words = words.split_ascii_whitespace();
    let first = words.next().expect("a command has a first word");
    let program = tools::find(first).unwrap_or_else(|| panic!("{first} is installed"));
    let mut command = softnet::command(&program, Caller::User);
    command.args(words).arg(&bed.setuid).args(["--vm-fd", "0", "--vm-mac-address", &mac.to_string()]);
    command.stdin(OwnedFd::from(other));
    (command, guest)
}

fn assert_serves(mut command: Command, guest: UnixDatagram, mac: Mac, what: &str) {
    let mut softnet = Softnet::spawn(&mut command);
    if let Err(error) = softnet.wait_said("ready") {
        panic!("{what}: {error}: {}", softnet.said());
    }
    let mut guest = PortableGuest::new(guest, mac);
    guest.dhcp(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"));
    softnet.stop();
}

/// The number of the one dnsmasq.
fn dnsmasq() -> String {
    fs::read_to_string("/run/softnet/softnet0.pid").expect("dnsmasq has a pid file").trim().to_owned()
}

/// Makes `nft` take two seconds: the next start holds the lock meanwhile.
fn slow_down_nft() {
    let nft = tools::find("nft").expect("nft is installed");
    let (real, slow) = (format!("{}/nft", isolate::SCRATCH), format!("{}/slow-nft", isolate::SCRATCH));
    fs::copy(&nft, &real).expect("nft is copied");
    fs::write(&slow, format!("#!/bin/sh\nsleep 2\nexec {real} \"$@\"\n")).expect("a script is written");
    fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).expect("a script can be run");
    mount(Some(slow.as_str()), &nft, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("nft is replaced");
}

/// Waits until softnet's lock is held, by whatever kind of lock.
fn wait_locked() {
    wait::until("a held lock", PATIENCE, || {
        let inode = fs::metadata("/run/softnet/lock").ok()?.ino();
        fs::read_to_string("/proc/locks").ok()?.contains(&format!(":{inode} ")).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}"));
}

#[test]
fn variables_without_a_name_are_cleared_like_any() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for odd in ["=x=y", "=", "==", "LD_PRELOAD=/tmp/evil.so"] {
            let (command, guest) = by_way_of(&format!("env {odd}"), &bed, MAC);
            assert_serves(command, guest, MAC, odd);
        }
    });
}

#[test]
fn limits_of_the_callers_end_nothing_half_way() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // Soft limits: this test may run where root itself may not raise hard ones.
        for limit in ["--fsize=0:", "--fsize=100:", "--nofile=6:", "--nofile=12:", "--data=1000000:", "--sigpending=0:"]
        {
            let (command, guest) = by_way_of(&format!("prlimit {limit}"), &bed, MAC);
            assert_serves(command, guest, MAC, limit);
        }
    });
}

#[test]
fn a_limit_that_cannot_be_raised_ends_it_in_order() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for limit in ["--fsize=0", "--fsize=100", "--nofile=6", "--nofile=12", "--sigpending=0"] {
            let (mut command, guest) = by_way_of(&format!("prlimit {limit}"), &bed, MAC);
            let mut softnet = Softnet::spawn(&mut command);
            // Where root has all its capabilities, it can.
            if softnet.wait_said("ready").is_ok() {
                softnet.stop();
            } else {
                let ended = softnet.wait_end(PATIENCE);
                assert_eq!(ended.status.code(), Some(1), "{limit}: {}: {}", ended.status, ended.said);
                assert!(ended.said.starts_with("softnet: "), "{limit}: {}", ended.said);
            }
            drop(guest);
        }
        let (softnet, _guest) = bed.guest(MAC, "");
        softnet.stop();
    });
}

#[test]
fn a_signal_for_input_that_the_caller_asked_for_does_not_end_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (guest, other) = sys::frame_sockets();
        let shared = other.try_clone().expect("a socket is shared");
        let mut softnet = bed.launch(MAC).spawn_on(OwnedFd::from(other).into());
        softnet.wait_ready();
        sys::signal_input(&shared, softnet.pid());
        PortableGuest::new(guest, MAC).dhcp(PATIENCE).expect("the guest is served");
        assert!(softnet.is_alive(), "{}", softnet.said());
    });
}

#[test]
fn a_timer_of_the_callers_does_not_end_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (mut command, guest) = by_way_of("perl -e alarm(1);exec@ARGV", &bed, MAC);
        let mut softnet = Softnet::spawn(&mut command);
        softnet.wait_ready();
        std::thread::sleep(Duration::from_millis(1300)); // past the alarm
        assert!(softnet.is_alive(), "the caller's alarm ended it: {}", softnet.said());
        softnet.stop();
        drop(guest);
    });
}

#[test]
fn a_daemon_that_stays_is_not_scheduled_as_the_caller_was() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (command, guest) = by_way_of("nice -n 19 taskset 1 chrt --idle 0", &bed, MAC);
        assert_serves(command, guest, MAC, "SCHED_IDLE");
        let policy = tools::run(&format!("chrt --pid {}", dnsmasq()));
        assert!(policy.contains("SCHED_OTHER"), "{policy}");
        let own = tools::run("taskset --pid 1");
        let affinity = tools::run(&format!("taskset --pid {}", dnsmasq()));
        let mask = |text: &str| text.rsplit(' ').next().unwrap_or_default().trim().to_owned();
        assert_eq!(mask(&affinity), mask(&own));
    });
}

#[test]
fn a_daemon_that_stays_leaves_the_callers_control_group() {
    in_own_network(|| {
        let folder = "/sys/fs/cgroup";
        mount(Some("cgroup2"), folder, Some("cgroup2"), MsFlags::empty(), None::<&str>).expect("cgroup2 is mounted");
        // The hierarchy is the machine's, its one part that is not this test's own: a name that nobody else has.
        let namespace = fs::metadata("/proc/self/ns/net").expect("a network namespace").ino();
        let own = ControlGroup::new(format!("{folder}/softnet-test-{namespace}"));
        let bed = LinuxTestbed::new(SOFTNET);
        let (guest, other) = sys::frame_sockets();
        // Root puts the shell there, as a service manager does; the shell becomes the caller.
        let script = format!(
            "echo 0 > {}/cgroup.procs && exec setpriv --reuid {CALLER} --regid {CALLER} --clear-groups \"$@\"",
            own.0
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script, "sh"]).arg(&bed.setuid);
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]).env("RUST_LOG", "softnet=info");
        command.stdin(OwnedFd::from(other));
        assert_serves(command, guest, MAC, "a control group");
        assert_eq!(own.members(), "", "dnsmasq stays in the caller's control group");
    });
}

/// A control group, which outlives the test's namespaces unless it is removed.
struct ControlGroup(String);

impl ControlGroup {
    fn new(path: String) -> Self {
        fs::create_dir(&path).expect("a control group is made");
        ControlGroup(path)
    }

    fn members(&self) -> String {
        fs::read_to_string(format!("{}/cgroup.procs", self.0)).expect("members are listed")
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        // What is still there goes to the root of the hierarchy: a group with members cannot be removed.
        let root = Path::new(&self.0).with_file_name("cgroup.procs");
        for member in self.members().lines() {
            let _ = fs::write(&root, member);
        }
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_standard_error_that_nobody_reads_holds_up_neither_others_nor_the_end() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (_reader, mut writer) = std::io::pipe().expect("a pipe is made");
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("non-blocking");
        while writer.write(&[b'x'; 4096]).is_ok() {}
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("blocking again");
        let (guest, other) = sys::frame_sockets();
        let mut command = softnet::command(&bed.setuid, Caller::User);
        // A warning under the lock, and all that there is to say.
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--bootpd-lease-time", "60"]);
        let mut stuck =
            command.env("RUST_LOG", "trace").stdin(OwnedFd::from(other)).stderr(writer).spawn().expect("starts");
        PortableGuest::new(guest, MAC).dhcp(PATIENCE).expect("the guest is served");
        let (softnet, _guest) = bed.guest(Mac::guest(2), "");
        softnet.stop();
        kill(Pid::from_raw(stuck.id().cast_signed()), Signal::SIGTERM).expect("sent");
        let status = wait::until("its end", Duration::from_secs(2), || stuck.try_wait().expect("asked"));
        let _ = stuck.kill();
        assert!(status.expect("SIGTERM ends it").success());
    });
}

#[test]
fn a_caller_that_stops_it_under_the_lock_holds_up_others_for_a_bounded_time() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        slow_down_nft();
        let (held, _socket) = bed.launch(MAC).spawn();
        wait_locked();
        held.signal(Signal::SIGSTOP);
        let (mut other, _guest) = bed.launch(Mac::guest(2)).spawn();
        let ready = wait::until("another guest's start", Duration::from_secs(25), || {
            assert!(other.is_alive(), "{}", other.said());
            other.said().contains("ready").then_some(())
        });
        ready.unwrap_or_else(|error| panic!("{error}: the lock is held by a stopped process"));
        other.stop();
    });
}

#[test]
fn no_descriptor_comes_with_a_frame() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "");
        guest.flush();
        let open = || fs::read_dir(format!("/proc/{}/fd", softnet.pid())).expect("root may look").count();
        let before = open();
        let socket = guest.into_socket();
        let file = fs::File::open("/dev/null").expect("opened");
        let sent = sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&[0; 60])],
            &[ControlMessage::ScmRights(&[file.as_raw_fd()])],
            MsgFlags::empty(),
            None,
        );
        // Linux 6.16 and newer refuse it, older ones drop it on arrival.
        assert!(matches!(sent, Err(Errno::EPERM)) || kernel() < (6, 16), "{sent:?}");
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(PATIENCE).expect("served as before");
        guest.flush();
        assert_eq!(open(), before);
        softnet.stop();
    });
}

fn kernel() -> (u32, u32) {
    let text = tools::run("uname -r");
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
