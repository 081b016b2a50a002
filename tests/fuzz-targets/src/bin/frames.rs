//! Goes for numbers: random programs, the same as a fuzzer's, one after the other, each frame judged by engine and oracle.
//!
//!     cargo run --release -p softnet-fuzz-targets --bin frames -- --frames 1000000000 [--seed N] [--seconds N]
//!
//! Nothing guides it, so it reaches less than libFuzzer in depth and much more in breadth. A finding is a panic that shows the
//! frame; the seed is printed at the start, and what is random is that alone.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use softnet::engine::{Direction, DropReason};
use softnet_fuzz_targets::{Tally, dhcp, program};

/// The longest program, in bytes.
const PROGRAM: usize = 4096;

fn main() -> ExitCode {
    let (mut frames, mut seed, mut seconds) = (10_000_000, 1, u64::MAX);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().and_then(|value| value.parse::<u64>().ok());
        match (word.as_str(), value) {
            ("--frames", Some(value)) => frames = value,
            ("--seed", Some(value)) => seed = value,
            ("--seconds", Some(value)) => seconds = value,
            _ => {
                eprintln!("usage: frames [--frames N] [--seed N] [--seconds N]");
                return ExitCode::from(2);
            }
        }
    }
    println!("frames: seed {seed}");
    let began = Instant::now();
    let mut random = Random(seed ^ 0x9e37_79b9_7f4a_7c15);
    let mut tally = Tally::default();
    let mut said = Duration::ZERO;
    let mut program = [0; PROGRAM];
    while tally.frames < frames && began.elapsed().as_secs() < seconds {
        let choice = random.next();
        let length = 64 + usize::try_from(choice >> 32).unwrap_or(0) % (PROGRAM - 64);
        random.fill(&mut program[..length]);
        let run = match choice % 16 {
            0..=8 => program::guest_frames,
            9..=14 => program::host_frames,
            _ => dhcp::dhcp,
        };
        tally.add(&run(&program[..length]));
        if began.elapsed() >= said + Duration::from_secs(60) {
            said = began.elapsed();
            println!("frames: {} after {} s", tally.frames, said.as_secs());
        }
    }
    report(&tally, began.elapsed());
    ExitCode::SUCCESS
}

fn report(tally: &Tally, took: Duration) {
    let rate = f64::from(u32::try_from(tally.frames / 1000).unwrap_or(u32::MAX)) * 1000.0 / took.as_secs_f64();
    println!(
        "frames: {} judged by both, without a difference, in {:.1} s: {rate:.0} a second",
        tally.frames,
        took.as_secs_f64()
    );
    for direction in [Direction::FromGuest, Direction::FromHost] {
        println!(
            "{direction:?}: {} forwarded, {} answered",
            tally.forwarded[direction as usize], tally.answered[direction as usize]
        );
        for reason in DropReason::ALL {
            let count = tally.dropped[direction as usize][reason as usize];
            if count > 0 {
                println!("{count:>14} {}", reason.name());
            }
        }
    }
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_be_bytes()[..chunk.len()]);
        }
    }
}
