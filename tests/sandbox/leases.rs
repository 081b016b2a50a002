//! The records of the DHCP server: they are read at any place, and no other descriptor is.

use std::fs::File;
use std::os::fd::AsRawFd;

use nix::sys::uio::pread;
use softnet::sandbox::Features;

use super::child::{Ended, inside_with, inside_with_features};

fn files() -> (File, File) {
    (File::open("/proc/self/exe").unwrap(), File::open("/proc/self/exe").unwrap())
}

fn with_records(body: impl FnOnce((File, File))) -> Ended {
    let prepare = || {
        let files = files();
        (Features { leases: Some(files.0.as_raw_fd()), ..Features::default() }, files)
    };
    inside_with_features(prepare, body)
}

#[test]
fn the_records_are_read_from_their_start_again_and_again() {
    with_records(|(records, _)| {
        for _ in 0..2 {
            let mut bytes = [0; 4];
            assert_eq!(pread(&records, &mut bytes, 0), Ok(4));
            assert_eq!(&bytes, b"\x7fELF");
        }
    })
    .assert_exited(0);
}

#[test]
fn nothing_else_is_read_so() {
    with_records(|(_, other)| assert!(pread(&other, &mut [0; 4], 0).is_err())).assert_killed_by_the_filter();
}

#[test]
fn without_records_nothing_is_read_so() {
    inside_with(files, |(records, _)| assert!(pread(&records, &mut [0; 4], 0).is_err())).assert_killed_by_the_filter();
}
