//! Names: what the answers of the guest's DNS servers make of entries about them.

use std::net::Ipv4Addr;

use crate::engine_world::dns::*;
use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DropReason, NetType};

const SITE: Ipv4Addr = WORLD;
const OTHER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const SERVER: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

/// Nothing but DNS and what `allow` says.
pub(crate) fn closed(allow: &str) -> World {
    leased(Config { policy: entries(&format!("{allow},@host:53,9.9.9.9:53"), "0.0.0.0/0"), ..config() })
}

/// With a lease of hours that names the gateway and another server for DNS.
pub(crate) fn leased(config: Config) -> World {
    let mut world = World::new(config);
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, LEASED)), Ok(()));
    let ack = Dhcp::ack(1, LEASED, 100_000).option(6, &[GATEWAY.octets(), SERVER.octets()].concat());
    assert_eq!(world.host_dhcp(&ack), Ok(()));
    world
}

pub(crate) fn ask(world: &mut World, server: Ipv4Addr, message: &Dns) -> Judgement {
    world.guest_ip(&Ip::udp(LEASED, server, (5000, 53), &message.bytes()))
}

pub(crate) fn tell(world: &mut World, server: Ipv4Addr, message: &Dns) -> Judgement {
    world.host_ip(&Ip::udp(server, LEASED, (53, 5000), &message.bytes()))
}

/// A question and this answer.
pub(crate) fn learn(world: &mut World, name: &str, answer: Dns) {
    assert_eq!(ask(world, GATEWAY, &Dns::query(answer.id, name)), Ok(()));
    assert_eq!(tell(world, GATEWAY, &answer), Ok(()));
}

pub(crate) fn has(world: &mut World, name: &str, seconds: u32, address: Ipv4Addr) {
    learn(world, name, Dns::answer(1, name).a("@12", seconds, address));
}

/// By a ping, which keeps a pin for less time than any has.
pub(crate) fn reaches(world: &mut World, address: Ipv4Addr) -> bool {
    match world.guest_ip(&Ip::ping(LEASED, address)) {
        Ok(()) => true,
        Err(DropReason::Blocked | DropReason::NotReachable) => false,
        Err(other) => panic!("{other:?}"),
    }
}

pub(crate) fn reaches_port(world: &mut World, address: Ipv4Addr, port: u16) -> bool {
    world.guest_ip(&Ip::udp(LEASED, address, (6000, port), b"")).is_ok()
}

#[test]
fn a_name_is_nothing_before_its_answer_and_then_its_address_is_reached_for_the_records_time() {
    for (seconds, lived) in [(0, 60), (59, 60), (61, 61), (3599, 3599), (86_400, 3600), (u32::MAX, 60)] {
        let mut world = closed("www.example.com");
        assert!(!reaches(&mut world, SITE));
        has(&mut world, "www.example.com", seconds, SITE);
        assert!(!reaches(&mut world, OTHER));
        world.wait(lived * 1000 - 1);
        // Only in passing: not even a ping may keep it here.
        let mut late = closed("www.example.com");
        has(&mut late, "www.example.com", seconds, SITE);
        late.wait(lived * 1000);
        assert!(reaches(&mut world, SITE) && !reaches(&mut late, SITE), "{seconds}");
    }
}

#[test]
fn a_pin_is_kept_by_what_the_guest_sends_as_long_as_a_flow_would_be() {
    for (datagram, seconds) in [
        (Ip::tcp(LEASED, SITE, (1, 443)), 300),
        (Ip::udp(LEASED, SITE, (1, 443), b""), 30),
        (Ip::ping(LEASED, SITE), 30),
    ] {
        for allow in ["www.example.com", "out www.example.com"] {
            let mut world = closed(allow);
            has(&mut world, "www.example.com", 60, SITE);
            for _ in 0..3 {
                world.wait(59_999);
                assert_eq!(world.guest_ip(&datagram), Ok(()));
                world.wait(seconds * 1000 - 1);
                assert_eq!(world.guest_ip(&datagram), Ok(()), "{allow}");
                // What comes in keeps nothing.
                world.wait(seconds * 1000 - 60_000.min(seconds * 1000));
                let _ = world.host_ip(&Ip::udp(SITE, LEASED, (443, 1), b""));
                has(&mut world, "www.example.com", 60, SITE);
            }
            world.wait(300_000);
            assert!(!reaches(&mut world, SITE));
        }
    }
}

#[test]
fn what_the_rules_drop_keeps_nothing() {
    let mut world = closed("www.example.com:443");
    has(&mut world, "www.example.com", 60, SITE);
    world.wait(59_000);
    assert_eq!(world.guest_ip(&Ip::tcp(LEASED, SITE, (1, 80))), Err(DropReason::Blocked));
    world.wait(1000);
    assert!(!reaches_port(&mut world, SITE, 443));
}

#[test]
fn private_and_special_addresses_and_the_links_own_are_never_pinned() {
    let inner =
        [[10, 0, 0, 1], [127, 0, 0, 1], [169, 254, 169, 254], [192, 168, 64, 8], [192, 168, 64, 1], [224, 0, 0, 1]];
    let mut world = closed("www.example.com");
    let answer =
        inner.iter().fold(Dns::answer(1, "www.example.com"), |answer, &octets| answer.a("@12", 600, octets.into()));
    learn(&mut world, "www.example.com", answer.a("@12", 600, SITE));
    for octets in inner {
        assert_ne!(world.guest_ip(&Ip::udp(LEASED, octets.into(), (1, 80), b"")), Ok(()), "{octets:?}");
    }
    assert!(reaches(&mut world, SITE));
    // A link of public addresses: its hosts are neighbours all the same.
    let mut network = config().network;
    (network.subnet, network.gateway) = ("93.184.215.0/24".parse().unwrap(), Ipv4Addr::new(93, 184, 215, 1));
    let policy = entries("www.example.com,@host:53", "0.0.0.0/0");
    let mut world = World::new(Config { policy, network, ..config() });
    let lease = Ipv4Addr::new(93, 184, 215, 7);
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, lease)), Ok(()));
    let ack = Dhcp::ack(1, lease, 600).option(6, &network.gateway.octets());
    let ack = Ip::udp(network.gateway, ALL, (67, 68), &ack.bytes());
    assert_eq!(world.host(&ack.frame(BROADCAST, GATEWAY_MAC)), Ok(()));
    let query = Dns::query(1, "www.example.com").bytes();
    assert_eq!(world.guest_ip(&Ip::udp(lease, network.gateway, (5000, 53), &query)), Ok(()));
    let answer = Dns::answer(1, "www.example.com").a("@12", 600, SITE).a("@12", 600, OTHER).bytes();
    assert_eq!(world.host_ip(&Ip::udp(network.gateway, lease, (53, 5000), &answer)), Ok(()));
    assert_eq!(world.guest_ip(&Ip::ping(lease, SITE)), Err(DropReason::Blocked));
    assert_eq!(world.guest_ip(&Ip::ping(lease, OTHER)), Ok(()));
}

#[test]
fn a_star_is_every_name_below_and_not_the_one_above() {
    for (name, matches) in [
        ("a.example.org", true),
        ("c.b.a.EXAMPLE.org", true),
        ("example.org", false),
        ("anexample.org", false),
        ("a.example.org.net", false),
        ("_x.example.org", true),
    ] {
        let mut world = closed("*.example.org");
        has(&mut world, name, 600, SITE);
        assert_eq!(reaches(&mut world, SITE), matches, "{name}");
    }
    let mut world = closed("*.example.org");
    // One label with a dot in it.
    let question = |flags| {
        let body = [&[6][..], b"a.exam", &[3], b"org", &[0, 0, 1, 0, 1]].concat();
        Dns { id: 1, flags, questions: 1, answers: 0, body }
    };
    assert_eq!(ask(&mut world, GATEWAY, &question(QUERY)), Ok(()));
    assert_eq!(tell(&mut world, GATEWAY, &question(ANSWER).a("@12", 600, SITE)), Ok(()));
    assert!(!reaches(&mut world, SITE));
}

#[test]
fn a_pin_is_an_entry_of_the_very_address_in_its_names_list() {
    // (allow, block, [without ports, port 443, port 80])
    for (allow, block, reached) in [
        ("a.org", "0.0.0.0/0", [true, true, true]),
        ("a.org:443", "0.0.0.0/0", [false, true, false]),
        ("a.org", "a.org", [false, false, false]),
        ("a.org", "*.org", [false, false, false]),
        ("a.org:1-443", "a.org:80,0.0.0.0/0", [false, true, false]),
        ("a.org", "93.184.215.14", [false, false, false]),
        ("a.org", "93.184.215.14/31", [true, true, true]),
        ("a.org:443", "93.184.215.14", [false, true, false]),
        ("a.org", "93.184.215.14:443", [true, false, true]),
        ("a.org:443", "93.184.215.14:443,0.0.0.0/0", [false, false, false]),
        ("a.org:443", "93.184.0.0/16:443,0.0.0.0/0", [false, true, false]),
        ("93.184.215.14", "a.org", [false, false, false]),
        ("93.184.215.14:80", "a.org", [false, false, true]),
        ("93.184.0.0/16:80", "a.org", [false, false, true]),
        ("93.184.0.0/16:80", "a.org:80", [true, true, false]),
        ("93.184.215.14:80", "a.org:80", [true, true, false]),
        ("", "a.org", [false, false, false]),
        ("", "a.org:80", [true, true, false]),
        ("a.org", "", [true, true, true]),
        ("b.org", "", [true, true, true]),
        ("out a.org:443", "out 0.0.0.0/0", [false, true, false]),
        ("a.org", "in 0.0.0.0/0", [true, true, true]),
    ] {
        let dns = if block.contains("0.0.0.0/0") { "@host:53" } else { "" };
        let allow = [allow, dns].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(",");
        let mut world = leased(Config { policy: entries(&allow, block), ..config() });
        has(&mut world, "a.org", 600, SITE);
        let now = [reaches(&mut world, SITE), reaches_port(&mut world, SITE, 443), reaches_port(&mut world, SITE, 80)];
        assert_eq!(now, reached, "{allow} | {block}");
    }
}

#[test]
fn name_entries_do_not_change_the_default_nor_let_anyone_in() {
    let mut world = leased(Config { net_type: NetType::Host, policy: entries("a.org", ""), ..config() });
    assert_eq!(world.guest_ip(&Ip::ping(LEASED, OTHER)), Err(DropReason::NotReachable));
    has(&mut world, "a.org", 600, SITE);
    assert!(reaches(&mut world, SITE));
    let mut world = leased(Config { policy: entries("out a.org,@host", "in 0.0.0.0/0"), ..config() });
    has(&mut world, "a.org", 600, SITE);
    assert_eq!(world.host_ip(&Ip::tcp(SITE, LEASED, (443, 22))), Err(DropReason::Blocked));
    let mut world = leased(Config { policy: entries("a.org,@host", "in 0.0.0.0/0"), ..config() });
    has(&mut world, "a.org", 600, SITE);
    assert_eq!(world.host_ip(&Ip::tcp(SITE, LEASED, (443, 22))), Ok(()), "a bare entry is about both directions");
    assert_eq!(world.host_ip(&Ip::tcp(OTHER, LEASED, (443, 22))), Err(DropReason::Blocked));
}

#[test]
fn a_fragment_to_a_name_with_ports_is_covered_as_by_any_entry() {
    let fragment = Ip { more_fragments: true, ..Ip::udp(LEASED, SITE, (1, 443), &[0; 16]) };
    for (allow, block, expected) in [
        ("a.org:443", "0.0.0.0/0", Err(DropReason::Blocked)),
        ("a.org", "0.0.0.0/0", Ok(())),
        ("a.org", "a.org:80,0.0.0.0/0", Err(DropReason::Blocked)),
        ("", "a.org:80", Err(DropReason::Blocked)),
    ] {
        let allow = if allow.is_empty() { "@host".to_owned() } else { format!("{allow},@host") };
        let mut world = leased(Config { policy: entries(&allow, block), ..config() });
        has(&mut world, "a.org", 600, SITE);
        assert_eq!(world.guest_ip(&fragment), expected, "{allow} | {block}");
    }
}

#[test]
fn a_new_policy_keeps_the_pins_of_the_names_that_it_has() {
    let mut world = closed("a.org,b.org:443,0.org");
    has(&mut world, "a.org", 600, SITE);
    has(&mut world, "b.org", 600, OTHER);
    world.engine.set_policy(entries("c.org,b.org:80,@host:53", "0.0.0.0/0"));
    assert!(!reaches(&mut world, SITE) && !reaches_port(&mut world, OTHER, 443));
    assert!(reaches_port(&mut world, OTHER, 80), "by what its entry says now");
    world.engine.set_policy(entries("a.org,@host:53", "0.0.0.0/0,b.org"));
    assert!(!reaches(&mut world, SITE), "what is gone is gone");
    world.engine.set_policy(entries("@host:53,b.org", "0.0.0.0/0"));
    assert!(reaches(&mut world, OTHER));
}

#[test]
fn a_flow_lives_on_under_a_new_policy_that_has_its_name() {
    let mut world = closed("out a.org:443");
    has(&mut world, "a.org", 60, SITE);
    assert_eq!(world.guest_ip(&Ip::segment(LEASED, SITE, (1, 443), "S")), Ok(()));
    for _ in 0..5 {
        world.wait(59_000);
        assert_eq!(world.guest_ip(&Ip::segment(LEASED, SITE, (1, 443), "A")), Ok(()));
    }
    world.engine.set_policy(entries("out a.org:443,out 1.1.1.1", "0.0.0.0/0"));
    assert_eq!(world.guest_ip(&Ip::segment(LEASED, SITE, (1, 443), "A")), Ok(()));
    world.engine.set_policy(entries("out b.org:443", "0.0.0.0/0"));
    assert_eq!(world.guest_ip(&Ip::segment(LEASED, SITE, (1, 443), "A")), Err(DropReason::Blocked));
}

#[test]
fn an_answer_that_has_no_room_is_dropped_and_no_pin_for_it() {
    let mut world = closed("*.org");
    for number in 0..4096u32 / 64 {
        let name = format!("n{number}.org");
        let answer = (0..64).fold(Dns::answer(1, &name), |answer, n| {
            answer.a("@12", 600, Ipv4Addr::from_bits(0x0800_0000 + number * 64 + n))
        });
        learn(&mut world, &name, answer);
    }
    let more = Dns::answer(1, "b.org").a("@12", 600, SITE);
    assert_eq!(ask(&mut world, GATEWAY, &Dns::query(1, "b.org")), Ok(()));
    assert_eq!(tell(&mut world, GATEWAY, &more), Err(DropReason::PinsFull));
    assert!(!reaches(&mut world, SITE) && reaches(&mut world, Ipv4Addr::new(8, 0, 0, 0)));
    world.wait(600_000);
    learn(&mut world, "b.org", more);
    assert!(reaches(&mut world, SITE));
}
