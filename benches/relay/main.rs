//! What softnet costs beside a filterless bridge, in one run on one machine. `cargo bench --bench relay`; needs root.
//!
//! The filterless bridge is what softnet is measured against: one `recv` and one `write` a frame, and no look inside. Both
//! stand between the same kind of socket pair and a port of the same bridge, behind the same firewall table, and carry
//! the same frames; what is compared is the processor time of their processes. That includes, on both sides, the host's
//! network stack as far as the kernel runs it inside their system calls.
//!
//! Targets (issue 3): CPU a frame at most 0.9 of the bridge's, 1 wake-up a second when idle, 8 MiB resident, 300 ms from
//! start to ready on a provisioned network, 4 MiB of binary.

#[cfg(target_os = "linux")]
mod bridge;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
mod load;

fn main() {
    #[cfg(target_os = "linux")]
    linux::main();
    #[cfg(not(target_os = "linux"))]
    eprintln!("the filterless bridge is made of Linux's: nothing to compare with here");
}
