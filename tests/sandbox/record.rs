//! The record for `softnet list`: its one call is there with it, for its file, its length and its start alone.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use softnet::engine::Instant;
use softnet::record::{LENGTH, Record, RecordWriter};
use softnet::sandbox::Features;

use super::child::{Ended, inside_with, inside_with_features};

/// Two files that nobody else has.
fn files() -> [File; 2] {
    [1, 2].map(|_| tempfile())
}

fn tempfile() -> File {
    let name = c"softnet-test";
    nix::sys::memfd::memfd_create(name, nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap().into()
}

fn with_record(body: impl FnOnce([File; 2])) -> Ended {
    let prepare = || {
        let files = files();
        (Features { record: Some(files[0].as_raw_fd()), ..Features::default() }, files)
    };
    inside_with_features(prepare, body)
}

#[test]
fn a_record_is_kept() {
    let prepare = || {
        let [file, _] = files();
        let record = Some(file.as_raw_fd());
        (Features { record, ..Features::default() }, RecordWriter::new(file))
    };
    inside_with_features(prepare, |mut writer| {
        for rules in 0..3 {
            writer.keep(Record { rules, ..Record::default() }, Instant::from_secs(1));
        }
    })
    .assert_exited(0);
}

#[test]
fn without_a_record_nothing_is_written_so() {
    inside_with(files, |[file, _]| drop(file.write_at(&[0; LENGTH], 0))).assert_killed_by_the_filter();
}

#[test]
fn no_other_file_is_written_so() {
    with_record(|[_, other]| drop(other.write_at(&[0; LENGTH], 0))).assert_killed_by_the_filter();
}

#[test]
fn a_record_does_not_grow() {
    with_record(|[file, _]| drop(file.write_at(&[0; LENGTH], 1))).assert_killed_by_the_filter();
    for length in [LENGTH - 1, LENGTH + 1] {
        with_record(move |[file, _]| drop(file.write_at(&vec![0; length], 0))).assert_killed_by_the_filter();
    }
}
