use super::*;

const FRAME: usize = 1514;

fn at(micros: i64) -> Instant {
    Instant::from_micros(micros)
}

fn pace(bits: Option<u64>, frames: Option<u64>) -> Pace {
    Pace::new(RateLimit { bits, frames }, GUEST_DEPTH, FRAME)
}

/// How many frames of a length a reader gets in a time that always has some waiting, and how often it was woken for them.
fn read(pace: &mut Pace, length: usize, from: i64, to: i64) -> (u64, u64) {
    let (mut now, mut read, mut wakes) = (from, 0, 0);
    while now < to {
        match pace.allowance(at(now)) {
            Allowance::Frames(count) => {
                let count = count.min(128);
                (0..count).for_each(|_| pace.spend(length, at(now)));
                read += count as u64;
            }
            Allowance::From(later) => {
                assert!(later > at(now), "a pause ends later than it begins");
                now = later.total_micros();
                wakes += 1;
            }
        }
    }
    (read, wakes)
}

#[test]
fn a_second_brings_what_the_rate_says_and_the_depth_once() {
    for (rate, length) in
        [(100_000_000, 1514), (100_000_000, 60), (1_500_000, 1514), (1_000_000_000, 1514), (64_000, 342)]
    {
        let mut pace = pace(Some(rate), None);
        let (first, _) = read(&mut pace, length, 0, 1);
        let depth = (rate / 50).max(64 * 1024 * 8);
        assert!((first * length as u64 * 8).abs_diff(depth) <= 8 * 1514, "{rate}: {first} frames at once");
        let (then, wakes) = read(&mut pace, length, 1, 10_000_000);
        let bits = then * length as u64 * 8;
        assert!(bits.abs_diff(rate * 10) <= depth / 4 + 8 * 1514, "{rate}: {bits} bits in 10 s");
        assert!(wakes <= 2_010, "{rate}: {wakes} wakes in 10 s");
    }
}

#[test]
fn frames_are_counted_to_the_frame() {
    for rate in [10, 200, 20_000, 1_000_000] {
        let mut pace = pace(None, Some(rate));
        let (first, _) = read(&mut pace, 60, 0, 1);
        assert_eq!(first, (rate / 50).max(64), "{rate}");
        let (then, wakes) = read(&mut pace, 60, 1, 10_000_000);
        assert!(then.abs_diff(rate * 10) <= rate / 100 + 1, "{rate}: {then}");
        assert!(wakes <= 2_010, "{rate}: {wakes}");
    }
}

#[test]
fn the_narrower_of_two_limits_holds() {
    for (bits, frames, length, expected) in
        [(12_112_000, 20_000, 1514, 1000), (1_000_000_000, 1000, 1514, 1000), (12_112_000, 1000, 60, 1000)]
    {
        let mut pace = pace(Some(bits), Some(frames));
        read(&mut pace, length, 0, 1);
        let (then, _) = read(&mut pace, length, 1, 10_000_000);
        assert!(then.abs_diff(10 * expected) <= 20, "{bits} {frames}: {then}");
    }
}

#[test]
fn no_limit_is_none() {
    assert!(matches!(pace(None, None).allowance(at(0)), Allowance::Frames(1_000_000..)));
}

#[test]
fn a_pause_is_not_cut_short_by_who_asks_again() {
    let mut pace = pace(Some(100_000_000), None);
    read(&mut pace, FRAME, 0, 1);
    let Allowance::From(later) = pace.allowance(at(1)) else { panic!("the bucket is empty") };
    assert!(later >= at(4_900) && later <= at(5_200), "{later:?}");
    assert_eq!(pace.allowance(at(2_000)), Allowance::From(later));
    assert!(matches!(pace.allowance(later), Allowance::Frames(40..=42)));
}

#[test]
fn what_is_sent_to_the_guest_passes_at_the_rate_and_no_faster() {
    for (limit, rate) in [
        (RateLimit { bits: Some(12_112_000), frames: None }, 1000),
        (RateLimit { bits: None, frames: Some(1000) }, 1000),
    ] {
        let mut pace = Pace::new(limit, HOST_DEPTH, FRAME);
        // Ten times the rate, for 10 s.
        let passed = (0..100_000).filter(|number| pace.admits(FRAME, at(number * 100))).count();
        let depth = rate / 4;
        assert!(passed.abs_diff(10 * rate + depth) <= 1, "{passed}");
        // Half of it passes whole.
        assert!((1..1000).all(|number| pace.admits(FRAME, at(10_000_000 + number * 2_000))));
    }
}

#[test]
fn what_is_refused_costs_nothing_and_what_is_never_refused_has_a_bounded_debt() {
    let mut pace = Pace::new(RateLimit { bits: None, frames: Some(100) }, GUEST_DEPTH, FRAME);
    assert_eq!((0..1000).filter(|_| pace.admits(60, at(0))).count(), 64);
    assert!(pace.admits(60, at(10_000)), "after 10 ms one more, however many were refused");
    for _ in 0..1_000_000 {
        pace.spend(60, at(10_000));
    }
    assert!(!pace.admits(60, at(640_000)));
    assert!(pace.admits(60, at(670_000)), "the debt is 64 frames, whatever was spent");
}

#[test]
fn time_that_stands_still_or_steps_back_or_is_at_its_end_brings_nothing_and_breaks_nothing() {
    let mut pace = pace(Some(MAX_RATE), Some(MAX_RATE));
    for micros in [i64::MIN, 0, i64::MAX, i64::MAX, 5, i64::MIN] {
        let _ = pace.allowance(at(micros));
        pace.spend(usize::MAX, at(micros));
        let _ = pace.admits(FRAME, at(micros));
    }
    assert!(matches!(pace.allowance(at(i64::MAX)), Allowance::From(_)));
}

#[test]
fn a_frame_larger_than_any_depth_passes_all_the_same() {
    let mut pace = Pace::new(RateLimit { bits: Some(64_000), frames: None }, GUEST_DEPTH, 1 << 20);
    assert!(pace.admits(1 << 20, at(0)) && !pace.admits(1, at(0)));
    let (read, _) = read(&mut pace, 1 << 20, 1, 1_000_000_000);
    assert!((6..=8).contains(&read), "{read} frames of 131 s each in 1000 s");
}

#[test]
fn arp_and_dhcp_are_of_the_link_and_nothing_else_is() {
    let mut frame = [0; 60];
    assert!(!is_of_the_link(&frame) && !is_of_the_link(&[]));
    (frame[12], frame[13]) = (0x08, 0x06);
    assert!(is_of_the_link(&frame));
    for words in [5, 6] {
        let mut frame = [0; 60];
        (frame[12], frame[14], frame[23]) = (0x08, 0x40 | words, 17);
        let port = 14 + usize::from(words) * 4 + 3;
        frame[port] = 68;
        assert!(is_of_the_link(&frame));
        for (index, value) in [(port, 67), (port - 1, 1), (20, 1), (21, 1), (23, 6), (13, 1)] {
            let mut other = frame;
            other[index] = value;
            assert!(!is_of_the_link(&other), "{index}");
        }
        frame[20] = 0x40;
        assert!(is_of_the_link(&frame), "don't fragment is no fragment");
    }
}

#[test]
fn a_limit_is_written_as_it_is_typed() {
    for (bits, frames, text) in [
        (Some(100_000_000), Some(20_000), "100mbit/s,20kpps"),
        (Some(64_001), None, "64001bit/s"),
        (Some(1_500_000), None, "1500kbit/s"),
        (Some(1_000_000_000_000), Some(1_000_000_000), "1000gbit/s,1000mpps"),
        (None, Some(50), "50pps"),
        (None, None, "none"),
    ] {
        assert_eq!(RateLimit { bits, frames }.to_string(), text);
    }
}

#[test]
fn of_two_limits_the_lesser_of_each_kind_holds() {
    let limit = |bits, frames| RateLimit { bits, frames };
    let most = limit(Some(100), Some(20));
    for (asked, given, is_stricter) in [
        (limit(None, None), most, false),
        (limit(Some(50), None), limit(Some(50), Some(20)), false),
        (limit(Some(100), Some(20)), most, false),
        (limit(Some(101), None), most, true),
        (limit(Some(50), Some(21)), limit(Some(50), Some(20)), true),
    ] {
        assert_eq!(asked.held_to(most), given);
        assert_eq!(given.is_stricter_than_asked(asked), is_stricter, "{asked}");
        assert_eq!(asked.held_to(RateLimit::default()), asked);
    }
}
