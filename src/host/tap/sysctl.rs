//! Settings of the kernel under /proc/sys/net, which shows those of the reader's own network namespace.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::Error;

/// No IPv6 on a link: no addresses, no router advertisements taken. A kernel without IPv6 has nothing to turn off.
pub(super) fn disable_ipv6(link: &str) -> Result<(), Error> {
    let directory = format!("/proc/sys/net/ipv6/conf/{link}");
    if !Path::new(&directory).exists() {
        return Ok(());
    }
    set(&format!("{directory}/disable_ipv6"), "1")?;
    set(&format!("{directory}/accept_ra"), "0")
}

/// A setting of a link's IPv4.
pub(super) fn set_ipv4(link: &str, name: &str, value: &str) -> Result<(), Error> {
    set(&format!("/proc/sys/net/ipv4/conf/{link}/{name}"), value)
}

/// Lets the host forward between its links.
pub(super) fn enable_forwarding() -> Result<(), Error> {
    set("/proc/sys/net/ipv4/ip_forward", "1")
}

/// Writes only what differs: in a container the files may be right and read-only.
fn set(path: &str, value: &str) -> Result<(), Error> {
    let write = || -> io::Result<()> {
        if fs::read_to_string(path)?.trim() == value {
            return Ok(());
        }
        OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
    };
    write().map_err(Error::os(format!("set {path} to {value}")))
}
