//! What a guest's real network costs and gives, softnet beside what else could carry it. `cargo bench --bench network`; needs
//! root.
//!
//! Each *contender* is a process of its own that carries one guest's frames. The guest is a kernel's TCP/IP stack in a
//! network namespace, with an interface of 1500 bytes without any offload, so that every contender gets the same frames: what a
//! VM would send. All run in one network of their own, are measured in turns, round after round, and the table shows the
//! median of the rounds, so that what else the machine does falls on all of them.
//!
//! | contender | what it does | TCP |
//! | --- | --- | --- |
//! | `bridge` | one `recv` and one `write` a frame to a TAP on softnet's bridge, no filter | passes |
//! | `softnet` | filters, on the same bridge behind the same firewall | passes |
//! | `passt` | Debian's; ends the guest's connections and makes its own, as a user's program | ended |
//! | `slirp` | QEMU's user network (libslirp) without a VM; the same kind of work | ended |
//!
//! The last two do other work: the host sees connections of their process, and no bridge, firewall or NAT of the host's is
//! passed. Their figures say what a user would get from them, not what a bridge costs.
//!
//! What is spent is the processor time of the contender's process, all threads, which includes the kernel's work in its
//! system calls (for a TAP: bridge, firewall, and the host's own TCP up to its socket).

#[cfg(target_os = "linux")]
mod bridge;
#[cfg(target_os = "linux")]
mod contender;
#[cfg(target_os = "linux")]
mod latency;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod plug;
mod portable;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod server;
mod table;
#[cfg(target_os = "linux")]
mod transfer;

fn main() {
    // The part that runs on a Mac can be tried anywhere.
    let portable = std::env::args().any(|argument| argument == portable::ARGUMENT);
    #[cfg(target_os = "linux")]
    match portable {
        true => portable::main(),
        false => linux::main(),
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = portable;
        portable::main();
    }
}
