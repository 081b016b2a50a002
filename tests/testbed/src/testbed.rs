//! What a scenario may rely on, and Linux's way to give it.
//!
//! A scenario that is written over [`Testbed`] and [`PortableGuest`] knows nothing of bridges or namespaces, so that the same
//! one runs on a Mac against vmnet: there the facts are another world's, and guests start through the same [`Launch`].

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::binary;
use crate::guest::PortableGuest;
use crate::internet::Internet;
use crate::softnet::{Caller, Launch, Softnet};
use crate::wait::PATIENCE;
use crate::wire::Mac;

/// Whom a scenario may try to reach. All of them are reachable from the host itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// A public web server.
    pub web: Ipv4Addr,
    /// Another one.
    pub other_web: Ipv4Addr,
    /// A name that DNS knows, and its address.
    pub name: (String, Ipv4Addr),
    /// A server on a private network.
    pub private: Ipv4Addr,
    /// The cloud's metadata service.
    pub metadata: Ipv4Addr,
    /// The lease that softnet gives by default, in seconds.
    pub lease_seconds: u32,
}

/// A host on which softnet runs, and the world behind it.
pub trait Testbed {
    /// Whom a scenario may try to reach.
    fn facts(&self) -> &Facts;

    /// Softnet for the guest `mac`, as this host's users start it, ready to be given more options.
    fn launch(&self, mac: Mac) -> Launch;

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
}

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

impl LinuxTestbed {
    /// A host for `program`, where a plain user starts the setuid copy. Only inside [`crate::isolate`].
    #[must_use]
    pub fn new(program: &str) -> Self {
        let internet = Internet::new();
        let program = Path::new(program).to_owned();
        let setuid = binary::install_setuid(&program);
        LinuxTestbed { facts: internet.facts(), internet, program, setuid, caller: Caller::User }
    }

    /// The same where root starts the program itself.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.caller = Caller::Root;
        self
    }
}

impl Testbed for LinuxTestbed {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn launch(&self, mac: Mac) -> Launch {
        match self.caller {
            Caller::Root => Launch::new(&self.program, mac),
            Caller::User => Launch::new(&self.setuid, mac).by(Caller::User),
        }
    }
}
