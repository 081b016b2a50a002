//! The root phase: numbered steps from a command line to a relay that needs no right any more. The same steps, with
//! the same numbers, are in docs/privileges.md.
//!
//! 1. The process: environment, signals, limits, umask, working directory ([`secure_process`]).
//! 2. The descriptors of the guest and of the control channel, looked at only: what is wrong with them is told before any
//!    right is used.
//! 3. Root, if it is not there: by sudo, which starts softnet again from step 1. Where the host's link needs no root
//!    (macOS 26), softnet goes on without, should sudo say no.
//! 4. The administrator's file ([`Administrator`]); arguments that not everyone may give; whom to become.
//! 5. What the caller names is opened, by the rights of whom softnet becomes: the capture's file, and the directory of
//!    `--metrics-file`. Then these sockets are adopted, and every other
//!    descriptor but 0, 1 and 2 closed.
//! 6. Ending signals are caught and the guest's side is watched: from here on, softnet ends in order. With `--socket`, the socket
//!    is made and its first peer waited for in between, by the caller's rights ([`listener`]); and the ports
//!    of `--expose` are bound.
//! 7. The host's link is opened, DHCP's lease time set with it.
//! 8. The engine and the relay: all memory of the run phase. What an option needs beside them, a companion, is started.
//! 9. Root is dropped, for good, and that is proven.
//! 10. The sandbox is entered: from here on any call but those that the relay makes ends the process.
//!
//! May: root, to step 9. Must not: read a byte that the guest or a client of the control channel sent.

mod forwards;
mod sockets;
mod watching;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

pub use forwards::ForwardsError;
pub(crate) use forwards::{check_list as check_exposed, exposures};
use log::{debug, info, warn};
use thiserror::Error;

use crate::administrator::{Administrator, AdministratorError, FILE};
use crate::cli::ServeOptions;
use crate::engine::{Config, DnsQuestions, Engine, EntryError, Isolation, PolicyEntries, RateLimit, colons};
use crate::host::{self, Host, Interrupted, LinkRequest, Offload, OpenError, Owner};
use crate::lifeline::{Lifeline, Stop};
use crate::listener::{self, Leftover, ListenError, Met};
#[cfg(target_os = "linux")]
use crate::metrics;
use crate::privilege::escalate::{self, EscalationError};
use crate::privilege::{self, Identity, PrivilegeError, Standing};
use crate::record::RecordWriter;
use crate::relay::Relay;
#[cfg(not(target_os = "linux"))]
use crate::relay::Reports;
use crate::sandbox::{self, Confined, Features, SandboxError};
use crate::sys::process;
use crate::sys::signals::Signals;
use crate::sys::sink::SinkError;
#[cfg(target_os = "linux")]
use crate::sys::stderr;
use crate::watch::Capture;
pub use sockets::SocketsError;
use sockets::{Adopted, Sockets};

/// The most loopholes that are told one by one.
const LOOPHOLES_TOLD: usize = 3;

/// Why softnet cannot start to serve its guest.
#[derive(Debug, Error)]
pub enum SetupError {
    /// The process could not be secured.
    #[error("this process cannot be put in order: {0}")]
    Process(io::Error),
    /// What the caller hands over.
    #[error(transparent)]
    Sockets(#[from] SocketsError),
    /// The socket that softnet is to make.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// Root is not to be had.
    #[error(transparent)]
    Escalation(#[from] EscalationError),
    /// Something only root itself may do.
    #[error(
        "{flag}: only for root itself, not by way of the setuid bit: run softnet by sudo, leave {flag} out, or ask the \
         administrator to let callers name it in {FILE}"
    )]
    RootOnly {
        /// The option or subcommand.
        flag: &'static str,
    },
    /// The administrator's file.
    #[error(transparent)]
    Administrator(#[from] AdministratorError),
    /// Whom to become, or the drop.
    #[error(transparent)]
    Privilege(#[from] PrivilegeError),
    /// No guest's side was named, which the command line does not let happen.
    #[error("neither --vm-fd nor --socket was given")]
    NoGuest,
    /// The watch for signals and the guest's side.
    #[error("the guest's side cannot be watched: {0}")]
    Lifeline(io::Error),
    /// The ports of `--expose`.
    #[error(transparent)]
    Forwards(#[from] ForwardsError),
    /// The host's link.
    #[error(transparent)]
    Host(#[from] OpenError),
    /// The metrics' file.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Metrics(#[from] metrics::MetricsError),
    /// The operator's entries.
    #[error("--allow and --block: {0}")]
    Policy(#[from] EntryError),
    /// A process beside the relay.
    #[cfg(target_os = "linux")]
    #[error(transparent)]
    Companion(#[from] crate::companion::CompanionError),
    /// The capture's file.
    #[error("--pcap {0}: {1}")]
    Capture(String, SinkError),
    /// The sandbox.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl<E: Into<SetupError>> From<E> for Stop<SetupError> {
    fn from(error: E) -> Self {
        Stop::Failed(error.into())
    }
}

/// How the process was started.
#[derive(Debug)]
pub struct Started {
    /// By which right.
    pub standing: Standing,
    /// In which working directory: relative paths of the caller's start there. None where it cannot be opened.
    pub directory: Option<OwnedFd>,
}

/// Step 1: what the caller set up for this process, put back to what softnet counts on. First of all in main, before
/// arguments or anything else are read.
///
/// # Errors
/// Those of [`process::reset`], and of finding out who we are.
pub fn secure_process() -> Result<Started, SetupError> {
    let standing = Standing::of_this_process().map_err(|errno| SetupError::Process(errno.into()))?;
    let directory = process::working_directory();
    if standing != Standing::Unprivileged {
        process::clear_environment();
        process::reset().map_err(SetupError::Process)?;
        #[cfg(target_os = "linux")]
        stderr::own_terminal();
    }
    Ok(Started { standing, directory })
}

/// Step 1 of `softnet run` and `softnet explain`, which need no right: the setuid bit's is given back, and all else left as the caller has it.
///
/// # Errors
/// That it could not be.
pub fn renounce() -> Result<Started, SetupError> {
    let standing = Standing::of_this_process().map_err(|errno| SetupError::Process(errno.into()))?;
    Ok(Started { standing: privilege::renounce(standing)?, directory: None })
}

/// Steps 2 to 10: a relay, and the proof that it has no privilege and is in the sandbox.
///
/// # Errors
/// What failed, on what, and how to mend it, or the end before the guest's first frame. Nothing that this process made stays behind but
/// what the next start adopts.
pub fn run(started: Started, serve: &ServeOptions) -> Result<(Relay, Confined), Stop<SetupError>> {
    let Started { standing, directory } = started;

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

    // 4. The administrator's file; arguments that not everyone may give; whom to become.
    let administrator = Administrator::read()?;
    administrator.check_caller(standing)?;
    check_rights(standing, serve, &administrator)?;
    let exposed = forwards::check(standing, &serve.forward, &administrator)?;
    let rate_limit = rate_limit(standing, serve.guest.rate_limit, &administrator);
    let identity = Identity::choose(standing, serve.user.as_deref(), serve.group.as_deref())?;

    // 5. What the caller names, by its rights: among it may be descriptors that are closed next. What was handed over, and no other
    // descriptor.
    let beside = directory.as_ref().map(AsFd::as_fd);
    let capture = watching::open_capture(serve, identity, standing, beside)?;
    #[cfg(target_os = "linux")]
    let place = serve.watch.metrics_file.as_ref();
    #[cfg(target_os = "linux")]
    let place = place.map(|path| metrics::open(beside, path, identity, standing)).transpose()?;
    #[cfg(target_os = "linux")]
    let kept = place.as_ref().map(metrics::Place::descriptor);
    #[cfg(not(target_os = "linux"))]
    let kept = None;
    // Before all others are closed, whoever has them.
    drop(directory);
    let Adopted { guest, control, ready } = sockets.adopt([capture.as_ref().and_then(Capture::descriptor), kept])?;
    // Not before: standard error may have been one of them.
    if standing == Standing::Root && serve.user.is_none() {
        warn!("no --user was given to root: softnet goes on as nobody ({identity})");
    }

    // 6. From here on, softnet ends in order.
    let signals = Signals::catch().map_err(SetupError::Lifeline)?;
    let (guest, leftover) = match (guest, &serve.socket) {
        (Some(guest), _) => (guest, None),
        (None, Some(path)) => {
            let Met { socket, name } =
                identity.act(standing, || listener::meet(path, &signals))?.map_err(Stop::widen)?;
            (socket, Some(Leftover::new(name, identity, standing)))
        }
        (None, None) => return Err(SetupError::NoGuest.into()),
    };
    let mut lifeline = Lifeline::with(signals, guest.as_fd()).map_err(SetupError::Lifeline)?;
    let exposed = exposed.bind(standing, identity, &mut lifeline)?;

    // 7. The host's link.
    let effective = administrator.effective(serve.policy()?);
    if effective.is_held {
        warn!("--allow 0.0.0.0/0: the guest stays isolated from other guests all the same, as {FILE} says");
    }
    let owner = Owner { uid: identity.uid().as_raw(), most_guests: administrator.most_guests(standing) };
    let mut host = open_host(serve, effective.isolation, owner, &mut lifeline)?;

    warn_of_loopholes(&effective.policy, host.network().gateway);

    // 8. The engine and the relay, and what keeps the counters in a file.
    #[cfg(target_os = "linux")]
    let reports = watching::reports(serve, place, &mut lifeline)?;
    #[cfg(not(target_os = "linux"))]
    let reports = Reports::new(watching::stats_interval(serve));
    let engine = Engine::new(Config {
        guest_mac: serve.vm_mac_address,
        net_type: serve.vm_net_type.into(),
        isolation: effective.isolation,
        network: *host.network(),
        policy: effective.policy,
        administrator: effective.administrator,
        refusals: serve.reject.refusals(),
        dns_questions: if serve.dns_names_only { DnsQuestions::OfAllowedNames } else { DnsQuestions::Any },
        flow_keys: random_keys(),
        exposed: exposed.for_the_engine(),
    })
    .with_rate_limit(rate_limit);
    #[cfg(target_os = "linux")]
    let remover =
        leftover.map(|leftover| leftover.hand_over(&mut lifeline)).transpose().map_err(Stop::widen)?.flatten();
    #[cfg(not(target_os = "linux"))]
    drop(leftover);
    let forwards = exposed.start(identity, &mut lifeline)?;
    let record = host.take_record();
    let features = Features {
        channel: control.as_ref().map(AsRawFd::as_raw_fd),
        record: record.as_ref().map(AsRawFd::as_raw_fd),
        leases: host.lease_file().map(|leases| leases.as_raw_fd()),
    };
    let relay = Relay::new(guest, host, engine, lifeline)
        .with_reports(reports)
        .with_watch(watching::watch(serve, capture))
        .with_record(record.map(RecordWriter::new))
        .with_forwards(forwards);
    #[cfg(target_os = "linux")]
    let relay = relay.with_companion(remover);
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
    if let Some(pipe) = ready {
        pipe.tell();
    }
    Ok((relay, proof))
}

/// What only root itself may ask for, and whom the administrator lets: it reaches beyond the caller's own guest.
fn check_rights(standing: Standing, serve: &ServeOptions, administrator: &Administrator) -> Result<(), SetupError> {
    if serve.bridge.as_ref().is_some_and(|bridge| !administrator.may_name_bridge(standing, bridge)) {
        return Err(SetupError::RootOnly { flag: "--bridge" });
    }
    if serve.subnet.is_some_and(|subnet| !administrator.may_name_subnet(standing, subnet)) {
        return Err(SetupError::RootOnly { flag: "--subnet" });
    }
    Ok(())
}

/// What the guest may send and be sent. A caller who asked for more, or for no limit, is told what it got.
fn rate_limit(standing: Standing, asked: Option<RateLimit>, administrator: &Administrator) -> RateLimit {
    let asked = asked.unwrap_or_default();
    let given = administrator.rate_limit(standing, asked);
    if given.is_stricter_than_asked(asked) {
        warn!("--rate-limit {asked}: the guest gets {given}, as {FILE} says");
    } else if given != asked {
        info!("the guest gets --rate-limit {given}, as {FILE} says");
    }
    given
}

/// Random bits of the system's, by way of the standard library's own hash keys.
fn random_keys() -> [u64; 2] {
    let state = RandomState::new();
    [state.hash_one(0u8), state.hash_one(1u8)]
}

/// Says where an entry with ports opens what a narrower one without closes: it is the rule, and easily overlooked.
pub(crate) fn warn_of_loopholes(policy: &PolicyEntries, gateway: Ipv4Addr) {
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

/// Opens the host's link.
fn open_host(
    serve: &ServeOptions,
    isolation: Isolation,
    owner: Owner,
    lifeline: &mut Lifeline,
) -> Result<Box<dyn Host>, Stop<SetupError>> {
    let request = LinkRequest {
        guest_mac: serve.vm_mac_address,
        net_type: serve.vm_net_type.into(),
        isolation,
        lease_seconds: serve.bootpd_lease_time,
        bridge: serve.bridge.clone(),
        subnet: serve.subnet,
        owner,
        name: serve.guest.name.clone(),
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
        Some(end) => Err(end.into()),
        None => Ok(opened?),
    }
}
