//! `softnet run`: a command and softnet, started together and ended together, whichever ends first and however.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use softnet_testbed::binary::CALLER;
use softnet_testbed::channel::Client;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::softnet::{Caller, Ended, Softnet, command};
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
/// What `--name web` comes to: for ever.
const WEB: Mac = Mac([0x02, 0x97, 0xd4, 0x80, 0x60, 0xe1]);

/// `softnet run OPTIONS -- sh -c SCRIPT`, by a user without rights and a setuid softnet.
fn run(bed: &LinuxTestbed, options: &str, script: &str) -> Command {
    let mut command = command(&bed.setuid, Caller::User);
    command
        .arg("run")
        .args(options.split_ascii_whitespace())
        .args(["--", "sh", "-c", script, "script", "{fd}", "{mac}"]);
    command
}

/// A script that says its number, then does `more`.
fn told(more: &str) -> String {
    format!("echo script $$ started >&2; {more}")
}

/// Waits until the script has started, and returns its process.
fn started(softnet: &mut Softnet) -> Pid {
    softnet.wait_said("started").unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
    let said = softnet.said();
    let number = said.split("script ").nth(1).and_then(|rest| rest.split(' ').next()).expect("its number");
    Pid::from_raw(number.parse().expect("a number"))
}

/// The softnets that serve a guest for a `softnet run`.
fn relays() -> Vec<Pid> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let relay = |folder: PathBuf| {
        let line = fs::read_to_string(folder.join("cmdline")).ok()?;
        let number = folder.file_name()?.to_str()?.parse().ok()?;
        (line.starts_with("softnet\0") && line.contains("--ready-fd")).then_some(Pid::from_raw(number))
    };
    processes.filter_map(|entry| relay(entry.path())).collect()
}

fn wait_gone(what: &str, limit: Duration, gone: impl Fn() -> bool) {
    wait::until(what, limit, || gone().then_some(())).unwrap_or_else(|error| panic!("{error}: {:?}", relays()));
}

fn is_there(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

/// The guest's end of the socket, as the command has it.
fn socket_of(command: Pid) -> UnixDatagram {
    let folder = format!("/proc/{command}/fd");
    let sockets = fs::read_dir(folder).expect("listed").flatten().filter_map(|entry| {
        let target = fs::read_link(entry.path()).ok()?;
        target.to_str()?.starts_with("socket:").then(|| entry.file_name().to_str()?.parse::<i32>().ok())?
    });
    let fd = sockets.last().expect("the command has a socket");
    // SAFETY: the calls take numbers; what they return is checked, and each descriptor is new and nobody else's.
    unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, command.as_raw(), 0);
        let copy = libc::syscall(libc::SYS_pidfd_getfd, process, fd, 0);
        assert!(process >= 0 && copy >= 0, "{}", std::io::Error::last_os_error());
        drop(OwnedFd::from_raw_fd(process as i32));
        OwnedFd::from_raw_fd(copy as i32).into()
    }
}

fn code(ended: &Ended) -> i32 {
    ended.status.code().unwrap_or_else(|| panic!("it was killed: {}: {}", ended.status, ended.said))
}

#[test]
fn a_users_command_is_started_as_the_user_with_all_that_is_the_users_and_the_guests_end() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let script = "echo \"$1 $2 $SOFTNET_FD $SOFTNET_MAC $MINE\"; for f in /proc/$$/fd/*; do printf '%s ' \"${f##*/}\"; readlink -n $f; printf ';'; done; echo; cat; \
                      grep -E '^(Uid|CapPrm|CapEff|NoNewPrivs)' /proc/$$/status; ulimit -n; umask; pwd; exit 7";
        let mut command = run(&bed, "--name web", script);
        let input = Path::new(SCRATCH).join("input");
        fs::write(&input, "input\n").expect("written");
        command.env("MINE", "a b").current_dir("/usr").stdin(fs::File::open(input).expect("opened"));
        let ended = Softnet::spawn(&mut command).wait_end(PATIENCE);
        assert_eq!(code(&ended), 7, "{}", ended.said);
        let printed = String::from_utf8(ended.printed).expect("text");
        let lines: Vec<&str> = printed.lines().collect();
        let fd = lines[0].split(' ').next().expect("a number").to_owned();
        assert_eq!(lines[0], format!("{fd} {WEB} {fd} {WEB} a b"));
        // Whoever started the tests may have left something open, which comes through; what is softnet's own does not.
        let inherited: Vec<_> =
            fs::read_dir("/proc/self/fd").expect("listed").flatten().map(|fd| fs::read_link(fd.path()).ok()).collect();
        let open = lines[1].split(';').filter_map(|line| line.split_once(' ')).filter(|(number, target)| {
            let is_own = target.starts_with("socket:") || target.starts_with("pipe:");
            is_own && !["0", "1", "2"].contains(number) && !inherited.contains(&Some(PathBuf::from(target)))
        });
        assert_eq!(open.map(|(number, _)| number).collect::<Vec<_>>(), [&fd], "{}", lines[1]);
        let own = CALLER.to_string();
        assert_eq!(lines[2..4], ["input".to_owned(), format!("Uid:\t{own}\t{own}\t{own}\t{own}")]);
        assert!(lines.contains(&"NoNewPrivs:\t0"), "sudo and the like work for it: {printed}");
        assert_eq!(lines.iter().filter(|line| line.ends_with("0000000000000000")).count(), 2, "{printed}");
        assert_eq!(*lines.last().expect("a line"), "/usr", "{printed}");
        assert_eq!(relays(), []);
    });
}

#[test]
fn its_vm_has_a_lease_a_policy_and_nothing_to_spoof_with() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mut softnet = Softnet::spawn(&mut run(&bed, "--name=web --block @host", &told("exec sleep 1000")));
        let process = started(&mut softnet);
        let mut guest = PortableGuest::new(socket_of(process), WEB);
        guest.dhcp(PATIENCE).expect("a lease");
        assert!(guest.ping(guest.gateway(), SILENCE).is_err(), "blocked");
        let address = guest.address();
        drop(guest);
        // Another start of the same name has the same address.
        softnet.signal(Signal::SIGTERM);
        assert_eq!(code(&softnet.wait_end(PATIENCE)), 128 + 15);
        let mut softnet = Softnet::spawn(&mut run(&bed, "--name web", &told("exec sleep 1000")));
        let process = started(&mut softnet);
        let mut guest = PortableGuest::new(socket_of(process), WEB);
        guest.dhcp(PATIENCE).expect("a lease");
        assert_eq!(guest.address(), address);
        guest.ping(guest.gateway(), PATIENCE).expect("an answer");
        // Another MAC than its own has none.
        let mut liar = PortableGuest::new(guest.into_socket(), Mac::guest(9));
        assert!(liar.dhcp(SILENCE).is_err());
    });
}

#[test]
fn a_mac_is_the_names_or_the_one_given_or_another_each_time() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mac = |options: &str| {
            let ended = Softnet::spawn(&mut run(&bed, options, "echo $2")).wait_end(PATIENCE);
            assert_eq!(code(&ended), 0, "{}", ended.said);
            String::from_utf8(ended.printed).expect("text")
        };
        assert_eq!(mac("--vm-mac-address 2:0:0:0:0:7 --name web"), "02:00:00:00:00:07\n");
        assert_eq!(mac("--name web"), format!("{WEB}\n"));
        assert_ne!(mac(""), mac(""));
    });
}

#[test]
fn the_command_is_not_started_when_softnet_does_not_get_ready() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (options, word, expected) in
            [("--bridge nowhere", "--bridge", 1), ("--user daemon", "--user", 1), ("--block x..y", "--block", 2)]
        {
            let ended = Softnet::spawn(&mut run(&bed, options, "echo started")).wait_end(PATIENCE);
            assert_eq!((code(&ended), &ended.printed[..]), (expected, &b""[..]), "{}", ended.said);
            assert!(ended.said.contains(word), "{}", ended.said);
        }
        // Nor when there is neither the setuid bit nor sudo.
        let program = softnet_testbed::binary::install(Path::new(SOFTNET), "plain", 0o755);
        let mut command = command(&program, Caller::User);
        command.env("PATH", "/nonexistent").args(["run", "--", "/bin/echo", "started"]);
        let ended = Softnet::spawn(&mut command).wait_end(PATIENCE);
        assert_eq!((code(&ended), &ended.printed[..]), (1, &b""[..]), "{}", ended.said);
        assert!(ended.said.contains("sudoers"), "{}", ended.said);
    });
}

#[test]
fn a_command_that_cannot_be_started_is_told_as_a_shell_would() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (program, expected) in [("/nonexistent/qemu", 127), ("no-such-qemu", 127), ("/etc/passwd", 126)] {
            let mut command = command(&bed.setuid, Caller::User);
            // Not the tests' own, which has directories that the user may not search.
            command.env("PATH", "/usr/bin:/bin");
            let ended = Softnet::spawn(command.args(["run", "--", program])).wait_end(PATIENCE);
            assert_eq!(code(&ended), expected, "{}", ended.said);
            assert!(ended.said.contains(program), "{}", ended.said);
            assert_eq!(relays(), []);
        }
    });
}

#[test]
fn the_end_of_the_command_is_that_of_softnet_and_its_code_comes_out() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (script, expected) in [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -SEGV $$", 139)] {
            let ended = Softnet::spawn(&mut run(&bed, "", script)).wait_end(PATIENCE);
            assert_eq!(code(&ended), expected, "{}", ended.said);
            assert_eq!(relays(), [], "softnet is gone before run is");
        }
    });
}

#[test]
fn nothing_is_left_when_run_has_ended() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let script = format!("{} run -- true; ps -e -o args= | grep -c '[r]eady-fd'", bed.setuid.display());
        let mut command = command(Path::new("/bin/sh"), Caller::User);
        let ended = Softnet::spawn(command.args(["-c", &script])).wait_end(PATIENCE);
        assert_eq!(ended.printed, b"0\n", "{}", ended.said);
    });
}

#[test]
fn a_service_manager_that_ends_all_of_them_leaves_the_vm_its_time() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let script = told("trap 'sleep 3; exit 9' TERM; while :; do sleep 0.05; done");
        let mut softnet = Softnet::spawn(&mut run(&bed, "", &script));
        let process = started(&mut softnet);
        softnet.signal(Signal::SIGTERM);
        for process in [relays()[0], process] {
            kill(process, Signal::SIGTERM).expect("sent");
        }
        let ended = softnet.wait_end(PATIENCE);
        assert_eq!(code(&ended), 9, "{}", ended.said);
    });
}

#[test]
fn the_end_of_softnet_is_that_of_the_command() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let script = told("trap 'echo told; exit 5' TERM; while :; do sleep 0.1; done");
        let mut softnet = Softnet::spawn(&mut run(&bed, "", &script));
        let process = started(&mut softnet);
        kill(relays()[0], Signal::SIGKILL).expect("killed");
        let ended = softnet.wait_end(PATIENCE);
        assert_eq!((code(&ended), &ended.printed[..]), (1, &b"told\n"[..]), "{}", ended.said);
        assert!(ended.said.contains("softnet has ended before the command"), "{}", ended.said);
        assert!(!is_there(process));
    });
}

#[test]
fn a_command_that_does_not_listen_is_killed() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mut softnet = Softnet::spawn(&mut run(&bed, "", &told("trap '' TERM; while :; do sleep 0.1; done")));
        let process = started(&mut softnet);
        kill(relays()[0], Signal::SIGKILL).expect("killed");
        let ended = softnet.wait_end(Duration::from_secs(20));
        assert_eq!(code(&ended), 1, "{}", ended.said);
        assert!(ended.after > Duration::from_secs(9), "it has time to end: {:?}", ended.after);
        assert!(!is_there(process));
    });
}

#[test]
fn neither_stays_when_run_itself_is_killed() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mut softnet = Softnet::spawn(&mut run(&bed, "", &told("exec sleep 1000")));
        let process = started(&mut softnet);
        let relay = relays()[0];
        softnet.signal(Signal::SIGKILL);
        wait_gone("the command's end", Duration::from_secs(1), || !is_there(process));
        wait_gone("softnet's end", Duration::from_secs(3), || !is_there(relay));
    });
}

#[test]
fn signals_are_passed_on_and_the_vm_has_its_network_while_it_ends() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let script = told(
            "trap 'echo usr1' USR1; trap 'echo ending >&2; while ! test -e /run/testbed/go; do sleep 0.05; done; exit 9' TERM; \
             while :; do sleep 0.05; done",
        );
        let mut softnet = Softnet::spawn(&mut run(&bed, "--name web", &script));
        let process = started(&mut softnet);
        softnet.signal(Signal::SIGUSR1);
        softnet.signal(Signal::SIGTERM);
        softnet.wait_said("ending").expect("the signal came");
        let mut guest = PortableGuest::new(socket_of(process), WEB);
        guest.dhcp(PATIENCE).expect("still served");
        drop(guest);
        fs::write("/run/testbed/go", "").expect("written");
        let ended = softnet.wait_end(PATIENCE);
        assert_eq!((code(&ended), &ended.printed[..]), (9, &b"usr1\n"[..]), "{}", ended.said);
    });
}

#[test]
fn what_was_ignored_stays_ignored() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let script = format!("trap '' HUP; exec {} run -- sh -c \"$1\"", bed.setuid.display());
        let mut command = command(Path::new("/bin/sh"), Caller::User);
        let inner = told("kill -HUP $$; kill -HUP $PPID; sleep 0.3; echo alive");
        let ended = Softnet::spawn(command.args(["-c", &script, "sh", &inner])).wait_end(PATIENCE);
        assert_eq!((code(&ended), &ended.printed[..]), (0, &b"alive\n"[..]), "{}", ended.said);
    });
}

#[test]
fn ctrl_c_at_the_terminal_reaches_the_command_once_and_softnet_not_at_all() {
    in_own_network(|| {
        tools::require(&["script"]);
        let bed = LinuxTestbed::new(SOFTNET);
        // Each signal counts: a shell would see two at once as one.
        let program = Path::new(SCRATCH).join("command");
        let count = "#!/usr/bin/perl\n$SIG{INT} = sub { $n++ };\n$| = 1;\nprint qq{begun\\n};\n\
                     select undef, undef, undef, 0.1 for 1..15;\nprint qq{interrupts: $n\\n};\n\
                     system q{ps -e -o comm= -o args= | grep -c '^softnet .*--ready-fd'};\nexit 4;\n";
        fs::write(&program, count).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("it can be run");
        let line = format!("{} run -- {}", bed.setuid.display(), program.display());
        let log = Path::new(SCRATCH).join("typescript");
        // The terminal's other end: Ctrl-C once the command is there. `exec`, since a shell that waits would hear it, too, and end
        // by it whatever softnet does.
        let script = format!(
            "{{ while ! grep -q begun {log}; do sleep 0.05; done; printf '\\003'; sleep 3; }} | \
             script --quiet --flush --return --command \"exec $LINE\" {log} >&2",
            log = log.display()
        );
        let mut terminal = Command::new("sh");
        fs::write(&log, "").expect("a file for what the terminal shows");
        terminal.args(["-c", &script]).env("LINE", line).stdin(Stdio::null());
        let output = tools::output(&mut terminal);
        let shown = fs::read_to_string(&log).expect("what the terminal showed");
        assert!(shown.contains("interrupts: 1\r\n1\r\n"), "softnet is there after it: {shown}");
        assert_eq!(output.status.code(), Some(4), "{shown}");
    });
}

#[test]
fn the_control_channel_is_softnets_and_not_the_commands() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (client, channel) = UnixStream::pair().expect("a socket pair");
        fcntl(&channel, FcntlArg::F_SETFD(FdFlag::empty())).expect("inherited");
        let inode = fs::read_link(format!("/proc/self/fd/{}", channel.as_raw_fd())).expect("its inode");
        let options = format!("--control-fd {}", channel.as_raw_fd());
        let mut softnet = Softnet::spawn(&mut run(&bed, &options, &told("exec sleep 1000")));
        drop(channel);
        let process = started(&mut softnet);
        assert!(Client::new(client).set("", "@host").contains("\"ruleCount\":1"));
        for entry in fs::read_dir(format!("/proc/{process}/fd")).expect("listed").flatten() {
            assert_ne!(fs::read_link(entry.path()).unwrap_or_default(), inode, "the command has the channel");
        }
    });
}
