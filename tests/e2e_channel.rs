//! The control channel through the real program: its standard output, as Tart passes it.
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use softnet_testbed::channel::{Client, MAC, Pings, longest_policy, set};
use softnet_testbed::guest::portable::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::sys;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{PATIENCE, SILENCE};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

const GET: &str = r#"{"jsonrpc":"2.0","id":1,"method":"softnet.policy.get"}"#;
/// What the specification has, to the letter.
const EXAMPLES: [(&str, &str); 3] = [
    (GET, r#"{"jsonrpc":"2.0","id":1,"result":{"allow":[],"block":[],"ruleCount":0}}"#),
    (
        r#"{"jsonrpc":"2.0","id":"a","method":"softnet.policy.set","params":{"allow":["@host","10.1.2.3/8"],"block":["0.0.0.0/0"]}}"#,
        r#"{"jsonrpc":"2.0","id":"a","result":{"allow":["10.0.0.0/8","@host"],"block":["0.0.0.0/0"],"ruleCount":3}}"#,
    ),
    (
        r#"{"jsonrpc":"2.0","id":3,"method":"softnet.policy.set","params":{"allow":["in 10.1.2.3/8","out 10.0.0.0/8"],"block":["in 10.0.0.0/8"]}}"#,
        r#"{"jsonrpc":"2.0","id":3,"result":{"allow":["in 10.0.0.0/8","out 10.0.0.0/8"],"block":["in 10.0.0.0/8"],"ruleCount":2}}"#,
    ),
];

/// softnet for a plain user, its guest with a lease, and a client of its channel.
#[test]
fn the_examples_of_the_specification_are_answered_to_the_letter() {
    in_own_network(|| {
        let (softnet, _guest, mut client) = LinuxTestbed::new(SOFTNET).guest_with_channel(MAC, "");
        for (request, reply) in EXAMPLES {
            assert_eq!(client.ask(request), reply);
        }
        softnet.stop();
        assert_eq!(client.reply(), "", "nothing but replies, and the end with softnet's");
    });
}

#[test]
fn what_was_given_at_the_start_is_told_in_normal_form() {
    in_own_network(|| {
        let (softnet, _guest, mut client) = LinuxTestbed::new(SOFTNET)
            .guest_with_channel(MAC, "--allow 192.0.2.7,10.1.2.3/8 --allow @host,10.0.0.0/8 --block=");
        let reply = r#"{"jsonrpc":"2.0","id":1,"result":{"allow":["10.0.0.0/8","192.0.2.7/32","@host"],"block":[],"ruleCount":3}}"#;
        assert_eq!(client.ask(GET), reply);
        softnet.stop();
    });
}

#[test]
fn a_policy_takes_hold_between_two_frames() {
    in_own_network(|| {
        let (softnet, guest, mut client) = LinuxTestbed::new(SOFTNET).guest_with_channel(MAC, "");
        let pings = Pings::of(guest);
        const ROUNDS: u64 = 10;
        for _ in 0..ROUNDS {
            assert!(client.set("", "@host").contains("result"));
            // The reply is there, so the very next frame is judged by the new policy.
            pings.once(Duration::from_millis(50)).expect_err("blocked");
            assert!(client.set("", "").contains("result"));
            pings.once(PATIENCE).expect("the gateway answers");
        }
        assert_eq!(softnet.stop().dropped("blocked"), ROUNDS);
    });
}

#[test]
fn what_is_blocked_is_closed_at_once_and_what_is_allowed_is_open_at_once() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest, mut client) = bed.guest_with_channel(MAC, "");
        let (web, private) = (bed.facts().web, bed.facts().private);
        guest.http_get(web, PATIENCE).expect("the world is open");
        client.set(&format!("{private}"), &format!("{web}"));
        bed.host_reaches(web).expect("the control");
        assert!(guest.http_get(web, SILENCE).is_err(), "blocked");
        guest.http_get(private, PATIENCE).expect("allowed");
        client.set("", "");
        assert!(guest.http_get(private, SILENCE).is_err(), "no longer allowed");
        guest.http_get(web, PATIENCE).expect("no longer blocked");
        assert_eq!(guest.dhcp(PATIENCE).expect("the lease is as it was").address, guest.address());
        softnet.stop();
    });
}

#[test]
fn a_client_that_ends_its_side_gets_all_replies_and_then_the_end_and_the_policy_stays() {
    in_own_network(|| {
        let (mut softnet, guest, mut client) = LinuxTestbed::new(SOFTNET).guest_with_channel(MAC, "");
        let pings = Pings::of(guest);
        // The last line has no line feed: it is no request.
        let requests = format!("{}\n{GET}\nnonsense\n{}\n{}", longest_policy(0), set("", "@host"), set("", ""));
        client.send(requests.as_bytes());
        let replies = client.finish();
        assert_eq!(replies.lines().count(), 4, "{replies:.200}");
        assert!(replies.ends_with("\"block\":[\"@host\"],\"ruleCount\":1}}\n"), "{replies:.200}");
        assert!(pings.once(SILENCE).is_err(), "the last policy holds");
        assert!(softnet.is_alive());
        assert_eq!(softnet.stop().dropped("blocked"), 1);
    });
}

#[test]
fn what_a_client_asked_before_it_was_gone_is_done() {
    in_own_network(|| {
        let (mut softnet, guest, mut client) = LinuxTestbed::new(SOFTNET).guest_with_channel(MAC, "");
        let pings = Pings::of(guest);
        client.send(format!("{}\n{GET}\n{}\n", set("10.0.0.0/8", ""), set("", "@host")).as_bytes());
        drop(client);
        softnet.wait_said("ended").expect("softnet has seen its end");
        assert!(pings.once(SILENCE).is_err(), "the last policy holds");
        assert!(softnet.is_alive());
        softnet.stop();
    });
}

#[test]
fn the_end_is_seen_by_the_client_though_others_hold_the_same_socket() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (guest, other) = sys::frame_sockets();
        let (client, output) = UnixStream::pair().expect("a socket pair");
        let _copy = output.try_clone().expect("Tart may keep its copy");
        let mut command = softnet::command(&bed.setuid, Caller::User);
        command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--control-fd", "1"]);
        let mut softnet = Softnet::spawn_printing_to(command.stdin(OwnedFd::from(other)), OwnedFd::from(output).into());
        softnet.wait_ready();
        assert_eq!(Client::new(client).finish(), "");
        PortableGuest::new(guest, MAC).dhcp(PATIENCE).expect("softnet serves its guest");
        softnet.stop();
    });
}

#[test]
fn the_channel_may_be_any_descriptor() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (own, fd) in [("9<&1 1>/dev/null", "9"), ("3<&1 1>/dev/null 9<&0 0</dev/null", "3")] {
            let vm = if own.contains("0<") { "9" } else { "0" };
            let (guest, other) = sys::frame_sockets();
            let (client, output) = UnixStream::pair().expect("a socket pair");
            let program = bed.setuid.display();
            let line = format!("exec {program} --vm-fd {vm} --vm-mac-address {MAC} --control-fd {fd} {own}");
            let mut command = softnet::command(Path::new("/bin/sh"), Caller::User);
            command.args(["-c", &line]).stdin(OwnedFd::from(other));
            let mut softnet = Softnet::spawn_printing_to(&mut command, OwnedFd::from(output).into());
            softnet.wait_ready();
            assert!(Client::new(client).ask(GET).contains("result"));
            PortableGuest::new(guest, MAC).dhcp(PATIENCE).expect("a lease");
            softnet.stop();
        }
    });
}

#[test]
fn no_descriptor_comes_with_a_request() {
    in_own_network(|| {
        let (softnet, _guest, client) = LinuxTestbed::new(SOFTNET).guest_with_channel(MAC, "");
        let open = || fs::read_dir(format!("/proc/{}/fd", softnet.pid())).expect("root may look").count();
        let before = open();
        let mut stream = client.into_stream();
        let file = fs::File::open("/dev/null").expect("opened");
        let request = format!("{GET}\n");
        let rights = [file.as_raw_fd()];
        let message = [ControlMessage::ScmRights(&rights)];
        let sent =
            sendmsg::<()>(stream.as_raw_fd(), &[IoSlice::new(request.as_bytes())], &message, MsgFlags::empty(), None);
        // Linux 6.16 and newer refuse it, older ones drop it on arrival.
        if sent.is_err() {
            stream.write_all(request.as_bytes()).expect("sent without");
        }
        let mut reply = [0; 200];
        assert!(stream.read(&mut reply).expect("a reply") > 0);
        assert_eq!(open(), before);
        softnet.stop();
    });
}

#[test]
fn a_channel_that_is_shut_down_by_its_client_ends_nothing_else() {
    in_own_network(|| {
        let (mut softnet, guest, client) = LinuxTestbed::new(SOFTNET).guest_with_channel(MAC, "");
        let pings = Pings::of(guest);
        client.into_stream().shutdown(Shutdown::Both).expect("shut down");
        softnet.wait_said("ended").expect("softnet has seen it");
        pings.once(PATIENCE).expect("the gateway answers");
        // It does not spin on what it has no use for: half a second of nothing costs next to nothing.
        let before = cpu_time(&softnet);
        std::thread::sleep(Duration::from_millis(500)); // the time in which it is watched
        assert!(cpu_time(&softnet) - before < 10, "ticks of 10 ms");
        softnet.stop();
    });
}

/// In ticks of 10 ms.
fn cpu_time(softnet: &Softnet) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", softnet.pid())).expect("softnet runs");
    let (_, rest) = stat.rsplit_once(") ").expect("proc(5)");
    rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

/// Root is told on standard error as whom softnet goes on; not where that is the channel.
#[test]
fn standard_error_as_the_channel_has_replies_and_nothing_else() {
    in_own_network(|| {
        let (client, theirs) = UnixStream::pair().expect("a socket pair");
        let (_guest, socket) = sys::frame_sockets();
        let mut child = Command::new(SOFTNET)
            .args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--control-fd", "2"])
            .stdin(OwnedFd::from(socket))
            .stderr(OwnedFd::from(theirs))
            .spawn()
            .expect("softnet starts");
        let mut client = Client::new(client);
        assert_eq!(client.ask(GET), EXAMPLES[0].1);
        assert_eq!(client.finish(), "");
        child.kill().expect("it lives");
        child.wait().expect("it ends");
    });
}
