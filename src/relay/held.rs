//! A host that gives more at once than a batch holds: what it keeps waits for nobody.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use super::tests::{GATEWAY, arp_request, bench_with, receive};
use crate::engine::Network;
use crate::host::Host;
use crate::sys::batch::{Batch, FRAMES};

/// More than one turn takes.
const COPIES: usize = 10 * FRAMES + 1;
const LENGTH: usize = 42;

/// Gives each frame of its link many times over.
struct Copier {
    network: Network,
    link: UnixDatagram,
    frame: [u8; LENGTH],
    left: usize,
    all_given: Sender<()>,
}

impl Host for Copier {
    fn network(&self) -> &Network {
        &self.network
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        while batch.room() > 0 {
            if self.left == 0 {
                match self.link.recv(&mut self.frame) {
                    Ok(_) => self.left = COPIES,
                    Err(_) => break,
                }
            }
            let slot = batch.free_slots().next().expect("room");
            slot[..LENGTH].copy_from_slice(&self.frame);
            batch.commit(LENGTH);
            self.left -= 1;
            if self.left == 0 {
                let _ = self.all_given.send(());
            }
        }
        Ok(())
    }

    fn holds_frames(&self) -> bool {
        self.left > 0
    }

    fn send(&mut self, batch: &Batch) -> io::Result<usize> {
        Ok(batch.len())
    }

    fn stop(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn frames_that_the_host_holds_are_fetched_without_another_sign_of_it() {
    let (all_given, were_given) = mpsc::channel();
    let bench = bench_with(|network, link| {
        link.set_nonblocking(true).unwrap();
        Box::new(Copier { network, link, frame: [0; LENGTH], left: 0, all_given })
    });
    let question = arp_request(GATEWAY, [192, 168, 64, 1]);
    bench.host.send(&question).unwrap();
    were_given.recv_timeout(Duration::from_secs(10)).expect("all of them, though its descriptor is silent");
    assert_eq!(receive(&bench.guest), question);
}
