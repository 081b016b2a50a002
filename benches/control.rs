//! How long a step of the control channel's session takes, which is how long it holds up a frame. `cargo bench --bench control`.
//!
//! The target (issue 7): less than 1 ms. Told in the processor's time of this thread, so that a busy machine does not tell
//! its own; the longest of some hundred runs, since one step too long is one frame too late.

#[path = "../tests/support/engine.rs"]
mod engine;

use nix::time::{ClockId, clock_gettime};
use softnet::control::{ChannelNames, Session};
use softnet::engine::Engine;

/// Bytes that the channel reads at a time.
const PIECE: usize = 4 << 10;
const RUNS: usize = 100;

fn main() {
    let directed = |n: usize| format!("{} 10.{}.{}.0/24:{}-65535", ["in", "out"][n % 2], n / 256, n % 256, 1000 + n);
    let requests = [
        ("4096 prefixes", set(4096, |n| format!("{}.{}.{}.0/{}", 1 + n / 30, n % 251, n % 241, 16 + n % 9))),
        ("4096 with direction and ports", set(4096, directed)),
        ("4096 ranges of one address", set(4096, |n| format!("192.0.2.1:{}-{}", 1 + n, 20_000 + 3 * n))),
        ("too many entries", set(40_000, |n| format!("10.{}.{}.{}", n / 65_536, n / 256 % 256, n % 256))),
        ("a megabyte of empty strings", set(340_000, |_| String::new())),
        ("a megabyte of letters", set(1, |_| "x".repeat(1_000_000))),
        ("a megabyte of escapes", set(1, |_| "\\u0041".repeat(166_000))),
        ("a megabyte of numbers", format!("[{}]\n", vec!["1"; 500_000].join(","))),
    ];
    println!("{:32} {:>8} {:>8} {:>8} {:>10}", "request", "p50 us", "p99 us", "max us", "whole us");
    for (name, request) in requests {
        let mut engine = engine::engine();
        let mut session = Session::new(&engine, ChannelNames::Refused);
        let (mut steps, mut best) = (Vec::new(), f64::MAX);
        for _ in 0..RUNS {
            let began = steps.len();
            // What is in force before is another policy, which goes.
            for request in ["{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"softnet.policy.get\"}\n", &request, EMPTY] {
                run(&mut session, &mut engine, request.as_bytes(), &mut steps);
            }
            best = best.min(steps[began..].iter().sum());
        }
        steps.sort_by(f64::total_cmp);
        let at = |percent: usize| steps[(steps.len() - 1) * percent / 100];
        println!("{name:32} {:8.0} {:8.0} {:8.0} {best:10.0}", at(50), at(99), at(100));
    }
}

const EMPTY: &str =
    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"softnet.policy.set\",\"params\":{\"allow\":[],\"block\":[]}}\n";

fn set(count: usize, entry: impl Fn(usize) -> String) -> String {
    let entries: Vec<String> = (0..count).map(|n| format!("\"{}\"", entry(n))).collect();
    EMPTY.replacen("[]", &format!("[{}]", entries.join(",")), 1)
}

/// Sends a request, and notes how long each step takes, in microseconds.
fn run(session: &mut Session, engine: &mut Engine, request: &[u8], steps: &mut Vec<f64>) {
    for piece in request.chunks(PIECE) {
        let mut read = 0;
        while read < piece.len() || session.is_busy() {
            let start = processor_time();
            read += session.advance(&piece[read..], engine);
            steps.push(processor_time() - start);
            session.mark_sent(usize::MAX);
        }
    }
}

fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("the kernel counts");
    time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3
}
