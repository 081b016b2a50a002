//! "Exposed ports": what the gateway has begun with one of them, and what the guest has.

use softnet::engine::Direction;

use super::flows::{Flows, Of, Step, What};
use super::{Datagram, Oracle};
use crate::frames::GATEWAY;

/// The exposed ports, and what is going on with them.
#[derive(Debug, Default)]
pub struct Exposed {
    /// IP protocol and port.
    pub ports: Vec<(u8, u16)>,
    /// Whether anybody may begin with them, not the gateway alone.
    pub by_anyone: bool,
    flows: Flows,
    /// How many of the guest's datagrams have passed by one.
    passed: u64,
}

impl Exposed {
    /// Nothing goes on yet.
    #[must_use]
    pub fn new(ports: &[(u8, u16)], by_anyone: bool) -> Self {
        Exposed { ports: ports.to_vec(), by_anyone, flows: Flows::default(), passed: 0 }
    }

    fn is_about(&self, step: Step) -> bool {
        let protocol = match step.key.of {
            Of::Tcp => 6,
            Of::Udp => 17,
            Of::Echo(_) => return false,
        };
        let is_peer = self.by_anyone || step.key.far.0 == GATEWAY;
        is_peer && self.ports.iter().any(|&(of, port)| of == protocol && usize::from(port) == step.key.guest.1)
    }
}

impl Oracle {
    /// How many of the guest's datagrams have passed by an exposed port.
    #[must_use]
    pub fn passed_by_exposure(&self) -> u64 {
        self.exposed.passed
    }

    /// Whether a datagram to the guest, of somebody whom it may hear, is of an exposed port.
    pub(super) fn is_to_exposed(&mut self, frame: &[u8], datagram: &Datagram) -> bool {
        let is_leased = self.is_leased(super::address(frame, 30));
        let is_sound = frame[23] != 6 || datagram.is_fragment || datagram.check_tcp_header(frame).is_ok();
        let Some(step) = is_sound.then(|| Step::read(Direction::FromHost, frame, datagram)).flatten() else {
            return false;
        };
        if !is_leased || !self.exposed.is_about(step) || self.is_closed(step.key.far.0, Direction::FromHost) {
            return false;
        }
        let flows = &mut self.exposed.flows;
        match flows.find(step.key, self.now).map(|flow| flow.initiator) {
            Some(Direction::FromGuest) => return false,
            Some(Direction::FromHost) if flows.pass(Direction::FromHost, step, self.now) => return true,
            _ => {}
        }
        // What a service of the gateway's sends is an answer.
        let begins = step.begins() && (self.exposed.by_anyone || step.key.far.1 >= 1024);
        if begins {
            flows.admit(Direction::FromHost, step, false, self.now);
        }
        begins
    }

    /// Whether a datagram of the guest's answers what was begun with an exposed port.
    pub(super) fn is_from_exposed(&mut self, step: Option<Step>) -> bool {
        let Some(step) = step.filter(|step| self.exposed.is_about(*step)) else { return false };
        let flows = &mut self.exposed.flows;
        let is_of_far = flows.find(step.key, self.now).is_some_and(|flow| flow.initiator == Direction::FromHost);
        let passes = is_of_far && flows.pass(Direction::FromGuest, step, self.now);
        self.exposed.passed += u64::from(passes);
        passes
    }

    /// The guest has begun, or gone on with, a UDP exchange of its own.
    pub(super) fn note_own(&mut self, step: Option<Step>) {
        if let Some(step) = step.filter(|step| self.exposed.is_about(*step))
            && step.key.of == Of::Udp
            && step.what == What::Asks
            && !self.exposed.flows.pass(Direction::FromGuest, step, self.now)
        {
            self.exposed.flows.admit(Direction::FromGuest, step, false, self.now);
        }
    }
}
