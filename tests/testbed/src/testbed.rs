//! What a scenario may rely on, and what each system gives it.
//!
//! A scenario that is written over [`Testbed`] and [`PortableGuest`] knows nothing of bridges or namespaces, so that the same
//! one runs on a Mac against vmnet: there the facts are another world's, and guests start through the same [`Launch`].

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;

use crate::channel::Client;
use crate::guest::PortableGuest;
use crate::servers;
use crate::sniffer::Sniffer;
use crate::softnet::{Caller, Launch, Softnet};
use crate::sys;
use crate::wait::PATIENCE;
use crate::wire::Mac;

#[cfg(target_os = "linux")]
pub use crate::linux::LinuxTestbed;
#[cfg(target_os = "macos")]
pub use crate::mac::{MacTestbed, OWN_MAC, install_signed, vmnet_takes_root};

/// The testbed of this system.
#[cfg(target_os = "linux")]
pub type HostTestbed = LinuxTestbed;
/// The testbed of this system.
#[cfg(target_os = "macos")]
pub type HostTestbed = MacTestbed;

/// Whom a scenario may try to reach.
#[derive(Clone, Debug)]
pub struct Facts {
    /// A public web server. It answers the host.
    pub web: Ipv4Addr,
    /// Another one. It answers the host.
    pub other_web: Ipv4Addr,
    /// A name that DNS knows, and its address.
    pub name: (String, Ipv4Addr),
    /// A server on a private network. It answers the host.
    pub private: Ipv4Addr,
    /// A server on another private network; on a Mac the same one.
    pub other_private: Ipv4Addr,
    /// The cloud's metadata service. On a Mac there may be none: [`Testbed::host_reaches`].
    pub metadata: Ipv4Addr,
    /// The lease that softnet gives by default, in seconds.
    pub lease_seconds: u32,
}

/// A host on which softnet runs, and the world behind it.
pub trait Testbed {
    /// Whom a scenario may try to reach.
    fn facts(&self) -> &Facts;

    /// The program that this host's users start, and who they are.
    fn users_softnet(&self) -> (&Path, Caller);

    /// Whether softnet sets the lease time here, which takes root.
    fn sets_lease_time(&self) -> bool;

    /// How long the lease of `mac` still lasts by the DHCP server's own records, in seconds.
    fn recorded_lease(&self, mac: Mac) -> Option<(Ipv4Addr, u64)>;

    /// Whether `address` belongs to the name among the facts.
    fn is_address_of_name(&self, address: Ipv4Addr) -> bool;

    /// A witness of all that passes on the link of `guest`, if this process may have one.
    fn witness(&self, guest: &PortableGuest) -> Option<Sniffer>;

    /// Says that `what` cannot be shown on this host, and what is shown `instead`.
    fn cannot_show(&self, what: &str, instead: &str);

    /// The control: whether the host itself gets an answer of the web server on `target`, at this moment.
    ///
    /// # Errors
    /// Those of the connection.
    fn host_reaches(&self, target: Ipv4Addr) -> io::Result<()> {
        servers::fetch(target, PATIENCE).map(drop)
    }

    /// Softnet for the guest `mac`, as this host's users start it, ready to be given more options.
    fn launch(&self, mac: Mac) -> Launch {
        let (program, caller) = self.users_softnet();
        Launch::new(program, mac).by(caller)
    }

    /// Starts softnet with `options`, and a guest with a lease behind it.
    ///
    /// # Panics
    /// When the guest gets no lease.
    fn guest(&self, mac: Mac, options: &str) -> (Softnet, PortableGuest) {
        let (softnet, socket) = self.launch(mac).with(options).start();
        let mut guest = PortableGuest::new(socket, mac);
        if let Err(error) = guest.dhcp(PATIENCE) {
            panic!("guest {mac}: {error}\n{}", softnet.said());
        }
        (softnet, guest)
    }

    /// The same with a client of its control channel, which is softnet's standard output as with Tart.
    ///
    /// # Panics
    /// When the guest gets no lease.
    fn guest_with_channel(&self, mac: Mac, options: &str) -> (Softnet, PortableGuest, Client) {
        let (softnet, socket, client) = self.launch(mac).with(options).start_with_channel();
        let mut guest = PortableGuest::new(socket, mac);
        guest.dhcp(PATIENCE).expect("a lease");
        (softnet, guest, Client::new(client))
    }
}

/// The interface of the host that is the gateway of `guest`.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn link_of(guest: &PortableGuest) -> String {
    let gateway = guest.gateway();
    let found = sys::addresses().into_iter().find(|(_, address)| *address == gateway);
    found.unwrap_or_else(|| panic!("no interface of the host has the guest's gateway, {gateway}")).0
}
