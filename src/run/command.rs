//! The command: the caller's program, with the guest's end of the socket.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::{Child, Command};

use super::tap::Tap;
use crate::sys::offspring;

/// What the command has of the guest's network.
pub(super) enum Link {
    /// The socket, as an open descriptor.
    Socket(OwnedFd),
    /// A TAP device, and its name.
    Tap(Tap, String),
}

/// Starts `words`, the program and its arguments, with `link`. All else is as this process has it.
pub(super) fn start(words: &[OsString], link: &Link, mac: &str) -> io::Result<Child> {
    let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut command = Command::new(program);
    let (place, variable, value) = match link {
        Link::Socket(guest) => ("{fd}", "SOFTNET_FD", guest.as_raw_fd().to_string()),
        Link::Tap(_, name) => ("{tap}", "SOFTNET_TAP", name.clone()),
    };
    let places = [(place, value.as_str()), ("{mac}", mac)];
    command.args(arguments.iter().map(|word| filled(word, places)));
    command.env(variable, &value).env("SOFTNET_MAC", mac);
    match link {
        Link::Socket(guest) => offspring::give_to_children(guest)?,
        // First of what is done in the new process: it may make the kernel forget the rest.
        Link::Tap(tap, _) => tap.start_inside(&mut command)?,
    }
    offspring::end_with_this_process(&mut command);
    command.spawn()
}

/// `word` with what stands for each of the places in it. Other braces are the command's own.
fn filled(word: &OsStr, places: [(&str, &str); 2]) -> OsString {
    let mut rest = word.as_bytes();
    let mut filled = Vec::with_capacity(rest.len());
    while let Some((&first, after)) = rest.split_first() {
        let place = places.iter().find_map(|(place, value)| Some((rest.strip_prefix(place.as_bytes())?, value)));
        rest = if let Some((after, value)) = place {
            filled.extend_from_slice(value.as_bytes());
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
        let places = [("{fd}", "5"), ("{mac}", "2:0")];
        let fill = |word: &str| filled(OsStr::new(word), places).into_string().unwrap();
        assert_eq!(fill("dgram,local.str={fd},mac={mac}{fd}"), "dgram,local.str=5,mac=2:05");
        assert_eq!(fill("{}{f{fd}}{FD}{{tap}"), "{}{f5}{FD}{{tap}");
        let odd = OsStr::from_bytes(b"\xff{fd}\xfe");
        assert_eq!(filled(odd, places).into_vec(), b"\xff5\xfe");
    }
}
