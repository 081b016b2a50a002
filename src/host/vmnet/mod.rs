//! macOS: an interface of vmnet.framework, in shared mode (the world by the host's NAT) or in host mode.
//!
//! # Theory of operation
//! vmnet hands out and takes batches of packets in calls that never block, and tells of new packets by a callback on a
//! dispatch queue of its own. The callback does nothing but make a descriptor readable ([`Wakeup`]), which the relay
//! waits for together with everything else. vmnet promises one event for packets that came, and no reminder of those
//! that were left unread; so [`Host::receive`] takes the signal down *before* the look that finds nothing, and leaves it
//! up, or puts it up again, whenever something may be left.
//!
//! Packets are read straight into the relay's slots and written straight from them: the batches of the crate `vmnet`
//! hold descriptors only. Nothing is allocated for a packet.
//!
//! What vmnet's statuses mean, for the link and in words, is one table ([`status`]). A status that may pass costs the
//! frames of that call; the link is given up for one that cannot pass, or when nothing else comes back any more.
//!
//! Everything of the framework is reached through `api`: the crate `vmnet` on macOS, and its double `vmnet-fake`
//! elsewhere, for which this same source is compiled in unit tests.

mod facts;
mod forwards;
pub mod rights;
mod status;
#[cfg(all(test, not(target_os = "macos")))]
mod tests;
mod wakeup;

#[cfg(target_os = "macos")]
use ::vmnet as api;
#[cfg(not(target_os = "macos"))]
use vmnet_fake as api;

use std::array;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use api::mode::{self, Mode};
use api::{Events, Interface, Options};
use log::debug;
use thiserror::Error;

use super::{Host, Interrupted, LinkRequest, PortForward, Wait};
use crate::engine::{Isolation, NetType, Network};
use crate::sys::batch::Batch;
use facts::{Facts, FactsError};
use forwards::Rules;
use status::{Meaning, Said};
use wakeup::Wakeup;

/// The most packets a call that vmnet is known to take.
const MOST_PACKETS: usize = 256;
/// How many calls in a row may be refused before the link is taken for lost.
const REFUSALS: u32 = 16;
/// How many reads in a row are tried again while the kernel has no buffers, before the next event is waited for.
const BUSY_READS: u32 = 16;
/// How long vmnet may take to start an interface. It takes a second or two when it must set sharing up first.
const START_WITHIN: Duration = Duration::from_secs(60);
/// How often the start looks whether there is still a reason for it.
const START_LOOK: Duration = Duration::from_millis(50);
/// How long vmnet may take to stop one. What it has not undone by then, it undoes when this process ends.
const STOP_WITHIN: Duration = Duration::from_secs(3);

/// Why there is no link.
#[derive(Debug, Error)]
pub enum Error {
    /// vmnet refused to start an interface.
    #[error("macOS starts no network interface for the guest: {0}")]
    Start(Said),
    /// vmnet did not answer.
    #[error(
        "macOS has not started a network interface within {} seconds: its sharing service hangs; restart the Mac, and \
         look whether a VPN or a firewall product blocks Internet Sharing",
        START_WITHIN.as_secs()
    )]
    StartHangs,
    /// The interface says nonsense of itself.
    #[error("the network interface that macOS started cannot be used: {0}")]
    Facts(#[from] FactsError),
    /// vmnet does not call back.
    #[error("macOS does not tell of frames for the guest: {0}")]
    Callback(Said),
    /// A descriptor or a thread is missing.
    #[error("the wake-up for frames from macOS cannot be made: {0}; are too many files open, or processes running?")]
    Os(io::Error),
    /// The end came while waiting.
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// A started interface.
pub struct VmnetHost {
    interface: Interface,
    network: Network,
    rules: Rules,
    wakeup: Arc<Wakeup>,
    /// vmnet's packet descriptors, pointed at our slots for the time of a call.
    packets: api::Batch,
    read_limit: usize,
    write_limit: usize,
    /// Calls refused in a row.
    refusals: u32,
    /// Reads in a row that found no kernel buffers.
    busy_reads: u32,
}

/// Starts an interface for the guest. Setup phase: needs root, unless [`rights::root_needed`] says otherwise.
///
/// # Errors
/// What vmnet says, in words, with what to look at; or that `wait` was interrupted.
pub fn open(request: &LinkRequest, wait: &mut Wait<'_>) -> Result<VmnetHost, Error> {
    open_by(Interface::new, request, wait)
}

/// [`open`], with `start` in place of vmnet's own. It blocks, so it has a thread of its own, which ends with it.
fn open_by(
    start: impl FnOnce(Mode, Options) -> api::Result<Interface> + Send + 'static,
    request: &LinkRequest,
    wait: &mut Wait<'_>,
) -> Result<VmnetHost, Error> {
    let mode = match request.net_type {
        NetType::Nat => Mode::Shared(mode::Shared::default()),
        NetType::Host => Mode::Host(mode::Host::default()),
    };
    // The MAC that vmnet allocates stays unused: the guest's is the caller's choice. Checksums and segmentation stay
    // with the guest, which is vmnet's default.
    let isolated = request.isolation == Isolation::Isolated;
    let options = Options { enable_isolation: Some(isolated), ..Options::default() };

    let (sender, started) = mpsc::sync_channel(1);
    let starter = move || {
        // Nobody listens any more when the wait was interrupted: the interface is stopped as it is dropped.
        let _ = sender.send(start(mode, options));
    };
    thread::Builder::new().name("vmnet-start".into()).spawn(starter).map_err(Error::Os)?;
    let until = Instant::now() + START_WITHIN;
    let interface = loop {
        match started.recv_timeout(START_LOOK) {
            Ok(started) => break started.map_err(|error| Error::Start(Said(error)))?,
            Err(RecvTimeoutError::Timeout) if Instant::now() < until => wait(Duration::ZERO)?,
            Err(_) => return Err(Error::StartHangs),
        }
    };
    VmnetHost::new(interface)
}

impl VmnetHost {
    fn new(mut interface: Interface) -> Result<Self, Error> {
        let Facts { network, read_packets, write_packets } = Facts::of(interface.parameters())?;
        debug!("vmnet: {network:?}, at most {read_packets} packets a read and {write_packets} a write");
        let wakeup = Arc::new(Wakeup::new().map_err(Error::Os)?);
        let callback = Arc::clone(&wakeup);
        interface
            .set_event_callback(Events::PACKETS_AVAILABLE, move |_, _| callback.raise())
            .map_err(|error| Error::Callback(Said(error)))?;
        // Packets may have come before the callback was set: the first look is for free.
        wakeup.raise();
        Ok(VmnetHost {
            interface,
            network,
            rules: Rules::default(),
            wakeup,
            packets: api::Batch::preallocate(MOST_PACKETS),
            read_limit: read_packets.min(MOST_PACKETS),
            write_limit: write_packets.min(MOST_PACKETS),
            refusals: 0,
            busy_reads: 0,
        })
    }

    /// Reads packets into the free slots of `batch` once.
    fn read(&mut self, batch: &mut Batch) -> api::Result<()> {
        let count = batch.room().min(self.read_limit);
        let read = {
            let mut slots = batch.free_slots();
            let mut buffers: [&mut [u8]; MOST_PACKETS] = array::from_fn(|_| slots.next().unwrap_or_default());
            self.interface.read_batch(&mut self.packets, &mut buffers[..count])?
        };
        for length in self.packets.packet_sizes().take(read.min(count)) {
            batch.commit(length);
        }
        Ok(())
    }

    /// Judges a failed call: what it means, if the link may live on.
    fn judge(&mut self, error: api::Error) -> io::Result<Meaning> {
        let meaning = status::meaning(&error);
        if matches!(meaning, Meaning::Refused | Meaning::TooMany) {
            self.refusals += 1;
        }
        if meaning == Meaning::Lost || self.refusals > REFUSALS {
            return Err(io::Error::other(Said(error)));
        }
        debug!("vmnet: {}", Said(error));
        Ok(meaning)
    }
}

impl Host for VmnetHost {
    fn network(&self) -> &Network {
        &self.network
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.wakeup.readiness()
    }

    fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        let mut taken_down = false;
        while batch.room() > 0 {
            let meaning = match self.read(batch) {
                Ok(()) => {
                    (self.refusals, self.busy_reads) = (0, 0);
                    continue;
                }
                // Nothing waits, which is no trouble.
                Err(error) if status::meaning(&error) == Meaning::Nothing => Meaning::Nothing,
                Err(error) => self.judge(error)?,
            };
            match meaning {
                Meaning::Nothing if taken_down => {
                    (self.refusals, self.busy_reads) = (0, 0);
                    return Ok(());
                }
                Meaning::Nothing => {
                    self.wakeup.take_down();
                    taken_down = true;
                }
                Meaning::TooMany => self.read_limit = (self.read_limit / 2).max(1),
                Meaning::Busy => {
                    self.busy_reads += 1;
                    if self.busy_reads > BUSY_READS {
                        // Kernel buffers are short, and trying makes none: wait for the next event.
                        self.busy_reads = 0;
                        self.wakeup.take_down();
                        return Ok(());
                    }
                    break;
                }
                Meaning::Refused | Meaning::Lost => break,
            }
        }
        if taken_down {
            // More may wait, of which no event will tell again.
            self.wakeup.raise();
        }
        Ok(())
    }

    fn send(&mut self, batch: &Batch) -> io::Result<usize> {
        // A frame over the limit would have vmnet refuse its neighbours too.
        let largest = self.network.max_frame;
        let mut frames = batch.frames().filter(|frame| frame.len() <= largest);
        let mut taken = 0;
        loop {
            let mut count = 0;
            let chunk: [&[u8]; MOST_PACKETS] =
                array::from_fn(|_| frames.next().inspect(|_| count += 1).unwrap_or_default());
            if count == 0 {
                return Ok(taken);
            }
            let mut rest = &chunk[..count];
            while !rest.is_empty() {
                let offered = &rest[..rest.len().min(self.write_limit)];
                match self.interface.write_batch(&mut self.packets, offered) {
                    Ok(0) => return Ok(taken),
                    Ok(written) => {
                        let written = written.min(offered.len());
                        (taken, rest) = (taken + written, &rest[written..]);
                        self.refusals = 0;
                    }
                    Err(error) => match self.judge(error)? {
                        Meaning::TooMany if offered.len() > 1 => self.write_limit = offered.len() / 2,
                        // Full: the others would meet the same.
                        Meaning::Busy | Meaning::Nothing => return Ok(taken),
                        _ => rest = &rest[offered.len()..],
                    },
                }
            }
        }
    }

    fn forward(&mut self, forward: PortForward, lease: Option<Ipv4Addr>) -> io::Result<()> {
        self.rules.lead(&mut self.interface, forward, lease).map_err(io::Error::other)
    }

    fn stop(self: Box<Self>) -> io::Result<()> {
        let VmnetHost { mut interface, mut rules, .. } = *self;
        let (sender, stopped) = mpsc::sync_channel(1);
        let stopper = move || {
            // In this order: no callback may run while the interface goes, and it goes even if that fails.
            let quiet = interface.clear_event_callback();
            let mut errors: Vec<String> =
                rules.clear(&mut interface).iter().map(|error| format!("port forwards: {error}")).collect();
            for (step, result) in [("event callback", quiet), ("stop", interface.finalize())] {
                errors.extend(result.err().map(|error| format!("{step}: {}", Said(error))));
            }
            // Nobody listens any more when it took too long.
            let _ = sender.send(errors);
        };
        thread::Builder::new().name("vmnet-stop".into()).spawn(stopper)?;
        let Ok(errors) = stopped.recv_timeout(STOP_WITHIN) else {
            return Err(io::Error::other(format!("vmnet has not stopped the interface within {STOP_WITHIN:?}")));
        };
        if errors.is_empty() { Ok(()) } else { Err(io::Error::other(errors.join("; "))) }
    }
}

impl fmt::Debug for VmnetHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VmnetHost").field("network", &self.network).finish_non_exhaustive()
    }
}
