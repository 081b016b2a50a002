//! What a client of the control channel can make softnet hold: counted by the allocator itself, in a test binary of its own.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

mod engine_world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use engine_world::config;
use softnet::control::{ChannelNames, MAX_UNSENT, Session};
use softnet::engine::Engine;

thread_local! {
    // Per thread, since the test harness has threads of its own. What another thread allocated may be freed here: less than none.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

fn grow(size: usize) {
    let held = HELD.get() + size.cast_signed();
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

fn shrink(size: usize) {
    HELD.set(HELD.get() - size.cast_signed());
}

// SAFETY: every method hands its arguments unchanged to the system's allocator, which upholds the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: the caller upholds the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // Both are there while one is copied to the other.
        grow(new_size);
        shrink(layout.size());
        // SAFETY: the caller upholds the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: the caller upholds the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most memory that is held at once, beyond what is held before, while `work` is done.
fn peak_of(work: impl FnOnce()) -> usize {
    let before = HELD.get();
    PEAK.set(before);
    work();
    (PEAK.get() - before).cast_unsigned()
}

#[test]
fn the_counter_sees_what_is_held_at_once() {
    let peak = peak_of(|| {
        for _ in 0..10 {
            drop(std::hint::black_box(vec![1_u8; 1000]));
        }
    });
    assert_eq!(peak, 1000);
}

/// What a new policy may take on its way, with its texts, its rules and its reply.
const ENOUGH: usize = 2 << 20;

fn set(allow: &str, block: &str) -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"softnet.policy.set\",\"params\":{{\"allow\":[{allow}],\"block\":[{block}]}}}}\n"
    )
}

/// As many of the `n`th text as fit into a request, with commas between.
fn many(text: impl Fn(usize) -> String, limit: usize) -> String {
    let mut all = String::new();
    for n in 0.. {
        let next = text(n);
        if n == limit || all.len() + next.len() > (1 << 20) - 200 {
            break;
        }
        if n > 0 {
            all.push(',');
        }
        all.push_str(&next);
    }
    all
}

#[test]
fn no_stream_of_bytes_takes_more_memory_than_a_policy_and_a_reply() {
    let entry = |n: usize| format!("\"in 10.{}.{}.0/24:{}-65535\"", n / 256, n % 256, 20_000 + n);
    let without_end = |text: &str| text.repeat((5 << 18) / text.len());
    for (what, stream) in [
        ("no line end", without_end("x")),
        ("depth", without_end("[")),
        ("objects", without_end("{\"a\":")),
        ("one string", format!("\"{}", without_end("y"))),
        ("one key", format!("{{\"{}", without_end("k"))),
        ("one number", without_end("7")),
        ("one id", format!("{{\"id\":\"{}\"}}\n", "i".repeat(1 << 19))),
        ("empty lines", without_end("\n")),
        ("empty strings", set(&many(|_| "\"\"".into(), usize::MAX), "")),
        ("one entry again and again", set(&many(|_| "\"@host\"".into(), usize::MAX), "")),
        ("too many entries", set(&many(entry, usize::MAX), "")),
        ("as many as there may be", set(&many(entry, 2048), &many(entry, 2048)).repeat(3)),
        ("long entries", set(&many(|n| format!("\"{}{n}\"", "z".repeat(3000)), usize::MAX), "")),
        ("members", format!("{{{}}}\n", many(|n| format!("\"{n}\":{{\"a\":[1,2,{n}]}}"), usize::MAX))),
    ] {
        let mut engine = Engine::new(config());
        let peak = peak_of(|| {
            let mut session = Session::new(&engine, ChannelNames::Refused);
            for piece in stream.as_bytes().chunks(4096) {
                let mut read = 0;
                while read < piece.len() || session.is_busy() {
                    read += session.advance(&piece[read..], &mut engine);
                    session.mark_sent(session.unsent().len());
                }
            }
        });
        println!("{what}: {} KiB", peak >> 10);
        assert!(peak < ENOUGH, "{what}: {peak} bytes");
    }
}

#[test]
fn replies_that_nobody_takes_have_a_bound() {
    let entry = |n: usize| format!("\"10.{}.{}.0/24\"", n / 256, n % 256);
    let mut engine = Engine::new(config());
    let get = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"softnet.policy.get\"}\n".repeat(1000);
    let stream = [set(&many(entry, 4096), "").into_bytes(), get].concat();
    let peak = peak_of(|| {
        let mut session = Session::new(&engine, ChannelNames::Refused);
        let mut read = 0;
        while !session.is_over() {
            read += session.advance(&stream[read..], &mut engine);
            assert!(read < stream.len(), "it ends before");
        }
    });
    assert!(peak < 2 * MAX_UNSENT + MAX_UNSENT + ENOUGH, "{peak} bytes: the vector doubles, and moves");
}
