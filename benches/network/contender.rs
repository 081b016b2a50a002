//! Who is measured. Another one is another value of [`CONTENDERS`], or another implementation of [`Contender`].

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use softnet_testbed::softnet::{Launch, Softnet};
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

use super::bridge;
use super::plug::Link;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

/// A program that carries a guest's frames.
pub(crate) trait Contender {
    /// Its column in the table.
    fn name(&self) -> &'static str;

    /// The programs that it needs.
    fn programs(&self) -> &'static [&'static str];

    /// Starts it for a guest, and returns without waiting for anything. A guest's frames that come before it is ready wait.
    fn spawn(&self, guest: Mac) -> (Softnet, Link);

    /// What is left to be done from outside until it carries frames.
    fn finish(&self, _process: &mut Softnet) {}

    /// Whether the time from its start to its first answer is its own doing.
    fn starts_alone(&self) -> bool {
        true
    }
}

/// The columns of the table, in order. The first is what the others are compared with.
pub(crate) const CONTENDERS: &[&dyn Contender] = &[
    &Bridge,
    &SoftnetWith { name: "softnet", options: "" },
    &SoftnetWith { name: "no-offload", options: "--no-offload" },
    &Passt,
    &Slirp,
];

/// softnet itself, with options.
struct SoftnetWith {
    name: &'static str,
    options: &'static str,
}

impl Contender for SoftnetWith {
    fn name(&self) -> &'static str {
        self.name
    }

    fn programs(&self) -> &'static [&'static str] {
        &["dnsmasq", "nft"]
    }

    fn spawn(&self, guest: Mac) -> (Softnet, Link) {
        let (softnet, socket) = Launch::new(Path::new(SOFTNET), guest).with(self.options).spawn();
        (softnet, Link::Datagrams(socket))
    }

    fn finish(&self, process: &mut Softnet) {
        process.wait_ready();
    }
}

/// The filterless bridge: this executable once more, on a port of softnet's bridge.
struct Bridge;

impl Contender for Bridge {
    fn name(&self) -> &'static str {
        "bridge"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["ip"]
    }

    fn spawn(&self, _guest: Mac) -> (Softnet, Link) {
        let (guest, other) = sys::frame_sockets();
        let mut command = Command::new(std::env::current_exe().expect("this bench knows its executable"));
        command.arg(bridge::ARGUMENT).stdin(Stdio::from(OwnedFd::from(other)));
        (Softnet::spawn(&mut command), Link::Datagrams(guest))
    }

    fn finish(&self, process: &mut Softnet) {
        process.wait_ready();
        tools::run(&format!("ip link set {} master softnet0 up", bridge::PORT));
    }

    fn starts_alone(&self) -> bool {
        false
    }
}

/// passt (passt(1)), over QEMU's stream protocol. Its gateway's address is the host's loopback.
struct Passt;

impl Contender for Passt {
    fn name(&self) -> &'static str {
        "passt"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["passt"]
    }

    fn spawn(&self, _guest: Mac) -> (Softnet, Link) {
        let (guest, other) = UnixStream::pair().expect("a socket pair is made");
        let mut command = tools::command("passt --foreground --quiet --ipv4-only --mtu 1500 --fd 0");
        (Softnet::spawn(command.stdin(OwnedFd::from(other))), Link::Stream(guest))
    }
}

/// QEMU's user network, joined by a hub to a datagram socket (qemu(1), `-netdev`), in a QEMU that has no machine.
struct Slirp;

impl Contender for Slirp {
    fn name(&self) -> &'static str {
        "slirp"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["qemu-system-x86_64"]
    }

    fn spawn(&self, _guest: Mac) -> (Softnet, Link) {
        let (guest, other) = sys::frame_sockets();
        let mut command = tools::command(
            "qemu-system-x86_64 -machine none -nodefaults -display none -netdev user,id=user,ipv6=off \
             -netdev dgram,id=guest,local.type=fd,local.str=0 \
             -netdev hubport,id=one,hubid=0,netdev=user -netdev hubport,id=other,hubid=0,netdev=guest",
        );
        (Softnet::spawn(command.stdin(OwnedFd::from(other))), Link::Datagrams(guest))
    }
}
