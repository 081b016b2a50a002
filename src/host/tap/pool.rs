//! How many addresses dnsmasq has left, by its own records, also when no path can be opened any more.
//!
//! dnsmasq opens its lease file once and writes it anew in place, so a descriptor that was opened in the setup shows what
//! it holds at any time. It is read from its start by pread(2), since what is not in the sandbox's list is lseek(2).

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{SystemTime, UNIX_EPOCH};

use ipnet::Ipv4Net;
use nix::sys::uio::pread;

use super::{manage, state, subnet};
use crate::host::Pool;

/// A line has up to some 80 bytes: that is a /16 that is full.
const LONGEST: usize = 6 << 20;
const PART: usize = 64 << 10;

/// The records of a bridge's DHCP server.
#[derive(Debug)]
pub(super) struct Records {
    file: File,
    first: Ipv4Addr,
    last: Ipv4Addr,
}

impl Records {
    /// Those of softnet's own server on `bridge`; none if it has written none yet.
    pub(super) fn open(bridge: &str, address: Ipv4Net) -> Option<Self> {
        let (first, last) = subnet::pool(address);
        Some(Records { file: File::open(state::State::path(bridge, "leases")).ok()?, first, last })
    }

    /// Reads them. None if they cannot be read, or are longer than they can be.
    pub(super) fn pool(&self) -> Option<Pool> {
        let mut bytes = Vec::new();
        loop {
            let read = bytes.len();
            if read > LONGEST {
                return None;
            }
            bytes.resize(read + PART, 0);
            let count = pread(&self.file, bytes.get_mut(read..)?, libc::off_t::try_from(read).ok()?).ok()?;
            bytes.truncate(read + count);
            if count == 0 {
                break;
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(self.count(&String::from_utf8_lossy(&bytes), now))
    }

    fn count(&self, text: &str, now: u64) -> Pool {
        let is_live = |lease: &manage::LeaseStatus| {
            (self.first..=self.last).contains(&lease.address) && lease.left.is_none_or(|left| !left.is_zero())
        };
        let size = (self.last.to_bits() - self.first.to_bits()) as usize + 1;
        Pool { size, leased: manage::leases(text, now).iter().filter(|lease| is_live(lease)).count() }
    }
}

impl AsFd for Records {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_that_are_live_and_in_the_range_count() {
        let records = Records {
            file: File::open("/dev/null").expect("there"),
            first: Ipv4Addr::new(10, 0, 0, 2),
            last: Ipv4Addr::new(10, 0, 0, 6),
        };
        let text = "100 02:00:00:00:00:05 10.0.0.2 * *\n\
                    99 02:00:00:00:00:06 10.0.0.3 * *\n\
                    0 02:00:00:00:00:07 10.0.0.6 * *\n\
                    100 02:00:00:00:00:08 10.0.0.7 * *\n\
                    what else there may be\n";
        assert_eq!(records.count(text, 99), Pool { size: 5, leased: 2 });
        assert_eq!(records.count("", 99), Pool { size: 5, leased: 0 });
        assert!(!records.count(text, 99).is_full());
        assert_eq!(records.pool(), Some(Pool { size: 5, leased: 0 }));
    }

    #[test]
    fn what_is_written_anew_in_place_is_read_anew() {
        use std::io::{Seek, Write};
        let path = std::env::temp_dir().join(format!("softnet-records-{}", std::process::id()));
        let mut written = File::create(&path).expect("made");
        let one = Ipv4Addr::new(10, 0, 0, 2);
        let records = Records { file: File::open(&path).expect("there"), first: one, last: one };
        assert_eq!(records.pool(), Some(Pool { size: 1, leased: 0 }));
        written.write_all(b"0 02:00:00:00:00:05 10.0.0.2 * *\n").expect("written");
        assert!(records.pool().is_some_and(Pool::is_full));
        written.set_len(0).and_then(|()| written.rewind()).expect("emptied");
        assert_eq!(records.pool(), Some(Pool { size: 1, leased: 0 }));
        std::fs::remove_file(&path).expect("removed");
    }
}
