//! `softnet list`: who runs here, whoever asks, and whatever a softnet says of itself.
#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;
use softnet_testbed::{binary, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
/// A user that is not the testbed's.
const OTHER: u32 = 4712;
const GUESTS: &str = "/run/softnet/softnet0.guests";

fn list(program: &Path, caller: Caller, options: &str) -> String {
    let mut command = softnet::command(program, caller);
    command.arg("list").args(options.split_ascii_whitespace());
    tools::finish(&mut command)
}

fn json(program: &Path, caller: Caller) -> Vec<Value> {
    let text = list(program, caller, "--json");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The guest with a MAC, once its record says that it has its lease.
fn leased(program: &Path, caller: Caller, guest: &PortableGuest) -> Value {
    wait::until("the lease in the list", PATIENCE, || {
        let all = json(program, caller);
        let found = all.into_iter().find(|other| other["mac"] == guest.mac().to_string())?;
        (found["lease"]["address"] == guest.address().to_string()).then_some(found)
    })
    .expect("it is listed")
}

fn record_of(mac: Mac) -> PathBuf {
    Path::new(GUESTS).join(format!("{mac}.record"))
}

/// A guest of the testbed's user, and one of another user's.
fn two_guests(bed: &LinuxTestbed) -> [(Softnet, PortableGuest); 2] {
    let mine = bed.guest(Mac::guest(1), "--name web-1 --allow 10.0.0.0/8 --block 10.0.0.1");
    let launch = bed.launch(Mac::guest(2)).by(Caller::Root).with(&format!("--user {OTHER} --group {OTHER} --name db"));
    let (softnet, socket) = launch.start();
    let mut theirs = PortableGuest::new(socket, Mac::guest(2));
    theirs.dhcp(PATIENCE).expect("a lease");
    [mine, (softnet, theirs)]
}

#[test]
fn root_sees_all_and_a_caller_its_own() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let [(mine, guest), (theirs, other)] = two_guests(&bed);
        for (softnet, guest, name, uid, rules) in
            [(&mine, &guest, "web-1", binary::caller().0, 2), (&theirs, &other, "db", OTHER, 0)]
        {
            let shown = leased(&bed.program, Caller::Root, guest);
            assert_eq!(shown["name"], name, "{shown}");
            assert_eq!(shown["uid"], uid, "{shown}");
            assert_eq!(shown["pid"], softnet.pid(), "{shown}");
            assert_eq!(shown["network"], "softnet0", "{shown}");
            assert_eq!(shown["rules"], rules, "{shown}");
            assert!(shown["from_guest"]["frames"].as_u64() >= Some(2), "DHCP at least: {shown}");
            assert!(shown["from_host"]["bytes"].as_u64() >= Some(600), "{shown}");
            assert!(shown["up_seconds"].as_u64() < Some(60), "{shown}");
            let left = shown["lease"]["seconds_left"].as_u64().expect("a number");
            assert!((500..=600).contains(&left), "{shown}");
        }
        let own = leased(&bed.setuid, Caller::User, &guest);
        assert_eq!((&own["name"], &own["rules"]), (&Value::from("web-1"), &Value::from(2)));
        let theirs_to_me =
            json(&bed.setuid, Caller::User).into_iter().find(|guest| guest["uid"] == OTHER).expect("listed");
        let members: Vec<&String> = theirs_to_me.as_object().expect("an object").keys().collect();
        assert_eq!(members, ["mac", "name", "network", "pid", "uid", "user"], "{theirs_to_me}");
        assert_eq!(theirs_to_me["name"], Value::Null);
        let table = list(&bed.setuid, Caller::User, "");
        assert!(table.contains("web-1") && !table.contains("db"), "{table}");
        assert!(!table.contains(&other.address().to_string()), "{table}");
        for (softnet, _) in [(mine, guest), (theirs, other)] {
            softnet.stop();
        }
        assert_eq!(json(&bed.program, Caller::Root), Vec::<Value>::new());
    });
}

#[test]
fn without_any_right_it_says_what_is_missing() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let plain = binary::install(&bed.program, "plain", 0o755);
        let mut command = softnet::command(&plain, Caller::User);
        let output = tools::output(command.arg("list"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("softnet list: needs root, or the setuid bit"), "{said}");
    });
}

#[test]
fn what_a_killed_softnet_leaves_is_not_shown_and_the_next_start_removes_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let [(mine, guest), (theirs, other)] = two_guests(&bed);
        leased(&bed.program, Caller::Root, &other);
        theirs.signal(Signal::SIGKILL);
        let _ = theirs.wait_end(PATIENCE);
        let shown = json(&bed.program, Caller::Root);
        assert_eq!(shown.len(), 1, "{shown:?}");
        assert_eq!(shown[0]["name"], "web-1");
        let lock = Path::new(GUESTS).join(other.mac().to_string());
        assert!(lock.exists() && record_of(other.mac()).exists(), "it was killed, and cleans nothing");
        let (third, _guest) = bed.guest(Mac::guest(3), "");
        assert!(!lock.exists() && !record_of(other.mac()).exists(), "the next start does");
        assert!(record_of(guest.mac()).exists());
        mine.stop();
        third.stop();
    });
}

#[test]
fn nobody_but_root_gets_to_the_files() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.guest(Mac::guest(1), "");
        let as_caller = |line: &str| {
            let (uid, gid) = binary::caller();
            tools::output(&mut tools::command(&format!("setpriv --reuid {uid} --regid {gid} --clear-groups {line}")))
        };
        assert!(as_caller("true").status.success(), "the control");
        let lock = format!("{GUESTS}/{}", guest.mac());
        for line in [
            format!("ls {GUESTS}"),
            format!("cat {lock}"),
            format!("cat {lock}.record"),
            format!("flock --shared --nonblock {lock} true"),
        ] {
            assert!(!as_caller(&line).status.success(), "{line}");
        }
        // Its own process holds the lock for reading alone, and the record for writing.
        let descriptors = fs::read_dir(format!("/proc/{}/fd", softnet.pid())).expect("root looks").flatten();
        let mut modes: Vec<(String, u32)> = descriptors
            .filter_map(|entry| {
                let path = fs::read_link(entry.path()).ok()?;
                let name = path.strip_prefix(GUESTS).ok()?.to_str()?.to_owned();
                let info = fs::read_to_string(entry.path().to_str()?.replace("/fd/", "/fdinfo/")).ok()?;
                let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim().to_owned();
                Some((name, u32::from_str_radix(&flags, 8).ok()? & 3))
            })
            .collect();
        modes.sort();
        let mac = guest.mac().to_string();
        let expected = [(mac.clone(), libc::O_RDONLY), (format!("{mac}.record"), libc::O_WRONLY)];
        assert_eq!(modes, expected.map(|(name, mode)| (name, mode.unsigned_abs())));
        softnet.stop();
    });
}

/// As a guest would that has taken over its softnet.
#[test]
fn a_softnet_that_lies_is_listed_without_what_it_says() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let [(mine, guest), (theirs, other)] = two_guests(&bed);
        leased(&bed.program, Caller::Root, &guest);
        leased(&bed.program, Caller::Root, &other);
        theirs.signal(Signal::SIGSTOP);
        let mut long = fs::read(record_of(guest.mac())).expect("a record");
        assert_eq!(long.len(), 512);
        long.resize(1 << 20, b'\n');
        for lie in [b"".to_vec(), b"\x1b[2J\"}]\n".repeat(64), vec![0xff; 512], long] {
            fs::write(record_of(other.mac()), &lie).expect("root writes");
            let shown = json(&bed.program, Caller::Root);
            assert_eq!(shown.len(), 2, "{shown:?}");
            let liar = shown.iter().find(|guest| guest["uid"] == OTHER).expect("its lock is held");
            assert_eq!((&liar["name"], &liar["pid"]), (&Value::from("db"), &Value::from(theirs.pid())));
            assert!(liar.get("rules").is_none() && liar.get("lease").is_none(), "{liar}");
            let table = list(&bed.program, Caller::Root, "");
            assert!(table.bytes().all(|byte| byte == b'\n' || (b' '..=b'~').contains(&byte)), "{table}");
        }
        theirs.signal(Signal::SIGCONT);
        mine.stop();
        theirs.stop();
    });
}

#[test]
fn a_record_wakes_nobody() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.guest(Mac::guest(1), "");
        leased(&bed.program, Caller::Root, &guest);
        let switches = || softnet.status("voluntary_ctxt_switches").parse::<u64>().expect("a number");
        let before = switches();
        std::thread::sleep(Duration::from_secs(4)); // what is counted is how often it wakes in that time
        let wakes = switches() - before;
        assert!(wakes <= 8, "an idle softnet wakes once a second, and this one did {wakes} times in 4 s");
        softnet.stop();
    });
}
