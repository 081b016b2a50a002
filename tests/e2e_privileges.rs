//! What is left of root once softnet serves its guest, and who may become whom.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use softnet_testbed::binary::{self, CALLER};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller, Launch, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// Asserts that nothing of root is left, and that the process is `user` in every respect.
fn assert_is_nothing_but(softnet: &Softnet, user: u32, group: u32) {
    let four = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    assert_eq!(softnet.status("Uid"), four(user), "real, effective, saved and file system user");
    assert_eq!(softnet.status("Gid"), four(group), "real, effective, saved and file system group");
    let groups = softnet.status("Groups");
    assert!(groups.is_empty() || groups == group.to_string(), "supplementary groups: {groups}");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(softnet.status(set), "0".repeat(16), "{set}");
    }
    assert_eq!(softnet.status("NoNewPrivs"), "1");
}

/// The number that `id` prints for a name of the machine's own.
fn number(option: &str, name: &str) -> u32 {
    tools::run(&format!("id {option} {name}")).trim().parse().expect("a number")
}

fn assert_refused(softnet: Softnet, words: &[&str]) {
    let ended = softnet.wait_end(PATIENCE);
    assert!(matches!(ended.status.code(), Some(1 | 2)), "it ended with {}: {}", ended.status, ended.said);
    for word in words {
        assert!(ended.said.contains(word), "{word:?} is to be told: {}", ended.said);
    }
    assert_eq!(tools::run("ip -o link show type bridge"), "", "nothing is left behind");
}

#[test]
fn setuid_for_a_plain_user_leaves_that_user_alone() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "");
        assert_is_nothing_but(&softnet, CALLER, CALLER);
        softnet.stop();
    });
}

#[test]
fn real_root_becomes_nobody() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let (softnet, _guest) = bed.guest(MAC, "");
        assert!(softnet.said().contains("nobody"), "a line says so: {}", softnet.said());
        assert_is_nothing_but(&softnet, number("-u", "nobody"), number("-g", "nobody"));
        softnet.stop();
    });
}

#[test]
fn real_root_becomes_whom_it_names_by_name_or_number() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let (softnet, _guest) = bed.guest(MAC, "--user daemon --group games");
        assert_is_nothing_but(&softnet, number("-u", "daemon"), 60);
        softnet.stop();
        let (softnet, _guest) = bed.guest(MAC, "--user 4242 --group 4243");
        assert_is_nothing_but(&softnet, 4242, 4243);
        softnet.stop();
    });
}

#[test]
fn nobody_stays_root() {
    in_own_network(|| {
        for (user, option) in
            [("root", "--user"), ("0", "--user"), ("+0", "--user"), ("00", "--user"), ("-1", "--user")]
        {
            let launch = Launch::new(Path::new(SOFTNET), MAC).with(&format!("{option}={user}"));
            assert_refused(launch.spawn().0, &[option]);
        }
        for group in ["root", "0", "4294967295"] {
            let launch = Launch::new(Path::new(SOFTNET), MAC).with(&format!("--user daemon --group={group}"));
            assert_refused(launch.spawn().0, &["--group"]);
        }
    });
}

#[test]
fn a_plain_user_may_not_become_another() {
    in_own_network(|| {
        let setuid = binary::install_setuid(Path::new(SOFTNET));
        for options in
            ["--user root", "--user 0", "--user daemon", "--user 1", "--group 0", "--group root", "--group daemon"]
        {
            let launch = Launch::new(&setuid, MAC).by(Caller::User).with(options);
            let flag = options.split(' ').next().unwrap_or_default();
            assert_refused(launch.spawn().0, &[flag]);
        }
        // Itself is fine.
        let launch = Launch::new(&setuid, MAC).by(Caller::User).with(&format!("--user {CALLER} --group {CALLER}"));
        let (softnet, _guest) = launch.start();
        assert_is_nothing_but(&softnet, CALLER, CALLER);
        softnet.stop();
    });
}

#[test]
fn what_only_root_may_is_refused_to_a_setuid_caller() {
    in_own_network(|| {
        tools::add_interface("other");
        let setuid = binary::install_setuid(Path::new(SOFTNET));
        for options in ["--bridge other", "--subnet 192.168.99.0/24"] {
            let launch = Launch::new(&setuid, MAC).by(Caller::User).with(options);
            let flag = options.split(' ').next().unwrap_or_default();
            assert_refused(launch.spawn().0, &[flag]);
        }
        let output = tools::output(softnet::command(&setuid, Caller::User).args(["network", "down"]));
        assert!(!output.status.success(), "a setuid caller may not take the network down");
        assert!(tools::text(&output).contains("root"), "the message names root: {}", tools::text(&output));
    });
}

#[test]
fn foreign_descriptors_are_closed() {
    in_own_network(|| {
        let secret = fs::File::open("/etc/hostname").or_else(|_| fs::File::open("/etc/passwd")).expect("a file");
        fcntl(&secret, FcntlArg::F_SETFD(FdFlag::empty())).expect("a descriptor is inheritable");
        let foreign = fs::read_link(format!("/proc/self/fd/{}", secret.as_raw_fd())).expect("a name");
        let (_guest, other) = sys::frame_sockets();
        let mut softnet = Launch::new(Path::new(SOFTNET), MAC).spawn_on(OwnedFd::from(other).into());
        softnet.wait_ready();
        let folder = format!("/proc/{}/fd", softnet.pid());
        for entry in fs::read_dir(folder).expect("root may look").flatten() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            assert_ne!(target, foreign, "a foreign descriptor is still open");
        }
        drop(secret);
        softnet.stop();
    });
}

#[test]
fn the_caller_may_end_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "");
        let mut kill = softnet::command(Path::new("/bin/sh"), Caller::User);
        tools::finish(kill.args(["-c", &format!("kill -INT {}", softnet.pid())]));
        let ended = softnet.wait_end(PATIENCE);
        assert!(ended.status.success(), "it ended with {}: {}", ended.status, ended.said);
    });
}

#[test]
fn nobody_looks_into_the_process_that_was_root() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "");
        let id = CALLER.to_string();
        let mut look = Command::new(tools::find("setpriv").expect("setpriv is installed"));
        look.args([
            "--reuid",
            &id,
            "--regid",
            &id,
            "--clear-groups",
            "cat",
            &format!("/proc/{}/environ", softnet.pid()),
        ]);
        assert!(!tools::output(&mut look).status.success(), "the caller may not read the process's memory");
        softnet.stop();
    });
}
