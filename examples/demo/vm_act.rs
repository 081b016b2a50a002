//! The act with a whole VM under QEMU as the guest.

use std::net::Ipv4Addr;
use std::path::Path;

use softnet_testbed::guest::vm::Vm;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wire::{self, Arp, Mac};

use crate::report::{Report, Tone};

const VM: Mac = Mac::guest(9);
const VICTIM: Mac = Mac::guest(2);

/// A Debian kernel with its own driver and stack, that uses the network, and misuses it.
pub(crate) fn a_real_vm(report: &mut Report, bed: &LinuxTestbed, root: &Path) {
    let about = "A Debian kernel with busybox under QEMU, emulated, behind the setuid softnet of a plain user.";
    report.heading("A real VM", about);
    let (victim_softnet, mut victim) = bed.guest(VICTIM, "");
    let (softnet, socket) = bed.launch(VM).start();
    let mut witness = Sniffer::on("softnet0");
    let results = Vm::boot(&root.join("target/vm"), socket, VM, bed.facts()).results();
    let facts = bed.facts();
    let found = |what: &str| results.get(what).cloned().unwrap_or_default();
    let mut check = |tried: &str, what: &str, must: &str, told: &str| {
        let outcome = found(what);
        report.line_if(outcome == must, Tone::Good, tried, told, &format!("it found: {outcome}"));
    };
    let lease = format!("{} for {} s", found("dhcp"), found("lease"));
    check("a lease by DHCP", "lease", &facts.lease_seconds.to_string(), &lease);
    check("a ping of the gateway", "gateway", "answered", "answered");
    let address = facts.name.1.to_string();
    check(&format!("the address of {}, by DNS", facts.name.0), "dns", &address, &address);
    check(&format!("a page from http://{}/", facts.web), "page", &format!("server {}", facts.web), "answered");
    check(&format!("a private network of the host's, {}", facts.private), "private", "unreachable", "no answer");
    check(&format!("the cloud's metadata, {}", facts.metadata), "metadata", "unreachable", "no answer");
    check("a ping from another address", "other-address", "silent", "held back");
    check("ARP: \"the gateway is me\", told to everyone", "arp-claim", "sent", "sent");
    check("a ping of the gateway after that", "after-claim", "answered", "answered");
    check("a ping from another MAC", "other-mac", "silent", "held back");
    check("a ping from its own MAC again", "own-mac-again", "answered", "answered");
    let own = found("dhcp").parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
    let forged = witness.count(|frame| {
        let claims = |arp: Arp| ![own, Ipv4Addr::UNSPECIFIED].contains(&arp.sender_ip) || arp.sender_mac != VM;
        wire::source(frame) == Some(VM) && Arp::read(frame).is_some_and(claims)
    });
    report.line_if(forged == 0, Tone::Good, "its claim on the bridge", "not seen: held back", "seen on the bridge");
    victim.flush();
    for softnet in [softnet, victim_softnet] {
        softnet.stop();
    }
    report.line_if(true, Tone::Good, "the VM has powered off", "softnet ended in order", "");
}
