//! What it costs to judge a frame: classes of frames, with 0, 100 and 4096 entries, with flows, and with names. `cargo bench --bench engine`.
//!
//! The targets (issue 6): 12 ns without entries, 25 ns with 4096, 40 ns with flows or names, beside about 1 ns of nothing; a policy of
//! 4096 entries in 5 ms.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

#[path = "../tests/engine_world/mod.rs"]
mod engine_world;

use std::net::Ipv4Addr;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use engine_world::frames::*;
use engine_world::*;
use softnet::engine::names::MAX_PINS;
use softnet::engine::{Config, Engine, Instant, PolicyEntries};

fn main() {
    divan::main();
}

const RULES: [usize; 3] = [0, 100, 4096];

/// Frames that are judged one after the other, so that neither caches nor branch predictors know just one.
const FRAMES: usize = 256;

/// Entries all over the address space, a few nested, of which none covers the frames of these benches but the widest.
fn entries(count: usize) -> PolicyEntries {
    let mut state = 0x2545_f491u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let mut policy = PolicyEntries::default();
    for index in 0..count {
        let address = Ipv4Addr::from(next() & 0x1fff_ffff | 0x2000_0000);
        let entry = format!("{address}/{}", 9 + next() % 24).parse().expect("an entry");
        if index % 2 == 0 { &mut policy.allow } else { &mut policy.block }.push(entry);
    }
    policy
}

fn engine(rules: usize) -> (Engine, Instant) {
    let policy = entries(rules);
    let world = World::leased_with(Config { policy, ..config() });
    (world.engine, world.now)
}

/// Addresses that spread over where the entries are, so that lookups go deep, and beyond.
fn addresses() -> impl Iterator<Item = Ipv4Addr> + Clone {
    (0..FRAMES as u32).map(|index| Ipv4Addr::from(0x2000_0000 + index.wrapping_mul(0x9e37_79b1) % 0x4000_0000))
}

fn judge_guest(bencher: Bencher, rules: usize, frames: Vec<Vec<u8>>) {
    let (mut engine, now) = engine(rules);
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            let _ = black_box(engine.on_guest_frame(black_box(frame), now));
        }
    });
}

fn judge_host(bencher: Bencher, rules: usize, frames: Vec<Vec<u8>>) {
    let (mut engine, now) = engine(rules);
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            let _ = black_box(engine.on_host_frame(black_box(frame), now));
        }
    });
}

/// What the measurement itself costs: a look at each frame.
#[divan::bench]
fn nothing(bencher: Bencher) {
    let frames = vec![Ip::tcp(LEASED, WORLD, (5000, 443)).frame(GATEWAY_MAC, GUEST_MAC); FRAMES];
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            black_box(black_box(frame).len());
        }
    });
}

#[divan::bench(args = RULES)]
fn guest_tcp_1500(bencher: Bencher, rules: usize) {
    let segment = [tcp(5000, 443), vec![0; 1460]].concat();
    let frames = addresses().map(|to| Ip::new(LEASED, to, TCP, segment.clone()).frame(GATEWAY_MAC, GUEST_MAC));
    judge_guest(bencher, rules, frames.collect());
}

#[divan::bench(args = RULES)]
fn guest_tcp_64(bencher: Bencher, rules: usize) {
    let frames = addresses().map(|to| Ip::tcp(LEASED, to, (5000, 443)).frame(GATEWAY_MAC, GUEST_MAC));
    judge_guest(bencher, rules, frames.collect());
}

#[divan::bench(args = RULES)]
fn guest_udp_64(bencher: Bencher, rules: usize) {
    let frames = addresses().map(|to| Ip::udp(LEASED, to, (5000, 443), &[0; 18]).frame(GATEWAY_MAC, GUEST_MAC));
    judge_guest(bencher, rules, frames.collect());
}

#[divan::bench(args = RULES)]
fn guest_ping(bencher: Bencher, rules: usize) {
    let frames = addresses().map(|to| Ip::ping(LEASED, to).frame(GATEWAY_MAC, GUEST_MAC));
    judge_guest(bencher, rules, frames.collect());
}

#[divan::bench(args = RULES)]
fn guest_spoofed_source(bencher: Bencher, rules: usize) {
    let frames = addresses().map(|from| Ip::tcp(from, WORLD, (5000, 443)).frame(GATEWAY_MAC, GUEST_MAC));
    judge_guest(bencher, rules, frames.collect());
}

#[divan::bench]
fn guest_arp(bencher: Bencher) {
    let frame = Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC);
    judge_guest(bencher, 0, vec![frame; FRAMES]);
}

#[divan::bench]
fn guest_ipv6(bencher: Bencher) {
    judge_guest(bencher, 0, vec![ethernet(GATEWAY_MAC, GUEST_MAC, IPV6, &[0; 40]); FRAMES]);
}

#[divan::bench]
fn guest_dhcp_over_budget(bencher: Bencher) {
    let frame = Dhcp::discover(1).option(61, &[7; 19]).to_all().frame(BROADCAST, GUEST_MAC);
    judge_guest(bencher, 0, vec![frame; FRAMES]);
}

#[divan::bench(args = RULES)]
fn host_tcp_1500(bencher: Bencher, rules: usize) {
    let segment = [tcp(443, 5000), vec![0; 1460]].concat();
    let frames = addresses().map(|from| Ip::new(from, LEASED, TCP, segment.clone()).frame(GUEST_MAC, GATEWAY_MAC));
    judge_host(bencher, rules, frames.collect());
}

#[divan::bench(args = RULES)]
fn host_udp_64(bencher: Bencher, rules: usize) {
    let frames = addresses().map(|from| Ip::udp(from, LEASED, (443, 5000), &[0; 18]).frame(GUEST_MAC, GATEWAY_MAC));
    judge_host(bencher, rules, frames.collect());
}

#[divan::bench]
fn host_arp(bencher: Bencher) {
    let frame = Arp::reply(GATEWAY_MAC, GATEWAY, GUEST_MAC, LEASED).frame(GUEST_MAC, GATEWAY_MAC);
    judge_host(bencher, 0, vec![frame; FRAMES]);
}

/// A reply of the DHCP server's to nothing that this guest has asked.
#[divan::bench]
fn host_dhcp_unasked(bencher: Bencher) {
    let frame = Dhcp::ack(77, LEASED, 600).by_gateway().frame(GUEST_MAC, GATEWAY_MAC);
    judge_host(bencher, 0, vec![frame; FRAMES]);
}

/// A stateful policy of that many entries, ports and directions among them, in which the guest may begin what these benches send.
fn stateful_entries(count: usize) -> PolicyEntries {
    let mut policy = entries(count);
    for (index, entry) in policy.allow.iter_mut().chain(&mut policy.block).enumerate() {
        let (way, ports) = [("", ""), ("in ", ":22"), ("out ", ":8000-8999"), ("out ", "")][index % 4];
        *entry = format!("{way}{entry}{ports}").parse().expect("an entry");
    }
    policy.allow.push("out 32.0.0.0/3:443".parse().expect("an entry"));
    policy.block.push("in 0.0.0.0/0".parse().expect("an entry"));
    policy
}

/// A stateful engine with so many flows, connections and datagrams of the guest's, and the last of these.
fn engine_with_flows(rules: usize, flows: usize) -> (Engine, Instant, Vec<(Ipv4Addr, u16)>) {
    let mut world = World::new(Config { policy: stateful_entries(rules), ..config() });
    world.lease(LEASED, u32::MAX, 1);
    let (mut engine, now) = (world.engine, world.now);
    let all: Vec<_> = addresses().cycle().zip(0u16..).map(|(to, port)| (to, 1024 + port)).take(flows).collect();
    for &(to, port) in &all {
        for (frame, is_guests) in [
            (Ip::udp(LEASED, to, (port, 443), &[]).frame(GATEWAY_MAC, GUEST_MAC), true),
            (Ip::segment(LEASED, to, (port, 443), "S").frame(GATEWAY_MAC, GUEST_MAC), true),
            (Ip::segment(to, LEASED, (443, port), "SA").frame(GUEST_MAC, GATEWAY_MAC), false),
            (Ip::segment(LEASED, to, (port, 443), "A").frame(GATEWAY_MAC, GUEST_MAC), true),
        ] {
            let verdict =
                if is_guests { engine.on_guest_frame(&frame, now) } else { engine.on_host_frame(&frame, now) };
            assert_eq!(verdict, softnet::engine::Verdict::Forward);
        }
    }
    let last = all[flows.saturating_sub(FRAMES)..].to_vec();
    (engine, now, last)
}

/// How many connections there are; as many flows of UDP besides.
const FLOWS: [usize; 2] = [FRAMES, 16_000];

/// Each round comes a microsecond after the last, so that each frame renews its flow.
#[divan::bench(args = FLOWS)]
fn flow_guest_tcp_64(bencher: Bencher, flows: usize) {
    let (mut engine, mut now, last) = engine_with_flows(4096 - 2, flows);
    let frames: Vec<_> = last
        .iter()
        .map(|&(to, port)| Ip::segment(LEASED, to, (port, 443), "PA").frame(GATEWAY_MAC, GUEST_MAC))
        .collect();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        now += softnet::engine::Duration::from_micros(1);
        for frame in &frames {
            let _ = black_box(engine.on_guest_frame(black_box(frame), now));
        }
    });
}

#[divan::bench(args = FLOWS)]
fn flow_host_tcp_64(bencher: Bencher, flows: usize) {
    let (mut engine, now, last) = engine_with_flows(4096 - 2, flows);
    let frames: Vec<_> = last
        .iter()
        .map(|&(to, port)| Ip::segment(to, LEASED, (443, port), "PA").frame(GUEST_MAC, GATEWAY_MAC))
        .collect();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            let _ = black_box(engine.on_host_frame(black_box(frame), now));
        }
    });
}

/// A new flow for every frame, in the place of one whose time is over, in a table that is full.
#[divan::bench]
fn flow_new_udp(bencher: Bencher) {
    let (mut engine, mut now, _) = engine_with_flows(0, 16);
    let frames: Vec<_> = (0..40_000u32)
        .map(|index| {
            let ports = ((index % 60_000) as u16, 443);
            Ip::udp(LEASED, WORLD, ports, &[]).frame(GATEWAY_MAC, GUEST_MAC)
        })
        .collect();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            now += softnet::engine::Duration::from_millis(1);
            let _ = black_box(engine.on_guest_frame(black_box(frame), now));
        }
    });
}

/// An engine whose guest has learned 4096 addresses of names that it may reach, among 4096 - 2 entries of which `names` are about names;
/// and the last addresses.
fn engine_with_pins(way: &str, names: usize) -> (Engine, Instant, Vec<Ipv4Addr>) {
    let mut policy = entries(4096 - 2 - names);
    let allow = |text: String| text.parse().expect("an entry");
    policy.allow.extend((1..names).map(|n| allow(format!("{way}n{n}.example.net:443"))));
    policy.allow.extend([allow(format!("{way}*.example.org:443")), allow("@host".to_owned())]);
    policy.block.push(allow("0.0.0.0/0".to_owned()));
    let mut world = World::new(Config { policy, ..config() });
    world.guest_dhcp(&Dhcp::request(1, LEASED)).expect("a request");
    world.host_dhcp(&Dhcp::ack(1, LEASED, 60_000).option(6, &GATEWAY.octets())).expect("an answer");
    let all: Vec<_> =
        (0..MAX_PINS as u32).map(|n| Ipv4Addr::from(0x0800_0000 + n.wrapping_mul(0x9e37) % 0x0100_0000)).collect();
    for (address, id) in all.iter().zip(0..) {
        let [query, answer] = talk(id, *address);
        world.guest(&query).expect("a question");
        world.host(&answer).expect("an answer");
    }
    (world.engine, world.now, all[all.len() - FRAMES..].to_vec())
}

/// A question and its answer.
fn talk(id: u16, address: Ipv4Addr) -> [Vec<u8>; 2] {
    let name = format!("n{id}.www.example.org");
    let query = Ip::udp(LEASED, GATEWAY, (5000, 53), &dns::Dns::query(id, &name).bytes());
    let answer = dns::Dns::answer(id, &name).cname("@12", 600, "edge.cdn.net").a("edge.cdn.net", 3600, address);
    let answer = Ip::udp(GATEWAY, LEASED, (53, 5000), &answer.bytes());
    [query.frame(GATEWAY_MAC, GUEST_MAC), answer.frame(GUEST_MAC, GATEWAY_MAC)]
}

/// To addresses of names, without state.
#[divan::bench]
fn name_guest_tcp_64(bencher: Bencher) {
    to_names(bencher, "");
}

/// The same, each of a flow.
#[divan::bench]
fn name_flow_guest_tcp_64(bencher: Bencher) {
    to_names(bencher, "out ");
}

fn to_names(bencher: Bencher, way: &str) {
    let (mut engine, mut now, pinned) = engine_with_pins(way, 100);
    let segment = |flags| {
        let frame = move |&to: &Ipv4Addr| Ip::segment(LEASED, to, (1024, 443), flags).frame(GATEWAY_MAC, GUEST_MAC);
        pinned.iter().map(frame).collect::<Vec<_>>()
    };
    for frame in segment("S") {
        assert_eq!(engine.on_guest_frame(&frame, now), softnet::engine::Verdict::Forward);
    }
    let frames = segment("PA");
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        now += softnet::engine::Duration::from_micros(1);
        for frame in &frames {
            let _ = black_box(engine.on_guest_frame(black_box(frame), now));
        }
    });
}

/// To addresses that have no name, with 4096 that have one.
#[divan::bench]
fn name_guest_elsewhere(bencher: Bencher) {
    let (mut engine, now, _) = engine_with_pins("", 100);
    let frames: Vec<_> = addresses().map(|to| Ip::tcp(LEASED, to, (1024, 443)).frame(GATEWAY_MAC, GUEST_MAC)).collect();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            let _ = black_box(engine.on_guest_frame(black_box(frame), now));
        }
    });
}

/// A question and its answer, two frames, with that many entries about names.
#[divan::bench(args = [1, 4000])]
fn name_question_and_answer(bencher: Bencher, names: usize) {
    let (mut engine, now, pinned) = engine_with_pins("", names);
    let talks: Vec<_> = pinned.iter().zip(0..).map(|(&address, id)| talk(id, address)).collect();
    bencher.counter(ItemsCount::new(2 * talks.len())).bench_local(|| {
        for [query, answer] in &talks {
            let _ = black_box(engine.on_guest_frame(black_box(query), now));
            let _ = black_box(engine.on_host_frame(black_box(answer), now));
        }
    });
}

/// What a new policy costs whose entries are about names, each replacing another one, with 4096 addresses learned.
#[divan::bench]
fn set_policy_of_names(bencher: Bencher) {
    let policy = |net: &str| {
        let allow = (0..4096).map(|n| format!("*.n{n}.{net}").parse().expect("an entry")).collect();
        PolicyEntries { allow, block: Vec::new() }
    };
    let policies = [policy("example.org"), policy("example.net")];
    let (mut engine, ..) = engine_with_pins("", 100);
    let mut next = policies.iter().cycle();
    bencher.bench_local(|| engine.set_policy(next.next().cloned().unwrap_or_default()));
}

/// What a new policy costs, between two frames: each replaces another one.
#[divan::bench(args = RULES)]
fn set_policy(bencher: Bencher, rules: usize) {
    let policies = [entries(rules), stateful_entries(rules.max(2) - 2)];
    let (mut engine, _) = engine(0);
    let mut next = policies.iter().cycle();
    bencher.bench_local(|| engine.set_policy(next.next().cloned().unwrap_or_default()));
}

/// The same, out of the texts that the control channel brings.
#[divan::bench(args = RULES)]
fn parse_policy(bencher: Bencher, rules: usize) {
    let policy = stateful_entries(rules.max(2) - 2);
    let texts = |list: &[softnet::engine::Entry]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let (allow, block) = (texts(&policy.allow), texts(&policy.block));
    bencher.bench_local(|| {
        PolicyEntries::parse(allow.iter().map(String::as_str), block.iter().map(String::as_str))
            .map(|policy| policy.normalised())
    });
}
