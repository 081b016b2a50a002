//! A whole virtual machine under QEMU, on the socket that softnet's users give it.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use softnet_testbed::channel::{Client, longest_policy};
use softnet_testbed::guest::vm::{self, LIMIT, Vm};
use softnet_testbed::internet::Internet;
use softnet_testbed::isolate::{in_own_network_within, is_inside};
use softnet_testbed::plain::PlainBridge;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wire::{self, Arp, Mac};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MAC: Mac = Mac::guest(9);
/// The MAC that the VM takes when it tries another one.
const OTHER_MAC: Mac = Mac([2, 0, 0, 0x66, 0x66, 0x66]);

/// The kernel and initramfs; fetched outside of the namespaces, where there is a network.
fn image() -> std::path::PathBuf {
    let root = Path::new(ROOT);
    if is_inside() { root.join("target/vm") } else { vm::image(root) }
}

fn expect(results: &BTreeMap<String, String>, expected: &[(&str, &str)]) {
    for (what, outcome) in expected {
        assert_eq!(results.get(*what).map(String::as_str), Some(*outcome), "{what}, among {results:#?}");
    }
}

#[test]
fn on_a_plain_bridge_a_vm_speaks_as_whomever_it_likes() {
    let image = image();
    in_own_network_within(LIMIT + Duration::from_secs(20), || {
        let world = Internet::new();
        let mut bridge = PlainBridge::new("plain0", Ipv4Addr::new(192, 168, 200, 1));
        let (socket, _pump) = bridge.attach();
        let mut witness = Sniffer::on(bridge.name());
        let results = Vm::boot(&image, socket, MAC, &world.facts()).results();
        expect(&results, &[("lease", "700"), ("gateway", "answered"), ("own-mac-again", "answered")]);
        expect(&results, &[("other-address", "answered"), ("other-mac", "answered")]);
        let claims = witness.count(|frame| {
            Arp::read(frame).is_some_and(|arp| arp.sender_ip == bridge.gateway() && arp.sender_mac == MAC)
        });
        assert!(claims > 0, "the VM's claim of the gateway's address must pass without softnet");
    });
}

#[test]
fn a_vm_gets_its_lease_and_a_page_and_fails_to_spoof() {
    let image = image();
    in_own_network_within(LIMIT + Duration::from_secs(20), || {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, socket) = bed.launch(MAC).with(&vm::policy(bed.facts())).start();
        let mut witness = Sniffer::on("softnet0");
        let results = Vm::boot(&image, socket, MAC, bed.facts()).results();
        let page = format!("server {}", bed.facts().web);
        let name = bed.facts().name.1.to_string();
        expect(&results, &[("lease", "600"), ("gateway", "answered"), ("page", &page), ("dns", &name)]);
        expect(&results, &[("private", "unreachable"), ("metadata", "unreachable")]);
        let allowed = format!("server {}", bed.facts().other_private);
        expect(&results, &[("allowed", &allowed), ("blocked", "unreachable")]);
        expect(&results, &[("other-address", "silent"), ("arp-claim", "sent"), ("after-claim", "answered")]);
        expect(&results, &[("other-mac", "silent"), ("own-mac-again", "answered")]);
        let address: Ipv4Addr = results["dhcp"].parse().expect("an address");
        let spoofed = witness.count(|frame| {
            let from_guest = wire::source(frame) == Some(MAC);
            let claims = |arp: Arp| ![address, Ipv4Addr::UNSPECIFIED].contains(&arp.sender_ip) || arp.sender_mac != MAC;
            wire::source(frame) == Some(OTHER_MAC) || (from_guest && Arp::read(frame).is_some_and(claims))
        });
        assert_eq!(spoofed, 0, "no spoofed frame of the VM's reaches the bridge");
        softnet.stop();
    });
}

#[test]
fn the_policy_of_a_running_vm_is_replaced_by_way_of_the_channel() {
    let image = image();
    in_own_network_within(LIMIT + Duration::from_secs(20), || {
        let bed = LinuxTestbed::new(SOFTNET);
        let facts = bed.facts();
        let (softnet, socket, channel) = bed.launch(MAC).start_with_channel();
        let mut client = Client::new(channel);
        let (private, web) = (facts.other_private.to_string(), facts.other_web.to_string());
        // The other way around than what the VM is to find.
        assert!(client.set(&web, &private).contains("\"ruleCount\":2"));
        let vm = Vm::boot(&image, socket, MAC, facts);
        vm.wait_for("dhcp");
        assert!(client.set(&format!("out {private}:80"), &web).contains("\"ruleCount\":3"));
        // And then it stalls, in the middle of another one.
        client.send(longest_policy(0).as_bytes());
        let results = vm.results();
        let allowed = format!("server {private}");
        expect(
            &results,
            &[("lease", "600"), ("gateway", "answered"), ("allowed", &allowed), ("blocked", "unreachable")],
        );
        expect(&results, &[("private", "unreachable"), ("after-claim", "answered"), ("other-mac", "silent")]);
        assert_eq!(client.finish(), "", "half a request has no answer");
        softnet.stop();
    });
}

/// The words of the command in the document `file` that starts with `beginning`; its disk and its memory are what it leaves to the reader.
fn command_of(file: &str, beginning: &str) -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(ROOT).join(file)).expect("the document");
    let text = text.replace("\\\n", " ");
    let line = text.lines().find(|line| line.trim_start().starts_with(beginning)).expect("the line is there");
    line.split_ascii_whitespace().map(str::to_owned).collect()
}

/// Starts the VM of a line in the documentation, `softnet run OPTIONS -- QEMU ... CARD`, with `machine` for all that is between, and
/// returns what it finds.
fn run_by_a_user(bed: &LinuxTestbed, words: &[String], machine: &[OsString]) -> BTreeMap<String, String> {
    let [first, options @ .., card1, card2, card3, card4] = words else { panic!("{words:?}") };
    assert_eq!((first.as_str(), card1.as_str(), card3.as_str()), ("softnet", "-netdev", "-device"));
    let end = options.iter().position(|word| word == "qemu-system-x86_64").expect("it is QEMU's");
    let mut command = softnet_testbed::softnet::command(&bed.setuid, softnet_testbed::softnet::Caller::User);
    // A user's QEMU has a console of its own here, and no disk.
    std::fs::write("/run/testbed/console", "").expect("a console");
    softnet_testbed::tools::run("chown 4711 /run/testbed/console");
    command.args(&options[..end - 1]).args(vm::policy(bed.facts()).split(' ')).args(&options[end - 1..=end]);
    command.args(machine).args([card1, card2, card3, card4]);
    Vm::start(&mut command).results()
}

fn expect_filtered(results: &BTreeMap<String, String>, bed: &LinuxTestbed) {
    let page = format!("server {}", bed.facts().web);
    expect(results, &[("lease", "600"), ("gateway", "answered"), ("page", &page), ("blocked", "unreachable")]);
    expect(results, &[("other-address", "silent"), ("other-mac", "silent"), ("own-mac-again", "answered")]);
}

#[test]
fn the_line_of_the_readme_starts_a_filtered_vm() {
    let image = image();
    in_own_network_within(LIMIT + Duration::from_secs(20), || {
        let bed = LinuxTestbed::new(SOFTNET);
        let words = command_of("README.md", "softnet run ");
        let machine = vm::machine(&image, bed.facts());
        expect_filtered(&run_by_a_user(&bed, &words, &machine), &bed);
    });
}

#[test]
fn the_documented_line_for_qemus_microvm_starts_a_filtered_one() {
    let image = image();
    in_own_network_within(LIMIT + Duration::from_secs(20), || {
        let bed = LinuxTestbed::new(SOFTNET);
        let words = command_of("docs/linux.md", "softnet run --name web -- qemu-system-x86_64 -M microvm ");
        let microvm = [vec!["-M".into(), "microvm".into()], vm::microvm(&image, bed.facts())].concat();
        expect_filtered(&run_by_a_user(&bed, &words, &microvm), &bed);
    });
}
