//! The other side of an interface, in the hands of a test.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::interface::Interface;
use crate::mode::Mode;
use crate::parameters::Parameter;
use crate::port_forwarding::Rule;
use crate::{Error, Options, Result, Status};

/// What the interface says of itself. `None` leaves a text out.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Facts {
    pub start_address: Option<String>,
    pub subnet_mask: Option<String>,
    pub mtu: u64,
    pub max_packet_size: u64,
    pub read_max_packets: u64,
    pub write_max_packets: u64,
}

impl Default for Facts {
    /// What vmnet's shared mode says on macOS 15.
    fn default() -> Self {
        Facts {
            start_address: Some("192.168.64.1".into()),
            subnet_mask: Some("255.255.255.0".into()),
            mtu: 1500,
            max_packet_size: 1514,
            read_max_packets: 256,
            write_max_packets: 256,
        }
    }
}

impl Facts {
    pub(crate) fn parameters(&self) -> Vec<Parameter> {
        let mut parameters = vec![
            Parameter::MTU(self.mtu),
            Parameter::MaxPacketSize(self.max_packet_size),
            Parameter::ReadMaxPackets(self.read_max_packets),
            Parameter::WriteMaxPackets(self.write_max_packets),
        ];
        parameters.extend(self.start_address.clone().map(Parameter::StartAddress));
        parameters.extend(self.subnet_mask.clone().map(Parameter::SubnetMask));
        parameters
    }
}

/// A call that matters for the order of stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A callback was set.
    SetCallback,
    /// The callback was taken off.
    ClearCallback,
    /// The interface was stopped.
    Finalize,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) facts: Facts,
    pub(crate) started: Option<(Mode, Options)>,
    pub(crate) start_error: Option<Error>,
    pub(crate) stop_error: Option<Error>,
    pub(crate) stop_hangs: bool,
    callback_error: Option<Error>,
    pub(crate) event: Option<Sender<()>>,
    events_sent: usize,
    pub(crate) calls: Vec<Call>,
    pub(crate) inbound: VecDeque<Vec<u8>>,
    pub(crate) outbound: VecDeque<Vec<u8>>,
    pub(crate) outbound_room: usize,
    pub(crate) rules: Vec<Rule>,
    pub(crate) rule_error: Option<Error>,
    most_a_read: usize,
    most_a_write: usize,
    read_errors: VecDeque<Error>,
    write_errors: VecDeque<Error>,
    lost: Option<u32>,
    reads: usize,
    writes: Vec<usize>,
}

impl State {
    pub(crate) fn set_callback(&mut self, event: Sender<()>) -> Result<()> {
        if let Some(error) = self.callback_error.take() {
            return Err(error);
        }
        self.calls.push(Call::SetCallback);
        self.event = Some(event);
        Ok(())
    }

    pub(crate) fn clear_callback(&mut self) -> Result<()> {
        self.calls.push(Call::ClearCallback);
        self.event = None;
        match self.callback_error.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// How many packets this read may return, or why it fails.
    pub(crate) fn begin_read(&mut self, count: usize) -> Result<usize> {
        self.reads += 1;
        if let Some(error) = self.read_errors.pop_front() {
            return Err(error);
        }
        self.check_call(count, self.facts.read_max_packets)?;
        Ok(count.min(self.most_a_read))
    }

    /// How many packets this write may take, or why it fails.
    pub(crate) fn begin_write(&mut self, count: usize) -> Result<usize> {
        self.writes.push(count);
        if let Some(error) = self.write_errors.pop_front() {
            return Err(error);
        }
        self.check_call(count, self.facts.write_max_packets)?;
        Ok(count.min(self.most_a_write))
    }

    fn check_call(&self, count: usize, most: u64) -> Result<()> {
        match self.lost {
            Some(status) => Err(error_of(status)),
            None if count == 0 => Err(Error::VmnetErrorStatus(Status::InvalidArgument)),
            None if count as u64 > most => Err(Error::VmnetErrorStatus(Status::TooManyPackets)),
            None => Ok(()),
        }
    }
}

/// What an interface and its [`Wire`] share.
#[derive(Debug)]
pub(crate) struct Line {
    state: Mutex<State>,
    pub(crate) written: Condvar,
    /// Callbacks that have run.
    pub(crate) handled: AtomicUsize,
}

thread_local! {
    /// What the next [`Interface::new`] of this thread starts.
    static PREPARED: RefCell<Option<Arc<Line>>> = const { RefCell::new(None) };
}

impl Line {
    pub(crate) fn take_prepared() -> Option<Arc<Line>> {
        PREPARED.take()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A test that failed while it held the lock has said so itself.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Never returns, as a vmnet that does not call back.
    pub(crate) fn hang(&self) -> ! {
        loop {
            thread::park();
        }
    }
}

/// The other side of one interface: what comes from the host, what reached it, and what goes wrong.
#[derive(Clone, Debug)]
pub struct Wire {
    line: Arc<Line>,
}

impl Wire {
    /// A wire whose interface says that of itself, once it is started.
    pub fn new(facts: Facts) -> Wire {
        let state = State {
            facts,
            outbound_room: usize::MAX,
            most_a_read: usize::MAX,
            most_a_write: usize::MAX,
            ..State::default()
        };
        let line = Arc::new(Line { state: Mutex::new(state), written: Condvar::new(), handled: AtomicUsize::new(0) });
        Wire { line }
    }

    /// Starts the interface at the other end, by [`Interface::new`].
    pub fn start(&self, mode: Mode, options: Options) -> Result<Interface> {
        PREPARED.set(Some(Arc::clone(&self.line)));
        Interface::new(mode, options)
    }

    /// Mode and options of the start, once there was one.
    pub fn started_with(&self) -> Option<(Mode, Options)> {
        self.line.lock().started.clone()
    }

    /// Has the start fail.
    pub fn refuse_start(&self, error: Error) {
        self.line.lock().start_error = Some(error);
    }

    /// Has the next setting or clearing of a callback fail.
    pub fn refuse_callback(&self, error: Error) {
        self.line.lock().callback_error = Some(error);
    }

    /// Has the stop fail.
    pub fn refuse_stop(&self, error: Error) {
        self.line.lock().stop_error = Some(error);
    }

    /// Has the stop never be confirmed.
    pub fn hang_stop(&self) {
        self.line.lock().stop_hangs = true;
    }

    /// Sends packets to the guest, with one event for all of them.
    pub fn deliver(&self, packets: impl IntoIterator<Item = Vec<u8>>) {
        self.line.lock().inbound.extend(packets);
        self.storm(1);
    }

    /// Calls back `events` times, packets or not.
    pub fn storm(&self, events: usize) {
        let mut state = self.line.lock();
        for _ in 0..events {
            if let Some(event) = &state.event {
                // The receiver ends with the callback.
                let _ = event.send(());
                state.events_sent += 1;
            }
        }
    }

    /// Waits until every event so far was handed to the callback and the callback has returned.
    pub fn settle(&self) {
        let sent = self.line.lock().events_sent;
        let until = Instant::now() + Duration::from_secs(10);
        while self.line.handled.load(Ordering::SeqCst) < sent {
            assert!(Instant::now() < until, "a callback does not return");
            thread::yield_now();
        }
    }

    /// How many packets wait to be read.
    pub fn waiting(&self) -> usize {
        self.line.lock().inbound.len()
    }

    /// Takes the next packet that reached the host, within ten seconds.
    pub fn taken(&self) -> Option<Vec<u8>> {
        let state = self.line.lock();
        let empty = |state: &mut State| state.outbound.is_empty();
        let waited = self.line.written.wait_timeout_while(state, Duration::from_secs(10), empty);
        waited.unwrap_or_else(PoisonError::into_inner).0.outbound.pop_front()
    }

    /// Takes all packets that reached the host so far.
    pub fn all_taken(&self) -> Vec<Vec<u8>> {
        self.line.lock().outbound.drain(..).collect()
    }

    /// How many more packets the host takes before its buffers are exhausted.
    pub fn set_room(&self, packets: usize) {
        self.line.lock().outbound_room = packets;
    }

    /// The most packets that one read returns, whatever waits.
    pub fn set_most_a_read(&self, packets: usize) {
        self.line.lock().most_a_read = packets;
    }

    /// The most packets that one write takes.
    pub fn set_most_a_write(&self, packets: usize) {
        self.line.lock().most_a_write = packets;
    }

    /// Has the next reads fail like this, one after the other.
    pub fn fail_reads(&self, errors: impl IntoIterator<Item = Error>) {
        self.line.lock().read_errors.extend(errors);
    }

    /// Has the next writes fail like this, one after the other.
    pub fn fail_writes(&self, errors: impl IntoIterator<Item = Error>) {
        self.line.lock().write_errors.extend(errors);
    }

    /// Stops the interface under its owner: each call fails with that status from now on; a last event comes.
    pub fn cut(&self, status: Status) {
        self.line.lock().lost = Some(status as u32);
        self.storm(1);
    }

    /// How many reads there were.
    pub fn reads(&self) -> usize {
        self.line.lock().reads
    }

    /// How many packets each write so far was given.
    pub fn writes(&self) -> Vec<usize> {
        self.line.lock().writes.clone()
    }

    /// Has the next setting or removing of a port forward fail.
    pub fn refuse_rule(&self, error: Error) {
        self.line.lock().rule_error = Some(error);
    }

    /// The port forwards.
    pub fn rules(&self) -> Vec<Rule> {
        self.line.lock().rules.clone()
    }

    /// The calls that matter for the order of stopping.
    pub fn calls(&self) -> Vec<Call> {
        self.line.lock().calls.clone()
    }
}

fn error_of(status: u32) -> Error {
    Status::try_from(status).map_or_else(Error::VmnetUnknownStatus, Error::VmnetErrorStatus)
}
