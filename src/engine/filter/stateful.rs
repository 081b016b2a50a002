//! What a stateful policy makes of a datagram: one of a flow passes; any other is judged by the rules of its direction, and makes
//! a flow if it can.
#![forbid(unsafe_code)]

use std::net::Ipv4Addr;

use super::super::Instant;
use super::super::flows::{Before, Found, Step};
use super::super::policy::{Carried, Policy};
use super::super::verdict::{Direction, DropReason};
use super::Filter;

impl Filter {
    /// Puts a policy in the place of the present one.
    pub(in super::super) fn replace_policy(&mut self, policy: Policy) {
        match (self.policy.is_stateful(), policy.is_stateful()) {
            (false, true) => self.flows.begin_generation(Before::Stateless),
            (true, true) => self.flows.begin_generation(Before::Stateful),
            (_, false) => self.flows.clear(),
        }
        self.names.on_policy(self.policy.names(), policy.names());
        self.policy = policy;
    }

    /// Judges a datagram to or from `far`, whose addresses and MACs are in order.
    #[inline(never)]
    pub(super) fn judge_stateful(
        &mut self,
        direction: Direction,
        far: Ipv4Addr,
        carried: Carried,
        step: Option<&Step>,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.flows.tell(now);
        let found = step.and_then(|step| self.live_flow(step, now));
        if let (Some(step), Some(found)) = (step, found)
            && self.flows.pass(found, direction, step, now)
        {
            return Ok(());
        }
        self.judge_by_rules(direction, far, carried, now)?;
        match step {
            Some(step) => self.flows.admit(direction, step, found, now),
            None => Ok(()),
        }
    }

    /// The flow of a datagram, if the present policy allows it.
    #[inline]
    fn live_flow(&mut self, step: &Step, now: Instant) -> Option<Found> {
        let found = self.flows.find(step, now)?;
        if found.is_current {
            return Some(found);
        }
        if self.judge_by_rules(found.initiator, step.key.far, step.key.carried(), now).is_ok() {
            self.flows.allow(found);
            Some(found)
        } else {
            self.flows.end(found);
            None
        }
    }

    #[inline(never)]
    fn judge_by_rules(
        &self,
        direction: Direction,
        far: Ipv4Addr,
        carried: Carried,
        now: Instant,
    ) -> Result<(), DropReason> {
        match direction {
            Direction::FromGuest => self.check_destination(far, carried, now),
            Direction::FromHost => self.check_origin(far, carried, now),
        }
    }
}
