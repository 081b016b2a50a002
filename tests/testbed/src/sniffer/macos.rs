//! macOS: tcpdump(1), which belongs to the system. It takes root.

use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::wait::PATIENCE;

/// The first bytes of what tcpdump writes with microseconds, on every processor that a Mac has.
const MAGIC: [u8; 4] = [0xd4, 0xc3, 0xb2, 0xa1];
/// The rest of the file's header.
const HEADER: usize = 20;

#[derive(Debug)]
pub(super) struct Tap {
    tcpdump: Child,
    frames: Receiver<Vec<u8>>,
    /// One that was waited for.
    next: Option<Vec<u8>>,
}

impl Tap {
    pub(super) fn on(interface: &str) -> Self {
        let mut tcpdump = Command::new("/usr/sbin/tcpdump")
            .args(["-i", interface, "-n", "-U", "--immediate-mode", "-s", "0", "-w", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump starts");
        let (ready, is_ready) = mpsc::channel();
        let stderr = BufReader::new(tcpdump.stderr.take().expect("standard error is a pipe"));
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = ready.send(line);
            }
        });
        let said = |line: Result<String, _>| {
            line.unwrap_or_else(|_| panic!("tcpdump is not listening on {interface}: does it run as root?"))
        };
        let mut line = said(is_ready.recv_timeout(PATIENCE));
        while !line.contains("listening on") {
            eprintln!("{line}");
            line = said(is_ready.recv_timeout(PATIENCE));
        }
        let (sender, frames) = mpsc::channel();
        let mut stdout = BufReader::new(tcpdump.stdout.take().expect("standard output is a pipe"));
        std::thread::spawn(move || {
            // Its end is tcpdump's.
            let _ = read(&mut stdout, |frame| sender.send(frame).is_ok());
        });
        Tap { tcpdump, frames, next: None }
    }

    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        self.next.take().or_else(|| self.frames.try_recv().ok())
    }

    pub(super) fn wait(&mut self, limit: Duration) {
        if self.next.is_none() {
            self.next = self.frames.recv_timeout(limit).ok();
        }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        let _ = self.tcpdump.kill();
        let _ = self.tcpdump.wait();
    }
}

/// Reads a capture file as it is written (pcap-savefile(5)), a frame at a time.
fn read(file: &mut impl Read, mut take: impl FnMut(Vec<u8>) -> bool) -> io::Result<()> {
    let mut magic = [0; 4];
    file.read_exact(&mut magic)?;
    assert_eq!(magic, MAGIC, "tcpdump writes another format than it did: -w");
    file.read_exact(&mut [0; HEADER])?;
    loop {
        // Seconds, microseconds, how many bytes follow, how many there were.
        let mut record = [0; 16];
        file.read_exact(&mut record)?;
        let [.., a, b, c, d, _, _, _, _] = record;
        let mut frame = vec![0; u32::from_le_bytes([a, b, c, d]) as usize];
        file.read_exact(&mut frame)?;
        if !take(frame) {
            return Ok(());
        }
    }
}
