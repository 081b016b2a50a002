//! DNS answers: which are heeded, and what they say.

use std::net::Ipv4Addr;

use super::names::{ask, closed, learn, leased, reaches, reaches_port, tell};
use crate::engine_world::dns::*;
use crate::engine_world::frames::*;
use crate::engine_world::*;
use softnet::engine::{Config, Isolation};

const SITE: Ipv4Addr = WORLD;
const OTHER: Ipv4Addr = Ipv4Addr::new(93, 184, 216, 34);
const SERVER: Ipv4Addr = Ipv4Addr::new(9, 9, 9, 9);

#[test]
fn an_answer_is_one_to_an_open_question_from_whom_it_went_to() {
    let name = "www.example.com";
    let good = Dns::answer(7, "wWw.eXample.COM").a("WWW.example.com", 600, SITE);
    let datagram = |source, ports, message: &Dns| Ip::udp(source, LEASED, ports, &message.bytes());
    let frame = |datagram: &Ip| datagram.frame(GUEST_MAC, GATEWAY_MAC);
    let sound = datagram(GATEWAY, (53, 5000), &good);
    for (frame, teaches) in [
        (frame(&sound), true),
        (frame(&datagram(SERVER, (53, 5000), &good)), false),
        (frame(&datagram(OTHER, (53, 5000), &good)), false),
        (frame(&datagram(GATEWAY, (5353, 5000), &good)), false),
        (frame(&datagram(GATEWAY, (53, 5001), &good)), false),
        (frame(&datagram(GATEWAY, (53, 5000), &Dns { id: 8, ..good.clone() })), false),
        (frame(&datagram(GATEWAY, (53, 5000), &Dns::answer(7, "a.example.com").a("@12", 600, SITE))), false),
        (frame(&Ip::udp(GATEWAY, SUBNET_BROADCAST, (53, 5000), &good.bytes())), false),
        (sound.frame(BROADCAST, GATEWAY_MAC), false),
    ] {
        let mut world = closed("*.example.com");
        assert_eq!(ask(&mut world, GATEWAY, &Dns::query(7, "www.EXAMPLE.com")), Ok(()));
        assert_eq!(world.host(&frame), Ok(()), "it passes all the same");
        assert_eq!(reaches(&mut world, SITE), teaches, "{frame:?}");
    }
    let mut world = closed("*.example.com");
    assert_eq!(tell(&mut world, GATEWAY, &good), Ok(()));
    assert!(!reaches(&mut world, SITE), "unasked");
    assert_eq!(ask(&mut world, GATEWAY, &Dns::query(7, name)), Ok(()));
    world.wait(10_000);
    assert_eq!(tell(&mut world, GATEWAY, &good), Ok(()));
    assert!(!reaches(&mut world, SITE), "too late");
    assert_eq!(ask(&mut world, SERVER, &Dns::query(7, name)), Ok(()));
    assert_eq!(tell(&mut world, SERVER, &good), Ok(()));
    assert!(reaches(&mut world, SITE), "any of the lease's servers");
    assert_eq!(tell(&mut world, SERVER, &Dns::answer(7, name).a("@12", 600, OTHER)), Ok(()));
    assert!(!reaches(&mut world, OTHER), "once");
}

#[test]
fn on_an_open_link_a_neighbour_cannot_answer_as_the_gateway() {
    let policy = entries("0.0.0.0/0,www.example.com:443", "93.184.0.0/16");
    let mut world = leased(Config { policy, isolation: Isolation::Open, ..config() });
    let answer = Dns::answer(1, "www.example.com").a("@12", 600, SITE);
    assert_eq!(ask(&mut world, GATEWAY, &Dns::query(1, "www.example.com")), Ok(()));
    let forged = Ip::udp(GATEWAY, LEASED, (53, 5000), &answer.bytes());
    assert_eq!(world.host(&forged.frame(GUEST_MAC, NEIGHBOUR_MAC)), Ok(()));
    assert!(!reaches_port(&mut world, SITE, 443));
    assert_eq!(world.host(&forged.frame(GUEST_MAC, GATEWAY_MAC)), Ok(()));
    assert!(reaches_port(&mut world, SITE, 443));
}

#[test]
fn only_a_question_for_addresses_to_a_server_of_the_lease_is_one() {
    let name = "www.example.com";
    let answer = Dns::answer(1, name).a("@12", 600, SITE);
    let query = Dns { questions: 0, body: Vec::new(), ..Dns::query(1, name) };
    for question in [
        query.clone().question(name, AAAA, IN),
        query.clone().question(name, A, 3),
        query.clone().question(name, 255, IN),
        query.clone().question(name, A, IN).question(name, A, IN),
        query.clone().question("example.com", A, IN),
        Dns { flags: ANSWER, ..Dns::query(1, name) },
        Dns { flags: QUERY | 0x2800, ..Dns::query(1, name) },
        query,
    ] {
        let mut world = closed(name);
        assert_eq!(ask(&mut world, GATEWAY, &question), Ok(()));
        assert_eq!(tell(&mut world, GATEWAY, &answer), Ok(()));
        assert!(!reaches(&mut world, SITE), "{question:?}");
    }
    let mut world = closed("www.example.com,8.8.8.8:53");
    let resolver = Ipv4Addr::new(8, 8, 8, 8);
    assert_eq!(ask(&mut world, resolver, &Dns::query(1, name)), Ok(()));
    assert_eq!(tell(&mut world, resolver, &answer), Ok(()));
    assert!(!reaches(&mut world, SITE), "not a server of the lease");
}

#[test]
fn a_way_of_cnames_leads_from_the_name_to_its_addresses() {
    let name = "www.example.com";
    let answer = || Dns::answer(1, name);
    let nothing = Ipv4Addr::new(8, 1, 1, 1);
    // The question's name ends at 12 + 17 bytes, and its `example.com` is at 16.
    let longest = (0..16).fold(answer(), |way, n| {
        let owner = if n == 0 { name.into() } else { format!("c{n}.net") };
        way.cname(&owner, 600, &format!("c{}.net", n + 1))
    });
    for (message, reached) in [
        (answer().cname("@12", 600, "cdn.net").a("CDN.net", 600, SITE), true),
        (answer().cname("@12", 600, "edge.@16").a("edge.example.com", 600, SITE).a("@12", 600, nothing), true),
        (longest.a("c16.net", 600, SITE), true),
        (answer().record("@12", 46, IN, 600, &[1; 30]).a("@12", 600, SITE), true),
        (answer().cname("@12", 600, "cdn.net").a("@12", 600, SITE), false),
        (answer().a("cdn.net", 600, SITE).cname("@12", 600, "cdn.net"), false),
        (answer().a("example.com", 600, SITE), false),
        (answer().cname("cdn.net", 600, "www.example.com").a("cdn.net", 600, SITE), false),
        (answer().cname("@12", 600, "b.net").cname("b.net", 600, "c.net").a("b.net", 600, SITE), false),
        (answer().record("@12", A, 3, 600, &SITE.octets()), false),
        (answer().record("@12", AAAA, IN, 600, &[SITE.octets(); 4].concat()), false),
    ] {
        let mut world = closed(name);
        learn(&mut world, name, message.clone());
        assert_eq!(reaches(&mut world, SITE), reached, "{message:?}");
        assert!(!reaches(&mut world, nothing));
    }
    let mut world = closed(name);
    learn(&mut world, name, answer().cname("@12", 100, "cdn.net").a("cdn.net", 3000, SITE).a("cdn.net", 90, OTHER));
    world.wait(90_000);
    assert!(!reaches(&mut world, OTHER) && reaches(&mut world, SITE));
    world.wait(30_000);
    assert!(!reaches(&mut world, SITE), "the shortest time on the way");
}

#[test]
fn a_loop_of_pointers_or_of_cnames_ends() {
    let name = "www.example.com";
    for message in [
        Dns::answer(1, name).a("@29", 600, SITE),
        Dns::answer(1, name).a("a.@33", 600, SITE),
        Dns::answer(1, name).a("@33", 600, SITE),
        Dns::answer(1, name).cname("@12", 600, "@45").a("@45", 600, SITE),
        Dns::answer(1, "@12").a("@12", 600, SITE),
        Dns::answer(1, name)
            .cname("@12", 1, "b.org")
            .cname("b.org", 1, "@12")
            .cname("@12", 1, "b.org")
            .a("c.org", 1, SITE),
    ] {
        let mut world = closed(name);
        learn(&mut world, name, message);
        assert!(!reaches(&mut world, SITE));
    }
}

#[test]
fn an_answer_that_is_cut_short_or_has_an_error_or_is_not_sound_teaches_nothing() {
    let name = "www.example.com";
    let good = || Dns::answer(1, name).a("@12", 600, SITE);
    let other = |change: fn(&mut Dns)| {
        let mut message = good();
        change(&mut message);
        message
    };
    for message in [
        other(|dns| dns.flags |= 0x0200),
        other(|dns| dns.flags |= 3),
        other(|dns| dns.flags |= 0x0800),
        other(|dns| dns.flags &= 0x7fff),
        other(|dns| dns.questions = 2),
        other(|dns| dns.questions = 0),
        other(|dns| dns.answers = 2),
        other(|dns| dns.answers = 0),
        other(|dns| dns.body.truncate(30)),
        Dns { questions: 0, body: Vec::new(), ..Dns::answer(1, "") }.question(name, AAAA, IN).a("@12", 600, SITE),
        Dns { questions: 0, body: Vec::new(), ..Dns::answer(1, "") }.question(name, A, 3).a("@12", 600, SITE),
        good().record("@12", A, IN, 600, &[1, 2, 3]),
        good().record("@12", A, IN, 600, &[1, 2, 3, 4, 5]),
        good().record("x", CNAME, IN, 600, &[1, b'a']),
        good().record("x", CNAME, IN, 600, &[1, b'a', 0, 0]),
        good().record(&"a.".repeat(128), A, IN, 600, &[1, 2, 3, 4]),
    ] {
        let mut world = closed(name);
        learn(&mut world, name, message.clone());
        assert!(!reaches(&mut world, SITE), "{message:?}");
    }
    let mut world = closed(name);
    learn(&mut world, name, good());
    assert!(reaches(&mut world, SITE));
}
