//! A plain user without a setuid softnet, on a host with a real sudo.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;

use softnet_testbed::binary::{self, CALLER};
use softnet_testbed::channel::Client;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{self, in_own_network};
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::wait::{PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// Gives the caller a name, and sudo these rules and no others, for this test alone.
fn sudo_with(rules: &str) {
    tools::require(&["sudo"]);
    let append = |path: &str, line: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        isolate::replace_file(path, &format!("{text}{line}\n"));
    };
    append("/etc/passwd", &format!("caller:x:{CALLER}:{CALLER}::/:/bin/sh"));
    append("/etc/group", &format!("caller:x:{CALLER}:"));
    append("/etc/shadow", "caller:*:19000:0:99999:7:::");
    isolate::replace_file("/etc/sudoers", &format!("Defaults !lecture\n{rules}\n"));
    for path in ["/etc/sudoers", "/etc/shadow"] {
        tools::run(&format!("chmod 440 {path}"));
    }
}

/// Starts the plain copy as the caller, as Tart would, with `options`.
fn start(program: &Path, options: &str) -> (Softnet, UnixDatagram) {
    let (guest, other) = sys::frame_sockets();
    let mut command = softnet::command(program, Caller::User);
    let command =
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]).args(options.split_ascii_whitespace());
    (Softnet::spawn(command.stdin(OwnedFd::from(other))), guest)
}

/// The process that serves the guest: sudo stays between, and may stand for itself.
fn serving_process() -> String {
    let processes = fs::read_dir("/proc").expect("/proc").flatten().map(|entry| entry.path());
    let serves = |path: &Path| {
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        let line = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
        name.trim() == "softnet" && line.contains("--sudo-escalation-done")
    };
    let path = processes.filter(|path| serves(path)).last().expect("a softnet that sudo started");
    fs::read_to_string(path.join("status")).expect("its status")
}

#[test]
fn a_sudoers_line_is_enough_and_the_caller_is_whom_it_becomes() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        sudo_with(&format!("caller ALL=(root) NOPASSWD: {}", program.display()));
        let (mut softnet, socket) = start(&program, "");
        let mut guest = PortableGuest::new(socket, MAC);
        if let Err(error) = guest.dhcp(PATIENCE) {
            panic!("{error}: alive: {}", softnet.is_alive());
        }
        let status = serving_process();
        for field in ["Uid", "Gid"] {
            let line = format!("{field}:{}", format!("\t{CALLER}").repeat(4));
            assert!(status.contains(&line), "{line} is missing in {status}");
        }
        softnet.stop();
    });
}

#[test]
fn the_control_channel_comes_through_sudo_as_standard_output() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        sudo_with(&format!("caller ALL=(root) NOPASSWD: {}", program.display()));
        let (guest, other) = sys::frame_sockets();
        let (client, output) = UnixStream::pair().expect("a socket pair");
        let mut command = softnet::command(&program, Caller::User);
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--control-fd", "1"]);
        command.stdin(OwnedFd::from(other));
        let softnet = Softnet::spawn_printing_to(&mut command, OwnedFd::from(output).into());
        let mut client = Client::new(client);
        // Sent before softnet is there at all, and answered when it is.
        assert!(client.set("", "@host").ends_with("\"block\":[\"@host\"],\"ruleCount\":1}}"));
        let mut guest = PortableGuest::new(guest, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        assert!(guest.ping(guest.gateway(), SILENCE).is_err(), "blocked");
        softnet.stop();
        assert_eq!(client.reply(), "", "nothing else came, and the end with softnet's");
    });
}

#[test]
fn tarts_question_whether_sudo_works_is_answered() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        let ask = || {
            let mut question = softnet::command(&tools::find("sudo").expect("sudo is installed"), Caller::User);
            tools::output(question.arg("--non-interactive").arg(&program).arg("--help")).status.success()
        };
        sudo_with("");
        assert!(!ask(), "without a rule, sudo says no");
        sudo_with(&format!("caller ALL=(root) NOPASSWD: {}", program.display()));
        assert!(ask());
    });
}

#[test]
fn a_guest_that_is_gone_ends_it_by_way_of_sudo_too() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        sudo_with(&format!("caller ALL=(root) NOPASSWD: {}", program.display()));
        let (softnet, socket) = start(&program, "");
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        drop(guest);
        let ended = softnet.wait_end(std::time::Duration::from_secs(2));
        assert!(ended.status.success(), "it ended with {}: {}", ended.status, ended.said);
    });
}

#[test]
fn without_a_sudoers_line_both_remedies_are_named() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        // sudo is there, and would ask for a password.
        sudo_with("caller ALL=(root) ALL");
        let ended = start(&program, "").0.wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        for word in ["chmod u+s", "NOPASSWD", "/etc/sudoers.d/", &program.display().to_string()] {
            assert!(ended.said.contains(word), "{word:?} is to be told: {}", ended.said);
        }
        assert!(ended.printed.is_empty(), "nothing belongs on standard output");
        assert_eq!(tools::run("ip -o link show type bridge"), "", "nothing is left behind");
    });
}

#[test]
fn sudo_once_and_not_again() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        sudo_with(&format!("caller ALL=(root) NOPASSWD: {}", program.display()));
        let ended = start(&program, "--sudo-escalation-done").0.wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "it has tried sudo already: {}", ended.said);
    });
}

#[test]
fn a_descriptor_that_sudo_would_close_is_named() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        sudo_with(&format!("caller ALL=(root) NOPASSWD: {}", program.display()));
        let (_guest, other) = sys::frame_sockets();
        let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
        let line = format!("exec {} --vm-fd 5 --vm-mac-address {MAC} 5<&0 0</dev/null", program.display());
        let ended = Softnet::spawn(command.args(["-c", &line]).stdin(OwnedFd::from(other))).wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        assert!(ended.said.contains("--vm-fd") && ended.said.contains("sudo"), "{}", ended.said);

        let (_guest, other) = sys::frame_sockets();
        let (_client, output) = UnixStream::pair().expect("a socket pair");
        let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
        let program = program.display();
        let line = format!("exec {program} --vm-fd 0 --vm-mac-address {MAC} --control-fd 5 5>&1 1>/dev/null");
        command.args(["-c", &line]).stdin(OwnedFd::from(other));
        let ended = Softnet::spawn_printing_to(&mut command, OwnedFd::from(output).into()).wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        assert!(ended.said.contains("--control-fd 5") && ended.said.contains("sudo"), "{}", ended.said);
    });
}

#[test]
fn run_gets_its_root_by_sudo_and_its_command_does_not() {
    in_own_network(|| {
        let program = binary::install(Path::new(SOFTNET), "plain", 0o755);
        sudo_with(&format!("caller ALL=(root) NOPASSWD: {}", program.display()));
        let mut command = softnet::command(&program, Caller::User);
        command.args(["run", "--name", "web", "--", "sh", "-c", "id -u; exit 6"]);
        let ended = Softnet::spawn(&mut command).wait_end(PATIENCE);
        assert_eq!(
            (ended.status.code(), ended.printed),
            (Some(6), format!("{CALLER}\n").into_bytes()),
            "{}",
            ended.said
        );
        let left = tools::sh("ps -e -o args= | grep -c '[r]eady-fd' || true");
        assert_eq!(left.trim(), "0", "sudo's softnet hears no signal of a user's, and ends all the same");
    });
}
