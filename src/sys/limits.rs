//! The limits that a process runs under, back to what a system service has.
//!
//! Whoever starts a setuid program chooses them (setrlimit(2)), and some end a process in the middle of what it does: a
//! file size by SIGXFSZ, processor time by SIGXCPU, a stack by SIGSEGV.

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, rlim_t, setrlimit};

/// Resource, soft limit, hard limit. Processor time, sizes and counts without bound; no core dump, which would be memory
/// of a process that was root.
const LIMITS: [(Resource, rlim_t, rlim_t); 10] = [
    (Resource::RLIMIT_CORE, 0, 0),
    (Resource::RLIMIT_NOFILE, 1024, 4096),
    (Resource::RLIMIT_STACK, 8 << 20, RLIM_INFINITY),
    (Resource::RLIMIT_FSIZE, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_CPU, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_DATA, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_NPROC, RLIM_INFINITY, RLIM_INFINITY),
    (Resource::RLIMIT_MEMLOCK, 8 << 20, 8 << 20),
    // Timers take from it.
    (Resource::RLIMIT_SIGPENDING, 1024, 4096),
];

/// Sets them. System calls only: it may run between fork and exec.
///
/// # Errors
/// Those of setrlimit(2). That root in a container may not raise a hard limit (CAP_SYS_RESOURCE) is none: then the soft
/// limit becomes what the hard one leaves.
pub fn restore() -> nix::Result<()> {
    for (resource, soft, hard) in LIMITS {
        if setrlimit(resource, soft, hard).is_err() {
            let (_, hard) = getrlimit(resource)?;
            setrlimit(resource, soft.min(hard), hard)?;
        }
    }
    Ok(())
}
