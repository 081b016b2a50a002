//! No `--tap` where there are no TAP devices.

use std::io;
use std::os::fd::OwnedFd;
use std::process::{Command, ExitStatus};

/// None can be had.
#[derive(Debug)]
pub(super) enum Tap {}

impl Tap {
    pub(super) fn start(_name: &str, _wire: OwnedFd) -> Result<Self, String> {
        Err("this system has no TAP devices".into())
    }

    pub(super) fn start_inside(&self, _command: &mut Command) -> io::Result<()> {
        match *self {}
    }

    pub(super) fn end(self) {
        match self {}
    }

    pub(super) fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        match *self {}
    }
}
