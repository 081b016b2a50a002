//! A guest that floods: with requests of 10,000 identities, with ARP, with broadcasts. It takes one address, its flood stays
//! where it is, and nobody else is slowed. On a plain bridge the same flood drains the pool and reaches everyone.
#![cfg(target_os = "linux")]

use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use softnet_testbed::attack::Party;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::pair::{Newcomer, Pair, VICTIM};
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::softnet::Ended;
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, ARP, Arp, IPV4, Mac};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

/// How many frames a flood has at least; it goes on for as long as others are watched.
const FLOOD: u32 = 10_000;
/// How many do on a plain bridge.
const CONTROL: u32 = 1_000;
/// How many at once, and the pause after them: some 10,000 a second. No two cores shall be busy with the flood alone.
const BURST: (u32, Duration) = (50, Duration::from_millis(5));
/// How many guests come before the flood and as many during it.
const NEWCOMERS: u8 = 5;
/// The flooder's number among the guests.
const FLOODER: u8 = 0xf0;

/// Makes the frame of a number, of a guest's that has an address.
type Make = fn(Party, u32) -> Vec<u8>;

/// A flood.
struct Flood {
    what: &'static str,
    make: Make,
    /// Whether a frame may be of it, sent by a guest.
    is_of_it: fn(Party, &[u8]) -> bool,
    /// How many of those may pass in a time.
    may_pass: fn(Duration) -> usize,
}

/// The flood of `guest`, of `count` frames and more that `make` makes, while `meanwhile` runs. Returns how many were sent.
fn flood<T>(guest: &mut PortableGuest, count: u32, make: Make, meanwhile: impl FnOnce() -> T) -> (u32, Duration, T) {
    let party = Party::of(guest);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            let start = Instant::now();
            let mut number = 0;
            while number < count || !done.load(Ordering::Relaxed) {
                for _ in 0..BURST.0 {
                    guest.send_raw_when_there_is_room(&make(party, number));
                    number += 1;
                }
                std::thread::sleep(BURST.1); // the flood's rate
            }
            (number, start.elapsed())
        });
        let result = meanwhile();
        done.store(true, Ordering::Relaxed);
        let (sent, took) = flooding.join().expect("the flood ends");
        (sent, took, result)
    })
}

/// How long guests wait for their addresses (the middle one, the slowest, and the middle one with the start of its softnet
/// before it), and the victim for its pings, in milliseconds.
#[derive(Debug)]
struct Service {
    lease: Duration,
    slowest: Duration,
    with_start: Duration,
    ping: f64,
}

fn serve(pair: &mut Pair, first: u8) -> Service {
    let (mut leases, mut starts) = (Vec::new(), Vec::new());
    for number in first..first + NEWCOMERS {
        let start = Instant::now();
        let mut newcomer = pair.newcomer(number);
        leases.push(newcomer.ask(PATIENCE).expect("another guest gets its address"));
        starts.push(start.elapsed());
        newcomer.guest.flush();
    }
    leases.sort();
    starts.sort();
    let middle = leases.len() / 2;
    let pings = pair.victim.run(&format!("ping -c 20 -i 0.02 -W 2 {}", pair.gateway().ip));
    // "64 bytes from 192.168.64.1: icmp_seq=1 ttl=64 time=0.2 ms". The middle one: one stall of the machine is not the flood's.
    let times = pings.lines().filter_map(|line| line.split_once("time=")?.1.split(' ').next()?.parse().ok());
    let mut times: Vec<f64> = times.collect();
    times.sort_by(f64::total_cmp);
    // The wire between a kernel and its softnet is the harness's, and loses a frame when two cores are not enough.
    assert!(times.len() >= 18, "{pings}");
    let ping = times[times.len() / 2];
    Service { lease: leases[middle], slowest: leases[leases.len() - 1], with_start: starts[middle], ping }
}

/// Behind softnet: others are served as before, and the flood neither leaves the flooder's port nor comes to the victim.
/// Returns what the flooder's softnet said last.
fn assert_endured(Flood { what, make, is_of_it, may_pass }: &Flood, pair: &mut Pair) -> Ended {
    let mut flooder = pair.newcomer(FLOODER);
    flooder.ask(PATIENCE).expect("the flooder gets its address");
    let party = Party::of(&flooder.guest);
    let usual = serve(pair, 100);
    let mut own_port = Sniffer::on(&flooder.port);
    let mut at_the_victim = pair.at_the_victim();
    let (sent, took, during) = flood(&mut flooder.guest, FLOOD, *make, || serve(pair, 150));
    // The flooder is served again, at the latest when its requests are let through one a second; all before has been judged.
    flooder.guest.dhcp(PATIENCE).expect("the flooder keeps its address or gets it again");
    flooder.guest.flush();
    let honest = |frame: &[u8]| wire::source(frame) == Some(party.mac);
    own_port.expect("the flooder's honest ping", PATIENCE, honest).expect("the witness sees");
    let passed = own_port.count(|frame| is_of_it(party, frame));
    let reached = at_the_victim.count(honest);
    let ended = flooder.stop();
    eprintln!("{what}: {sent} frames in {took:?}; usual {usual:?}; during {during:?}; {passed} passed; {}", ended.said);
    assert_eq!(reached, 0, "{what}: frames of the flooder's came to a neighbour");
    assert!(passed <= may_pass(took), "{what}: {passed} frames passed in {took:?}");
    let limit = usual.lease * 3 + Duration::from_millis(300);
    assert!(during.lease < limit, "{what}: leases take {during:?}, not {usual:?}");
    // One lost message, asked again after a second, is not the flood's doing.
    let limit = usual.slowest * 3 + Duration::from_millis(1500);
    assert!(during.slowest < limit, "{what}: the slowest lease takes {during:?}, not {usual:?}");
    let limit = usual.with_start * 3 + Duration::from_millis(500);
    assert!(during.with_start < limit, "{what}: starts take {during:?}, not {usual:?}");
    assert!(during.ping < usual.ping * 5.0 + 50.0, "{what}: pings take {during:?}, not {usual:?}");
    ended
}

/// On a plain bridge: the flood of a guest that has an address.
fn on_a_plain_bridge(make: Make, then: impl FnOnce(&mut Pair, Newcomer)) {
    let mut plain = Pair::on_a_plain_bridge();
    let mut flooder = plain.newcomer(FLOODER);
    flooder.ask(PATIENCE).expect("the flooder gets its address");
    flood(&mut flooder.guest, CONTROL, make, || ());
    then(&mut plain, flooder);
}

/// A request of the identity `number`: every other one by the flooder's own hardware address and another identifier.
fn identity(flooder: Party, number: u32) -> Vec<u8> {
    let [_, _, high, low] = number.to_be_bytes();
    let client = if number.is_multiple_of(2) { flooder.mac } else { Mac([2, 0, 0, 0x99, high, low]) };
    let [a, b, c, _] = flooder.ip.octets();
    let wanted = [a, b, c, u8::try_from(10 + number % 91).expect("below 100")];
    let identifier = [0, high, low];
    let kind = if number % 4 < 2 { 3 } else { 1 };
    wire::dhcp_request(flooder.mac, client, number, &[(53, &[kind]), (50, &wanted), (61, &identifier)])
}

const IDENTITIES: Flood = Flood {
    what: "10,000 identities",
    make: identity,
    is_of_it: |_, frame| {
        wire::ether_type(frame) == Some(IPV4) && frame.get(23) == Some(&17) && frame.get(36..38) == Some(&[0, 67])
    },
    // 16 at once and one a second; then those by which the flooder gets its address again, within its patience.
    may_pass: |took| 17 + (took + PATIENCE).as_secs() as usize,
};

#[test]
fn ten_thousand_identities_take_one_address_and_slow_nobody() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        on_a_plain_bridge(identity, |plain, _flooder| {
            let records = || fs::read_to_string(format!("{SCRATCH}/plain0.leases")).expect("the server's records");
            wait::until("a drained pool", PATIENCE, || (records().lines().count() >= 91).then_some(()))
                .unwrap_or_else(|error| panic!("the flood must drain a plain bridge's pool: {error}: {}", records()));
            plain.newcomer(1).ask(Duration::from_secs(2)).expect_err("no address is left on a plain bridge");
        });
        let mut pair = Pair::behind_softnet(&bed, "");
        let ended = assert_endured(&IDENTITIES, &mut pair);
        let records = fs::read_to_string("/run/softnet/softnet0.leases").expect("the server's records");
        let flooders = records.lines().filter(|line| line.contains(&Mac::guest(FLOODER).to_string())).count();
        assert!(flooders <= 1, "the flooder has {flooders} addresses: {records}");
        let others = usize::from(NEWCOMERS) * 2 + 2;
        assert_eq!(records.lines().count(), others + flooders, "nobody else has one: {records}");
        assert!(ended.drops().map(|(_, count)| count).sum::<u64>() >= u64::from(FLOOD) - 100, "{}", ended.said);
    });
}

/// ARP in the name of another address each time: a claim, or a question.
fn claim(flooder: Party, number: u32) -> Vec<u8> {
    let [a, b, c, d] = flooder.ip.octets();
    let low = u8::try_from(1 + number % 254).expect("below 255");
    let claimed = Ipv4Addr::new(a, b, c, if low == d { 1 } else { low });
    let message = match number % 2 {
        0 => Arp::claim(claimed, flooder.mac, (Mac::BROADCAST, claimed)),
        _ => Arp::request(claimed, flooder.mac, Ipv4Addr::new(a, b, c, 1)),
    };
    wire::ethernet(Mac::BROADCAST, flooder.mac, ARP, &message.bytes())
}

const CLAIMS: Flood = Flood {
    what: "ARP claims",
    make: claim,
    is_of_it: |flooder, frame| {
        Arp::read(frame).is_some_and(|arp| arp.sender_mac == flooder.mac && arp.sender_ip != flooder.ip)
    },
    may_pass: |_| 0,
};

#[test]
fn a_flood_of_arp_claims_nothing_and_slows_nobody() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let believed = |bridge: &str, mac: Mac| {
            let table = tools::run(&format!("ip neigh show dev {bridge}"));
            table.lines().filter(|line| line.contains(&mac.to_string())).count()
        };
        on_a_plain_bridge(claim, |plain, flooder| {
            let count = believed(plain.bridge, flooder.guest.mac());
            assert!(count > 100, "the host must believe the flood on a plain bridge: {count}");
        });
        let mut pair = Pair::behind_softnet(&bed, "");
        let ended = assert_endured(&CLAIMS, &mut pair);
        assert!(believed("softnet0", Mac::guest(FLOODER)) <= 1, "the host believes the flooder's own address alone");
        assert!(ended.dropped("arp-sender-protocol") >= u64::from(FLOOD), "{}", ended.said);
        assert_eq!(believed("softnet0", VICTIM), 1, "and the victim's");
    });
}

/// UDP to everyone, on the link and on its subnet.
fn broadcast(flooder: Party, number: u32) -> Vec<u8> {
    let [a, b, c, _] = flooder.ip.octets();
    let to = if number.is_multiple_of(2) { Ipv4Addr::BROADCAST } else { Ipv4Addr::new(a, b, c, 255) };
    let port = u16::try_from(1000 + number % 1000).expect("below 2000");
    wire::ethernet(Mac::BROADCAST, flooder.mac, IPV4, &wire::udp((flooder.ip, 4004), (to, port), b"to everyone"))
}

fn is_to_everyone(frame: &[u8]) -> bool {
    frame.windows(11).any(|window| window == b"to everyone")
}

const BROADCASTS: Flood =
    Flood { what: "broadcasts", make: broadcast, is_of_it: |_, frame| is_to_everyone(frame), may_pass: |_| 0 };

/// An honest question each time, for another address: that passes, as far as the host.
fn question(flooder: Party, number: u32) -> Vec<u8> {
    let [a, b, c, _] = flooder.ip.octets();
    let asked = Ipv4Addr::new(a, b, c, u8::try_from(1 + number % 254).expect("below 255"));
    wire::ethernet(Mac::BROADCAST, flooder.mac, ARP, &Arp::request(flooder.ip, flooder.mac, asked).bytes())
}

const QUESTIONS: Flood = Flood {
    what: "ARP questions",
    make: question,
    is_of_it: |flooder, frame| Arp::read(frame).is_some_and(|arp| arp.sender_mac == flooder.mac),
    may_pass: |_| usize::MAX,
};

#[test]
fn a_flood_of_arp_questions_stays_away_from_neighbours_and_slows_nobody() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        assert_reaches_a_neighbour_on_a_plain_bridge(question, |frame| Arp::read(frame).is_some());
        assert_endured(&QUESTIONS, &mut Pair::behind_softnet(&bed, ""));
    });
}

/// The control of what comes to everyone.
fn assert_reaches_a_neighbour_on_a_plain_bridge(make: Make, is_of_it: fn(&[u8]) -> bool) {
    let mut plain = Pair::on_a_plain_bridge();
    let mut flooder = plain.newcomer(FLOODER);
    flooder.ask(PATIENCE).expect("the flooder gets its address");
    let mut at_the_victim = plain.at_the_victim();
    flood(&mut flooder.guest, CONTROL, make, || ());
    let mac = flooder.guest.mac();
    // The witness may not have room for all of them.
    let reached = at_the_victim.count(|frame| wire::source(frame) == Some(mac) && is_of_it(frame));
    assert!(reached > 100, "the flood must come to everyone on a plain bridge: {reached}");
}

#[test]
fn a_flood_of_broadcasts_reaches_nobody_and_slows_nobody() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        assert_reaches_a_neighbour_on_a_plain_bridge(broadcast, is_to_everyone);
        let mut pair = Pair::behind_softnet(&bed, "");
        let ended = assert_endured(&BROADCASTS, &mut pair);
        assert!(ended.dropped("not-reachable") >= u64::from(FLOOD), "{}", ended.said);
    });
}
