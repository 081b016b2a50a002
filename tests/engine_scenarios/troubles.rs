//! What goes wrong on a guest's link is told: once an occurrence, and not by whatever a guest likes to send.

use std::net::Ipv4Addr;

use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::troubles::{AGAIN, ANSWER};
use softnet::engine::{DropReason, EthernetAddress, Event, Trouble};

const OTHER_MAC: Mac = [0x5a, 0, 0, 0, 0, 9];
const THIRD_MAC: Mac = [0x5a, 0, 0, 0, 0, 10];
const ANSWER_MILLIS: u64 = ANSWER.total_millis();
const AGAIN_MILLIS: u64 = AGAIN.total_millis();

impl World {
    /// The troubles that are new, and nothing about leases.
    fn troubles(&mut self) -> Vec<Trouble> {
        let trouble = |event| if let Event::Trouble(trouble) = event { Some(trouble) } else { None };
        self.events().into_iter().filter_map(trouble).collect()
    }

    /// Lets time pass without a frame.
    fn idle(&mut self, millis: u64) {
        self.wait(millis);
        self.engine.advance(self.now);
    }

    fn asks_for_gateway(&mut self) {
        let question = Arp::request(GUEST_MAC, LEASED, GATEWAY);
        assert_eq!(self.guest(&question.frame(BROADCAST, GUEST_MAC)), Ok(()));
    }

    fn claims(&mut self, mac: Mac) -> Judgement {
        let claim = Arp::request(mac, LEASED, GATEWAY);
        self.host(&claim.frame(BROADCAST, mac))
    }
}

#[test]
fn a_dhcp_server_that_is_silent_for_ten_seconds_is_told_at_that_moment_and_once() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::discover(1)).unwrap();
    assert_eq!(world.engine.next_deadline(), Some(world.now + ANSWER));
    world.idle(4000);
    world.guest_dhcp(&Dhcp::discover(1)).unwrap();
    world.idle(ANSWER_MILLIS - 4001);
    assert_eq!(world.troubles(), []);
    world.idle(1);
    assert_eq!(world.troubles(), [Trouble::NoDhcpAnswer], "ten seconds after the first question");
    assert_eq!(world.engine.next_deadline(), None);
    for _ in 0..40 {
        world.idle(8000);
        world.guest_dhcp(&Dhcp::discover(1)).unwrap();
    }
    assert_eq!(world.troubles(), [], "it is the same silence");
}

#[test]
fn a_dhcp_server_that_answers_in_time_is_no_trouble_whatever_it_says() {
    for answer in [Dhcp::offer(1, LEASED), Dhcp::ack(1, LEASED, 600), Dhcp::nak(1)] {
        let mut world = World::new(config());
        world.guest_dhcp(&Dhcp::discover(1)).unwrap();
        world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
        world.idle(ANSWER_MILLIS - 1);
        world.host_dhcp(&answer).unwrap();
        world.idle(1);
        assert_eq!(world.troubles(), []);
    }
}

#[test]
fn an_answer_that_is_dropped_is_none() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    assert_eq!(world.host_dhcp(&Dhcp::ack(2, LEASED, 600)), Err(DropReason::DhcpNoTransaction));
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, GATEWAY, 600)), Err(DropReason::DhcpGrant));
    world.idle(ANSWER_MILLIS);
    assert_eq!(world.troubles(), [Trouble::NoDhcpAnswer]);
}

#[test]
fn an_offer_without_what_follows_and_a_renewal_without_an_answer_are_told_too() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::discover(1)).unwrap();
    world.host_dhcp(&Dhcp::offer(1, LEASED)).unwrap();
    world.idle(1000);
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    world.idle(ANSWER_MILLIS);
    assert_eq!(world.troubles(), [Trouble::NoDhcpAnswer]);

    let mut world = World::leased("", "");
    world.wait(300_000);
    world.guest_ip(&Dhcp::renewal(2, LEASED).to_gateway(LEASED)).unwrap();
    world.idle(ANSWER_MILLIS);
    assert_eq!(world.troubles(), [Trouble::NoDhcpAnswer]);
}

#[test]
fn a_new_silence_is_told_again_but_a_minute_after_the_last_one_at_the_earliest() {
    let mut world = World::new(config());
    world.guest_dhcp(&Dhcp::discover(1)).unwrap();
    world.idle(ANSWER_MILLIS);
    assert_eq!(world.troubles(), [Trouble::NoDhcpAnswer]);
    let told = world.now;
    world.host_dhcp(&Dhcp::offer(1, LEASED)).unwrap();
    world.guest_dhcp(&Dhcp::request(1, LEASED)).unwrap();
    assert_eq!(world.engine.next_deadline(), Some(told + AGAIN));
    world.idle(AGAIN_MILLIS - 1);
    assert_eq!(world.troubles(), []);
    world.idle(1);
    assert_eq!(world.troubles(), [Trouble::NoDhcpAnswer]);
}

#[test]
fn what_a_guest_may_not_ask_begins_no_wait() {
    let mut world = World::new(config());
    let mut asked = Dhcp::discover(1);
    asked.chaddr = OTHER_MAC;
    assert_eq!(world.guest_dhcp(&asked), Err(DropReason::DhcpForbidden));
    assert_eq!(world.engine.next_deadline(), None);
}

#[test]
fn a_gateway_that_leaves_four_questions_over_five_seconds_unanswered_is_told_once() {
    let mut world = World::leased("", "");
    for _ in 0..3 {
        world.asks_for_gateway();
        world.wait(1666);
    }
    world.asks_for_gateway();
    assert_eq!(world.troubles(), [], "four, but in less than five seconds");
    world.wait(2);
    world.asks_for_gateway();
    assert_eq!(world.troubles(), [Trouble::GatewaySilent]);
    for _ in 0..100 {
        world.wait(1000);
        world.asks_for_gateway();
    }
    assert_eq!(world.troubles(), [], "it is the same silence");
}

#[test]
fn few_questions_or_old_ones_or_answered_ones_or_ones_for_others_are_no_trouble() {
    let mut world = World::leased("", "");
    for _ in 0..3 {
        world.asks_for_gateway();
        world.wait(5000);
    }
    assert_eq!(world.troubles(), [], "three");
    for _ in 0..10 {
        world.wait(30_001);
        world.asks_for_gateway();
    }
    assert_eq!(world.troubles(), [], "each is forgotten before the next one");
    for _ in 0..10 {
        world.wait(2000);
        world.asks_for_gateway();
        world.asks_for_gateway();
        let answer = Arp::reply(GATEWAY_MAC, GATEWAY, GUEST_MAC, LEASED);
        assert_eq!(world.host(&answer.frame(GUEST_MAC, GATEWAY_MAC)), Ok(()));
    }
    assert_eq!(world.troubles(), [], "all are answered");
    for _ in 0..10 {
        world.wait(2000);
        let other = Arp::request(GUEST_MAC, LEASED, NEIGHBOUR);
        assert_eq!(world.guest(&other.frame(BROADCAST, GUEST_MAC)), Ok(()));
    }
    assert_eq!(world.troubles(), [], "another's");
}

#[test]
fn an_answer_in_the_gateways_name_from_elsewhere_does_not_count() {
    let mut world = World::leased("", "");
    for _ in 0..4 {
        world.asks_for_gateway();
        let forged = Arp::reply(OTHER_MAC, GATEWAY, GUEST_MAC, LEASED);
        assert_eq!(world.host(&forged.frame(GUEST_MAC, OTHER_MAC)), Err(DropReason::Neighbour));
        world.wait(2000);
    }
    assert_eq!(world.troubles(), [Trouble::GatewaySilent]);
}

/// A segment of a connection to port 80 of the world.
fn beyond(flags: &str) -> Ip {
    Ip::segment(LEASED, WORLD, (5000, 80), flags)
}

#[test]
fn connections_beyond_the_host_that_have_no_answer_for_ten_seconds_are_told_once() {
    let mut world = World::leased("", "");
    // As a kernel tries one again: after 1, 3, 7 and 15 seconds (RFC 6298).
    for pause in [1000, 2000, 4000] {
        world.guest_ip(&beyond("S")).unwrap();
        world.wait(pause);
    }
    world.guest_ip(&beyond("S")).unwrap();
    world.wait(10_000 - 7001);
    world.guest_ip(&beyond("S")).unwrap();
    assert_eq!(world.troubles(), [], "five, but in less than ten seconds");
    world.wait(1);
    world.guest_ip(&beyond("S")).unwrap();
    assert_eq!(world.troubles(), [Trouble::BeyondSilent]);
    for _ in 0..100 {
        world.wait(1000);
        world.guest_ip(&beyond("S")).unwrap();
    }
    assert_eq!(world.troubles(), [], "it is the same silence");
    world.host_ip(&Ip::segment(WORLD, LEASED, (80, 5000), "SA")).unwrap();
    for _ in 0..12 {
        world.guest_ip(&beyond("S")).unwrap();
        world.wait(1000);
    }
    assert_eq!(world.troubles(), [Trouble::BeyondSilent], "it is another one, and more than a minute later");
}

#[test]
fn what_the_guest_may_not_begin_and_what_has_an_answer_is_no_silence_beyond_the_host() {
    let quiet = |policy: (&str, &str), sent: &Ip, answer: Option<&Ip>, seconds: u64, count: u32| {
        let mut world = World::leased(policy.0, policy.1);
        for _ in 0..count {
            let _ = world.guest_ip(sent);
            world.wait(seconds * 1000);
            if let Some(answer) = answer {
                let _ = world.host_ip(answer);
            }
        }
        world.troubles().is_empty()
    };
    let syn = &beyond("S");
    assert!(!quiet(("", ""), syn, None, 4, 4), "the control");
    assert!(quiet(("", ""), syn, None, 4, 3), "three");
    assert!(quiet(("", ""), syn, None, 31, 9), "each is forgotten before the next one");
    assert!(quiet(("", "0.0.0.0/0"), syn, None, 4, 9), "the policy refuses them");
    assert!(quiet(("", ""), &beyond("A"), None, 4, 9), "they begin nothing");
    assert!(quiet(("", ""), &Ip::udp(LEASED, WORLD, (5000, 123), b"one way"), None, 4, 9), "nobody has to answer UDP");
    assert!(quiet(("", ""), &Ip::segment(LEASED, GATEWAY, (5000, 80), "S"), None, 4, 9), "the host is no world");
    // Whoever answers, and whatever: the way is open. Also to what the policy then drops.
    let other = Ipv4Addr::new(8, 8, 8, 8);
    for answer in
        [Ip::segment(WORLD, LEASED, (80, 5000), "RA"), Ip::echo(other, LEASED, 11, 0), Ip::ping(other, LEASED)]
    {
        assert!(quiet(("", ""), syn, Some(&answer), 4, 9), "{answer:?}");
        assert!(quiet(("", "in 0.0.0.0/0"), syn, Some(&answer), 4, 9), "{answer:?}");
    }
    // What the gateway says, or a neighbour, is not from there.
    for answer in [Ip::echo(GATEWAY, LEASED, 3, 0), Ip::ping(GATEWAY, LEASED), Ip::ping(NEIGHBOUR, LEASED)] {
        assert!(!quiet(("", ""), syn, Some(&answer), 4, 4), "{answer:?}");
    }
}

#[test]
fn another_mac_with_the_leased_address_is_told_once_a_minute() {
    let mut world = World::leased("", "");
    let claimed = Trouble::AddressClaimed { address: LEASED, by: EthernetAddress(OTHER_MAC) };
    assert_eq!(world.claims(OTHER_MAC), Err(DropReason::Neighbour), "the guest does not hear of it");
    assert_eq!(world.troubles(), [claimed]);
    world.wait(AGAIN_MILLIS - 1);
    let _ = world.claims(OTHER_MAC);
    assert_eq!(world.troubles(), []);
    world.wait(1);
    let _ = world.claims(OTHER_MAC);
    assert_eq!(world.troubles(), [claimed]);
}

#[test]
fn a_probe_or_a_claim_to_another_address_or_without_a_lease_is_no_claim_to_the_leased_one() {
    let mut world = World::leased("", "");
    let probe = Arp::request(OTHER_MAC, std::net::Ipv4Addr::UNSPECIFIED, LEASED);
    world.host(&probe.frame(BROADCAST, OTHER_MAC)).unwrap();
    let elsewhere = Arp::request(OTHER_MAC, NEIGHBOUR, LEASED);
    let _ = world.host(&elsewhere.frame(BROADCAST, OTHER_MAC));
    assert_eq!(world.troubles(), []);
    let mut world = World::new(config());
    let _ = world.claims(OTHER_MAC);
    assert_eq!(world.troubles(), []);
}

#[test]
fn what_the_host_says_twice_of_the_leased_address_is_told_and_what_it_says_once_is_not() {
    let mut world = World::leased("", "");
    let [own, other, third] = [GUEST_MAC, OTHER_MAC, THIRD_MAC].map(|mac| Some(EthernetAddress(mac)));
    for owner in [own, own, None, None, other, own, other, None, other, third] {
        world.engine.note_owner(owner);
        assert_eq!(world.troubles(), [], "{owner:?}");
    }
    world.engine.note_owner(third);
    let claimed = Trouble::AddressClaimed { address: LEASED, by: EthernetAddress(THIRD_MAC) };
    assert_eq!(world.troubles(), [claimed]);
    let mut world = World::new(config());
    world.engine.note_owner(other);
    world.engine.note_owner(other);
    assert_eq!(world.troubles(), [], "without a lease there is nothing to take");
}

#[test]
fn a_guest_that_declines_its_lease_has_found_it_in_use() {
    let mut world = World::leased("", "");
    let other = Dhcp::decline(2, NEIGHBOUR);
    world.guest_dhcp(&other).unwrap();
    assert_eq!(world.troubles(), [], "that one was not leased");
    world.guest_dhcp(&Dhcp::decline(3, LEASED)).unwrap();
    assert_eq!(world.troubles(), [Trouble::AddressDeclined { address: LEASED }]);
    world.guest_dhcp(&Dhcp::decline(4, LEASED)).unwrap();
    assert_eq!(world.troubles(), [], "it has none any more");
}

#[test]
fn each_other_mac_of_the_guests_side_is_told_once_and_one_in_a_minute_at_most() {
    let mut world = World::leased("", "");
    let from = |mac| Ip::ping(LEASED, WORLD).frame(GATEWAY_MAC, mac);
    let told = |mac| Trouble::OtherSource { mac: EthernetAddress(mac) };
    assert_eq!(world.guest(&from(OTHER_MAC)), Err(DropReason::EthernetSource));
    assert_eq!(world.guest(&from(OTHER_MAC)), Err(DropReason::EthernetSource));
    assert_eq!(world.guest(&from(THIRD_MAC)), Err(DropReason::EthernetSource));
    assert_eq!(world.troubles(), [told(OTHER_MAC)]);
    world.wait(AGAIN_MILLIS);
    let _ = world.guest(&from(OTHER_MAC));
    assert_eq!(world.troubles(), [], "the same one again is no news");
    let _ = world.guest(&from(THIRD_MAC));
    assert_eq!(world.troubles(), [told(THIRD_MAC)]);
    world.wait(AGAIN_MILLIS);
    let _ = world.guest(&from(BROADCAST));
    assert_eq!(world.troubles(), [], "no guest has a group's");
}

#[test]
fn troubles_that_nobody_looks_at_push_out_no_event_of_the_lease() {
    let mut world = World::new(config());
    world.lease(LEASED, 600, 1);
    for octet in 0..=255 {
        world.wait(AGAIN_MILLIS);
        let _ = world.guest(&Ip::ping(LEASED, WORLD).frame(GATEWAY_MAC, [0x5a, 0, 0, 0, 1, octet]));
    }
    let events = world.events();
    assert!(
        matches!(events[..], [Event::LeaseGranted { .. }, Event::LeaseEnded { .. }, Event::Trouble(_)]),
        "{events:?}"
    );
}
