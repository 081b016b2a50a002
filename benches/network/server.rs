//! The host's side of every measurement: three services on all of its addresses.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Takes all that comes.
pub(crate) const SINK: u16 = 7001;
/// Sends without end.
pub(crate) const SOURCE: u16 = 7002;
/// Answers each byte with one.
pub(crate) const ECHO: u16 = 7003;
/// Answers one byte with one, and closes.
pub(crate) const ONCE: u16 = 7004;

/// Bytes a system call of a bulk transfer, as iperf3's.
pub(crate) const CHUNK: usize = 128 * 1024;

/// Starts them; returns how many bytes the sink has taken.
pub(crate) fn start() -> Arc<AtomicU64> {
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    serve(SINK, move |mut connection| {
        let counter = Arc::clone(&counter);
        thread::spawn(move || {
            let mut buffer = vec![0; CHUNK];
            while let Ok(length @ 1..) = connection.read(&mut buffer) {
                counter.fetch_add(length as u64, Ordering::Relaxed);
            }
        });
    });
    serve(SOURCE, |mut connection| {
        thread::spawn(move || while connection.write_all(&[0x55; CHUNK]).is_ok() {});
    });
    serve(ECHO, |mut connection| {
        thread::spawn(move || {
            let mut byte = [0];
            let _ = connection.set_nodelay(true);
            while connection.read_exact(&mut byte).and_then(|()| connection.write_all(&byte)).is_ok() {}
        });
    });
    serve(ONCE, |mut connection| {
        // On the accepting thread: a thread each would be most of what is measured.
        let mut byte = [0];
        let _ = connection.read_exact(&mut byte).and_then(|()| connection.write_all(&byte));
    });
    taken
}

fn serve(port: u16, answer: impl FnMut(TcpStream) + Send + 'static) {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).expect("the port is free");
    thread::spawn(move || listener.incoming().flatten().for_each(answer));
}
