//! `--rate-limit`: how the two limits are written.
//!
//! ```text
//! RATE  = LIMIT [ "," LIMIT ]                      one of each kind at most
//! LIMIT = NUMBER ( "bit" | "kbit" | "mbit" | "gbit" | "pps" | "kpps" | "mpps" ) [ "/s" ]
//! ```
//! A number is whole, and k, m and g are thousands, millions and thousands of millions. `/s` goes with bits alone: the s of
//! pps is one.

use crate::engine::RateLimit;

/// The least that is taken: below it a guest's DHCP and ARP wait for longer than their senders do.
const LEAST_BITS: u64 = 64_000;
const LEAST_FRAMES: u64 = 50;
/// The most: more than any link has.
const MOST_BITS: u64 = 1_000_000_000_000;
const MOST_FRAMES: u64 = 1_000_000_000;

const UNITS: [(&str, Kind, u64); 7] = [
    ("kbit", Kind::Bits, 1_000),
    ("mbit", Kind::Bits, 1_000_000),
    ("gbit", Kind::Bits, 1_000_000_000),
    ("bit", Kind::Bits, 1),
    ("kpps", Kind::Frames, 1_000),
    ("mpps", Kind::Frames, 1_000_000),
    ("pps", Kind::Frames, 1),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bits,
    Frames,
}

/// Reads a `RATE`.
pub(crate) fn parse_rate(text: &str) -> Result<RateLimit, String> {
    let mut rate = RateLimit::default();
    for limit in text.split(',') {
        let (kind, value) = parse_limit(limit)?;
        let (place, least, most, unit) = match kind {
            Kind::Bits => (&mut rate.bits, LEAST_BITS, MOST_BITS, "bit/s"),
            Kind::Frames => (&mut rate.frames, LEAST_FRAMES, MOST_FRAMES, "pps"),
        };
        if !(least..=most).contains(&value) {
            return Err(format!("a limit is {least} to {most} {unit}"));
        }
        if place.replace(value).is_some() {
            return Err(format!("{unit} is given twice: leave one out"));
        }
    }
    Ok(rate)
}

fn parse_limit(text: &str) -> Result<(Kind, u64), String> {
    let mend = "a limit is a whole number of bit, kbit, mbit or gbit a second, or of pps, kpps or mpps, or one of each, as in \
                100mbit/s,20kpps";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (bare, per_second) = match unit.strip_suffix("/s") {
        Some(bare) => (bare, true),
        None => (unit, false),
    };
    let &(_, kind, factor) = UNITS.iter().find(|(name, ..)| *name == bare).ok_or(mend)?;
    if per_second && kind == Kind::Frames {
        return Err(mend.into());
    }
    let number: u64 = number.parse().map_err(|_| mend)?;
    Ok((kind, number.checked_mul(factor).ok_or(mend)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_of_bits_or_of_frames_or_one_of_each() {
        for (text, bits, frames) in [
            ("100mbit/s,20kpps", Some(100_000_000), Some(20_000)),
            ("20kpps,100mbit", Some(100_000_000), Some(20_000)),
            ("64000bit", Some(64_000), None),
            ("1500kbit/s", Some(1_500_000), None),
            ("1gbit", Some(1_000_000_000), None),
            ("1000gbit/s", Some(1_000_000_000_000), None),
            ("50pps", None, Some(50)),
            ("1mpps", None, Some(1_000_000)),
        ] {
            assert_eq!(parse_rate(text), Ok(RateLimit { bits, frames }), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused_with_what_would_be_taken() {
        for text in [
            "",
            ",",
            "100",
            "mbit",
            "100 mbit",
            "100mbit/s ",
            "1.5mbit",
            "-1mbit",
            "+1mbit",
            "100Mbit",
            "100mb",
            "100mbps",
            "20kpps/s",
            "100mbit/h",
            "1mbit,",
            "99999999999999999999bit",
            "18446744073709551615gbit",
            "\u{664}mbit",
        ] {
            let fault = parse_rate(text).expect_err(text);
            assert!(fault.contains("as in 100mbit/s,20kpps"), "{text}: {fault}");
        }
        for text in ["63999bit", "0bit", "1001gbit", "49pps", "1001mpps", "100mbit,0pps"] {
            assert!(parse_rate(text).expect_err(text).starts_with("a limit is "), "{text}");
        }
        for text in ["1mbit,2mbit", "1kpps,1mbit,2kpps"] {
            assert!(parse_rate(text).expect_err(text).contains("twice"), "{text}");
        }
    }
}
