//! The control: a bridge with a DHCP server whose ports filter nothing, as a VM has without softnet.
//!
//! Attacks are tried here first. One that does not work here would prove nothing by not working behind softnet. The same
//! bridge, being somebody else's, is what `--bridge` attaches to.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};

use crate::pump::Pump;
use crate::wait::{self, PATIENCE};
use crate::{isolate, sys, tools};

/// A bridge of the host, with an address, a DHCP server, and nothing more.
#[derive(Debug)]
pub struct PlainBridge {
    name: String,
    gateway: Ipv4Addr,
    dnsmasq: Child,
    ports: u32,
}

impl PlainBridge {
    /// The bridge `name` with the address `gateway` in a /24, leasing .10 to .100.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str, gateway: Ipv4Addr) -> Self {
        tools::run(&format!("ip link add {name} address 02:00:00:00:b1:d6 type bridge forward_delay 0"));
        tools::run(&format!("ip addr add {gateway}/24 dev {name}"));
        tools::run(&format!("ip link set {name} up"));
        // The kernel would otherwise ignore a theft within a second of the last word about the address.
        std::fs::write(format!("/proc/sys/net/ipv4/neigh/{name}/locktime"), "0").expect("the ARP lock time is set");
        let [a, b, c, _] = gateway.octets();
        let folder = isolate::SCRATCH;
        let dnsmasq = Command::new(tools::find("dnsmasq").expect("dnsmasq is installed"))
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--bind-interfaces",
                "--no-ping",
                "--log-facility=-",
            ])
            .args(["--except-interface=lo", "--user=root", "--dhcp-authoritative"])
            .arg(format!("--interface={name}"))
            .arg(format!("--dhcp-range={a}.{b}.{c}.10,{a}.{b}.{c}.100,255.255.255.0,700"))
            .arg(format!("--dhcp-leasefile={folder}/{name}.leases"))
            .arg(format!("--pid-file={folder}/{name}.pid"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("dnsmasq starts");
        let bridge = PlainBridge { name: name.to_owned(), gateway, dnsmasq, ports: 0 };
        wait::until("the plain bridge's DHCP server", PATIENCE, || {
            std::fs::read_to_string("/proc/net/udp").ok()?.contains(":0043 ").then_some(())
        })
        .expect("dnsmasq listens");
        bridge
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address, which is the guests' gateway.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.gateway
    }

    /// A new port: what the guest sends on its socket enters the bridge as it is. The port lasts as long as the pump.
    ///
    /// # Panics
    /// When the port cannot be made.
    pub fn attach(&mut self) -> (UnixDatagram, Pump) {
        self.ports += 1;
        let port = format!("{}p{}", self.name, self.ports);
        let tap = sys::tap(&port);
        tools::run(&format!("ip link set {port} master {} up", self.name));
        let (guest, other) = sys::frame_sockets();
        (guest, Pump::start(tap, other))
    }
}

impl Drop for PlainBridge {
    fn drop(&mut self) {
        let _ = self.dnsmasq.kill();
        let _ = self.dnsmasq.wait();
        let _ = tools::output(&mut tools::command(&format!("ip link del {}", self.name)));
    }
}
