//! The real softnet: it is inside, lives there as long as it should, and does not start where it cannot be.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller, Ended, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// softnet that tells all that it can, and its guest.
fn start_telling_all(bed: &LinuxTestbed) -> (Softnet, PortableGuest) {
    let (guest, other) = sys::frame_sockets();
    let mut command = softnet::command(&bed.setuid, Caller::User);
    command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]).stdin(OwnedFd::from(other));
    let mut softnet = Softnet::spawn(&mut command);
    softnet.wait_ready();
    let mut guest = PortableGuest::new(guest, MAC);
    guest.dhcp(PATIENCE).expect("a lease");
    (softnet, guest)
}

#[track_caller]
fn assert_ended(ended: &Ended, code: i32) {
    assert_eq!(ended.status.code(), Some(code), "it ended with {}: {}", ended.status, ended.said);
}

#[test]
fn a_running_softnet_is_inside() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (by_a_user, _first) = bed.guest(MAC, "");
        let (by_root, _second) = bed.as_root().guest(Mac::guest(2), "");
        for softnet in [by_a_user, by_root] {
            assert_eq!(softnet.status("Seccomp"), "2", "a filter");
            assert_eq!(softnet.status("Seccomp_filters"), "1");
            assert_eq!(softnet.status("NoNewPrivs"), "1");
            assert_eq!(softnet.status("Threads"), "1");
            for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
                assert_eq!(softnet.status(set), "0".repeat(16), "{set}");
            }
            let proc = |file: &str| format!("/proc/{}/{file}", softnet.pid());
            let limits = fs::read_to_string(proc("limits")).expect("its limits");
            let limit = |name: &str| -> Vec<u64> {
                let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("the limit is there");
                line.split_ascii_whitespace().take(2).map(|number| number.parse().expect("a number")).collect()
            };
            let [soft, hard] = limit("Max open files")[..] else { panic!("two limits: {limits}") };
            assert_eq!(soft, hard);
            for number in 0..hard {
                let place = proc(&format!("fd/{number}"));
                assert!(fs::symlink_metadata(&place).is_ok(), "no number below the limit {hard} is free: {number}");
            }
            assert_eq!(limit("Max processes"), [0, 0]);
            assert_eq!(limit("Max core file size"), [0, 0]);
            for place in ["root", "cwd"] {
                let target = fs::read_link(proc(place)).expect("root may look");
                assert!(target.to_string_lossy().ends_with("softnet.nowhere (deleted)"), "{place}: {target:?}");
            }
            softnet.stop();
        }
        assert!(!Path::new("/run/softnet.nowhere").exists(), "nothing is left behind");
    });
}

#[test]
fn each_signal_ends_it_in_order_while_it_tells_all() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let (softnet, _guest) = start_telling_all(&bed);
            softnet.signal(signal);
            assert_ended(&softnet.wait_end(PATIENCE), 0);
        }
    });
}

#[test]
fn a_guest_that_goes_ends_it_in_order_while_it_tells_all() {
    in_own_network(|| {
        let (softnet, guest) = start_telling_all(&LinuxTestbed::new(SOFTNET));
        drop(guest);
        assert_ended(&softnet.wait_end(PATIENCE), 0);
    });
}

#[test]
fn a_host_link_that_is_removed_is_told() {
    in_own_network(|| {
        let (softnet, mut guest) = start_telling_all(&LinuxTestbed::new(SOFTNET));
        tools::run("ip link del softnet-0");
        let _ = guest.ping(guest.gateway(), Duration::from_secs(1));
        let ended = softnet.wait_end(PATIENCE);
        assert_ended(&ended, 1);
        assert!(ended.said.contains("network link is lost"), "{}", ended.said);
    });
}

/// A wait that is interrupted so goes on by restart_syscall(2), which nobody calls by name.
#[test]
fn one_that_is_stopped_goes_on_when_it_is_continued() {
    in_own_network(|| {
        let (softnet, mut guest) = start_telling_all(&LinuxTestbed::new(SOFTNET));
        for _ in 0..3 {
            softnet.signal(Signal::SIGSTOP);
            std::thread::sleep(Duration::from_millis(100)); // stopped
            softnet.signal(Signal::SIGCONT);
            std::thread::sleep(Duration::from_millis(100)); // in the wait again
        }
        guest.ping(guest.gateway(), PATIENCE).expect("an answer");
        softnet.stop();
    });
}

/// A filter that answers one call with an error and lets all others pass: a kernel without the call.
fn without(call: libc::c_long, errno: libc::c_int) -> BpfProgram {
    refusing(BTreeMap::from([(call, Vec::new())]), errno)
}

/// The same for an ioctl(2) with this request alone.
fn without_ioctl(request: u64, errno: libc::c_int) -> BpfProgram {
    let is_request = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request).expect("a condition");
    let rule = SeccompRule::new(vec![is_request]).expect("a rule");
    refusing(BTreeMap::from([(libc::SYS_ioctl, vec![rule])]), errno)
}

fn refusing(rules: BTreeMap<libc::c_long, Vec<SeccompRule>>, errno: libc::c_int) -> BpfProgram {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).expect("an architecture with filters");
    let error = SeccompAction::Errno(errno.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, error, architecture).expect("a filter");
    filter.try_into().expect("a program")
}

fn start_under(program: BpfProgram) -> (Softnet, PortableGuest) {
    let (guest, other) = sys::frame_sockets();
    let mut command = softnet::command(Path::new(SOFTNET), Caller::Root);
    command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]).stdin(OwnedFd::from(other));
    command.env("RUST_LOG", "debug");
    // SAFETY: between fork and exec the closure only makes two system calls.
    unsafe {
        command.pre_exec(move || seccompiler::apply_filter(&program).map_err(|_| std::io::ErrorKind::Other.into()))
    };
    (Softnet::spawn(&mut command), PortableGuest::new(guest, MAC))
}

#[test]
fn a_kernel_without_seccomp_is_told_and_ends_the_start() {
    in_own_network(|| {
        for errno in [libc::ENOSYS, libc::EINVAL] {
            let (softnet, _guest) = start_under(without(libc::SYS_seccomp, errno));
            let ended = softnet.wait_end(PATIENCE);
            assert_ended(&ended, 1);
            for word in ["sandbox", "seccomp", "CONFIG_SECCOMP_FILTER"] {
                assert!(ended.said.contains(word), "{word}: {}", ended.said);
            }
            assert!(!ended.said.contains("ready"), "{}", ended.said);
        }
    });
}

#[test]
fn a_kernel_without_landlock_is_told_and_ends_nothing() {
    in_own_network(|| {
        let (mut softnet, mut guest) = start_under(without(libc::SYS_landlock_create_ruleset, libc::EOPNOTSUPP));
        softnet.wait_ready();
        guest.dhcp(PATIENCE).expect("a lease");
        assert!(softnet.said().contains("without Landlock"), "{}", softnet.said());
        softnet.stop();
    });
}

/// TUNSETOFFLOAD.
#[test]
fn a_kernel_without_offload_for_tap_devices_is_told_in_one_line_and_ends_nothing() {
    in_own_network(|| {
        let (mut softnet, mut guest) = start_under(without_ioctl(0x4004_54d0, libc::EINVAL));
        softnet.wait_ready();
        guest.dhcp(PATIENCE).expect("a lease");
        let said = softnet.said();
        assert_eq!(said.lines().filter(|line| line.contains("offload")).count(), 1, "{said}");
        let details = tools::run("ip -o -d link show master softnet0");
        assert!(details.contains("vnet_hdr off"), "{details}");
        softnet.stop();
    });
}

#[test]
fn a_root_that_lacks_a_right_which_the_drop_needs_is_told() {
    in_own_network(|| {
        for capability in ["setpcap", "sys_chroot"] {
            let (_guest, other) = sys::frame_sockets();
            let mut command = softnet::command(&tools::find("setpriv").expect("setpriv is installed"), Caller::Root);
            command.args([&format!("--bounding-set=-{capability}"), SOFTNET, "--vm-fd", "0"]);
            command.args(["--vm-mac-address", &MAC.to_string()]).stdin(OwnedFd::from(other));
            let ended = Softnet::spawn(&mut command).wait_end(PATIENCE);
            assert_ended(&ended, 1);
            let name = format!("CAP_{}", capability.to_uppercase());
            assert!(ended.said.contains(&name), "{name}: {}", ended.said);
        }
    });
}
