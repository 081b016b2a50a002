//! Frames that scapy makes and sends, for what no other tool does.

use crate::attack::Spoof;

/// The program: `ATTACK GATEWAY-MAC GATEWAY-IP ATTACKER-IP VICTIM-MAC VICTIM-IP`. What it sent it prints, a line each: the
/// frame in hexadecimal, a blank, its name.
pub const SCRIPT: &str = include_str!("scapy.py");

/// Reads a line that it prints.
#[must_use]
pub fn read(line: &str) -> Option<Spoof> {
    let (digits, name) = line.split_once(' ')?;
    let octets = digits.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    Some(Spoof { name: name.to_owned().leak(), frame: octets.collect::<Option<_>>()? })
}
