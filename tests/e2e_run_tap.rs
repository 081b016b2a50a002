//! `softnet run --tap`: a TAP device for the VM's program, in a network of its own, and softnet behind it.
//!
//! | module | what |
//! | --- | --- |
//! | here | whose it is, what passes, and the end of each of its processes |
//! | `frames` | large frames, checksums, tags, and the namespace's own stack |
//! | `refused` | a start without what it takes |
//! | `harness` | the processes, and the device as a program opens it |
#![cfg(target_os = "linux")]

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::guest::vm::{self, LIMIT, Vm};
use softnet_testbed::isolate::{in_own_network, in_own_network_within, is_inside};
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::softnet::{Caller, Softnet, command};
use softnet_testbed::testbed::Testbed;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::{self, IPV4, Mac};

use harness::{DEVICE, MAC, Running, bed, code, relay, run, softnets, wait_nothing_left};

#[path = "e2e_run_tap/frames.rs"]
mod frames;
#[path = "e2e_run_tap/harness.rs"]
mod harness;
#[path = "segments/model.rs"]
#[allow(dead_code)]
mod model;
#[path = "e2e_run_tap/refused.rs"]
mod refused;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const OTHER_MAC: Mac = Mac([2, 0, 0, 0x66, 0x66, 0x66]);

#[test]
fn a_vm_of_a_plain_users_gets_its_lease_and_a_page_and_fails_to_spoof() {
    let root = Path::new(ROOT);
    let image = if is_inside() { root.join("target/vm") } else { vm::image(root) };
    in_own_network_within(LIMIT + Duration::from_secs(20), || {
        let bed = bed();
        let mut command = command(&bed.setuid, Caller::User);
        fs::write("/run/testbed/console", "").expect("a console");
        tools::run("chown 4711 /run/testbed/console");
        command.args(["run", "--name", "web", "--tap", DEVICE]).args(vm::policy(bed.facts()).split(' '));
        command.args(["--", "qemu-system-x86_64"]).args(vm::machine(&image, bed.facts()));
        command.args(["-netdev", "tap,id=n,ifname={tap},script=no,downscript=no"]);
        command.args(["-device", "virtio-net-pci,netdev=n,romfile=,mac={mac}"]);
        let mut results = Vm::start(&mut command).results();
        let page = format!("server {}", bed.facts().web);
        let allowed = format!("server {}", bed.facts().other_private);
        for (what, expected) in [
            ("lease", "600"),
            ("gateway", "answered"),
            ("page", &*page),
            ("allowed", &*allowed),
            ("blocked", "unreachable"),
            ("private", "unreachable"),
            ("other-address", "silent"),
            ("other-mac", "silent"),
            ("own-mac-again", "answered"),
        ] {
            assert_eq!(results.remove(what).as_deref(), Some(expected), "{what}, among {results:#?}");
        }
        assert!(softnets().is_empty(), "{:?}", softnets());
    });
}

#[test]
fn the_command_is_the_caller_where_the_device_and_nothing_else_is() {
    in_own_network(|| {
        let bed = bed();
        let script = "echo \"$1 $2 $3 $SOFTNET_TAP $SOFTNET_MAC ${SOFTNET_FD-none}\"; id -u; id -g; \
                      grep CapEff /proc/$$/status; cut -d: -f1 /proc/net/dev | tail -n +3 | tr -d ' ' | tr '\\n' ' '; \
                      cat /proc/net/if_inet6; tail -n +2 /proc/net/route; exit 7";
        let ended = Softnet::spawn(&mut run(&bed.setuid, Caller::User, "", script)).wait_end(PATIENCE);
        assert_eq!(code(&ended), 7, "{}", ended.said);
        let printed = String::from_utf8(ended.printed).expect("text");
        let expected =
            format!("{DEVICE} {MAC} {{fd}} {DEVICE} {MAC} none\n4711\n4711\nCapEff:\t0000000000000000\nlo {DEVICE} ");
        // The links are in no order.
        assert_eq!(printed.replace(&format!("{DEVICE} lo "), &format!("lo {DEVICE} ")), expected);
        assert!(softnets().is_empty(), "{:?}", softnets());
    });
}

#[test]
fn a_guest_behind_the_device_is_filtered_as_any() {
    in_own_network(|| {
        let bed = bed();
        for (program, caller) in [(&bed.setuid, Caller::User), (&bed.program, Caller::Root)] {
            let running = Running::by(program, caller, "");
            let mut witness = Sniffer::on("softnet0");
            let (mut guest, pump) = running.guest(MAC);
            guest.dhcp(PATIENCE).expect("a lease");
            guest.ping(guest.gateway(), PATIENCE).expect("an answer");
            assert!(guest.ping(bed.facts().private, SILENCE).is_err(), "a private network");
            // Another MAC, in another's name or in its own, reaches nobody.
            let mut liar = PortableGuest::new(guest.into_socket(), OTHER_MAC);
            assert!(liar.dhcp(SILENCE).is_err());
            assert_eq!(witness.count(|frame| wire::source(frame) == Some(OTHER_MAC)), 0);
            drop(pump);
            running.run.signal(Signal::SIGTERM);
            let ended = running.run.wait_end(PATIENCE);
            assert_eq!(code(&ended), 128 + 15, "{}", ended.said);
            assert!(ended.dropped("ethernet-source") > 0, "{}", ended.said);
        }
    });
}

#[test]
fn whichever_is_killed_nothing_is_left() {
    in_own_network(|| {
        let bed = bed();
        for (what, victim, expected) in
            [("run", 0, None), ("the pump", 1, Some(1)), ("the command", 2, Some(137)), ("softnet", 3, Some(1))]
        {
            let running = Running::start(&bed, "");
            let device = running.with_header();
            let victims = [Pid::from_raw(running.run.pid() as i32), running.pump(), running.command, relay()];
            kill(victims[victim], Signal::SIGKILL).expect("killed");
            let ended = running.run.wait_end(PATIENCE);
            assert_eq!(ended.status.code(), expected, "{what}: {}", ended.said);
            let is_told = ended.said.contains("has ended before the command");
            assert_eq!(is_told, [1, 3].contains(&victim), "{what}: {}", ended.said);
            assert_eq!(ended.said.contains("--tap: what moves its frames"), victim == 1, "{what}: {}", ended.said);
            drop(device);
            wait_nothing_left(what, running.command);
        }
    });
}

#[test]
fn a_stopped_softnet_makes_the_device_lose_frames_and_nobody_wait() {
    in_own_network(|| {
        let bed = bed();
        let running = Running::start(&bed, "");
        let mut device = running.plain();
        let relay = relay();
        kill(relay, Signal::SIGSTOP).expect("stopped");
        let frame = wire::ethernet(Mac::BROADCAST, MAC, IPV4, &[7; 1400]);
        for _ in 0..5000 {
            device.write_all(&frame).expect("taken, or lost");
        }
        kill(relay, Signal::SIGCONT).expect("goes on");
        drop(device);
        let (mut guest, _pump) = running.guest(MAC);
        guest.dhcp(PATIENCE).expect("a lease");
    });
}

#[test]
fn the_pump_has_no_right_left() {
    in_own_network(|| {
        let bed = bed();
        for (program, caller) in [(&bed.setuid, Caller::User), (&bed.program, Caller::Root)] {
            let running = Running::by(program, caller, "");
            let status = fs::read_to_string(format!("/proc/{}/status", running.pump())).expect("it runs");
            let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).expect("the field").trim();
            for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
                assert_eq!(field(set), "0000000000000000", "{set} {caller:?}");
            }
            assert_eq!((field("NoNewPrivs:"), field("Seccomp:"), field("Threads:")), ("1", "2", "1"), "{caller:?}");
            let open = fs::read_dir(format!("/proc/{}/fd", running.pump())).expect("listed").flatten();
            let sockets = open.filter_map(|fd| fs::read_link(fd.path()).ok());
            let sockets = sockets.filter(|target| !target.starts_with("/dev/null")).count();
            // The device's two, the guest's one, and standard error.
            assert_eq!(sockets, 4, "{caller:?}");
            drop(running);
            wait::until("its end", PATIENCE, || softnets().is_empty().then_some(())).expect("nothing is left");
        }
    });
}
