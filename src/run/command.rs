//! The command: the caller's program, with the guest's end of the socket.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Child, Command};

use crate::sys::offspring;

/// Starts `words`, the program and its arguments, with `guest` as an open descriptor. All else is as this process has it.
pub(super) fn start(words: &[OsString], guest: &OwnedFd, mac: &str) -> io::Result<Child> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let fd = guest.as_raw_fd().to_string();
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|word| filled(word, &fd, mac)));
    command.env("SOFTNET_FD", &fd).env("SOFTNET_MAC", mac);
    offspring::end_with_this_process(&mut command);
    offspring::give_to_children(guest)?;
    command.spawn()
}

/// `word` with the descriptor's number and the MAC address in the places for them. Other braces are the command's own.
fn filled(word: &OsStr, fd: &str, mac: &str) -> OsString {
    let mut rest = word.as_bytes();
    let mut filled = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        rest = if let Some(after) = rest.strip_prefix(b"{fd}") {
            filled.extend_from_slice(fd.as_bytes());
            after
        } else if let Some(after) = rest.strip_prefix(b"{mac}") {
            filled.extend_from_slice(mac.as_bytes());
            after
        } else {
            filled.push(first);
            after
        };
    }
    OsString::from_vec(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_filled_and_other_braces_left() {
        let fill = |word: &str| filled(OsStr::new(word), "5", "2:0").into_string().unwrap();
        assert_eq!(fill("dgram,local.str={fd},mac={mac}{fd}"), "dgram,local.str=5,mac=2:05");
        assert_eq!(fill("{}{f{fd}}{FD}{"), "{}{f5}{FD}{");
        let odd = OsStr::from_bytes(b"\xff{fd}\xfe");
        assert_eq!(filled(odd, "5", "").into_vec(), b"\xff5\xfe");
    }
}
