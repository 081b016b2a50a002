//! What only a Mac has: ways to vmnet with and without root, and what is left of root behind them. The scenarios that Macs
//! share with Linux are in `e2e_scenarios.rs` and `tart.rs`.
#![cfg(target_os = "macos")]

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use softnet_testbed::binary;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{Caller, Launch, Softnet, command};
use softnet_testbed::testbed::{HostTestbed, Testbed, install_signed, vmnet_takes_root};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;
use softnet_testbed::{shown, sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
/// vmnet may take three seconds to stop an interface.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Whether this process is root; else `what` is told to be out of reach.
fn is_root_to_show(what: &str) -> bool {
    if !geteuid().is_root() {
        shown::cannot(&format!("{what}, for it takes root"), "what a user without root may do");
    }
    geteuid().is_root()
}

/// Real, effective and saved user, real and saved group.
fn nothing_but(uid: u32, gid: u32) -> Vec<u32> {
    vec![uid, uid, uid, gid, gid]
}

#[test]
fn setuid_for_a_plain_user_leaves_that_user_alone() {
    if !is_root_to_show("the setuid bit") {
        return;
    }
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "");
        let (uid, gid) = binary::caller();
        assert_eq!(softnet.ids(), nothing_but(uid, gid));
        guest.flush();
        softnet.stop();
    });
}

#[test]
fn root_itself_becomes_nobody_or_whom_it_names() {
    if !is_root_to_show("softnet started by root itself") {
        return;
    }
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET).as_root();
        let (softnet, mut guest) = bed.guest(MAC, "");
        let number =
            |option: &str| tools::run(&format!("id {option} nobody")).trim().parse::<i64>().expect("a number") as u32;
        assert_eq!(softnet.ids(), nothing_but(number("-u"), number("-g")));
        guest.flush();
        softnet.stop();
        let (uid, gid) = binary::caller();
        let (softnet, mut guest) = bed.guest(MAC, &format!("--user {uid} --group {gid}"));
        assert_eq!(softnet.ids(), nothing_but(uid, gid));
        guest.flush();
        softnet.stop();
    });
}

/// No setuid bit, no sudo: enough from macOS 26 on, and before that refused with both remedies.
#[test]
fn without_any_right_macos_26_serves_and_older_ones_name_the_remedies() {
    in_own_network(|| {
        let program = install_signed(Path::new(SOFTNET));
        let launch = Launch::new(&program, MAC).by(Caller::User);
        if vmnet_takes_root() {
            let (softnet, _guest) = launch.spawn();
            let ended = softnet.wait_end(PATIENCE);
            assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
            for remedy in ["sudo chmod u+s", "NOPASSWD", "sudo tee /etc/sudoers.d/softnet"] {
                assert!(ended.said.contains(remedy), "{remedy:?} is to be told: {}", ended.said);
            }
            shown::cannot("vmnet without root, for this macOS is older than 26", "that softnet names both remedies");
            return;
        }
        let (softnet, socket) = launch.start();
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(PATIENCE).unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
        guest.flush();
        let said = softnet.said();
        assert_eq!(said.matches("without root").count(), 1, "what is left out is told once: {said}");
        if geteuid().is_root() {
            let (uid, gid) = binary::caller();
            assert_eq!(softnet.ids(), nothing_but(uid, gid));
        }
        softnet.stop();
    });
}

/// What the caller's own `sudo` would say: `sudo -n true`, started as that user.
fn caller_may_sudo() -> bool {
    let mut ask = as_caller(Path::new("/usr/bin/sudo"));
    tools::output(ask.args(["--non-interactive", "true"])).status.success()
}

/// A command as the plain user, whose PATH leads to sudo.
fn as_caller(program: &Path) -> Command {
    let mut command = command(program, Caller::User);
    command.env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
    command
}

#[test]
fn a_caller_who_may_sudo_needs_no_setuid_bit() {
    if !is_root_to_show("a softnet that sudo starts") {
        return;
    }
    in_own_network(|| {
        if !caller_may_sudo() {
            let what = "a softnet that sudo starts, for the one who built this may not sudo without a password";
            return shown::cannot(what, "the setuid bit");
        }
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        let (socket, other) = sys::frame_sockets();
        let mut command = as_caller(&program);
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]);
        let softnet = Softnet::spawn(command.stdin(OwnedFd::from(other)));
        // sudo keeps RUST_LOG from it: that it is ready shows by the lease.
        let mut guest = PortableGuest::new(socket, MAC);
        let lease = guest.dhcp(PATIENCE).unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
        assert_eq!(lease.seconds, Some(600));
        let processes = tools::run("ps -A -o ruid= -o uid= -o svuid= -o command=");
        let serves = |line: &&str| line.contains("--sudo-escalation-done") && !line.contains("sudo --non-interactive");
        let serving = processes.lines().find(serves).expect("a softnet that sudo started");
        let ids: Vec<&str> = serving.split_whitespace().take(3).collect();
        assert_eq!(ids, [binary::caller().0.to_string().as_str(); 3], "{serving}");
        guest.flush();
        softnet.stop();
    });
}

#[test]
fn it_ends_in_order_by_each_signal_and_when_its_guest_is_gone() {
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let (softnet, _guest) = bed.guest(MAC, "");
            softnet.signal(signal);
            let ended = softnet.wait_end(AT_ONCE);
            assert_eq!(ended.status.code(), Some(0), "{signal}: {}", ended.said);
        }
        let (softnet, guest) = bed.guest(MAC, "");
        drop(guest);
        let ended = softnet.wait_end(AT_ONCE);
        assert_eq!(ended.status.code(), Some(0), "{}", ended.said);
    });
}

/// The DHCP server forgets an address soon, so that many short-lived guests do not empty its pool.
#[test]
fn a_guest_that_comes_again_gets_its_address_again() {
    in_own_network(|| {
        let bed = HostTestbed::new(SOFTNET);
        let (softnet, guest) = bed.guest(MAC, "");
        let address = guest.address();
        softnet.stop();
        let (softnet, guest) = bed.guest(MAC, "");
        assert_eq!(guest.address(), address);
        let kept = wait::until("bootpd's record", PATIENCE, || bed.recorded_lease(MAC)).expect("a record");
        assert_eq!(kept.0, address);
        softnet.stop();
    });
}
