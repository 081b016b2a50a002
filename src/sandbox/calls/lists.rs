//! The lists: one line a call, and what it is for. docs/privileges.md prints them.

use super::{Allowed, Only};

macro_rules! allowed {
    ($($(#[$attribute:meta])* $name:ident, $number:ident, $only:ident, $why:literal;)+) => {
        &[$({
            #[allow(unused_mut, unused_assignments)]
            let mut number = None;
            $(#[$attribute])*
            {
                number = Some(libc::$number);
            }
            Allowed { name: stringify!($name), number, only: Only::$only, why: $why }
        }),+]
    };
}

/// What each process of softnet's calls: to wait, to speak with the other, to live and to end.
#[rustfmt::skip] // one line a call, as in the documentation
pub const EVERY: &[Allowed] = allowed! {
    write, SYS_write, Any, "frames to the TAP device that go alone; messages to standard error";
    writev, SYS_writev, Any, "runs of frames to the TAP device, one a call; the C library's last words about a damaged heap or stack";
    #[cfg(target_arch = "x86_64")]
    poll, SYS_poll, Any, "the relay's wait, and that for standard error (x86-64)";
    #[cfg(not(target_arch = "x86_64"))]
    ppoll, SYS_ppoll, Any, "the same (arm64, which has no poll)";
    sendto, SYS_sendto, Send, "the question to the kernel whether the guest's end is open; the signal handler's wake-up; messages between relay and companion";
    recvfrom, SYS_recvfrom, Receive, "the kernel's answer; the wake-up; messages between relay and companion";
    rt_sigreturn, SYS_rt_sigreturn, Any, "the way back from a signal handler";
    restart_syscall, SYS_restart_syscall, Any, "a wait that SIGSTOP or a debugger interrupted goes on by it";
    clock_gettime, SYS_clock_gettime, Any, "the time, where the vDSO cannot tell it (virtual machines without a stable counter)";
    close, SYS_close, Any, "descriptors at the end, and that of the launcher when it has ended";
    brk, SYS_brk, Any, "memory";
    mmap, SYS_mmap, AnonymousMemory, "memory";
    mremap, SYS_mremap, Any, "memory: a buffer that grows";
    munmap, SYS_munmap, Any, "memory; the signal stack at the end";
    mprotect, SYS_mprotect, NoCode, "memory: musl; glibc where the heap cannot grow in place";
    madvise, SYS_madvise, Any, "memory: musl gives back what is free; glibc where it was told to use huge pages";
    sigaltstack, SYS_sigaltstack, Any, "the end: the standard library gives up its signal stack";
    exit_group, SYS_exit_group, Any, "the end";
    rt_sigprocmask, SYS_rt_sigprocmask, Any, "abort(3)";
    rt_sigaction, SYS_rt_sigaction, Faults, "abort(3); the standard library's handler of faults steps aside";
    #[cfg(target_env = "gnu")]
    getpid, SYS_getpid, Any, "abort(3) (glibc)";
    gettid, SYS_gettid, Any, "abort(3); a panic names its thread";
    #[cfg(target_env = "gnu")]
    tgkill, SYS_tgkill, Abort, "abort(3) (glibc)";
    #[cfg(target_env = "musl")]
    tkill, SYS_tkill, AbortThread, "abort(3) (musl)";
    futex, SYS_futex, Wake, "a panic that unwinds: the unwinder's first use wakes whoever waits for it, and nobody does";
    fcntl, SYS_fcntl, AskForFlags, "a build with debug assertions asks before it closes";
};

/// What the relay calls besides.
#[rustfmt::skip]
pub const RELAY: &[Allowed] = allowed! {
    recvmmsg, SYS_recvmmsg, ReceiveFrames, "frames from the guest";
    sendmmsg, SYS_sendmmsg, SendFrames, "frames to the guest";
    read, SYS_read, Any, "frames from the TAP device, a run or one a call";
    flock, SYS_flock, Unlock, "the end: the guest's MAC is free for its next softnet";
    pread64, SYS_pread64, Leases, "the DHCP server's records, when the guest gets no address";
    sendto, SYS_sendto, Reply, "`--control-fd`: replies to its client";
    shutdown, SYS_shutdown, ShutDown, "`--control-fd`: the end of the channel, which the client is to see";
    pwrite64, SYS_pwrite64, Record, "what `softnet list` shows of this guest";
};

/// What the companion calls that removes the name of `--socket` at the end.
#[rustfmt::skip]
pub const REMOVER: &[Allowed] = allowed! {
    newfstatat, SYS_newfstatat, Any, "is it still the socket's name?";
    unlinkat, SYS_unlinkat, Any, "its removal";
};

/// What the companion for `--metrics-file` calls besides.
#[rustfmt::skip]
pub const METRICS: &[Allowed] = allowed! {
    openat, SYS_openat, NewFile, "a new file beside the one that is read";
    renameat, SYS_renameat, Any, "it takes the place of that one";
    unlinkat, SYS_unlinkat, Unlink, "what a companion that was killed has left; what could not be written whole";
};

/// What the companion that forwards ports calls besides.
#[rustfmt::skip]
pub const FORWARDER: &[Allowed] = allowed! {
    #[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
    epoll_wait, SYS_epoll_wait, Any, "its wait (x86-64, glibc)";
    #[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
    epoll_pwait, SYS_epoll_pwait, Any, "the same (musl; arm64, which has no epoll_wait)";
    epoll_ctl, SYS_epoll_ctl, Any, "what it waits for";
    accept4, SYS_accept4, CloseOnExec, "a client of TCP";
    socket, SYS_socket, TcpSocket, "to the guest, for a client of TCP";
    socket, SYS_socket, UdpSocket, "to the guest, for a client of UDP";
    connect, SYS_connect, Any, "to the guest; Landlock holds TCP to the guest's ports that are exposed";
    getsockopt, SYS_getsockopt, AskForError, "whether the guest has answered";
    setsockopt, SYS_setsockopt, TcpOption, "no delay, probes, an end for a stalled peer";
    setsockopt, SYS_setsockopt, SocketOption, "probes; an end at once";
    shutdown, SYS_shutdown, ShutWrite, "the end of one way, passed on";
    recvmsg, SYS_recvmsg, ReceiveOne, "a datagram of a client's, with the address that it was sent to";
    sendmsg, SYS_sendmsg, SendOne, "the answer to it, from that address";
};

/// What the pump of `softnet run --tap` calls besides.
#[rustfmt::skip]
pub const PUMP: &[Allowed] = allowed! {
    recvmmsg, SYS_recvmmsg, ReceiveFrames, "frames from the TAP device and from softnet";
    sendmmsg, SYS_sendmmsg, SendFrames, "frames to softnet";
};
