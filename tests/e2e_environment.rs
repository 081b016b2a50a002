//! The environment, the file mode mask and the working directory that a caller chose for a setuid softnet: none counts.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::traps::Traps;
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// A library that says as whom it was loaded.
const LIBRARY: &str = r#"
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void) {
    char text[32];
    int file = open(MARKER, O_WRONLY | O_APPEND);
    int length = snprintf(text, sizeof text, "%d\n", (int)geteuid());
    if (file >= 0 && write(file, text, length) == length) close(file);
}
unsigned int la_version(unsigned int version) { return version; }
"#;

/// A variable, and a program without rights that does what softnet must not do with it.
struct Bait {
    variables: Vec<(&'static str, String)>,
    control: &'static str,
}

/// What every program does with variables of the loader, the C library, the locale and the time zone, if it may.
fn baits(traps: &mut Traps, marker: &Path) -> Vec<Bait> {
    let source = format!("{SCRATCH}/evil.c");
    fs::write(&source, LIBRARY).expect("the library's source is written");
    let library = traps.plant("evil.so", b"");
    let marker = format!("-DMARKER=\"{}\"", marker.display());
    tools::finish(tools::command("cc -shared -fPIC -o").arg(&library).arg(&source).arg(marker));
    for name in ["libc.so.6", "libgcc_s.so.1"] {
        traps.plant(&format!("lib/{name}"), b"no library");
    }
    for part in ["LC_CTYPE", "LC_TIME", "LC_MESSAGES/SYS_LC_MESSAGES", "LC_IDENTIFICATION"] {
        traps.plant(&format!("locale/xx_XX/{part}"), b"no locale");
    }
    traps.plant("gconv/gconv-modules", b"module INTERNAL EVIL// evil 1\n");
    traps.plant("zone", b"TZif2");
    traps.plant("tmp/here", b"");
    traps.plant("log/here", b"");
    traps.touched();
    let at = |name: &str| traps.folder().join(name).display().to_string();
    let bait = |control, variables: &[(&'static str, String)]| Bait { variables: variables.to_vec(), control };
    vec![
        bait("date", &[("LD_PRELOAD", at("evil.so"))]),
        bait("date", &[("LD_AUDIT", at("evil.so"))]),
        bait("date", &[("LD_LIBRARY_PATH", at("lib"))]),
        bait("date", &[("LD_DEBUG", "all".to_owned()), ("LD_DEBUG_OUTPUT", at("log/loader"))]),
        bait("date", &[("LOCPATH", at("locale")), ("LC_ALL", "xx_XX".to_owned()), ("LANG", "xx_XX".to_owned())]),
        bait("date", &[("TZ", format!(":{}", at("zone")))]),
        bait("iconv -f LATIN1 -t UTF-7 /etc/passwd", &[("GCONV_PATH", at("gconv"))]),
        bait("mktemp", &[("TMPDIR", at("tmp"))]),
    ]
}

/// What leads to no file, and must not change what softnet does.
fn oddities() -> Vec<(&'static str, String)> {
    let evil = |text: &str| text.to_owned();
    vec![
        // CVE-2023-4911.
        ("GLIBC_TUNABLES", format!("glibc.malloc.mxfast=glibc.malloc.mxfast={}", "A".repeat(4096))),
        ("MALLOC_PERTURB_", evil("85")),
        ("MALLOC_ARENA_MAX", evil("99999999999999999999")),
        ("MALLOC_TOP_PAD_", evil("-1")),
        ("MALLOC_CHECK_", evil("3")),
        ("LD_BIND_NOW", evil("1")),
        ("LD_SHOW_AUXV", evil("1")),
        ("RUST_BACKTRACE", evil("full")),
        ("RUST_LIB_BACKTRACE", evil("1")),
        ("RUST_MIN_STACK", evil("18446744073709551615")),
        ("RUST_LOG_STYLE", evil("always")),
        ("RUST_LOG", format!("softnet=info,{}%n%s\u{1b}[2J=,=,,=trace=,/(a*)*b", "x".repeat(60_000))),
        ("CLICOLOR_FORCE", evil("1")),
        ("COLUMNS", evil("-1")),
        ("POSIXLY_CORRECT", evil("1")),
        ("LANGUAGE", evil("../../../../tmp")),
        ("NOTIFY_SOCKET", evil("/run/testbed/traps/tmp/here")),
        ("SUDO_UID", evil("0")),
        ("SUDO_USER", evil("root")),
        ("HOME", evil("/run/testbed/traps")),
        ("XDG_RUNTIME_DIR", evil("/run/testbed/traps")),
    ]
}

/// `words` run by the caller with `variables` and nothing else: only what env(1) starts has them.
fn with<'a>(variables: impl IntoIterator<Item = &'a (&'static str, String)>, words: &[&str]) -> Command {
    let mut command = softnet::command(&tools::find("env").expect("env is installed"), Caller::User);
    command.args(["-i", "RUST_LOG=softnet=info"]);
    command.args(variables.into_iter().map(|(name, value)| format!("{name}={value}"))).args(words);
    command
}

fn serve_words(bed: &LinuxTestbed) -> Vec<String> {
    [&bed.setuid.display().to_string(), "--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]
        .map(str::to_owned)
        .to_vec()
}

/// Softnet by `command` serves its guest.
fn start_serving(command: &mut Command, what: &str) -> (Softnet, UnixDatagram) {
    let (guest, other) = sys::frame_sockets();
    let mut softnet = Softnet::spawn(command.stdin(OwnedFd::from(other)));
    if let Err(error) = softnet.wait_said("ready") {
        panic!("{what}: {error}: {}", softnet.said());
    }
    let mut guest = PortableGuest::new(guest, MAC);
    guest.dhcp(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"));
    guest.flush();
    (softnet, guest.into_socket())
}

#[test]
fn nothing_that_the_environment_names_is_opened() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mut traps = Traps::new();
        let marker = Path::new(SCRATCH).join("marker");
        fs::write(&marker, "").expect("the marker is made");
        tools::run(&format!("chmod 666 {}", marker.display()));
        let baits = baits(&mut traps, &marker);
        for bait in &baits {
            // The control: a program without rights falls for it.
            let words: Vec<_> = bait.control.split(' ').collect();
            tools::output(&mut with(&bait.variables, &words));
            let touched = traps.touched();
            assert!(!touched.is_empty(), "{:?} must lead {} somewhere", bait.variables, bait.control);
        }
        let loaded = fs::read_to_string(&marker).expect("the marker is there");
        assert!(loaded.lines().count() >= 1, "the library must be loaded into a program without rights");
        fs::write(&marker, "").expect("the marker is emptied");

        let oddities = oddities();
        let everything = baits.iter().flat_map(|bait| &bait.variables).chain(&oddities);
        let words = serve_words(&bed);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (softnet, guest) = start_serving(&mut with(everything.clone(), &words), "everything at once");
        let maps = fs::read_to_string(format!("/proc/{}/maps", softnet.pid())).expect("root may look");
        assert!(!maps.contains("/traps/"), "{maps}");
        softnet.stop();
        drop(guest);
        // What ends before the guest is looked at.
        for option in ["--help", "--version", "--no-such-option"] {
            tools::output(&mut with(everything.clone(), &[words[0], option]));
        }
        assert_eq!(traps.touched(), [""; 0], "softnet opened what the caller's environment names");
        assert_eq!(fs::read_to_string(&marker).expect("the marker is there"), "", "the library was loaded");
    });
}

#[test]
fn each_odd_variable_alone_changes_nothing() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let words = serve_words(&bed);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        for oddity in &oddities() {
            let (softnet, guest) = start_serving(&mut with([oddity], &words), oddity.0);
            let ended = softnet.stop();
            assert!(ended.printed.is_empty(), "{}: nothing is printed", oddity.0);
            assert!(!ended.said.contains('\u{1b}') && ended.said.len() < 5000, "{}: {}", oddity.0, ended.said);
            drop(guest);
        }
    });
}

/// What is made by a caller's softnet whose shell runs `before` first: mode, owner and name of each file and folder.
fn made(bed: &LinuxTestbed, before: &str) -> String {
    tools::finish(softnet::command(Path::new(SOFTNET), Caller::Root).args(["network", "down", "--force"]));
    tools::run("rm -rf /run/softnet");
    let words = serve_words(bed).join(" ");
    let script = format!("{before}; exec {words}");
    let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
    let (softnet, _guest) = start_serving(command.args(["-c", &script]), before);
    let made =
        tools::sh("cd /run/softnet && find . ! -name . -exec stat -c '%a %U %n' {} + | sort -k 3; stat -c '%a %U' .");
    softnet.stop();
    made
}

#[test]
fn the_callers_file_mode_mask_does_not_count() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let usual = made(&bed, "umask 022");
        for folder in ["lock", "softnet0.leases", "softnet0.guests", "softnet0.pid"] {
            assert!(usual.contains(folder), "{usual}");
        }
        // "MODE OWNER NAME"
        let others = |line: &&str| !line.contains(" root") || line[..3].ends_with(['2', '3', '6', '7']);
        let odd: Vec<_> = usual.lines().filter(others).collect();
        // A guest's claim belongs to whom softnet became, who cannot get to it by its path.
        let may_be = |line: &&&str| {
            line.ends_with("leases")
                || line.ends_with(".pid")
                || (line.starts_with("600 ") && line.contains(".guests/"))
        };
        assert!(odd.iter().all(|line| may_be(&line)), "dnsmasq's own, and claims: {odd:?}");
        assert!(usual.contains("700 root ./softnet0.guests\n"), "{usual}");
        for mask in ["000", "777", "077", "111"] {
            assert_eq!(made(&bed, &format!("umask {mask}")), usual, "umask {mask}");
        }
    });
}

#[test]
fn a_working_directory_that_is_gone_or_closed_does_not_matter() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let words = serve_words(&bed).join(" ");
        let own = format!("{SCRATCH}/own");
        for (what, before) in [
            ("gone", "mkdir gone && cd gone && rmdir ../gone"),
            ("closed", "mkdir closed && cd closed && chmod 000 ."),
            ("on a file system of its own", "cd ."),
        ] {
            tools::sh(&format!("mkdir {own} && mount -t tmpfs -o mode=777 none {own}"));
            let script = format!("cd {own} && {before} && exec {words}");
            let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
            let (softnet, guest) = start_serving(command.args(["-c", &script]), what);
            // What is still somebody's working directory is busy.
            tools::sh(&format!("umount {own} && rmdir {own}"));
            softnet.stop();
            drop(guest);
        }
    });
}
