//! What it costs to judge a frame: classes of frames, with 0, 100 and 4096 entries. `cargo bench --bench engine`.
//!
//! Targets (issue 6): at most 12 ns without entries, 25 ns with 4096, beside about 1 ns of nothing.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

#[path = "../tests/engine_world/mod.rs"]
mod engine_world;

use std::net::Ipv4Addr;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use engine_world::frames::*;
use engine_world::*;
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
fn addresses() -> impl Iterator<Item = Ipv4Addr> {
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

/// What a new policy costs, between two frames.
#[divan::bench(args = RULES)]
fn set_policy(bencher: Bencher, rules: usize) {
    let policy = entries(rules);
    let (mut engine, _) = engine(0);
    bencher.bench_local(|| engine.set_policy(policy.clone()));
}
