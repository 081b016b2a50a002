//! `softnet run --tap`: a TAP device for the VM's program, in a network of its own, and softnet behind it.
#![cfg(target_os = "linux")]

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use nix::unistd::Pid;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::guest::vm::{self, LIMIT, Vm};
use softnet_testbed::isolate::{SCRATCH, in_own_network, in_own_network_within, is_inside};
use softnet_testbed::pump::Pump;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::softnet::{Caller, Ended, Softnet, command};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::{self, Arp, IPV4, IPV6, Mac, VLAN};
use softnet_testbed::{sys, tools};

#[path = "segments/model.rs"]
#[allow(dead_code)]
mod model;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MAC: Mac = Mac::guest(5);
const OTHER_MAC: Mac = Mac([2, 0, 0, 0x66, 0x66, 0x66]);
const DEVICE: &str = "vm0";

/// A host where any user may open /dev/net/tun, as on most.
fn bed() -> LinuxTestbed {
    let node = Path::new(SCRATCH).join("tun");
    mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).expect("a device");
    fs::set_permissions(&node, fs::Permissions::from_mode(0o666)).expect("for anyone");
    mount(Some(&node), "/dev/net/tun", None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("in its place");
    LinuxTestbed::new(SOFTNET)
}

/// `softnet run --tap DEVICE OPTIONS -- sh -c SCRIPT`.
fn run(program: &Path, caller: Caller, options: &str, script: &str) -> Command {
    let mut command = command(program, caller);
    command
        .args(["run", "--tap", DEVICE, "--vm-mac-address", &MAC.to_string()])
        .args(options.split_ascii_whitespace())
        .args(["--", "sh", "-c", script, "script", "{tap}", "{mac}", "{fd}"]);
    command
}

/// A `softnet run --tap` whose command waits, and its processes.
struct Running {
    run: Softnet,
    command: Pid,
}

impl Running {
    /// By a user without rights and a setuid softnet.
    fn start(bed: &LinuxTestbed, options: &str) -> Self {
        Self::by(&bed.setuid, Caller::User, options)
    }

    fn by(program: &Path, caller: Caller, options: &str) -> Self {
        let mut run =
            Softnet::spawn(&mut run(program, caller, options, "echo script $$ started >&2; exec sleep 1000"));
        run.wait_said("started").unwrap_or_else(|error| panic!("{error}: {}", run.said()));
        let said = run.said();
        let number = said.split("script ").nth(1).and_then(|rest| rest.split(' ').next()).expect("its number");
        Running { run, command: Pid::from_raw(number.parse().expect("a number")) }
    }

    /// What `body` does in the command's network.
    fn inside<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        let network = File::open(format!("/proc/{}/ns/net", self.command)).expect("the command runs");
        let enter = || {
            setns(&network, CloneFlags::CLONE_NEWNET).expect("root enters a network namespace");
            body()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().expect("it does not panic"))
    }

    /// Opens the device as a program does that knows no header.
    fn plain(&self) -> File {
        self.inside(|| sys::tap(DEVICE))
    }

    /// And as VMMs do.
    fn with_header(&self) -> File {
        self.inside(|| sys::tap_with_header(DEVICE))
    }

    /// A guest behind the device.
    fn guest(&self, mac: Mac) -> (PortableGuest, Pump) {
        let (ours, theirs): (UnixDatagram, UnixDatagram) = sys::frame_sockets();
        (PortableGuest::new(ours, mac), Pump::start(self.plain(), theirs))
    }

    /// What moves its frames.
    fn pump(&self) -> Pid {
        let child = |pid: &Pid| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains("(softnet-tap)")
        };
        *processes().iter().find(|pid| child(pid)).expect("the pump runs")
    }
}

fn processes() -> Vec<Pid> {
    let all = fs::read_dir("/proc").expect("/proc").flatten();
    all.filter_map(|entry| Some(Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))).collect()
}

/// The softnets that are there, and their pumps.
fn softnets() -> Vec<String> {
    let is_softnet = |pid: &Pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        (stat.contains("(softnet") && !stat.contains(") Z ")).then_some(stat)
    };
    processes().iter().filter_map(is_softnet).collect()
}

fn is_there(process: Pid) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    !status.is_empty() && !status.contains(") Z ")
}

fn wait_nothing_left(what: &str, command: Pid) {
    let gone = || (softnets().is_empty() && !is_there(command)).then_some(());
    wait::until(what, Duration::from_secs(5), gone).unwrap_or_else(|error| panic!("{error}: {:?}", softnets()));
}

fn code(ended: &Ended) -> i32 {
    ended.status.code().unwrap_or_else(|| panic!("it was killed: {}: {}", ended.status, ended.said))
}

/// All frames that can be read from `device` until nothing has come for a while.
fn read_all(device: &mut File, silence: Duration) -> Vec<Vec<u8>> {
    let (mut frames, mut since, mut buffer) = (Vec::new(), Instant::now(), vec![0; 70_000]);
    while since.elapsed() < silence {
        match device.read(&mut buffer) {
            Ok(length) => {
                frames.push(buffer[..length].to_vec());
                since = Instant::now();
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => sys::wait_readable(&[device], silence),
            Err(error) => panic!("{error}"),
        }
    }
    frames
}

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
        let expected = format!(
            "{DEVICE} {MAC} {{fd}} {DEVICE} {MAC} none\n4711\n4711\nCapEff:\t0000000000000000\nlo {DEVICE} "
        );
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

/// A large frame of the guest's at `address`, or a small one, as a guest gives it to a VMM that takes both: the checksum is that of the
/// pseudo-header alone. And the frames that it comes to.
fn offloaded(protocol: u8, payload: usize, size: u16, (address, gateway): (Ipv4Addr, (Mac, Ipv4Addr))) -> (Vec<u8>, Vec<Vec<u8>>) {
    let bytes = (0..payload).map(|at| at as u8).collect();
    let mut whole = model::Packet { payload: bytes, ..model::Packet::new(protocol, (40_000, 9)) }.frame();
    whole[..6].copy_from_slice(&gateway.0.0);
    whole[6..12].copy_from_slice(&MAC.0);
    whole[26..30].copy_from_slice(&address.octets());
    whole[30..34].copy_from_slice(&gateway.1.octets());
    model::fill_checksums(&mut whole);
    let headers = whole.len() - payload;
    let expected = if size == 0 { vec![whole.clone()] } else { model::cut(&whole, headers, size.into()) };
    let place = model::checksum_place(&whole);
    let partial = model::pseudo_sum(&whole, whole.len() - 34).to_be_bytes();
    whole[place..place + 2].copy_from_slice(&partial);
    let kind = match (size, protocol) {
        (0, _) => 0,
        (_, model::TCP) => 1,
        _ => 5,
    };
    let mut written = vec![1, kind];
    for number in [headers as u16, size, 34, place as u16 - 34] {
        written.extend(number.to_ne_bytes());
    }
    written.extend(whole);
    (written, expected)
}

#[test]
fn large_frames_are_cut_and_checksums_completed_and_what_is_no_frame_of_the_links_is_dropped() {
    in_own_network(|| {
        let bed = bed();
        // Each frame alone on the bridge, too.
        let running = Running::start(&bed, "--no-offload");
        let (mut guest, pump) = running.guest(MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        let (address, gateway) = (guest.address(), guest.gateway());
        let text = tools::run("ip -o link show softnet0");
        let octets = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("a MAC").split(':');
        let mut octets = octets.map(|octet| u8::from_str_radix(octet, 16).expect("an octet"));
        let gateway = (Mac(std::array::from_fn(|_| octets.next().expect("six"))), gateway);
        drop((guest, pump));

        let mut device = running.with_header();
        let mut witness = Sniffer::on("softnet0");
        let ours = |frame: &[u8]| wire::source(frame) == Some(MAC) && frame[23..25] != [1, 0];
        let mut all = Vec::new();
        for (protocol, payload, size) in
            [(model::TCP, 64_000, 1460), (model::TCP, 3_500, 1_000), (model::UDP, 4_000, 1_000), (model::UDP, 999, 0), (model::TCP, 1_400, 0)]
        {
            let (written, expected) = offloaded(protocol, payload, size, (address, gateway));
            assert_eq!(device.write(&written).expect("taken"), written.len());
            all.extend(expected);
            let is_last = |frame: &[u8]| Some(frame) == all.last().map(Vec::as_slice);
            witness.expect("the last segment", PATIENCE, is_last).unwrap_or_else(|error| panic!("{error}: {protocol} {payload} {size}"));
        }
        let arrived: Vec<_> = witness.frames().iter().filter(|frame| ours(frame)).cloned().collect();
        assert!(arrived == all, "{} frames of {}", arrived.len(), all.len());

        // A tag is not taken off: what has one does not get through without.
        let datagram = wire::udp((address, 9), (gateway.1, 9), b"tagged");
        let tagged = wire::ethernet(gateway.0, MAC, VLAN, &[&[0, 5, 8, 0], &datagram[..]].concat());
        let long = wire::ethernet(gateway.0, MAC, IPV4, &wire::udp((address, 9), (gateway.1, 9), &[7; 1473]));
        // Fragments are nobody's offload, and IPv6 is not softnet's: the kernel takes both.
        let (mut six, _) = offloaded(model::TCP, 3_000, 1_000, (address, gateway));
        six[1] = 4;
        six[10 + 12..10 + 14].copy_from_slice(&IPV6.to_be_bytes());
        for frame in [&[&[0; 10], &tagged[..]].concat(), &[&[0; 10], &long[..]].concat(), &six] {
            let _ = device.write(frame);
        }
        let (last, expected) = offloaded(model::UDP, 77, 0, (address, gateway));
        device.write_all(&last).expect("taken");
        witness.expect("the last frame", PATIENCE, |frame| frame == expected[0]).expect("it goes on");
        assert_eq!(witness.count(ours), all.len() + 1);
        running.run.signal(Signal::SIGTERM);
        let ended = running.run.wait_end(PATIENCE);
        assert_eq!((ended.dropped("frame-too-long"), ended.dropped("ether-type")), (1, 0), "{}", ended.said);
    });
}

#[test]
fn large_frames_of_tcps_come_back_as_what_a_program_of_any_kind_can_read() {
    in_own_network(|| {
        let bed = bed();
        let running = Running::start(&bed, "");
        let (mut guest, _pump) = running.guest(MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        let page = guest.http_get(bed.facts().web, PATIENCE).expect("a page");
        assert!(page.contains("server"), "{page}");
        drop(running);
    });
}

#[test]
fn the_network_of_the_device_answers_nothing_and_says_nothing() {
    in_own_network(|| {
        let bed = bed();
        let running = Running::start(&bed, "");
        let mut device = running.plain();
        let text = running.inside(|| tools::run(&format!("ip -o link show {DEVICE}")));
        let octets = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1).expect("a MAC").split(':');
        let mut octets = octets.map(|octet| u8::from_str_radix(octet, 16).expect("an octet"));
        let own = Mac(std::array::from_fn(|_| octets.next().expect("six")));

        let mut frames = Vec::new();
        let any = Ipv4Addr::new(192, 168, 64, 77);
        for to in [own, Mac::BROADCAST] {
            for target in [[192, 168, 64, 1], [10, 0, 0, 1], [127, 0, 0, 1], [169, 254, 1, 1], [0, 0, 0, 0]] {
                let target = Ipv4Addr::from(target);
                frames.push(wire::ethernet(to, MAC, wire::ARP, &Arp::request(any, MAC, target).bytes()));
                frames.push(wire::ethernet(to, MAC, IPV4, &wire::echo(any, target, 5)));
                let mut lapsing = wire::ethernet(to, MAC, IPV4, &wire::udp((any, 9), (target, 9), b"to a closed port"));
                frames.push(lapsing.clone());
                lapsing[22] = 1;
                wire::fill_header_checksum(&mut lapsing);
                frames.push(lapsing);
            }
            frames.push(wire::ethernet(to, MAC, IPV4, &wire::echo(any, Ipv4Addr::BROADCAST, 5)));
            frames.push(wire::ethernet(to, MAC, IPV4, &wire::echo(any, Ipv4Addr::new(224, 0, 0, 1), 5)));
            // IGMP's and MLD's questions, router solicitation, neighbour solicitation, echo.
            frames.push(wire::ethernet(to, MAC, IPV4, &wire::ipv4(any, Ipv4Addr::new(224, 0, 0, 1), 2, &[0x11, 100, 0xee, 0x9b, 0, 0, 0, 0])));
            let [a, b, c, d, e, f] = own.0;
            let local = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
            let group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            for target in [local, group] {
                frames.push(wire::ethernet(to, MAC, IPV6, &icmpv6(target, &[128, 0, 0, 0, 0, 1, 0, 1])));
                frames.push(wire::ethernet(to, MAC, IPV6, &icmpv6(target, &[133, 0, 0, 0, 0, 0, 0, 0])));
                let ask = [&[135, 0, 0, 0, 0, 0, 0, 0], &local[..]].concat();
                frames.push(wire::ethernet(to, MAC, IPV6, &icmpv6(target, &ask)));
                frames.push(wire::ethernet(to, MAC, IPV6, &icmpv6(target, &[130, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])));
            }
        }
        for frame in &frames {
            device.write_all(frame).expect("taken");
        }
        // The kernel delays what it announces by up to a second.
        let heard = read_all(&mut device, Duration::from_millis(1500));
        assert!(heard.is_empty(), "{heard:02x?}");
        // It was there to be heard: softnet's answer is.
        drop(device);
        let (mut guest, _pump) = running.guest(MAC);
        guest.dhcp(PATIENCE).expect("a lease");
    });
}

/// An ICMPv6 message with its checksum, from a link-local address.
fn icmpv6(target: [u8; 16], message: &[u8]) -> Vec<u8> {
    let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xfe, 0, 0, 9];
    let length = message.len() as u8;
    let pseudo = [&source[..], &target, &[0, 0, 0, length, 0, 0, 0, 58]].concat();
    let mut message = message.to_vec();
    let sum = !model::ones_sum(&message, model::ones_sum(&pseudo, 0));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    [&[0x60, 0, 0, 0, 0, length, 58, 255], &source[..], &target, &message].concat()
}

#[test]
fn whichever_is_killed_nothing_is_left() {
    in_own_network(|| {
        let bed = bed();
        for (what, victim, expected) in [("run", 0, None), ("the pump", 1, Some(1)), ("the command", 2, Some(137)), ("softnet", 3, Some(1))] {
            let running = Running::start(&bed, "");
            let device = running.with_header();
            let relay = processes().into_iter().find(|pid| {
                fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("--ready-fd"))
            });
            let victims = [Pid::from_raw(running.run.pid() as i32), running.pump(), running.command, relay.expect("softnet runs")];
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
        let relay = processes().into_iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.contains("--ready-fd"))
        });
        let relay = relay.expect("softnet runs");
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
fn what_cannot_be_had_is_told_with_its_mend_before_anything_is_started() {
    in_own_network(|| {
        let bed = bed();
        let fails = |command: &mut Command, expected: i32, words: &[&str]| {
            let ended = Softnet::spawn(command).wait_end(PATIENCE);
            assert_eq!((code(&ended), &ended.printed[..]), (expected, &b""[..]), "{}", ended.said);
            for word in words {
                assert!(ended.said.contains(word), "{word}: {}", ended.said);
            }
            assert!(!Path::new("/run/softnet").exists(), "nothing of the host's is touched");
        };
        for name in ["", "sixteen-letters-", "a/b", "a b", "a:b", "..", "-x", "lo", "all", "tap%d"] {
            let mut command = command(&bed.setuid, Caller::User);
            fails(command.args(["run", "--tap", name, "--", "echo", "started"]), 2, &["--tap", "TAP device's name"]);
        }
        // No user namespace: in one where the limit is the user's own to set.
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all {} run --tap {DEVICE} -- echo started",
            bed.program.display()
        );
        let mut words = command(Path::new("/usr/bin/unshare"), Caller::User);
        words.args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", &script]);
        fails(&mut words, 1, &["run: --tap vm0: no network namespace", "max_user_namespaces"]);
        // No access to the device, and then no device.
        tools::run("chmod 600 /run/testbed/tun");
        fails(&mut run(&bed.setuid, Caller::User, "", "echo started"), 1, &["run: --tap vm0: /dev/net/tun", "chmod 666"]);
        softnet_testbed::isolate::replace_directory("/dev/net");
        fails(&mut run(&bed.setuid, Caller::User, "", "echo started"), 1, &["run: --tap vm0: /dev/net/tun", "modprobe tun"]);
    });
}
