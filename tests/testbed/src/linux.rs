//! Linux's way to give what a scenario relies on.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::binary;
use crate::guest::{KernelGuest, PortableGuest};
use crate::internet::Internet;
use crate::sniffer::Sniffer;
use crate::softnet::{Caller, Softnet};
use crate::testbed::{Facts, Testbed, link_of};
use crate::wire::Mac;

/// Where softnet's own DHCP server keeps its records.
const LEASES: &str = "/run/softnet/softnet0.leases";

/// A Linux host in namespaces of its own.
#[derive(Debug)]
pub struct LinuxTestbed {
    /// The world behind the uplink.
    pub internet: Internet,
    /// The program as it was built.
    pub program: PathBuf,
    /// Its copy with the setuid bit.
    pub setuid: PathBuf,
    facts: Facts,
    caller: Caller,
}

/// Names the program of a release, which is tried in place of the one that cargo has built: scripts/test-package.sh.
const RELEASED: &str = "SOFTNET_RELEASED";

impl LinuxTestbed {
    /// A host for `program`, where a plain user starts the setuid copy. Only inside [`crate::isolate`].
    #[must_use]
    pub fn new(program: &str) -> Self {
        let internet = Internet::new();
        let program = std::env::var_os(RELEASED).map_or_else(|| Path::new(program).to_owned(), PathBuf::from);
        let setuid = binary::install_setuid(&program);
        LinuxTestbed { facts: internet.facts(), internet, program, setuid, caller: Caller::User }
    }

    /// The same where root starts the program itself.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.caller = Caller::Root;
        self
    }

    /// Starts softnet with `options`, and behind it guest `number` with a kernel's stack, in the namespace `guestNUMBER`, with a lease.
    ///
    /// # Panics
    /// When the guest gets no lease.
    #[must_use]
    pub fn kernel_guest(&self, number: u8, options: &str) -> (Softnet, KernelGuest) {
        let mac = Mac::guest(number);
        let (softnet, socket) = self.launch(mac).with(options).start();
        let mut guest = KernelGuest::new(&format!("guest{number}"), socket, mac);
        guest.dhcp();
        (softnet, guest)
    }
}

impl Testbed for LinuxTestbed {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn users_softnet(&self) -> (&Path, Caller) {
        match self.caller {
            Caller::Root => (&self.program, Caller::Root),
            Caller::User => (&self.setuid, Caller::User),
        }
    }

    fn sets_lease_time(&self) -> bool {
        true
    }

    fn recorded_lease(&self, mac: Mac) -> Option<(Ipv4Addr, u64)> {
        let records = fs::read_to_string(LEASES).ok()?;
        let record = records.lines().find(|line| line.split(' ').nth(1) == Some(&mac.to_string()))?;
        let mut words = record.split(' ');
        let until: u64 = words.next()?.parse().ok()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        Some((words.nth(1)?.parse().ok()?, until.saturating_sub(now)))
    }

    fn is_address_of_name(&self, address: Ipv4Addr) -> bool {
        address == self.facts.name.1
    }

    fn witness(&self, guest: &PortableGuest) -> Option<Sniffer> {
        Some(Sniffer::on(&link_of(guest)))
    }

    /// # Panics
    /// Always: here is everything that a scenario may ask for.
    fn cannot_show(&self, what: &str, _instead: &str) {
        panic!("{what}: this must be shown on Linux");
    }
}
