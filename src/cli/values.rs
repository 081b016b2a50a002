//! The values of options, as far as words alone can be judged.

use std::path::PathBuf;

use ipnet::Ipv4Net;

use crate::engine::{Entry, EntryError, EthernetAddress};

/// The longest name of a guest: as long as a label of a host name (RFC 1035, 2.3.4).
pub const NAME_LENGTH: usize = 63;

/// One `--allow` or `--block`: a comma separated list of entries, possibly empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntryList(pub Vec<Entry>);

pub(super) fn parse_list(text: &str) -> Result<EntryList, EntryError> {
    Entry::parse_list(text).map(EntryList)
}

/// Six octets in hexadecimal, one or two digits each, with colons between; unicast and not all zero.
pub(crate) fn parse_mac(text: &str) -> Result<EthernetAddress, String> {
    let octets: Vec<u8> = text
        .split(':')
        .map(|octet| match octet.len() {
            1 | 2 if octet.bytes().all(|byte| byte.is_ascii_hexdigit()) => u8::from_str_radix(octet, 16).ok(),
            _ => None,
        })
        .collect::<Option<_>>()
        .ok_or("a MAC address is six hexadecimal octets with colons between, as in 5a:94:ef:e4:0c:ee")?;
    let octets: [u8; 6] = octets
        .try_into()
        .map_err(|octets: Vec<u8>| format!("a MAC address has six octets, and this has {}", octets.len()))?;
    let mac = EthernetAddress(octets);
    if mac.0 == [0; 6] || !mac.is_unicast() {
        return Err("a guest's MAC address is unicast: its first octet is even, and it is not all zero".into());
    }
    Ok(mac)
}

/// A guest's name: what a host name, a file name and a label of a metric can all have.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let valid = (1..=NAME_LENGTH).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if valid {
        Ok(text.into())
    } else {
        Err(format!(
            "a guest's name has 1 to {NAME_LENGTH} letters of A to Z, a to z, 0 to 9, '.', '_' and '-', as in web-1"
        ))
    }
}

/// A name that a network interface can have: dev_valid_name() of the kernel.
pub(super) fn parse_bridge(text: &str) -> Result<String, String> {
    linux_only()?;
    let valid = (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':')
        && !matches!(text, "." | "..");
    if valid {
        Ok(text.into())
    } else {
        Err("an interface's name has 1 to 15 letters, without blanks, '/' and ':'".into())
    }
}

/// A name that a TAP device can have, wherever it is written: dev_valid_name() of the kernel, and no word of a shell, of a command line or
/// of /proc/sys.
pub(super) fn parse_tap(text: &str) -> Result<String, String> {
    linux_only()?;
    let valid = (1..=15).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        && !text.starts_with(['.', '-'])
        && !matches!(text, "lo" | "all" | "default");
    if valid {
        Ok(text.into())
    } else {
        Err("a TAP device's name has 1 to 15 letters of A to Z, a to z, 0 to 9, '.', '_' and '-', as in tap0".into())
    }
}

pub(super) fn parse_subnet(text: &str) -> Result<Ipv4Net, String> {
    linux_only()?;
    let net: Ipv4Net = text.parse().map_err(|_| "a subnet is written like 192.168.70.0/24".to_string())?;
    if !(16..=29).contains(&net.prefix_len()) {
        return Err("a subnet for guests has a prefix length of 16 to 29".into());
    }
    Ok(net.trunc())
}

/// A path that fits a socket's address (unix(7)). Absolute: softnet works in `/`, whatever directory it was started in.
pub(super) fn parse_socket(text: &str) -> Result<PathBuf, String> {
    const LONGEST: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
    if !text.starts_with('/') || text.ends_with('/') {
        return Err("the path of a socket is absolute, as /tmp/vm.sock: softnet works in /".into());
    }
    if text.len() > LONGEST {
        return Err(format!("a socket's path has at most {LONGEST} bytes, and this has {}", text.len()));
    }
    if text.contains('\0') {
        return Err("a path has no zero byte".into());
    }
    Ok(text.into())
}

fn linux_only() -> Result<(), String> {
    if cfg!(target_os = "linux") {
        Ok(())
    } else {
        Err("there are no bridges of softnet's on this system: leave it out".into())
    }
}
