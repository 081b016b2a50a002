//! Questions for names that no entry allows, while only such may be asked: softnet answers them itself.

use std::net::Ipv4Addr;

use super::names::{ask, has, leased, reaches};
use crate::engine_world::dns::*;
use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, DnsQuestions, DropReason, Verdict};

const SITE: Ipv4Addr = WORLD;
const OTHER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const SERVER: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

fn only(allow: &str, block: &str) -> World {
    let policy = entries(allow, block);
    leased(Config { policy, dns_questions: DnsQuestions::OfAllowedNames, ..config() })
}

#[test]
fn a_question_for_another_name_is_refused_at_once_in_the_servers_place() {
    for server in [GATEWAY, SERVER, Ipv4Addr::new(8, 8, 8, 8)] {
        let mut world = only("a.org", "b.org");
        for name in ["b.org", "xa.org", "org", "_x._y.Net", ""] {
            let mut query = Dns::query(0x1234, name);
            query.body.extend(b"what else there is");
            let datagram = Ip::udp(LEASED, server, (5000, 53), &query.bytes());
            let verdict = world.engine.on_guest_frame(&datagram.frame(GATEWAY_MAC, GUEST_MAC), world.now);
            assert_eq!(verdict, Verdict::Reply(DropReason::DnsName), "{name}");
            let refused = Dns { flags: 0x8105, ..Dns::query(0x1234, name) };
            let expected = Ip::udp(server, LEASED, (53, 5000), &refused.bytes()).frame(GUEST_MAC, GATEWAY_MAC);
            let reply = world.engine.reply();
            // All but identifiers, flags and checksums: MACs, addresses and ports, and the message.
            for part in [0..18, 23..24, 26..40, 42..expected.len()] {
                assert_eq!(reply[part.clone()], expected[part]);
            }
            assert_eq!(reply.len(), expected.len());
            assert_eq!(world.guest_ip(&Ip::ping(LEASED, OTHER)), Ok(()));
            assert!(world.engine.reply().is_empty(), "one reply");
        }
    }
}

#[test]
fn a_question_for_a_name_that_is_allowed_passes_whatever_its_type_and_is_learned_from() {
    let mut world = only("a.org,*.b.org,@host:53", "0.0.0.0/0,x.b.org");
    has(&mut world, "A.org", 600, SITE);
    assert!(reaches(&mut world, SITE));
    let query = Dns { questions: 0, body: Vec::new(), ..Dns::query(1, "") };
    assert_eq!(ask(&mut world, GATEWAY, &query.question("x.b.org", AAAA, IN)), Ok(()));
    assert_eq!(ask(&mut world, SERVER, &Dns::query(1, "a.org")), Err(DropReason::Blocked), "the rules go first");
}

#[test]
fn what_is_no_readable_question_goes_nowhere() {
    let mut world = only("a.org", "");
    let query = || Dns::query(1, "a.org");
    for message in [
        Dns { flags: ANSWER, ..query() },
        Dns { flags: 0x2900, ..query() },
        query().question("a.org", A, IN),
        Dns { answers: 1, ..query() },
        Dns { body: query().body[..8].to_vec(), ..query() },
        Dns::query(1, "@12"),
    ] {
        assert_eq!(ask(&mut world, GATEWAY, &message), Err(DropReason::DnsName), "{message:?}");
        assert!(world.engine.reply().is_empty());
    }
    for datagram in [
        Ip::tcp(LEASED, GATEWAY, (1, 53)),
        Ip { more_fragments: true, ..Ip::udp(LEASED, GATEWAY, (1, 53), &[0; 16]) },
        Ip { more_fragments: true, ..Ip::new(LEASED, GATEWAY, TCP, segment(1, 53, "S")[..].repeat(2)) },
    ] {
        assert_eq!(world.guest_ip(&datagram), Err(DropReason::DnsName));
    }
    assert_eq!(world.guest_ip(&Ip::tcp(LEASED, GATEWAY, (53, 54))), Ok(()), "from port 53 is nothing special");
}

#[test]
fn refusals_are_bounded() {
    let mut world = only("a.org", "");
    let datagram = Ip::udp(LEASED, GATEWAY, (5000, 53), &Dns::query(1, "b.org").bytes());
    let frame = datagram.frame(GATEWAY_MAC, GUEST_MAC);
    let refused = |world: &mut World| {
        let verdict = world.engine.on_guest_frame(&frame, world.now);
        assert_ne!(verdict, Verdict::Forward);
        verdict == Verdict::Reply(DropReason::DnsName)
    };
    assert_eq!((0..1000).filter(|_| refused(&mut world)).count(), 64);
    world.wait(1);
    assert!(refused(&mut world) && !refused(&mut world));
}

#[test]
fn without_the_option_other_questions_pass() {
    let mut world = leased(Config { policy: entries("a.org", ""), ..config() });
    assert_eq!(ask(&mut world, GATEWAY, &Dns::query(1, "b.org")), Ok(()));
    assert_eq!(world.guest_ip(&Ip::tcp(LEASED, GATEWAY, (1, 53))), Ok(()));
}
