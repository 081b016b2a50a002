//! The root phase: numbered steps from a command line to a relay that needs no right any more. The same steps, with
//! the same numbers, are in docs/privileges.md.
//!
//! 1. The process: environment, signals, limits, umask, working directory ([`secure_process`]).
//! 2. The descriptors of the guest and of the control channel, looked at only: what is wrong with them is told before any
//!    right is used.
//! 3. Root, if it is not there: by sudo, which starts softnet again from step 1. Where the host's link needs no root
//!    (macOS 26), softnet goes on without, should sudo say no.
//! 4. Arguments that only root itself may give; whom to become.
//! 5. These sockets are adopted, every other descriptor but 0, 1 and 2 closed.
//! 6. Ending signals are caught and the guest's side is watched: from here on, softnet ends in order. The ports of `--expose` are
//!    bound.
//! 7. The host's link is opened, DHCP's lease time set with it.
//! 8. The engine and the relay: all memory of the run phase. What an option needs beside them, a companion, is started.
//! 9. Root is dropped, for good, and that is proven.
//! 10. The sandbox is entered: from here on any call but those that the relay makes ends the process.
//!
//! May: root, to step 9. Must not: read a byte that the guest or a client of the control channel sent.

mod forwards;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

pub use forwards::ForwardsError;
use log::{debug, info, warn};
use thiserror::Error;

use crate::cli::Serve;
use crate::engine::{Config, DnsQuestions, Engine, EntryError, Isolation, PolicyEntries, colons};
use crate::host::{self, Host, Interrupted, LinkRequest, Offload, OpenError};
use crate::lifeline::{End, Lifeline};
use crate::privilege::escalate::{self, EscalationError};
use crate::privilege::{self, Identity, PrivilegeError, Standing};
use crate::relay::Relay;
use crate::sandbox::{self, Confined, Features, SandboxError};
use crate::sys::inherited::{self, DescriptorError, Role};
use crate::sys::process;

/// The most loopholes that are told one by one.
const LOOPHOLES_TOLD: usize = 3;

/// Why softnet cannot start to serve its guest.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The process could not be secured.
    #[error("this process cannot be put in order: {0}")]
    Process(io::Error),
    /// An inherited descriptor is not what it must be.
    #[error("{0}: {1}")]
    Descriptor(&'static str, DescriptorError),
    /// Two of them are one.
    #[error(
        "--control-fd: descriptor {0} is that of --vm-fd: pass another socket, of type SOCK_STREAM, or leave --control-fd out"
    )]
    OneForBoth(RawFd),
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
    /// The ports of `--expose`.
    #[error(transparent)]
    Forwards(#[from] ForwardsError),
    /// The host's link.
    #[error(transparent)]
    Host(#[from] OpenError),
    /// The operator's entries.
    #[error("--allow and --block: {0}")]
    Policy(#[from] EntryError),
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
    // 2. The descriptors, looked at.
    let sockets = Sockets::of(serve)?;

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
    let exposed = forwards::check(standing, &serve.forwards)?;
    let identity = Identity::choose(standing, serve.user.as_deref(), serve.group.as_deref())?;

    // 5. The two sockets, and no other descriptor.
    let (guest, control) = sockets.adopt()?;
    // Not before: standard error may have been one of them.
    if standing == Standing::Root && serve.user.is_none() {
        warn!("no --user was given to root: softnet goes on as nobody ({identity})");
    }

    // 6. From here on, softnet ends in order.
    let mut lifeline = Lifeline::new(guest.as_fd()).map_err(SetupError::Lifeline)?;
    let exposed = match exposed.bind(standing, identity, &mut lifeline)? {
        Ok(exposed) => exposed,
        Err(end) => return Ok(Outcome::Ended(end)),
    };

    // 7. The host's link.
    let policy = serve.policy()?;
    let isolation = if policy.allows_everything() { Isolation::Open } else { Isolation::Isolated };
    let host = match open_host(serve, isolation, &mut lifeline)? {
        Ok(host) => host,
        Err(end) => return Ok(Outcome::Ended(end)),
    };

    warn_of_loopholes(&policy, host.network().gateway);

    // 8. The engine and the relay.
    let engine = Engine::new(Config {
        guest_mac: serve.vm_mac_address,
        net_type: serve.vm_net_type.into(),
        isolation,
        network: *host.network(),
        policy,
        dns_questions: if serve.dns_names_only { DnsQuestions::OfAllowedNames } else { DnsQuestions::Any },
        flow_keys: random_keys(),
        exposed: exposed.for_the_engine(),
    });
    let forwards = match exposed.start(identity, &mut lifeline)? {
        Ok(forwards) => forwards,
        Err(end) => return Ok(Outcome::Ended(end)),
    };
    let relay = Relay::new(guest, host, engine, lifeline);
    let relay = match forwards {
        Some(forwards) => relay.with_forwards(forwards),
        None => relay,
    };
    let features = Features { channel: control.as_ref().map(AsRawFd::as_raw_fd) };
    let relay = match control {
        Some(socket) => relay.with_channel(socket, serve.channel_names()),
        None => relay,
    };

    // 9. The drop.
    let dropped = match standing {
        Standing::Unprivileged => privilege::stay(identity)?,
        Standing::Root | Standing::Setuid { .. } => privilege::drop_to(identity)?,
    };

    // 10. The sandbox.
    let proof = sandbox::enter(dropped, features)?;
    info!("ready: guest {}, running as {identity}", colons(serve.vm_mac_address));
    Ok(Outcome::Ready(Box::new(relay), proof))
}

/// The descriptors that the caller hands over, looked at.
struct Sockets {
    guest: RawFd,
    control: Option<RawFd>,
}

impl Sockets {
    const FRAMES: &str = "--vm-fd";
    const CONTROL: &str = "--control-fd";

    fn of(serve: &Serve) -> Result<Self, SetupError> {
        let Serve { vm_fd: guest, control_fd: control, .. } = *serve;
        inherited::check(guest, Role::Frames).map_err(|error| SetupError::Descriptor(Self::FRAMES, error))?;
        if let Some(fd) = control {
            if fd == guest {
                return Err(SetupError::OneForBoth(fd));
            }
            inherited::check(fd, Role::Control).map_err(|error| SetupError::Descriptor(Self::CONTROL, error))?;
        }
        Ok(Sockets { guest, control })
    }

    /// Takes them over, and closes every other descriptor.
    fn adopt(self) -> Result<(OwnedFd, Option<OwnedFd>), SetupError> {
        let kept: Vec<RawFd> = [self.guest].into_iter().chain(self.control).collect();
        process::close_all_but(&kept).map_err(SetupError::Process)?;
        let adopt = |flag, fd, role| inherited::adopt(fd, role).map_err(|error| SetupError::Descriptor(flag, error));
        let guest = adopt(Self::FRAMES, self.guest, Role::Frames)?;
        let control = self.control.map(|fd| adopt(Self::CONTROL, fd, Role::Control)).transpose()?;
        Ok((guest, control))
    }
}

/// What only root itself may ask for: it reaches beyond the caller's own guest.
fn check_rights(standing: Standing, serve: &Serve) -> Result<(), SetupError> {
    let host_wide = [("--bridge", serve.bridge.is_some()), ("--subnet", serve.subnet.is_some())];
    match host_wide.into_iter().find(|&(_, given)| given) {
        Some((flag, _)) if standing != Standing::Root => Err(SetupError::RootOnly { flag }),
        _ => Ok(()),
    }
}

/// Random bits of the system's, by way of the standard library's own hash keys.
fn random_keys() -> [u64; 2] {
    let state = RandomState::new();
    [state.hash_one(0u8), state.hash_one(1u8)]
}

/// Says where an entry with ports opens what a narrower one without closes: it is the rule, and easily overlooked.
fn warn_of_loopholes(policy: &PolicyEntries, gateway: Ipv4Addr) {
    let mut loopholes = policy.loopholes(gateway);
    for (allow, block) in loopholes.by_ref().take(LOOPHOLES_TOLD) {
        warn!(
            "--allow '{allow}' reaches what --block '{block}' closes: entries with ports outrank those without. To close \
             those ports as well, block the same target with them"
        );
    }
    if loopholes.next().is_some() {
        warn!("and there are more such entries");
    }
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
