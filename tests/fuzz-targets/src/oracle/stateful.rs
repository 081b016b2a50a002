//! "Directions and flows": what the rules say of each direction, and what begins and goes on while one of them has any.

use std::net::Ipv4Addr;

use softnet::engine::Direction;

use super::flows::{Flows, Of, Step};
use super::policy::is_of_the_world;
use super::{Claim, Oracle, claim};
use crate::frames::GATEWAY;

/// How long after a policy without state the middle of a connection makes a flow.
const PICK_UP: i64 = 300_000_000;

/// What the rules have let begin.
#[derive(Debug, Default)]
pub(super) struct State {
    flows: Flows,
    is_new: bool,
    /// Until when the middle of a connection makes a flow.
    picks_up: Option<i64>,
}

impl State {
    /// Another policy than before.
    pub(super) fn change(&mut self, was_kept: bool, is_kept: bool) {
        if !is_kept {
            self.flows.clear();
            return;
        }
        self.flows.doubt();
        self.is_new = !was_kept;
        self.picks_up = None;
    }
}

impl Oracle {
    /// Whether an entry has a direction.
    pub(super) fn keeps_state(&self) -> bool {
        self.rules.has_direction() || self.administrator.has_direction()
    }

    /// What the rules say of a datagram to or from `far`, whose far port, of UDP or TCP and no fragment, is this.
    pub(super) fn by_rules(&self, direction: Direction, far: Ipv4Addr, port: Option<usize>) -> Claim {
        let ruling = self.rules.ruling(far, direction);
        let is_closed = self.is_closed(far, direction);
        match direction {
            Direction::FromGuest => {
                claim(!is_closed, "closed by the administrator")?;
                match ruling {
                    Some(is_allowed) => claim(is_allowed, "blocked"),
                    None => claim(self.is_reachable(far, port), "not reachable"),
                }
            }
            Direction::FromHost => {
                let is_allowed = ruling == Some(true) && !is_closed;
                claim(is_allowed || !self.is_neighbour(far), "neighbour")?;
                claim(!is_closed && ruling != Some(false), "blocked")
            }
        }
    }

    fn is_reachable(&self, destination: Ipv4Addr, port: Option<usize>) -> bool {
        let is_world = is_of_the_world(destination) && !self.facts.in_subnet(destination);
        let is_dns = port == Some(53) && self.dhcp.dns.contains(&destination);
        destination == GATEWAY || (self.facts.nat && (is_world || is_dns))
    }

    /// The same, where what belongs to a flow passes and what passes may begin one.
    pub(super) fn by_flows(
        &mut self,
        direction: Direction,
        far: Ipv4Addr,
        port: Option<usize>,
        step: Option<Step>,
    ) -> Claim {
        if std::mem::take(&mut self.state.is_new) {
            self.state.picks_up = Some(self.now.saturating_add(PICK_UP));
        }
        if let Some(step) = step {
            let doubted = self.state.flows.find(step.key, self.now).filter(|flow| !flow.is_allowed).map(|flow| *flow);
            if let Some(flow) = doubted {
                let (far, port) = flow.key.far;
                let port = Some(port).filter(|_| matches!(flow.key.of, Of::Tcp | Of::Udp));
                match self.by_rules(flow.initiator, far, port) {
                    Ok(()) => self.state.flows.allow(flow.key),
                    Err(_) => self.state.flows.end(flow.key),
                }
            }
            if self.state.flows.pass(direction, step, self.now) {
                return Ok(());
            }
        }
        self.by_rules(direction, far, port)?;
        if let Some(step) = step {
            let picks_up = self.state.picks_up.is_some_and(|end| self.now < end);
            self.state.flows.admit(direction, step, picks_up, self.now);
        }
        Ok(())
    }
}
