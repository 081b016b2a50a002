//! No frame makes the engine allocate: counted by the allocator itself, in a test binary of its own.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

mod engine_world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use engine_world::frames::*;
use engine_world::*;
use softnet::engine::{Config, DropReason, Engine, Instant, Verdict};

thread_local! {
    // Per thread, since the test harness has threads of its own.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    ALLOCATIONS.with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every method hands its arguments unchanged to the system's allocator, which upholds the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller upholds the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_sees_an_allocation() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn no_frame_of_any_class_allocates() {
    let to_gateway = |datagram: Ip| datagram.frame(GATEWAY_MAC, GUEST_MAC);
    let to_guest = |datagram: Ip| datagram.frame(GUEST_MAC, GATEWAY_MAC);
    // Every message of a lease's life, over and over: ids and identifiers, events that nobody reads, tables that are full.
    let mut guest = vec![
        to_gateway(Ip::tcp(LEASED, WORLD, (1, 443))),
        to_gateway(Ip::ping(LEASED, NEIGHBOUR)),
        to_gateway(Ip::ping(NEIGHBOUR, WORLD)),
        to_gateway(Ip { more_fragments: true, ..Ip::udp(LEASED, WORLD, (1, 2), &[0; 16]) }),
        Arp::request(GUEST_MAC, LEASED, GATEWAY).frame(BROADCAST, GUEST_MAC),
        vec![0; 5],
        vec![0; 4000],
    ];
    let mut host = vec![
        to_guest(Ip::tcp(WORLD, LEASED, (443, 1))),
        Arp::reply(GATEWAY_MAC, GATEWAY, GUEST_MAC, LEASED).frame(GUEST_MAC, GATEWAY_MAC),
        vec![0; 5],
    ];
    for xid in 0..8 {
        guest.push(Dhcp::discover(xid).option(61, &[xid as u8; 9]).to_all().frame(BROADCAST, GUEST_MAC));
        guest.push(Dhcp::request(xid, LEASED).to_all().frame(BROADCAST, GUEST_MAC));
        guest.push(Dhcp::request(xid, NEIGHBOUR).to_all().frame(BROADCAST, GUEST_MAC));
        guest.push(to_gateway(Dhcp::release(xid, LEASED).to_gateway(LEASED)));
        host.push(to_guest(Dhcp::offer(xid, LEASED).by_gateway()));
        host.push(to_guest(Dhcp::ack(xid, LEASED, 2).option(6, &[10, 0, 0, 1]).by_gateway()));
        host.push(to_guest(Dhcp::ack(xid, NEIGHBOUR, 600).by_gateway()));
        host.push(to_guest(Dhcp::nak(xid).by_gateway()));
    }
    let mut engine = Engine::new(Config { policy: entries("10.0.0.0/8,192.168.0.0/16", "1.1.1.1"), ..config() });
    let mut granted = 0;
    let allocations = allocations_of(|| {
        for second in 0..2000 {
            for (index, frame) in guest.iter().enumerate() {
                let _ = engine.on_guest_frame(frame, Instant::from_secs(second));
                let _ = engine.on_host_frame(&host[(index + second as usize) % host.len()], Instant::from_secs(second));
                granted += u64::from(engine.lease().is_some());
            }
            engine.advance(Instant::from_secs(second));
        }
    });
    assert_eq!(allocations, 0);
    assert!(granted > 0, "the lease's life was lived");
}

#[test]
fn no_frame_allocates_for_a_flow() {
    let frames: Vec<Vec<u8>> = (0..40_000u32)
        .map(|index| {
            let far = (WORLD.to_bits() + index / 30_000).into();
            let ports = (1024 + (index % 30_000) as u16, 443);
            let datagram = match index % 3 {
                0 => Ip::udp(LEASED, far, ports, &[]),
                1 => Ip::segment(LEASED, far, ports, "S"),
                _ => Ip::echo(LEASED, far, 8, index as u16),
            };
            datagram.frame(GATEWAY_MAC, GUEST_MAC)
        })
        .collect();
    let back = Ip::udp(WORLD, LEASED, (443, 1024), &[]).frame(GUEST_MAC, GATEWAY_MAC);
    let mut world = World::leased("out 0.0.0.0/0", "in 0.0.0.0/0");
    let mut full = 0;
    let allocations = allocations_of(|| {
        for round in 0..4 {
            let now = world.now + softnet::engine::Duration::from_secs(round * 40);
            for frame in &frames {
                let verdict = world.engine.on_guest_frame(frame, now);
                full += u64::from(verdict == Verdict::Drop(DropReason::FlowTableFull));
                let _ = world.engine.on_host_frame(&back, now);
            }
        }
    });
    assert_eq!(allocations, 0);
    assert!(full > 1000, "the table was full, and emptied: {full}");
}

#[test]
fn no_question_no_answer_and_no_refusal_allocates() {
    let frames: Vec<[Vec<u8>; 2]> = (0..6000u16)
        .map(|id| {
            let name = format!("n{id}.{}", ["example.org", "a.org", "example.net"][usize::from(id % 3)]);
            let address = (WORLD.to_bits() + u32::from(id)).into();
            let query = Ip::udp(LEASED, GATEWAY, (5000, 53), &dns::Dns::query(id, &name).bytes());
            let answer = dns::Dns::answer(id, &name).cname("@12", 600, "cdn.net").a("cdn.net", 600, address);
            let answer = Ip::udp(GATEWAY, LEASED, (53, 5000), &answer.bytes());
            [query.frame(GATEWAY_MAC, GUEST_MAC), answer.frame(GUEST_MAC, GATEWAY_MAC)]
        })
        .collect();
    let policy = entries("*.example.org,n1.a.org:443,*.a.org:80", "*.org:25");
    let dns_questions = softnet::engine::DnsQuestions::OfAllowedNames;
    let mut world = World::new(Config { policy, dns_questions, ..config() });
    assert_eq!(world.guest_dhcp(&Dhcp::request(1, LEASED)), Ok(()));
    assert_eq!(world.host_dhcp(&Dhcp::ack(1, LEASED, 60_000).option(6, &GATEWAY.octets())), Ok(()));
    let (mut full, mut refused) = (0, 0);
    let allocations = allocations_of(|| {
        for round in 0..3 {
            for ([query, answer], id) in frames.iter().zip(0..) {
                let now = world.now + softnet::engine::Duration::from_millis(round * 700_000 + id);
                let verdict = world.engine.on_guest_frame(query, now);
                refused += u64::from(verdict == Verdict::Reply(DropReason::DnsName));
                let verdict = world.engine.on_host_frame(answer, now);
                full += u64::from(verdict == Verdict::Drop(DropReason::PinsFull));
            }
        }
    });
    assert_eq!(allocations, 0);
    assert!(full > 1000 && refused > 1000, "the table was full, and emptied: {full}, {refused}");
}
