//! A guest with a kernel's own stack: a network namespace whose TAP device is joined to the frame socket. Real programs run
//! in it: a DHCP client, ping, curl, iperf3.

use std::any::Any;
use std::fmt;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output};

use super::Lease;
use crate::netns::Netns;
use crate::pump::Pump;
use crate::wire::Mac;
use crate::{isolate, sys, tools};

/// What busybox's DHCP client calls: configures the interface and writes the lease down.
const LEASE_SCRIPT: &str = r#"#!/bin/sh
case $1 in
deconfig) ip addr flush dev "$interface" ;;
bound | renew)
    ip addr replace "$ip/$mask" dev "$interface"
    for hop in $router; do ip route replace default via "$hop"; done
    echo "$ip $mask $lease $serverid ${router:--} $dns" >"$LEASE_FILE"
    ;;
esac
"#;

/// A guest of the kernel's.
pub struct KernelGuest {
    netns: Netns,
    lease: Option<Lease>,
    _wire: Box<dyn Any>,
}

impl fmt::Debug for KernelGuest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KernelGuest").field("netns", &self.netns).field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl KernelGuest {
    /// The guest `name` with the address `mac` on `socket`; its interface is `eth0`.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(name: &str, socket: UnixDatagram, mac: Mac) -> Self {
        Self::behind(name, mac, || Pump::start(sys::tap("eth0"), socket))
    }

    /// The same behind any wire: `join` makes its interface, in its network namespace, and returns what carries the frames as
    /// long as it lives.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn behind<W: Send + 'static>(name: &str, mac: Mac, join: impl FnOnce() -> W + Send) -> Self {
        let netns = Netns::new(name);
        let wire = netns.enter(join);
        netns.run(&format!("ip link set eth0 address {mac} up"));
        KernelGuest { netns, lease: None, _wire: Box::new(wire) }
    }

    /// Runs a real DHCP client once.
    ///
    /// # Panics
    /// When it gets no lease.
    pub fn dhcp(&mut self) -> Lease {
        let script = format!("{}/udhcpc-script", isolate::SCRATCH);
        let file = format!("{}/{}.lease", isolate::SCRATCH, self.netns.name());
        std::fs::write(&script, LEASE_SCRIPT).expect("the client's script is written");
        tools::run(&format!("chmod 755 {script}"));
        let client = format!("busybox udhcpc -i eth0 -f -n -q -t 10 -T 1 -s {script}");
        tools::finish(self.command(&client).env("LEASE_FILE", &file));
        let text = std::fs::read_to_string(&file).expect("the client has written its lease");
        let lease = read_lease(&text).unwrap_or_else(|| panic!("the client wrote an odd lease: {text}"));
        self.lease = Some(lease.clone());
        lease
    }

    /// Its lease.
    ///
    /// # Panics
    /// When it never got one.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("the guest has a lease")
    }

    /// Its gateway.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.lease().router.unwrap_or(self.lease().server)
    }

    /// A command that runs `line` in the guest.
    #[must_use]
    pub fn command(&self, line: &str) -> Command {
        self.netns.command(line)
    }

    /// Runs `line` in the guest to its end, however that is.
    #[must_use]
    pub fn output(&self, line: &str) -> Output {
        tools::output(&mut self.command(line))
    }

    /// Runs `line` in the guest, which must succeed, and returns what it printed.
    pub fn run(&self, line: &str) -> String {
        self.netns.run(line)
    }

    /// Its network namespace.
    #[must_use]
    pub fn netns(&self) -> &Netns {
        &self.netns
    }
}

fn read_lease(text: &str) -> Option<Lease> {
    let mut words = text.split_ascii_whitespace();
    let address = words.next()?.parse().ok()?;
    // The mask comes as a prefix length or dotted, by the client's version.
    let mask = words.next()?;
    let dotted = |mask: &str| mask.parse::<Ipv4Addr>().ok().map(|mask| mask.to_bits().leading_ones() as u8);
    let prefix = mask.parse().ok().or_else(|| dotted(mask))?;
    let seconds = words.next()?.parse().ok();
    let server = words.next()?.parse().ok()?;
    let router = words.next()?.parse().ok();
    Some(Lease { address, prefix, router, dns: words.filter_map(|word| word.parse().ok()).collect(), server, seconds })
}
