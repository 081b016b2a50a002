//! The interface as softnet sees it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use crate::mode::Mode;
use crate::parameters::Parameters;
use crate::port_forwarding::{AddressFamily, Protocol, Rule};
use crate::wire::{Call, Line};
use crate::{Error, Events, Options, Result, Status};

/// A virtual network interface.
#[derive(Debug)]
pub struct Interface {
    line: Arc<Line>,
    parameters: Parameters,
    callbacks: Vec<JoinHandle<()>>,
    finalized: bool,
}

impl Interface {
    /// Starts an interface. It has another side only by way of [`Wire::start`](crate::Wire::start).
    pub fn new(mode: Mode, options: Options) -> Result<Interface> {
        let line = Line::take_prepared().ok_or(Error::VmnetStartInterfaceFailed)?;
        let parameters = {
            let mut state = line.lock();
            if let Some(error) = state.start_error.take() {
                return Err(error);
            }
            state.started = Some((mode, options));
            Parameters(state.facts.parameters())
        };
        Ok(Interface { line, parameters, callbacks: Vec::new(), finalized: false })
    }

    /// What vmnet said of the interface when it started.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Has `cb` called, on a thread of its own, for events.
    pub fn set_event_callback<F>(&mut self, _events: Events, cb: F) -> Result<()>
    where
        F: Fn(Events, &Parameters) + Send + 'static,
    {
        self.check()?;
        let (sender, receiver) = mpsc::channel();
        self.line.lock().set_callback(sender)?;
        let line = Arc::clone(&self.line);
        self.callbacks.push(thread::spawn(move || {
            while receiver.recv().is_ok() {
                cb(Events::PACKETS_AVAILABLE, &Parameters::default());
                line.handled.fetch_add(1, Ordering::SeqCst);
            }
        }));
        Ok(())
    }

    /// Has no callback called from now on; one may still be running.
    pub fn clear_event_callback(&mut self) -> Result<()> {
        self.check()?;
        self.line.lock().clear_callback()
    }

    /// Reads as many packets as `batch` and `bufs` have room for, and as wait.
    pub fn read_batch<'a, B>(&mut self, batch: &'a mut Batch, bufs: &'a mut [B]) -> Result<usize>
    where
        B: AsMut<[u8]>,
    {
        self.check()?;
        let mut state = self.line.lock();
        let count = batch.sizes.len().min(bufs.len());
        let limit = state.begin_read(count)?;
        let largest = state.facts.max_packet_size as usize;
        let mut read = 0;
        for (size, buf) in batch.sizes.iter_mut().zip(bufs.iter_mut()).take(limit) {
            let buf = buf.as_mut();
            if buf.len() < largest {
                return Err(Error::VmnetErrorStatus(Status::PacketTooBig));
            }
            let Some(packet) = state.inbound.pop_front() else { break };
            buf[..packet.len()].copy_from_slice(&packet);
            *size = packet.len();
            read += 1;
        }
        if read == 0 { Err(Error::VmnetReadNothing) } else { Ok(read) }
    }

    /// Writes the packets; returns how many were taken.
    pub fn write_batch<B>(&mut self, batch: &mut Batch, bufs: &[B]) -> Result<usize>
    where
        B: AsRef<[u8]>,
    {
        self.check()?;
        let mut state = self.line.lock();
        let count = batch.sizes.len().min(bufs.len());
        let limit = state.begin_write(count)?;
        let largest = state.facts.max_packet_size as usize;
        if bufs[..count].iter().any(|buf| buf.as_ref().len() > largest) {
            return Err(Error::VmnetErrorStatus(Status::PacketTooBig));
        }
        if state.outbound_room == 0 {
            return Err(Error::VmnetErrorStatus(Status::BufferExhausted));
        }
        let taken = limit.min(state.outbound_room);
        state.outbound_room -= taken;
        state.outbound.extend(bufs[..taken].iter().map(|buf| buf.as_ref().to_vec()));
        self.line.written.notify_all();
        Ok(taken)
    }

    /// Adds a port forward.
    pub fn port_forwarding_rule_add(
        &mut self,
        address_family: AddressFamily,
        protocol: Protocol,
        external_port: u16,
        internal_addr: IpAddr,
        internal_port: u16,
    ) -> Result<()> {
        self.check()?;
        if internal_addr.is_ipv4() != (address_family == AddressFamily::Ipv4) {
            return Err(Error::AddressFamilyMismatch);
        }
        let rule = Rule { address_family, protocol, external_port, addr: internal_addr, internal_port };
        let state = &mut self.line.lock();
        if let Some(error) = state.rule_error.take() {
            return Err(error);
        }
        let rules = &mut state.rules;
        if rules.iter().any(|other| (other.protocol, other.external_port) == (protocol, external_port)) {
            return Err(Error::VmnetErrorStatus(Status::InvalidArgument));
        }
        rules.push(rule);
        Ok(())
    }

    /// Removes a port forward.
    pub fn port_forwarding_rule_remove(
        &mut self,
        _address_family: AddressFamily,
        protocol: Protocol,
        external_port: u16,
    ) -> Result<()> {
        self.check()?;
        let state = &mut self.line.lock();
        if let Some(error) = state.rule_error.take() {
            return Err(error);
        }
        let rules = &mut state.rules;
        let index = rules.iter().position(|rule| (rule.protocol, rule.external_port) == (protocol, external_port));
        rules.remove(index.ok_or(Error::VmnetErrorStatus(Status::InvalidArgument))?);
        Ok(())
    }

    /// Stops the interface; waits for a callback that is still running.
    ///
    /// # Panics
    /// In a callback, where the real one would wait for itself for ever.
    pub fn finalize(&mut self) -> Result<()> {
        if self.finalized {
            return Ok(());
        }
        let me = thread::current().id();
        assert!(
            self.callbacks.iter().all(|callback| callback.thread().id() != me),
            "stopped in a callback: a deadlock"
        );
        self.finalized = true;
        let (hangs, error) = {
            let mut state = self.line.lock();
            state.calls.push(Call::Finalize);
            state.event = None;
            (state.stop_hangs, state.stop_error.take())
        };
        for callback in self.callbacks.drain(..) {
            callback.join().expect("the callback does not panic");
        }
        if hangs {
            self.line.hang();
        }
        error.map_or(Ok(()), Err)
    }

    fn check(&self) -> Result<()> {
        if self.finalized { Err(Error::InterfaceFinalized) } else { Ok(()) }
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        let _ = self.finalize();
    }
}

/// Room for the sizes of many packets.
#[derive(Debug)]
pub struct Batch {
    sizes: Vec<usize>,
}

impl Batch {
    /// Room for `count` packets.
    pub fn preallocate(count: usize) -> Batch {
        Batch { sizes: vec![0; count] }
    }

    /// The sizes of the packets that were read, and then some: the batch does not know how many there were.
    pub fn packet_sizes(&self) -> impl Iterator<Item = usize> + Send + use<'_> {
        self.sizes.iter().copied()
    }
}
