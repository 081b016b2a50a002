//! What is left of root once softnet serves its guest, and who may become whom.
#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use softnet_testbed::binary::{self, CALLER};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
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
    ended.assert_told(words);
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

/// The setuid copy as a caller who is in these groups besides its own.
fn launch_in_groups(groups: &str, options: &str) -> (Softnet, UnixDatagram) {
    let setuid = binary::install_setuid(Path::new(SOFTNET));
    let (guest, other) = sys::frame_sockets();
    let id = CALLER.to_string();
    let mut command = Command::new(tools::find("setpriv").expect("setpriv is installed"));
    command.args(["--reuid", &id, "--regid", &id, "--groups", groups]).arg(setuid);
    command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]).args(options.split_ascii_whitespace());
    let softnet = Softnet::spawn(command.env("RUST_LOG", "softnet=info").stdin(OwnedFd::from(other)));
    (softnet, guest)
}

#[test]
fn supplementary_groups_of_the_caller_do_not_stay() {
    in_own_network(|| {
        let (mut softnet, _guest) = launch_in_groups("4242,4243", "");
        softnet.wait_ready();
        assert_is_nothing_but(&softnet, CALLER, CALLER);
        softnet.stop();
        // One of its own it may name, and has that alone.
        let (mut softnet, _guest) = launch_in_groups("4242,4243", "--group 4243");
        softnet.wait_ready();
        assert_is_nothing_but(&softnet, CALLER, 4243);
        softnet.stop();
    });
}

#[test]
fn the_name_that_it_is_started_by_is_trusted_for_nothing() {
    in_own_network(|| {
        let setuid = binary::install_setuid(Path::new(SOFTNET));
        for name in ["", "/bin/sh", "sudo", "--help", "-", "\u{1b}[2J%s%n"] {
            let (_guest, other) = sys::frame_sockets();
            let mut command = Command::new(&setuid);
            command.arg0(name).args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]);
            command.uid(CALLER).gid(CALLER).env("RUST_LOG", "softnet=info");
            let mut softnet = Softnet::spawn(command.stdin(OwnedFd::from(other)));
            softnet.wait_ready();
            assert_is_nothing_but(&softnet, CALLER, CALLER);
            softnet.stop();
        }
    });
}

#[test]
fn without_any_argument_not_even_a_name_it_is_a_usage_error() {
    in_own_network(|| {
        let setuid = binary::install_setuid(Path::new(SOFTNET));
        let path = CString::new(setuid.into_os_string().into_encoded_bytes()).expect("a path has no zero byte");
        let mut command = Command::new("/bin/false");
        command.uid(CALLER).gid(CALLER).stdin(Stdio::null());
        // SAFETY: between fork and exec this makes one system call, with pointers that live as long as the closure.
        unsafe {
            command.pre_exec(move || {
                let nothing = [std::ptr::null()];
                nix::libc::execve(path.as_ptr(), nothing.as_ptr(), nothing.as_ptr());
                Err(std::io::Error::last_os_error())
            });
        }
        let ended = Softnet::spawn(&mut command).wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(2), "{}", ended.said);
        assert!(ended.said.contains("--vm-fd") && ended.said.lines().count() == 1, "{}", ended.said);
    });
}

#[test]
fn nothing_that_the_caller_planted_in_its_path_is_run() {
    in_own_network(|| {
        let planted = Path::new(SCRATCH).join("planted");
        fs::create_dir(&planted).expect("a folder is made");
        let marker = planted.join("marker");
        fs::write(&marker, "").expect("the marker is made");
        for path in [&planted, &marker] {
            fs::set_permissions(path, Permissions::from_mode(0o777)).expect("anyone may write there");
        }
        for program in ["nft", "dnsmasq", "sudo", "ip", "sh", "modprobe", "iptables"] {
            let path = planted.join(program);
            fs::write(&path, format!("#!/bin/sh\necho {program} >>{}\n", marker.display())).expect("planted");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("it can be run");
        }
        let bed = LinuxTestbed::new(SOFTNET);
        let (guest, other) = sys::frame_sockets();
        let mut command = softnet::command(&bed.setuid, Caller::User);
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]).stdin(OwnedFd::from(other));
        command.env("PATH", &planted).env("SHELL", planted.join("sh")).env("IFS", "/").env("TMPDIR", &planted);
        let mut softnet = Softnet::spawn(&mut command);
        softnet.wait_ready();
        PortableGuest::new(guest, MAC).dhcp(PATIENCE).expect("the system's own programs do the work");
        assert_eq!(fs::read_to_string(&marker).expect("it is there"), "", "planted programs were run");
        assert_eq!(fs::read_dir(&planted).expect("listed").count(), 8, "nothing is written to the caller's TMPDIR");
        // The control: they are such as would be run.
        tools::finish(Command::new("nft").env("PATH", &planted).stdin(Stdio::null()));
        assert_eq!(fs::read_to_string(&marker).expect("it is there"), "nft\n");
        drop(softnet);
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
        let mut look = softnet::command(Path::new("cat"), Caller::User);
        look.arg(format!("/proc/{}/environ", softnet.pid()));
        assert!(!tools::succeeds(&mut look), "the caller may not read the process's memory");
        softnet.stop();
    });
}

#[test]
fn it_leaves_no_core_whatever_the_callers_limit() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (_guest, other) = sys::frame_sockets();
        let line = format!("ulimit -c unlimited; exec {} --vm-fd 0 --vm-mac-address {MAC}", bed.setuid.display());
        let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
        let mut softnet = Softnet::spawn(command.args(["-c", &line]).stdin(OwnedFd::from(other)));
        softnet.wait_ready();
        let limits = fs::read_to_string(format!("/proc/{}/limits", softnet.pid())).expect("it runs");
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a limit");
        assert_eq!(core.split_ascii_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
        softnet.stop();
    });
}
