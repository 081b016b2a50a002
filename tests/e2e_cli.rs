//! Every row of the option table with bad values: one message that names flag, value and mend; nothing else happens.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Stdio;

use softnet_testbed::binary;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::softnet::{self, Caller, Ended, Softnet};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: &str = "02:00:00:00:47:01";

/// Runs softnet with `arguments` (split at blanks) and `input` to its end.
fn run(arguments: &str, input: Stdio) -> Ended {
    let mut command = softnet::command(Path::new(SOFTNET), Caller::Root);
    Softnet::spawn(command.args(arguments.split_ascii_whitespace()).stdin(input)).wait_end(PATIENCE)
}

fn frame_socket() -> (UnixDatagram, Stdio) {
    let (guest, other) = sys::frame_sockets();
    (guest, OwnedFd::from(other).into())
}

/// What a host has that no softnet was started on.
fn host() -> String {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let commands = processes.filter_map(|entry| fs::read_to_string(entry.path().join("comm")).ok());
    let daemons = commands.filter(|name| name.starts_with("dnsmasq") || name.starts_with("softnet")).count();
    let forward = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").expect("a switch");
    // The lock that guards a look at the host is no trace of a guest.
    let run = tools::run("find /run -not -path /run/testbed* -not -path /run/softnet -not -path /run/softnet/lock");
    let rest = [tools::run("ip -o addr"), tools::run("ip route"), tools::run("nft list ruleset"), forward].concat();
    format!("{rest}daemons {daemons}\n{run}\n")
}

#[track_caller]
fn assert_refused(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(code), "{words:?}: {} {}", ended.status, ended.said);
    assert!(ended.printed.is_empty(), "{words:?}: nothing belongs on standard output");
    assert_eq!(ended.said.trim_end().lines().count(), 1, "{words:?}: one line: {}", ended.said);
    ended.assert_told(words);
}

#[test]
fn a_bad_value_is_a_usage_error_that_names_flag_and_value() {
    // Flag, value, and a word of the mend.
    const ROWS: &[(&str, &str, &str)] = &[
        ("--vm-fd", "-1", ""),
        ("--vm-fd", "zero", ""),
        ("--vm-fd", "99999999999", ""),
        ("--vm-mac-address", "02:00:00:00:47", "six"),
        ("--vm-mac-address", "02:00:00:00:47:01:02", "six"),
        ("--vm-mac-address", "02-00-00-00-47-01", "colons"),
        ("--vm-mac-address", "01:00:5e:00:00:01", "unicast"),
        ("--vm-mac-address", "ff:ff:ff:ff:ff:ff", "unicast"),
        ("--vm-mac-address", "00:00:00:00:00:00", "unicast"),
        ("--vm-net-type", "bridged", "nat"),
        ("--bootpd-lease-time", "59", "60"),
        ("--bootpd-lease-time", "86401", "86400"),
        ("--bootpd-lease-time", "-600", "60"),
        ("--bootpd-lease-time", "4294967296", "86400"),
        ("--bootpd-lease-time", "600s", ""),
        ("--allow", "10.0.0.0/33", ""),
        ("--allow", "10.0.0", ""),
        ("--allow", "example..org", "character 9"),
        ("--allow", "localhost", "dot"),
        ("--allow", "a.*.org", "in front of a name"),
        ("--allow", "10.0.0.0/8,,@host", ""),
        ("--allow", "::/0", ""),
        ("--allow", "@HOST", ""),
        ("--allow", "10.0.0.1:0", ""),
        ("--allow", "10.0.0.1:ssh", ""),
        ("--block", "in", ""),
        ("--block", "10.0.0.0/-1", ""),
        ("--block", "010.0.0.1", ""),
        ("--block", "@gateway", ""),
        ("--expose", "2222", "EXT:INT"),
        ("--expose", "2222:22/sctp", "tcp"),
        ("--expose", "0:22", "1 to 65535"),
        ("--control-fd", "-1", ""),
        ("--control-fd", "one", ""),
        ("--control-fd", "99999999999", ""),
        ("--bridge", "a/b", "1 to 15"),
        ("--bridge", "0123456789abcdef", "1 to 15"),
        ("--subnet", "here", "192.168"),
        ("--subnet", "192.168.70.0/31", "16 to 29"),
    ];
    in_own_network(|| {
        let before = host();
        for (flag, value, mend) in ROWS {
            let required = [("--vm-fd", "0"), ("--vm-mac-address", MAC)];
            let rest = required.iter().filter(|(name, _)| name != flag).map(|(name, value)| format!("{name}={value} "));
            let (_guest, input) = frame_socket();
            let ended = run(&format!("{}{flag}={value}", rest.collect::<String>()), input);
            assert_refused(&ended, 2, &[flag, value, mend]);
        }
        assert_eq!(host(), before, "nothing is left behind");
    });
}

#[test]
fn a_missing_or_unknown_option_is_a_usage_error() {
    in_own_network(|| {
        let before = host();
        for (arguments, word) in [
            (format!("--vm-mac-address {MAC}"), "--vm-fd"),
            ("--vm-fd 0".to_owned(), "--vm-mac-address"),
            (format!("--vm-fd 0 --vm-mac-address {MAC} --nonsense"), "--nonsense"),
            (format!("--vm-fd 0 --vm-mac-address {MAC} leftover"), "leftover"),
            ("network sideways".to_owned(), "sideways"),
        ] {
            let (_guest, input) = frame_socket();
            assert_refused(&run(&arguments, input), 2, &[word]);
        }
        assert_eq!(host(), before, "nothing is left behind");
    });
}

#[test]
fn a_descriptor_that_is_no_frame_socket_is_refused() {
    in_own_network(|| {
        let before = host();
        let (stream, _peer) = UnixStream::pair().expect("a pair");
        let unconnected = UnixDatagram::unbound().expect("a socket");
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        udp.connect("127.0.0.1:9").expect("connected");
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        let inputs: Vec<(&str, Stdio)> = vec![
            ("a file", File::open("/etc/passwd").expect("a file").into()),
            ("a device", Stdio::null()),
            ("a pipe", OwnedFd::from(reader).into()),
            ("a stream", OwnedFd::from(stream).into()),
            ("an unconnected socket", OwnedFd::from(unconnected).into()),
            ("a socket of another family", OwnedFd::from(udp).into()),
        ];
        for (what, input) in inputs {
            let ended = run(&format!("--vm-fd 0 --vm-mac-address {MAC}"), input);
            eprintln!("{what}: {}", ended.said.trim_end());
            assert_refused(&ended, 1, &["--vm-fd", "0"]);
        }
        let (_guest, input) = frame_socket();
        assert_refused(&run(&format!("--vm-fd 77 --vm-mac-address {MAC}"), input), 1, &["--vm-fd", "77"]);
        assert_eq!(host(), before, "nothing is left behind");
    });
}

#[test]
fn a_descriptor_that_is_no_control_channel_is_refused() {
    in_own_network(|| {
        let before = host();
        let path = Path::new(SCRATCH).join("listening");
        let listening = UnixListener::bind(&path).expect("a listener");
        fs::remove_file(path).expect("removed");
        let (datagram, _peer) = UnixDatagram::pair().expect("a pair");
        let tcp = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let tcp = TcpStream::connect(tcp.local_addr().expect("an address")).expect("connected");
        let (_reader, pipe) = std::io::pipe().expect("a pipe");
        let outputs: Vec<(&str, Stdio)> = vec![
            ("is not a socket", File::create(Path::new(SCRATCH).join("file")).expect("a file").into()),
            ("is not a socket", Stdio::null()),
            ("is not a socket", OwnedFd::from(pipe).into()),
            ("is a Datagram socket", OwnedFd::from(datagram).into()),
            ("is not connected", OwnedFd::from(listening).into()),
            ("is a socket of family 2", OwnedFd::from(tcp).into()),
        ];
        let options = format!("--vm-fd 0 --vm-mac-address {MAC} --control-fd");
        for (found, output) in outputs {
            let (_guest, input) = frame_socket();
            let mut command = softnet::command(Path::new(SOFTNET), Caller::Root);
            command.args(format!("{options} 1").split_ascii_whitespace()).stdin(input);
            let ended = Softnet::spawn_printing_to(&mut command, output).wait_end(PATIENCE);
            assert_refused(&ended, 1, &["--control-fd: descriptor 1", found, "SOCK_STREAM"]);
        }
        let (_guest, input) = frame_socket();
        assert_refused(&run(&format!("{options} 77"), input), 1, &["--control-fd", "77", "not open"]);
        let (_guest, input) = frame_socket();
        assert_refused(&run(&format!("{options} 0"), input), 1, &["--control-fd", "0", "--vm-fd"]);
        assert_eq!(host(), before, "nothing is left behind");
    });
}

#[test]
fn names_that_do_not_exist_are_refused() {
    in_own_network(|| {
        tools::add_interface("other");
        let before = host();
        for (options, words) in [
            ("--user no-such-user", ["--user", "no-such-user"]),
            ("--user daemon --group no-such-group", ["--group", "no-such-group"]),
            ("--user daemon --bridge no-such-br", ["--bridge", "no-such-br"]),
            ("--user daemon --bridge other", ["--bridge", "other"]),
        ] {
            let (_guest, input) = frame_socket();
            let ended = run(&format!("--vm-fd 0 --vm-mac-address {MAC} {options}"), input);
            assert_refused(&ended, 1, &words);
        }
        assert_eq!(host(), before, "nothing is left behind");
    });
}

#[test]
fn help_and_version_work_for_anyone_without_any_input() {
    in_own_network(|| {
        let before = host();
        let setuid = binary::install_setuid(Path::new(SOFTNET));
        let plain = binary::install(Path::new(SOFTNET), "plain", 0o755);
        for (program, caller) in [(&setuid, Caller::User), (&plain, Caller::User), (&plain, Caller::Root)] {
            for option in ["--help", "-h", "--version"] {
                // The shell closes its standard input for real.
                let mut command = softnet::command(Path::new("/bin/sh"), caller);
                command.args(["-c", "exec \"$0\" \"$1\" <&-"]).arg(program).arg(option);
                let output = tools::output(&mut command);
                let text = tools::text(&output);
                assert!(output.status.success(), "{option}: {} {text}", output.status);
                assert!(text.contains("softnet"), "{option}: {text}");
                assert!(output.stderr.is_empty(), "{option}: {text}");
            }
        }
        fs::remove_dir_all(format!("{SCRATCH}/setuid")).expect("the copy is removed");
        assert_eq!(host(), before, "nothing is touched");
    });
}

#[test]
fn without_root_both_remedies_are_named() {
    in_own_network(|| {
        let before = host();
        let plain = binary::install(Path::new(SOFTNET), "plain", 0o755);
        let (_guest, input) = frame_socket();
        let mut command = softnet::command(&plain, Caller::User);
        let command = command.args(["--vm-fd", "0", "--vm-mac-address", MAC]).stdin(input).env("PATH", "/nowhere");
        let ended = Softnet::spawn(command).wait_end(PATIENCE);
        let exe = plain.display().to_string();
        assert_refused(&ended, 1, &["chmod u+s", "NOPASSWD", "/etc/sudoers.d/", &exe]);
        assert_eq!(host(), before, "nothing is left behind");
    });
}
