//! A guest's engine in virtual time, with the frames that bring it to life, for the tests of the engine.
#![allow(dead_code, unreachable_pub)] // Each test binary that includes this uses its own part.

#[path = "../support/dns.rs"]
pub mod dns;
#[path = "../support/engine.rs"]
mod engine;
#[path = "../support/frames.rs"]
pub mod frames;

use std::net::Ipv4Addr;

use frames::*;
use softnet::engine::{
    Config, Direction, DnsQuestions, DropReason, Engine, Entry, EthernetAddress, Event, Instant, Isolation, NetType,
    PolicyEntries, Refusals, Verdict,
};

/// The largest frame of the link of these tests.
pub const MAX_FRAME: usize = 1514;

/// What a verdict is to these tests: nothing, or the reason.
pub type Judgement = Result<(), DropReason>;

pub fn config() -> Config {
    Config {
        guest_mac: EthernetAddress(GUEST_MAC),
        net_type: NetType::Nat,
        isolation: Isolation::Isolated,
        network: engine::network(),
        policy: PolicyEntries::default(),
        administrator: PolicyEntries::default(),
        dns_questions: DnsQuestions::Any,
        refusals: Refusals::Silent,
        flow_keys: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        exposed: softnet::engine::Exposures::default(),
    }
}

pub fn entries(allow: &str, block: &str) -> PolicyEntries {
    PolicyEntries { allow: Entry::parse_list(allow).unwrap(), block: Entry::parse_list(block).unwrap() }
}

/// An engine and its clock.
pub struct World {
    pub engine: Engine,
    pub now: Instant,
}

impl World {
    pub fn new(config: Config) -> World {
        World { engine: Engine::new(config), now: Instant::from_secs(1000) }
    }

    /// A guest that has [`LEASED`] for 600 seconds from now, in nat mode, isolated, with these entries.
    pub fn leased(allow: &str, block: &str) -> World {
        World::leased_with(Config { policy: entries(allow, block), ..config() })
    }

    pub fn leased_with(config: Config) -> World {
        let mut world = World::new(config);
        world.lease(LEASED, 600, 1);
        world.events();
        world
    }

    /// The guest asks for `address` and the gateway grants it.
    pub fn lease(&mut self, address: Ipv4Addr, seconds: u32, xid: u32) {
        assert_eq!(self.guest_dhcp(&Dhcp::request(xid, address)), Ok(()));
        assert_eq!(self.host_dhcp(&Dhcp::ack(xid, address, seconds)), Ok(()));
        assert_eq!(self.engine.lease().map(|lease| lease.address), Some(address));
    }

    pub fn wait(&mut self, millis: u64) {
        self.now += softnet::engine::Duration::from_millis(millis);
    }

    /// Judges a frame, and checks that just its counter moved.
    pub fn guest(&mut self, frame: &[u8]) -> Judgement {
        let mut expected = self.engine.counters().clone();
        let verdict = self.engine.on_guest_frame(frame, self.now);
        self.check_counters(&mut expected, Direction::FromGuest, frame.len(), verdict)
    }

    /// Judges a frame, and checks that just its counter moved.
    pub fn host(&mut self, frame: &[u8]) -> Judgement {
        let mut expected = self.engine.counters().clone();
        let verdict = self.engine.on_host_frame(frame, self.now);
        self.check_counters(&mut expected, Direction::FromHost, frame.len(), verdict)
    }

    fn check_counters(
        &self,
        before: &mut softnet::engine::Counters,
        direction: Direction,
        length: usize,
        verdict: Verdict,
    ) -> Judgement {
        let after = self.engine.counters();
        for each in [Direction::FromGuest, Direction::FromHost] {
            let (old, new) = (before.forwarded(each), after.forwarded(each));
            let forwarded = each == direction && verdict == Verdict::Forward;
            assert_eq!(new.frames - old.frames, u64::from(forwarded));
            assert_eq!(new.bytes - old.bytes, if forwarded { length as u64 } else { 0 });
            for reason in DropReason::ALL {
                let dropped =
                    each == direction && (verdict == Verdict::Drop(reason) || verdict == Verdict::Reply(reason));
                assert_eq!(
                    after.dropped(each, reason) - before.dropped(each, reason),
                    u64::from(dropped),
                    "{reason:?}"
                );
            }
        }
        match verdict {
            Verdict::Forward => Ok(()),
            Verdict::Drop(reason) | Verdict::Reply(reason) => Err(reason),
        }
    }

    /// A datagram of the guest's to the gateway's MAC.
    pub fn guest_ip(&mut self, datagram: &Ip) -> Judgement {
        self.guest(&datagram.frame(GATEWAY_MAC, GUEST_MAC))
    }

    /// A datagram from the gateway's MAC.
    pub fn host_ip(&mut self, datagram: &Ip) -> Judgement {
        self.host(&datagram.frame(GUEST_MAC, GATEWAY_MAC))
    }

    /// A DHCP message of the guest's, broadcast.
    pub fn guest_dhcp(&mut self, message: &Dhcp) -> Judgement {
        self.guest(&message.to_all().frame(BROADCAST, GUEST_MAC))
    }

    /// A DHCP message of the gateway's, broadcast.
    pub fn host_dhcp(&mut self, message: &Dhcp) -> Judgement {
        self.host(&message.by_gateway().frame(BROADCAST, GATEWAY_MAC))
    }

    /// Whether a ping from `source` to the world passes.
    pub fn speaks_from(&mut self, source: Ipv4Addr) -> Judgement {
        self.guest_ip(&Ip::ping(source, WORLD))
    }

    pub fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.engine.poll_event()).collect()
    }
}
