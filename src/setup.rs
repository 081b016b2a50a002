//! The root phase: numbered steps from a command line to a relay that needs no right any more. The same steps, with
//! the same numbers, are in docs/privileges.md.
//!
//! 1. The process: environment, signals, limits, umask, working directory ([`secure_process`]).
//! 2. The descriptor of the guest, looked at only: what is wrong with it is told before any right is used.
//! 3. Root, if it is not there: by sudo, which starts softnet again from step 1. Where the host's link needs no root
//!    (macOS 26), softnet goes on without, should sudo say no.
//! 4. Arguments that only root itself may give; whom to become.
//! 5. The guest's socket is adopted, every other descriptor but 0, 1 and 2 closed.
//! 6. Ending signals are caught and the guest's side is watched: from here on, softnet ends in order.
//! 7. The host's link is opened, DHCP's lease time set with it.
//! 8. The engine and the relay: all memory of the run phase.
//! 9. Root is dropped, for good, and that is proven.
//! 10. The sandbox is entered: from here on any call but those that the relay makes ends the process.
//!
//! May: root, to step 9. Must not: read a byte that the guest sent.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use log::{debug, info, warn};
use thiserror::Error;

use crate::cli::{EntryList, Serve};
use crate::engine::{Config, Engine, Entry, Isolation, PolicyEntries, colons};
use crate::host::{self, Host, Interrupted, LinkRequest, Offload, OpenError};
use crate::lifeline::{End, Lifeline};
use crate::privilege::escalate::{self, EscalationError};
use crate::privilege::{self, Identity, PrivilegeError, Standing};
use crate::relay::Relay;
use crate::sandbox::{self, Confined, SandboxError};
use crate::sys::inherited::{self, DescriptorError};
use crate::sys::process;

/// Why softnet cannot start to serve its guest.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The process could not be secured.
    #[error("this process cannot be put in order: {0}")]
    Process(io::Error),
    /// The guest's descriptor is not what it must be.
    #[error("--vm-fd: {0}")]
    Descriptor(#[from] DescriptorError),
    /// Root is not to be had.
    #[error(transparent)]
    Escalation(#[from] EscalationError),
    /// Something only root itself may do.
    #[error("{flag}: only for root itself, not by way of the setuid bit: run softnet by sudo, or leave {flag} out")]
    RootOnly {
        /// The option or subcommand.
        flag: &'static str,
    },
    /// Whom to become, or the drop.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// The watch for signals and the guest's side.
    #[error("the guest's side cannot be watched: {0}")]
    Lifeline(io::Error),
    /// The host's link.
    #[error(transparent)]
    Host(#[from] OpenError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

/// What the setup comes to.
pub enum Outcome {
    /// A relay, and the proof that it has no privilege and is in the sandbox.
    Ready(Box<Relay>, Confined),
    /// The end came before the guest's first frame.
    Ended(End),
}

/// Step 1: what the caller set up for this process, put back to what softnet counts on. First of all in main, before
/// arguments or anything else are read.
///
/// # Errors
/// Those of [`process::reset`], and of finding out who we are.
pub fn secure_process() -> Result<Standing, SetupError> {
    let standing = Standing::of_this_process().map_err(|errno| SetupError::Process(errno.into()))?;
    if standing != Standing::Unprivileged {
        process::clear_environment();
        process::reset().map_err(SetupError::Process)?;
    }
    Ok(standing)
}

/// Steps 2 to 10.
///
/// # Errors
/// What failed, on what, and how to mend it. Nothing that this process made stays behind but what the next start adopts.
pub fn run(standing: Standing, serve: &Serve) -> Result<Outcome, SetupError> {
    // 2. The descriptor, looked at.
    inherited::check_guest_socket(serve.vm_fd)?;

    // 3. Root.
    if standing == Standing::Unprivileged {
        match escalate::by_sudo(serve) {
            Ok(never) => match never {},
            Err(error) if host::root_needed() => return Err(error.into()),
            Err(error) => debug!("going on without root: {error}"),
        }
    }

    // 4. Arguments for root alone; whom to become.
    check_rights(standing, serve)?;
    let identity = Identity::choose(standing, serve.user.as_deref(), serve.group.as_deref())?;
    if standing == Standing::Root && serve.user.is_none() {
        warn!("no --user was given to root: softnet goes on as nobody ({identity})");
    }

    // 5. The guest's socket, and no other descriptor.
    process::close_all_but(serve.vm_fd).map_err(SetupError::Process)?;
    let guest = inherited::adopt_guest_socket(serve.vm_fd)?;

    // 6. From here on, softnet ends in order.
    let mut lifeline = Lifeline::new(guest.as_fd()).map_err(SetupError::Lifeline)?;

    // 7. The host's link.
    let policy = PolicyEntries { allow: entries(&serve.allow), block: entries(&serve.block) };
    let isolation = if policy.allows_everything() { Isolation::Open } else { Isolation::Isolated };
    let host = match open_host(serve, isolation, &mut lifeline)? {
        Ok(host) => host,
        Err(end) => return Ok(Outcome::Ended(end)),
    };

    // 8. The engine and the relay.
    let engine = Engine::new(Config {
        guest_mac: serve.vm_mac_address,
        net_type: serve.vm_net_type.into(),
        isolation,
        network: *host.network(),
        policy,
    });
    let relay = Relay::new(guest, host, engine, lifeline);

    // 9. The drop.
    let dropped = match standing {
        Standing::Unprivileged => privilege::stay(identity)?,
        Standing::Root | Standing::Setuid { .. } => privilege::drop_to(identity)?,
    };

    // 10. The sandbox.
    let proof = sandbox::enter(dropped)?;
    info!("ready: guest {}, running as {identity}", colons(serve.vm_mac_address));
    Ok(Outcome::Ready(Box::new(relay), proof))
}

/// What only root itself may ask for: it reaches beyond the caller's own guest.
fn check_rights(standing: Standing, serve: &Serve) -> Result<(), SetupError> {
    let host_wide = [("--bridge", serve.bridge.is_some()), ("--subnet", serve.subnet.is_some())];
    match host_wide.into_iter().find(|&(_, given)| given) {
        Some((flag, _)) if standing != Standing::Root => Err(SetupError::RootOnly { flag }),
        _ => Ok(()),
    }
}

fn entries(lists: &[EntryList]) -> Vec<Entry> {
    lists.iter().flat_map(|list| list.0.iter().copied()).collect()
}

/// Opens the host's link; the inner error says that the end came while waiting for it.
fn open_host(
    serve: &Serve,
    isolation: Isolation,
    lifeline: &mut Lifeline,
) -> Result<Result<Box<dyn Host>, End>, OpenError> {
    let request = LinkRequest {
        guest_mac: serve.vm_mac_address,
        net_type: serve.vm_net_type.into(),
        isolation,
        lease_seconds: serve.bootpd_lease_time,
        bridge: serve.bridge.clone(),
        subnet: serve.subnet,
        offload: if serve.no_offload { Offload::Off } else { Offload::Wanted },
    };
    let mut end = None;
    let mut wait = |duration: Duration| {
        lifeline.pause(duration).map_err(|reason| {
            end = Some(reason);
            Interrupted
        })
    };
    let opened = host::open(&request, &mut wait);
    match end {
        Some(end) => Ok(Err(end)),
        None => opened.map(Ok),
    }
}
