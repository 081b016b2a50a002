//! The options of a capture.

use std::path::PathBuf;

use clap::Args;

/// `--pcap` and what belongs to it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Seeing what happens")]
pub struct CaptureOptions {
    /// Capture every frame, with what became of it
    ///
    /// To this file or FIFO, dropped or not, as pcapng.
    #[arg(long, value_name = "FILE")]
    pub pcap: Option<PathBuf>,

    /// How long the capture may get
    ///
    /// In bytes, or with K, M or G behind the number; then it ends, and the guest goes on.
    #[arg(long, hide_short_help = true, value_name = "SIZE", default_value = "64M", value_parser = parse_size, requires = "pcap")]
    pub pcap_limit: u64,
}

/// The least that a capture is worth having for: its beginning and a frame.
const LEAST: u64 = 4096;

fn parse_size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.split_at_checked(text.len().saturating_sub(1)) {
        Some((digits, "K" | "k")) => (digits, 10),
        Some((digits, "M" | "m")) => (digits, 20),
        Some((digits, "G" | "g")) => (digits, 30),
        _ => (text, 0),
    };
    let number: Option<u64> = digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let size = number.and_then(|number| number.checked_mul(1 << shift));
    let size = size.ok_or("a size is a number of bytes, as in 1000000, 500K, 64M or 2G")?;
    if size < LEAST { Err(format!("a capture of less than {LEAST} bytes has room for no frame")) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_a_letter_if_wanted() {
        for (text, size) in [("4096", 4096), ("4K", 4096), ("64M", 64 << 20), ("2g", 2 << 30), ("0008k", 8192)] {
            assert_eq!(parse_size(text), Ok(size), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "K", "4095", "3K", "0", "-1", "+4096", "1.5M", "64MB", "64 M", "1T", "17179869184G", "é"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
