//! `--pcap`: what is in the file, whose it is, and that nobody waits for it.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use softnet_testbed::attack::Party;
use softnet_testbed::binary::{CALLER, callers_directory};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::softnet::{self, Caller, Ended, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4, Mac};
use softnet_testbed::{sys, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

fn fifo_of_the_callers(path: &Path) {
    nix::unistd::mkfifo(path, Mode::from_bits_truncate(0o600)).expect("a FIFO is made");
    chown(path, Some(CALLER), Some(CALLER)).expect("it is the caller's");
}

/// A packet as tshark reads it.
#[derive(Debug)]
struct Packet {
    comment: String,
    is_inbound: bool,
    source: String,
    seconds: f64,
}

/// What tshark makes of a capture; it must have nothing to complain of.
fn read(path: &Path) -> Vec<Packet> {
    let fields = ["frame.comment", "frame.packet_flags_direction", "eth.src", "frame.time_epoch"];
    let mut command = tools::command("tshark -n -T fields -E separator=| -r");
    command.arg(path);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = tools::output(&mut command);
    let text = tools::text(&output);
    assert!(output.status.success(), "{text}");
    assert!(!text.contains("cut short") && !text.contains("damaged"), "{text}");
    let printed = String::from_utf8(output.stdout).expect("tshark prints text");
    printed
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split('|').collect();
            let [comment, direction, source, time] = fields[..] else { panic!("{line}") };
            let direction = direction.trim_start_matches("0x").trim_start_matches('0');
            assert!(matches!(direction, "1" | "2"), "{line}");
            let seconds = time.parse().expect("a time");
            Packet { comment: comment.to_owned(), is_inbound: direction == "1", source: source.to_owned(), seconds }
        })
        .collect()
}

/// How many frames of one side softnet says that it has seen, forwarded or dropped.
fn counted(ended: &Ended, side: &str) -> u64 {
    let start = format!("from the {side}: ");
    let line = ended.said.lines().find_map(|line| line.split_once(&start).map(|(_, rest)| rest)).expect("a last word");
    let forwarded: u64 = line.split(' ').next().expect("a number").parse().expect("a number");
    let drops = line.split_once("dropped: [").expect("drops").1.trim_end_matches(']');
    let numbers = drops.split(", ").filter_map(|drop| drop.split(' ').nth(1)?.parse::<u64>().ok());
    forwarded + numbers.sum::<u64>()
}

/// Softnet with a capture, ready, and its guest with a lease.
/// Traffic that is forwarded, dropped and answered.
fn talk(bed: &LinuxTestbed, guest: &mut PortableGuest) {
    let gateway = Party::gateway_of(guest);
    guest.ping(gateway.ip, PATIENCE).expect("the gateway answers");
    let spoofed = wire::echo(gateway.ip, bed.facts().web, 1);
    guest.send_raw(&wire::ethernet(gateway.mac, MAC, IPV4, &spoofed)).expect("the socket takes a frame");
    let blocked = wire::echo(guest.address(), bed.facts().private, 1);
    guest.send_raw(&wire::ethernet(gateway.mac, MAC, IPV4, &blocked)).expect("the socket takes a frame");
    let _ = guest.resolve(gateway.ip, "elsewhere.example", wait::SILENCE);
    guest.flush();
}

#[test]
fn each_frame_is_there_with_its_way_and_what_became_of_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let path = callers_directory().join("capture.pcapng");
        let options = format!("--pcap {} --allow name.example --dns-names-only", path.display());
        let before = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64();
        let (softnet, mut guest) = bed.guest(MAC, &options);
        talk(&bed, &mut guest);
        let ended = softnet.stop();
        let packets = read(&path);
        let metadata = fs::metadata(&path).expect("there");
        assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (CALLER, CALLER, 0o600));

        let (from_guest, to_guest): (Vec<_>, Vec<_>) = packets.iter().partition(|packet| !packet.is_inbound);
        let own = to_guest.iter().filter(|packet| packet.comment == "softnet's own answer").count();
        assert_eq!(from_guest.len() as u64, counted(&ended, "guest"), "{packets:#?}");
        assert_eq!((to_guest.len() - own) as u64, counted(&ended, "host"), "{packets:#?}");
        assert!(from_guest.iter().all(|packet| packet.source == MAC.to_string()));
        assert!(to_guest.iter().all(|packet| packet.source != MAC.to_string()));
        let has = |comment: &str, count: usize| {
            let found = packets.iter().filter(|packet| packet.comment.starts_with(comment)).count();
            assert_eq!(found, count, "{comment}: {packets:#?}");
        };
        has("dropped: source-address: an IPv4 source other than the guest's lease", 1);
        has("dropped: not-reachable: ", 1);
        let answered = packets.iter().filter(|packet| packet.comment.starts_with("answered: dns-name: ")).count();
        assert!(answered > 0 && answered == own, "{packets:#?}");
        let kinds = ["forwarded", "dropped: ", "answered: ", "softnet's own answer"];
        assert!(packets.iter().all(|packet| kinds.iter().any(|kind| packet.comment.starts_with(kind))), "{packets:#?}");
        let after = std::time::UNIX_EPOCH.elapsed().expect("a clock").as_secs_f64();
        assert!(packets.iter().all(|packet| (before..=after).contains(&packet.seconds)), "{packets:#?}");
        assert!(packets.is_sorted_by(|a, b| a.seconds <= b.seconds));
    });
}

#[test]
fn the_file_is_reached_by_the_rights_of_the_caller() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let own = callers_directory();
        let roots = Path::new(SCRATCH).join("roots");
        fs::create_dir(&roots).expect("made");
        fs::set_permissions(&roots, Permissions::from_mode(0o755)).expect("set");
        let secret = roots.join("secret");
        fs::write(&secret, "kept").expect("written");
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("set");
        symlink(&secret, own.join("to-roots")).expect("linked");
        symlink(own.join("elsewhere"), own.join("to-own")).expect("linked");
        let hidden = Path::new(SCRATCH).join("hidden");
        fs::create_dir(&hidden).expect("made");
        fs::set_permissions(&hidden, Permissions::from_mode(0o700)).expect("set");
        let denied = "Permission denied";
        for (path, words) in [
            (secret.clone(), denied),
            (roots.join("new"), denied),
            (hidden.join("new"), denied),
            (own.join("to-roots"), "symbolic link"),
            (own.join("to-own"), "symbolic link"),
            (own.join("no/such"), "No such file"),
            (own.clone(), "neither a regular file nor a FIFO"),
            ("/dev/null".into(), "neither a regular file nor a FIFO"),
            ("/dev/fd/0".into(), "neither a regular file nor a FIFO"),
            ("/dev/fd/99".into(), "No such file"),
        ] {
            let (softnet, _guest) = bed.launch(MAC).with(&format!("--pcap {}", path.display())).spawn();
            let ended = softnet.wait_end(PATIENCE);
            assert_eq!(ended.status.code(), Some(1), "{}: {}", path.display(), ended.said);
            let line = ended.said.lines().last().expect("a line");
            assert!(line.starts_with("softnet: --pcap ") && line.contains(words), "{}: {line}", path.display());
        }
        assert_eq!(fs::read(&secret).expect("there"), b"kept");
        assert!(!roots.join("new").exists() && !hidden.join("new").exists() && !own.join("elsewhere").exists());
        assert_eq!(tools::run("ip -o link show type bridge"), "", "nothing was set up");
    });
}

#[test]
fn root_writes_as_the_user_whom_it_becomes() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let own = callers_directory();
        let options = |path: &Path| format!("--user {CALLER} --group {CALLER} --pcap {}", path.display());
        let roots = Path::new(SCRATCH).join("roots.pcapng");
        let ended = bed.launch(MAC).with(&options(&roots)).spawn().0.wait_end(PATIENCE);
        assert!(ended.said.contains("Permission denied"), "{}", ended.said);
        assert!(!roots.exists());
        let path = own.join("capture");
        let (softnet, _guest) = bed.guest(MAC, &options(&path));
        assert_eq!(fs::metadata(&path).expect("there").uid(), CALLER);
        softnet.stop();
        assert!(!read(&path).is_empty());
    });
}

#[test]
fn a_relative_path_starts_where_the_caller_is() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let own = callers_directory();
        let (guest, other) = sys::frame_sockets();
        let mut command = softnet::command(&bed.setuid, Caller::User);
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--pcap", "here.pcapng"]);
        let mut softnet = Softnet::spawn(command.current_dir(&own).stdin(OwnedFd::from(other)));
        softnet.wait_ready();
        PortableGuest::new(guest, MAC).dhcp(PATIENCE).expect("a lease");
        softnet.stop();
        assert_eq!(read(&own.join("here.pcapng")).len(), 4, "discover, offer, request, acknowledge");
    });
}

#[test]
fn whoever_follows_the_file_sees_what_passed() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let path = callers_directory().join("followed");
        let (softnet, mut guest) = bed.guest(MAC, &format!("--pcap {}", path.display()));
        let before = fs::metadata(&path).expect("there").len();
        let gateway = guest.gateway();
        guest.ping(gateway, PATIENCE).expect("the gateway answers");
        guest
            .serve("a longer file", PATIENCE, || (fs::metadata(&path).ok()?.len() > before).then_some(()))
            .expect("it is written while the guest runs");
        softnet.stop();
    });
}

#[test]
fn at_its_limit_the_capture_ends_with_a_whole_block_and_the_guest_goes_on() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let path = callers_directory().join("short");
        let (mut softnet, mut guest) = bed.guest(MAC, &format!("--pcap {} --pcap-limit 4K", path.display()));
        for _ in 0..3 {
            guest.http_get(bed.facts().web, PATIENCE).expect("the web answers");
        }
        softnet.wait_said("limit").expect("it says that the capture has ended");
        guest.http_get(bed.facts().web, PATIENCE).expect("the web answers still");
        let length = fs::metadata(&path).expect("there").len();
        assert!((2048..=4096).contains(&length), "{length}");
        let ended = softnet.stop();
        assert_eq!(ended.said.matches("--pcap-limit").count(), 1, "{}", ended.said);
        assert_eq!(fs::metadata(&path).expect("there").len(), length);
        assert!(read(&path).len() > 4);
    });
}

#[test]
fn a_file_that_may_not_grow_ends_the_capture_and_not_the_guest() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        tools::run(&format!("mount -t tmpfs -o size=16k,mode=777 none {}", folder.display()));
        let path = folder.join("full");
        let (mut softnet, mut guest) = bed.guest(MAC, &format!("--pcap {}", path.display()));
        let web = bed.facts().web;
        let mut times = 0;
        while !softnet.said().contains("the capture ends") {
            guest.http_get(web, PATIENCE).expect("the web answers");
            times += 1;
            assert!(times < 1000, "{}", softnet.said());
        }
        guest.http_get(web, PATIENCE).expect("the web answers still");
        assert!(softnet.is_alive());
        let ended = softnet.stop();
        assert_eq!(ended.said.matches("No space left on device").count(), 1, "{}", ended.said);
    });
}

#[test]
fn a_fifo_that_nobody_reads_holds_up_neither_start_nor_guest() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let path = callers_directory().join("fifo");
        fifo_of_the_callers(&path);
        let (mut softnet, mut guest) = bed.guest(MAC, &format!("--pcap {}", path.display()));
        let web = bed.facts().web;
        let mut times = 0;
        while !softnet.said().contains("frames are left out") {
            let big = wire::udp((guest.address(), 4000), (web, 4000), &[7; 1400]);
            let frame = wire::ethernet(Party::gateway_of(&guest).mac, MAC, IPV4, &big);
            guest.send_raw_when_there_is_room(&frame);
            times += 1;
            assert!(times < 5000, "more than the queue has room for: {}", softnet.said());
        }
        guest.http_get(web, PATIENCE).expect("the web answers");
        // Whoever comes late gets whole blocks from the first one on, and is told of what is missing.
        let copy = path.with_file_name("copy");
        let mut reader = std::fs::File::open(&path).expect("the FIFO opens");
        let reading = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).expect("the FIFO is read");
            bytes
        });
        for _ in 0..20 {
            guest.http_get(web, PATIENCE).expect("the web answers");
        }
        assert!(softnet.is_alive());
        let ended = softnet.stop();
        fs::write(&copy, reading.join().expect("read")).expect("written");
        let packets = read(&copy);
        assert!(packets.len() > 500, "{}", packets.len());
        let of_the_first = packets.iter().filter(|packet| packet.comment == "forwarded").count();
        assert!(of_the_first > 500);
        assert_eq!(ended.said.matches("frames are left out").count(), 1, "{}", ended.said);
    });
}

#[test]
fn a_reader_that_goes_away_ends_the_capture_and_not_the_guest() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let path = callers_directory().join("fifo");
        fifo_of_the_callers(&path);
        let mut reader = fs::OpenOptions::new()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&path)
            .expect("the FIFO opens");
        let (mut softnet, mut guest) = bed.guest(MAC, &format!("--pcap {}", path.display()));
        let mut begun = [0; 4];
        reader.read_exact(&mut begun).expect("something is there after a lease");
        assert_eq!(begun, [0x0a, 0x0d, 0x0d, 0x0a]);
        drop(reader);
        guest.http_get(bed.facts().web, PATIENCE).expect("the web answers");
        softnet.wait_said("reader").expect("it says that the capture has ended");
        guest.http_get(bed.facts().web, PATIENCE).expect("the web answers still");
        softnet.stop();
    });
}

/// What a shell makes of `--pcap >(program)`.
#[test]
fn a_descriptor_of_the_callers_can_be_the_file() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        let (guest, other) = sys::frame_sockets();
        let script =
            format!("exec {} --vm-fd 0 --vm-mac-address {MAC} --pcap >(exec cat >piped)", bed.setuid.display());
        let mut command = softnet::command(&tools::find("bash").expect("bash is installed"), Caller::User);
        let mut softnet =
            Softnet::spawn(command.args(["-c", &script]).current_dir(&folder).stdin(OwnedFd::from(other)));
        softnet.wait_ready();
        let mut guest = PortableGuest::new(guest, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        softnet.stop();
        let piped = folder.join("piped");
        let whole = wait::until("all that was piped", PATIENCE, || {
            let mut tshark = tools::command("tshark -r");
            (tools::output(tshark.arg(&piped)).stdout.iter().filter(|&&byte| byte == b'\n').count() == 4).then_some(())
        });
        whole.expect("discover, offer, request, acknowledge");
    });
}
