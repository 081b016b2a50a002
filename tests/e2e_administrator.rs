//! The administrator's word, `/etc/softnet.toml`: each limit as a plain user meets it by way of the setuid bit, and each way in
//! which the file can be out of order.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use softnet_testbed::binary::CALLER;
use softnet_testbed::channel::Pings;
use softnet_testbed::guest::{KernelGuest, PortableGuest};
use softnet_testbed::internet::{METADATA, PRIVATE, WEB};
use softnet_testbed::isolate::{self, in_own_network};
use softnet_testbed::plain::PlainBridge;
use softnet_testbed::softnet::{Launch, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
const FILE: &str = "/etc/softnet.toml";

/// A host whose administrator says `text`.
fn host(text: &str) -> LinuxTestbed {
    isolate::own_etc();
    say(text);
    LinuxTestbed::new(SOFTNET)
}

fn say(text: &str) {
    fs::write(FILE, text).expect("the file is written");
    fs::set_permissions(FILE, Permissions::from_mode(0o644)).expect("its permissions are set");
}

/// Asserts that a start ends with these words, in a line, before anything is set up.
fn assert_refused(launch: &Launch, words: &[&str]) {
    let ended = launch.spawn().0.wait_end(PATIENCE);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    ended.assert_told(words);
    assert!(!ended.said.contains("ready"), "{}", ended.said);
}

fn assert_nothing_was_set_up() {
    assert_eq!(tools::run("ip -o link show type bridge"), "", "nothing is set up");
    assert!(!fs::exists("/run/softnet").expect("asked"), "nothing is set up");
}

#[test]
fn a_file_that_is_not_in_order_refuses_the_start_of_anyone() {
    in_own_network(|| {
        let bed = host("");
        let refused = |words: &[&str]| {
            for launch in [bed.launch(MAC), Launch::new(&bed.program, MAC)] {
                assert_refused(&launch, words);
            }
        };
        say("block = []\nblok = []\n");
        refused(&["/etc/softnet.toml, line 2: there is no key `blok`"]);
        say("users = [\n");
        refused(&["/etc/softnet.toml, line 1: this is no TOML"]);
        say("block = [\"github.com\"]\n");
        refused(&["/etc/softnet.toml, line 1: `block`: `github.com` is a name"]);
        say(&"#".repeat(300_000));
        refused(&["/etc/softnet.toml is longer than"]);
        say("");
        fs::set_permissions(FILE, Permissions::from_mode(0o664)).expect("set");
        refused(&["others than root may write to /etc/softnet.toml (mode 0664)", "chmod go-w /etc/softnet.toml"]);
        say("");
        chown(FILE, Some(CALLER), None).expect("given away");
        refused(&["/etc/softnet.toml belongs to uid 4711", "chown root /etc/softnet.toml"]);
        fs::rename(FILE, "/etc/elsewhere.toml").expect("moved");
        chown("/etc/elsewhere.toml", Some(0), None).expect("given back");
        symlink("/etc/elsewhere.toml", FILE).expect("linked");
        refused(&["/etc/softnet.toml is a symbolic link"]);
        fs::remove_file(FILE).expect("removed");
        fs::create_dir(FILE).expect("made");
        refused(&["/etc/softnet.toml is no regular file"]);
        fs::remove_dir(FILE).expect("removed");
        tools::run(&format!("mkfifo {FILE}"));
        refused(&["/etc/softnet.toml is no regular file"]);
        fs::remove_file(FILE).expect("removed");
        say("");
        fs::set_permissions("/etc", Permissions::from_mode(0o777)).expect("set");
        refused(&["others than root may write to /etc (mode 0777)"]);
        fs::set_permissions("/etc", Permissions::from_mode(0o755)).expect("set");
        assert_nothing_was_set_up();
        // The control: in order, it says nothing.
        let (softnet, _guest) = bed.guest(MAC, "");
        softnet.stop();
    });
}

#[test]
fn who_may_run_it_is_a_user_or_in_a_group_of_the_file() {
    in_own_network(|| {
        let bed = host("users = [\"root\", 4712]\ngroups = [\"no-such-group\"]\n");
        assert_refused(&bed.launch(MAC), &["/etc/softnet.toml does not let uid 4711 run softnet"]);
        assert_nothing_was_set_up();
        for word in ["users = [4711]", "groups = [4711]", "groups = [\"callers\"]"] {
            say(word);
            let mut group = fs::read_to_string("/etc/group").expect("read");
            group.push_str("callers:x:4711:\n");
            fs::write("/etc/group", group).expect("written");
            let (softnet, _guest) = bed.guest(MAC, "");
            softnet.stop();
        }
        say("users = []");
        assert_refused(&bed.launch(MAC), &["does not let"]);
        let (softnet, _guest) = bed.as_root().guest(MAC, "");
        softnet.stop();
    });
}

#[test]
fn entries_of_the_administrators_are_lifted_by_nobody() {
    in_own_network(|| {
        let bed = host(&format!("block = [\"{METADATA}\", \"{PRIVATE}\"]\n"));
        let allow = format!("--allow {METADATA},{PRIVATE}:80,0.0.0.0/0:1-65535");
        let (softnet, mut guest, mut client) = bed.guest_with_channel(MAC, &allow);
        let closed = |guest: &mut PortableGuest| {
            guest.http_get(WEB, PATIENCE).expect("the rest is open");
            for target in [METADATA, PRIVATE] {
                guest.http_get(target, SILENCE).expect_err("closed by the administrator");
                guest.ping(target, SILENCE).expect_err("closed by the administrator");
            }
        };
        closed(&mut guest);
        let allowed = format!("{METADATA},{PRIVATE}");
        let reply = client.set(&allowed, "");
        assert!(
            reply.contains("\"ruleCount\":2}") && !reply.contains("\"block\":[\""),
            "its own entries alone: {reply}"
        );
        closed(&mut guest);
        let ended = softnet.stop();
        assert!(ended.dropped("blocked") > 0, "{}", ended.said);
        // The control: they are the administrator's alone.
        fs::remove_file(FILE).expect("removed");
        let (softnet, mut guest) = bed.guest(MAC, &allow);
        guest.http_get(PRIVATE, PATIENCE).expect("without the file the caller decides");
        softnet.stop();
        // They are about the guest: root's are held as well.
        say(&format!("block = [\"{PRIVATE}\"]\n"));
        let (softnet, mut guest) = bed.as_root().guest(MAC, &allow);
        guest.http_get(PRIVATE, SILENCE).expect_err("closed by the administrator");
        softnet.stop();
    });
}

#[test]
fn nobody_begins_anything_with_a_guest_where_the_administrator_says_so() {
    in_own_network(|| {
        let bed = host("block = [\"in 0.0.0.0/0\"]\n");
        let (softnet, mut guest) = bed.guest(MAC, "--allow 0.0.0.0/0");
        guest.http_get(WEB, PATIENCE).expect("what the guest begins is answered");
        let ping = format!("ping -c 1 -W 1 {}", guest.address());
        let guest = Pings::of(guest);
        assert!(!tools::succeeds(&mut tools::command(&ping)), "the host begins nothing");
        drop(guest);
        softnet.stop();
    });
}

#[test]
fn a_caller_names_the_bridges_and_subnets_that_the_administrator_lets_it() {
    in_own_network(|| {
        let bed = host("bridges = [\"virbr7\"]\nsubnets = [\"172.29.0.0/16\"]\n");
        let gateway = Ipv4Addr::new(192, 168, 200, 1);
        let _bridges =
            [PlainBridge::new("virbr7", gateway), PlainBridge::new("virbr8", Ipv4Addr::new(192, 168, 201, 1))];
        assert_refused(&bed.launch(MAC).with("--bridge virbr8"), &["--bridge", "/etc/softnet.toml"]);
        assert_refused(&bed.launch(MAC).with("--subnet 172.30.0.0/24"), &["--subnet", "/etc/softnet.toml"]);
        let (softnet, guest) = bed.guest(MAC, "--bridge virbr7");
        assert_eq!(guest.gateway(), gateway);
        softnet.stop();
        let (softnet, guest) = bed.guest(MAC, "--subnet 172.29.7.0/24");
        assert_eq!(guest.gateway(), Ipv4Addr::new(172, 29, 7, 1));
        softnet.stop();
    });
}

#[test]
fn a_caller_exposes_the_ports_that_the_administrator_lets_it() {
    in_own_network(|| {
        let bed = host("expose = [\"8000-8099\", \"127.0.0.1:9000/udp\"]\n");
        for (refused, allowed) in [
            ("8100:22", "8000-8099, 127.0.0.1:9000/udp"),
            ("9000:22/udp", "8000-8099, 127.0.0.1:9000/udp"),
            ("127.0.0.1:9000:22", "8000-8099, 127.0.0.1:9000/udp"),
        ] {
            let said = format!("--expose {refused}: /etc/softnet.toml lets callers expose {allowed}: ");
            assert_refused(&bed.launch(MAC).with(&format!("--expose 8000:22,{refused}")), &[&said]);
        }
        // What is below 1024 the file cannot give away.
        assert_refused(
            &bed.launch(MAC).with("--expose 80:80"),
            &["--expose 80:80: ports below 1024 are for root itself"],
        );
        say("expose = []\n");
        assert_refused(&bed.launch(MAC).with("--expose 8000:22"), &["lets callers expose no ports"]);
        assert_nothing_was_set_up();
        assert!(TcpListener::bind("0.0.0.0:8000").is_ok(), "no port was taken");
        for (word, options) in [
            ("expose = [\"8000-8099\", \"127.0.0.1:9000/udp\"]\n", "--expose 8000:22,127.0.0.1:9000:22/udp"),
            ("guests-per-user = 9\n", "--expose 8100:22"),
        ] {
            say(word);
            let (softnet, _guest) = bed.guest(MAC, options);
            wait::until("the forward", PATIENCE, || softnet.said().contains(":22 works").then_some(()))
                .expect("it works");
            softnet.stop();
        }
        say("expose = []\n");
        let (softnet, _guest) = bed.as_root().guest(MAC, "--expose 443:22");
        softnet.stop();
    });
}

#[test]
fn no_guest_of_a_callers_is_faster_than_the_administrator_says() {
    in_own_network(|| {
        let bed = host("rate-limit = \"10mbit/s,50pps\"\n");
        // What the host sends at once, a guest with 64 frames in its bucket does not get.
        let flooded = |bed: &LinuxTestbed, number: u8, options: &str| {
            let mac = Mac::guest(number);
            let (softnet, socket) = bed.launch(mac).with(options).start();
            let mut guest = KernelGuest::new(&format!("guest{number}"), socket, mac);
            let address = guest.dhcp().address;
            let sender = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            sender.send_to(b"who is it?", (address, 9)).expect("sent");
            guest.run(&format!("ping -c 1 -W 5 {}", guest.gateway()));
            for _ in 0..300 {
                sender.send_to(b"all at once", (address, 9)).expect("sent");
            }
            guest.run(&format!("ping -c 8 -i 0.2 -W 5 {}", guest.gateway()));
            softnet.stop().said
        };
        let gets = |limit: &str| format!("the guest gets --rate-limit {limit}, as /etc/softnet.toml says");
        for (number, asked, line) in [
            (1, "", gets("10mbit/s,50pps")),
            (2, "--rate-limit 64kbit", gets("64kbit/s,50pps")),
            (
                3,
                "--rate-limit 1gbit,20kpps",
                "--rate-limit 1gbit/s,20kpps: the guest gets 10mbit/s,50pps, as /etc/softnet.toml says".into(),
            ),
        ] {
            let said = flooded(&bed, number, asked);
            let is_held = said.lines().any(|line| line.contains("dropped: [") && line.contains("rate-limit "));
            assert!(said.contains(&line) && is_held, "{asked}: {said}");
        }
        // A caller may have less without a word, and root what it likes.
        let (softnet, _guest) = bed.guest(MAC, "--rate-limit 5mbit,50pps");
        assert!(!softnet.said().contains("/etc/softnet.toml"), "{}", softnet.said());
        softnet.stop();
        let said = flooded(&bed.as_root(), 4, "");
        assert!(!said.contains("rate-limit"), "{said}");
    });
}

#[test]
fn isolation_that_is_always_on_stays_on() {
    in_own_network(|| {
        let bed = host("isolation = \"always\"\n");
        let isolated = || tools::run("ip -o -d link show master softnet0").contains("isolated on");
        let (softnet, _guest) = bed.guest(MAC, "--allow 0.0.0.0/0");
        assert!(isolated() && softnet.said().contains("stays isolated"), "{}", softnet.said());
        softnet.stop();
        say("isolation = \"caller\"\n");
        let (softnet, _guest) = bed.guest(MAC, "--allow 0.0.0.0/0");
        assert!(!isolated(), "the control");
        softnet.stop();
    });
}

#[test]
fn a_user_has_no_more_guests_than_the_administrator_says() {
    in_own_network(|| {
        let bed = host("guests-per-user = 2\n");
        let start = |number| bed.launch(Mac::guest(number)).start();
        let (first, _a) = start(1);
        let (second, _b) = bed.launch(Mac::guest(2)).with("--vm-net-type host").start();
        let third = bed.launch(Mac::guest(3));
        assert_refused(&third, &["uid 4711 has as many guests running as /etc/softnet.toml lets a user have, 2"]);
        let files = || fs::read_dir("/run/softnet/softnet0.guests").expect("listed").count();
        assert_eq!(files(), 2, "a claim and its record: a start that is refused leaves neither");
        // Root's own are not counted, nor held.
        let (roots, _c) = Launch::new(&bed.program, Mac::guest(4)).start();
        assert_refused(&third, &["uid 4711 has as many guests running"]);
        // A guest that is started anew while its predecessor ends is one guest.
        first.signal(nix::sys::signal::Signal::SIGINT);
        let (first, _d) = start(1);
        first.stop();
        let (third, _e) = third.start();
        for softnet in [second, third, roots] {
            softnet.stop();
        }
    });
}

#[test]
fn of_starts_at_once_no_more_get_through_than_may() {
    in_own_network(|| {
        let bed = host("guests-per-user = 3\n");
        let mut starts: Vec<_> = (1..=8).map(|number| bed.launch(Mac::guest(number)).spawn()).collect();
        let ready = |softnet: &mut Softnet| softnet.said().contains("ready:");
        wait::until("the end of all starts", PATIENCE, || {
            starts.iter_mut().all(|(softnet, _)| ready(softnet) || !softnet.is_alive()).then_some(())
        })
        .expect("each is ready or refused");
        assert_eq!(starts.iter_mut().filter_map(|(softnet, _)| ready(softnet).then_some(())).count(), 3);
    });
}
