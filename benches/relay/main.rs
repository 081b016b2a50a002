//! What softnet costs beside a filterless bridge, in one run on one machine. `cargo bench --bench relay`; needs root.
//!
//! The filterless bridge is what softnet is measured against: one `recv` and one `write` a frame, and no look inside. Both
//! stand between the same kind of socket pair and a port of the same bridge, behind the same firewall table, and carry
//! the same frames; what is compared is the processor time of their processes. That includes, on both sides, the host's
//! network stack as far as the kernel runs it inside their system calls.
//!
//! Ratios are bridge to softnet for what is spent and softnet to bridge for what is reached: more is better. Targets (issue
//! 6): TCP from the guest 2.8 in processor time and 2.3 in speed, to the guest 1.2; UDP from the guest 1.2, to it 1.0; 1 wake-up
//! a second when idle, 6 MiB resident, 8 MiB under load, 100 ms from start to ready on a provisioned network.
//!
//! `cargo bench --bench relay -- tcp` measures that alone; `-- udp` that. `-- tap` is `softnet run --tap` beside the socket, and only when
//! it is asked for.

#[cfg(target_os = "linux")]
mod bridge;
#[cfg(target_os = "linux")]
mod guest;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod load;
#[cfg(target_os = "linux")]
mod tap;
#[cfg(target_os = "linux")]
mod tcp;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
    #[cfg(not(target_os = "linux"))]
    eprintln!("the filterless bridge is made of Linux's: nothing to compare with here");
}
