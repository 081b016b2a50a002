//! A Mac, as it is: its own vmnet and bootpd, and the Internet behind it.
//!
//! What there is to reach is found at run time, and each target is proven to answer the Mac itself. As root, a plain user
//! starts a setuid copy of softnet; without root, on macOS 26, a copy that is signed for vmnet.
//!
//! The private network is the Mac's own address on its uplink, where this process serves pages. A Mac that belongs to the
//! tests, as a CI's does, is also given what others have: with [`OWN_MAC`] set, the cloud's metadata address is put on `lo0`
//! for the time of a test, and answers.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::guest::PortableGuest;
use crate::sniffer::Sniffer;
use crate::softnet::Caller;
use crate::testbed::{Facts, Testbed, link_of};
use crate::wait::{PATIENCE, SILENCE};
use crate::wire::Mac;
use crate::{binary, isolate, servers, shown, sys, tools};

/// Set where this Mac is the tests' own, and may be given addresses for the time of a test. It takes root.
pub const OWN_MAC: &str = "SOFTNET_TESTBED_OWN_MAC";

/// Names whose servers answer over plain HTTP, by whatever page.
const NAMES: &[&str] = &["one.one.one.one", "captive.apple.com", "example.com", "www.debian.org", "www.apple.com"];

const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);

/// Where bootpd keeps its records.
const LEASES: &str = "/private/var/db/dhcpd_leases";

/// The first macOS whose vmnet asks for no root, by the version of its kernel.
const DARWIN_WITHOUT_ROOT: u32 = 25;

/// A Mac. What it put on it, it takes away when it is dropped.
#[derive(Debug)]
pub struct MacTestbed {
    /// The program as it was built.
    pub program: PathBuf,
    users: PathBuf,
    caller: Caller,
    facts: Facts,
    is_aliased: bool,
}

/// Whether this macOS starts vmnet interfaces for root alone.
///
/// # Panics
/// When the kernel does not tell its version.
#[must_use]
pub fn vmnet_takes_root() -> bool {
    let release = tools::run("sysctl -n kern.osrelease");
    let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    major.expect("a kernel's version begins with a number") < DARWIN_WITHOUT_ROOT
}

impl MacTestbed {
    /// This Mac for `program`, where a plain user starts it. Only inside [`crate::isolate`].
    ///
    /// # Panics
    /// When this Mac lacks what no scenario can do without: the Internet, a private address, the right to use vmnet.
    #[must_use]
    pub fn new(program: &str) -> Self {
        let program = Path::new(program).to_owned();
        let is_root = nix::unistd::geteuid().is_root();
        assert!(
            is_root || !vmnet_takes_root(),
            "vmnet takes root before macOS 26: run `make test` or scripts/test.sh, which ask for sudo"
        );
        let users = if is_root { binary::install_setuid(&program) } else { install_signed(&program) };
        let facts = find_facts();
        let mut bed = MacTestbed { program, users, caller: Caller::User, facts, is_aliased: false };
        if is_root && std::env::var_os(OWN_MAC).is_some() && bed.host_reaches(METADATA).is_err() {
            tools::run(&format!("/sbin/ifconfig lo0 alias {METADATA} 255.255.255.255"));
            bed.is_aliased = true;
        }
        bed
    }

    /// The same where root starts the program itself, which then becomes the user and group `nobody`.
    ///
    /// # Panics
    /// Without root.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "this takes root");
        self.caller = Caller::Root;
        self
    }
}

impl Drop for MacTestbed {
    fn drop(&mut self) {
        if self.is_aliased {
            let _ = tools::output(&mut tools::command(&format!("/sbin/ifconfig lo0 -alias {METADATA}")));
        }
        // A setuid program is nothing to leave behind.
        let _ = fs::remove_file(&self.users);
    }
}

impl Testbed for MacTestbed {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn users_softnet(&self) -> (&Path, Caller) {
        match self.caller {
            Caller::Root => (&self.program, Caller::Root),
            Caller::User => (&self.users, Caller::User),
        }
    }

    fn sets_lease_time(&self) -> bool {
        nix::unistd::geteuid().is_root()
    }

    fn recorded_lease(&self, mac: Mac) -> Option<(Ipv4Addr, u64)> {
        let records = fs::read_to_string(LEASES).ok()?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
        read_lease(&records, mac).map(|(address, until)| (address, until.saturating_sub(now)))
    }

    fn is_address_of_name(&self, address: Ipv4Addr) -> bool {
        // Names with many addresses show each asker another few: what serves pages will do as well.
        resolve(&self.facts.name.0).contains(&address) || self.host_reaches(address).is_ok()
    }

    fn witness(&self, guest: &PortableGuest) -> Option<Sniffer> {
        nix::unistd::geteuid().is_root().then(|| Sniffer::on(&link_of(guest)))
    }

    fn host_reaches(&self, target: Ipv4Addr) -> io::Result<()> {
        // Where nobody is, a Mac asks for long.
        servers::fetch(target, SILENCE * 2).map(drop)
    }

    fn cannot_show(&self, what: &str, instead: &str) {
        shown::cannot(what, instead);
    }
}

/// A copy of `program` in a directory of this user's, signed as macOS 26 asks for.
///
/// # Panics
/// When it cannot be signed.
#[must_use]
pub fn install_signed(program: &Path) -> PathBuf {
    let folder = if nix::unistd::geteuid().is_root() {
        Path::new(isolate::SCRATCH).join("signed")
    } else {
        std::env::temp_dir().join("softnet-testbed")
    };
    let copy = binary::copy_into(program, &folder);
    tools::finish(
        std::process::Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/macos-sign.sh")).arg(&copy),
    );
    copy
}

fn find_facts() -> Facts {
    let mut webs: Vec<(&str, Ipv4Addr)> = Vec::new();
    for name in NAMES {
        let answers = |address: &Ipv4Addr| servers::fetch(*address, PATIENCE / 3).is_ok();
        let is_new = |address: &Ipv4Addr| webs.iter().all(|(_, known)| known != address);
        if let Some(address) = resolve(name).into_iter().filter(is_new).find(answers) {
            webs.push((name, address));
        }
        if webs.len() == 2 {
            break;
        }
    }
    let [(name, web), (_, other_web)] = webs[..] else {
        panic!("of {NAMES:?}, fewer than two answer this Mac over HTTP: these tests need the Internet");
    };
    let private = own_address();
    Facts {
        web,
        other_web,
        name: (name.to_owned(), web),
        private,
        other_private: private,
        metadata: METADATA,
        lease_seconds: 600,
    }
}

fn resolve(name: &str) -> BTreeSet<Ipv4Addr> {
    let found = (name, 80).to_socket_addrs().into_iter().flatten();
    found.filter_map(|address| if let SocketAddr::V4(address) = address { Some(*address.ip()) } else { None }).collect()
}

/// The Mac's own address on its uplink, where a web server answers: ours, unless there is one.
fn own_address() -> Ipv4Addr {
    static SERVED: OnceLock<()> = OnceLock::new();
    // Not those of vmnet itself: a guest's gateway is open to it.
    let is_uplink = |name: &str| !["bridge", "vmenet", "utun"].iter().any(|kind| name.starts_with(kind));
    let found = sys::addresses().into_iter().find(|(name, address)| is_uplink(name) && address.is_private());
    let (name, address) =
        found.expect("an interface of this Mac has a private IPv4 address, for guests to try to reach");
    if servers::fetch(address, PATIENCE).is_err() {
        // The wildcard, to which also a process without root may bind port 80 on macOS.
        SERVED.get_or_init(|| servers::http(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 80))));
        let served = servers::fetch(address, PATIENCE);
        served.unwrap_or_else(|error| {
            panic!("this Mac does not reach itself on {name}, {address}: {error}; a firewall?")
        });
    }
    address
}

/// Address and end, in seconds since 1970, of the lease that bootpd keeps for `mac`.
fn read_lease(records: &str, mac: Mac) -> Option<(Ipv4Addr, u64)> {
    // A record is a line each of `key=value` in braces; octets of a MAC have no leading zero.
    let records = records.split('}').map(|record| {
        let value = |key: &str| record.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
        (value("hw_address"), value("ip_address"), value("lease"))
    });
    let own = mac.0.map(|octet| format!("{octet:x}")).join(":");
    let own = records.filter(|(hardware, ..)| hardware.is_some_and(|found| found == format!("1,{own}")));
    let ends = own.filter_map(|(_, address, end)| {
        let end = u64::from_str_radix(end?.trim_start_matches("0x"), 16).ok()?;
        Some((address?.parse().ok()?, end))
    });
    // An earlier record may still be there.
    ends.max_by_key(|(_, end)| *end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lease_of_a_mac_is_read() {
        let records = "{\n\tname=a\n\tip_address=192.168.64.2\n\thw_address=1,2:0:0:0:47:1\n\tlease=0x10\n}\n\
                       {\n\tip_address=192.168.64.3\n\thw_address=1,2:0:0:0:47:1\n\tlease=0x20\n}\n\
                       {\n\tip_address=192.168.64.4\n\thw_address=1,2:0:0:0:47:11\n\tlease=0x30\n}\n";
        assert_eq!(read_lease(records, Mac::guest(1)), Some((Ipv4Addr::new(192, 168, 64, 3), 0x20)));
        assert_eq!(read_lease(records, Mac::guest(3)), None);
        assert_eq!(read_lease("", Mac::guest(1)), None);
    }
}
