//! What softnet may do after the drop goes on, and each way to end is what it is without the sandbox.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::panic;

use nix::sys::signal::Signal;
use softnet::lifeline::Lifeline;
use softnet::sys::batch::Batch;
use softnet::sys::clock;
use softnet::sys::datagram::{DatagramIo, Sent};
use softnet::sys::port::Port;
use softnet::sys::tun::Left;

use super::child::{call, inside, inside_with};
use super::model::{Packet, TCP, cut};

#[test]
fn nothing_at_all() {
    inside(|| {}).assert_exited(0);
}

#[test]
fn memory_of_every_size_comes_grows_and_goes() {
    inside(|| {
        let mut kept = Vec::new();
        for shift in 0..26 {
            let mut buffer = vec![1_u8; 1 << shift];
            buffer.resize(3 << shift, 2);
            buffer.shrink_to(1);
            kept.push(buffer);
        }
        let small: Vec<Box<[u8; 100]>> = (0..100_000).map(|_| Box::new([7; 100])).collect();
        drop(kept);
        drop(small);
        // What this thread's allocator has no use for: that of a program with one thread has, and musl's.
        assert!(call(libc::SYS_brk, [0]) > 0);
        assert_eq!(call(libc::SYS_madvise, [0, 0, libc::MADV_FREE.into()]), 0);
    })
    .assert_exited(0);
}

#[test]
fn the_clock_without_help_of_the_vdso() {
    inside(|| {
        let _ = clock::now();
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let pointer = (&raw mut time) as libc::c_long;
        assert_eq!(call(libc::SYS_clock_gettime, [libc::CLOCK_BOOTTIME.into(), pointer]), 0);
    })
    .assert_exited(0);
}

#[test]
fn frames_both_ways_and_the_guests_end() {
    let prepare = || {
        let (ours, guest) = UnixDatagram::pair().unwrap();
        let lifeline = Lifeline::new(ours.as_fd()).unwrap();
        (OwnedFd::from(ours), guest, lifeline, DatagramIo::new(64), Batch::new(64, 1514))
    };
    inside_with(prepare, |(ours, guest, mut lifeline, mut io, mut batch)| {
        let mut buffer = [0; 64];
        for _ in 0..1000 {
            batch.clear();
            io.receive(ours.as_fd(), &mut batch).unwrap();
            assert_eq!(nix::unistd::write(&guest, &[1; 60]), Ok(60));
            io.receive(ours.as_fd(), &mut batch).unwrap();
            assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::Taken(1));
            assert_eq!(nix::unistd::read(&guest, &mut buffer), Ok(60));
        }
        let now = clock::now();
        assert!(!lifeline.guest_gone(now));
        drop(guest);
        lifeline.maker_ended(now);
        assert!(lifeline.guest_gone(now));
        assert_eq!(io.send(ours.as_fd(), &batch).unwrap(), Sent::PeerGone);
    })
    .assert_exited(0);
}

/// A pair of sockets stands for the TAP device: the calls are the same.
#[test]
fn frames_of_a_tap_device_with_offload_and_without() {
    let mut packet = Packet::new(TCP, (40_000, 443));
    packet.payload = vec![7; 2000];
    let whole = packet.frame();
    for (ports, writes) in
        [(with_offload as fn(OwnedFd) -> Port, vec![70, 10 + whole.len()]), (Port::plain, vec![70, 1054, 1054])]
    {
        let prepare = || {
            let (ours, kernel) = UnixDatagram::pair().unwrap();
            for end in [&ours, &kernel] {
                end.set_nonblocking(true).unwrap();
            }
            (ports(ours.into()), kernel, Batch::new(3, 1514), cut(&whole, 54, 1000))
        };
        inside_with(prepare, |(mut port, kernel, mut batch, segments)| {
            assert_eq!(nix::unistd::write(&kernel, &[0; 70]), Ok(70));
            port.receive(&mut batch).unwrap();
            for segment in &segments {
                batch.free_slots().next().unwrap()[..segment.len()].copy_from_slice(segment);
                batch.commit(segment.len());
            }
            assert_eq!(port.send(&batch, |_| true), Ok(3));
            let mut buffer = [0; 4096];
            for length in writes {
                assert_eq!(nix::unistd::read(&kernel, &mut buffer), Ok(length));
            }
            assert!(nix::unistd::read(&kernel, &mut buffer).is_err());
        })
        .assert_exited(0);
    }
}

fn with_offload(device: OwnedFd) -> Port {
    Port::with_offload(device, Left::Tcp)
}

#[test]
fn the_end_of_main() {
    inside(|| std::process::exit(3)).assert_exited(3);
}

#[test]
fn a_panic_that_unwinds_as_in_a_debug_build() {
    inside(|| {
        let caught = panic::catch_unwind(|| panic!("for a test"));
        std::process::exit(if caught.is_err() { 101 } else { 0 });
    })
    .assert_exited(101);
}

/// Tells what happened, then ends by abort(3): what a panic is in a release build.
#[test]
fn a_panic_that_aborts_as_in_a_release_build() {
    let prepare = || {
        let tell = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            tell(info);
            std::process::abort();
        }));
    };
    inside_with(prepare, |()| panic!("for a test")).assert_signalled(Signal::SIGABRT);
}

#[test]
fn an_abort() {
    inside(|| std::process::abort()).assert_signalled(Signal::SIGABRT);
}

#[test]
fn a_stack_that_overflows_is_told() {
    #[allow(unconditional_recursion)]
    fn deeper(below: &[u8; 4096]) -> usize {
        let mine = std::hint::black_box([below[0]; 4096]);
        deeper(&mine) + usize::from(std::hint::black_box(mine[1]))
    }
    let ended = inside(|| {
        std::hint::black_box(deeper(&[0; 4096]));
    });
    ended.assert_signalled(Signal::SIGABRT);
    assert!(ended.said.contains("overflowed its stack"), "{}", ended.said);
}

#[test]
fn a_fault_is_a_fault() {
    // SAFETY: it is none, which is what is tested.
    let fault = || unsafe { std::ptr::read_volatile(std::hint::black_box(24 as *const u64)) };
    inside(|| {
        fault();
    })
    .assert_signalled(Signal::SIGSEGV);
}

/// glibc says what is wrong and aborts.
#[cfg(target_env = "gnu")]
#[test]
fn a_damaged_heap_is_told() {
    let ended = inside(|| {
        // SAFETY: it is not, which is what is tested.
        unsafe {
            let memory = std::hint::black_box(libc::malloc(64));
            libc::free(memory);
            libc::free(std::hint::black_box(memory));
        }
    });
    ended.assert_signalled(Signal::SIGABRT);
    assert!(ended.said.contains("double free"), "{}", ended.said);
}
