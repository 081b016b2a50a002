//! Each class of call that softnet has no use for after the drop: made inside, it ends the process.

use std::os::fd::AsRawFd;

use super::child::{call, inside};

const EXECUTABLE: libc::c_long = (libc::PROT_READ | libc::PROT_EXEC) as libc::c_long;
const READABLE: libc::c_long = libc::PROT_READ as libc::c_long;
const PRIVATE: libc::c_long = libc::MAP_PRIVATE as libc::c_long;
const ANONYMOUS: libc::c_long = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS) as libc::c_long;

fn path() -> libc::c_long {
    c"/etc/passwd".as_ptr() as libc::c_long
}

fn own(signal: libc::c_int) -> [libc::c_long; 3] {
    let pid = std::process::id().into();
    [pid, pid, signal.into()]
}

/// One test a call.
macro_rules! killed {
    ($($(#[$attribute:meta])* $test:ident: $number:ident($($argument:expr),*);)+) => {$(
        $(#[$attribute])*
        #[test]
        fn $test() {
            inside(|| {
                call(libc::$number, [$($argument),*]);
            })
            .assert_killed_by_the_filter();
        }
    )+};
}

killed! {
    // Files.
    #[cfg(target_arch = "x86_64")]
    open: SYS_open(path(), 0);
    openat: SYS_openat(libc::AT_FDCWD.into(), path(), 0);
    openat2: SYS_openat2(libc::AT_FDCWD.into(), path(), 0, 0);
    open_by_handle: SYS_open_by_handle_at(libc::AT_FDCWD.into(), 0, 0);
    unlink: SYS_unlinkat(libc::AT_FDCWD.into(), path(), 0);
    rename: SYS_renameat2(libc::AT_FDCWD.into(), path(), libc::AT_FDCWD.into(), path(), 0);
    make_a_directory: SYS_mkdirat(libc::AT_FDCWD.into(), path(), 0);
    look_at_a_file: SYS_newfstatat(libc::AT_FDCWD.into(), path(), 0, 0);
    read_a_directory: SYS_getdents64(0, 0, 0);
    memory_file: SYS_memfd_create(path(), 0);
    change_directory: SYS_chdir(path());
    seek: SYS_lseek(0, 0, 0);

    // Networks and descriptors.
    socket: SYS_socket(libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0);
    socket_pair: SYS_socketpair(libc::AF_UNIX.into(), libc::SOCK_STREAM.into(), 0, 0);
    connect: SYS_connect(0, 0, 0);
    bind: SYS_bind(0, 0, 0);
    listen: SYS_listen(0, 1);
    accept: SYS_accept4(0, 0, 0, 0);
    socket_options: SYS_setsockopt(0, 0, 0, 0, 0);
    send_a_message: SYS_sendmsg(0, 0, 0);
    receive_a_message: SYS_recvmsg(0, 0, 0);
    send_to_an_address: SYS_sendto(0, 0, 0, 0, path(), 16);
    send_out_of_band: SYS_sendto(0, 0, 0, libc::MSG_OOB.into(), 0, 0);
    receive_an_address: SYS_recvfrom(0, 0, 0, 0, path(), path());
    receive_out_of_band: SYS_recvfrom(0, 0, 0, libc::MSG_OOB.into(), 0, 0);
    send_frames_otherwise: SYS_sendmmsg(0, 0, 0, libc::MSG_DONTWAIT.into());
    receive_frames_otherwise: SYS_recvmmsg(0, 0, 0, 0, 0);
    copy_a_descriptor: SYS_dup(0);
    copy_a_descriptor_by_fcntl: SYS_fcntl(0, libc::F_DUPFD.into(), 0);
    set_flags: SYS_fcntl(0, libc::F_SETFL.into(), 0);
    read_to_several_places: SYS_readv(0, 0, 0);
    pipe: SYS_pipe2(0, 0);
    epoll: SYS_epoll_create1(0);
    event: SYS_eventfd2(0, 0);
    take_anothers_descriptor: SYS_pidfd_getfd(0, 0, 0);
    ioctl: SYS_ioctl(0, 0x5401, 0);
    lock_a_file: SYS_flock(0, libc::LOCK_EX.into());

    // Programs and processes.
    execve: SYS_execve(path(), 0, 0);
    execveat: SYS_execveat(libc::AT_FDCWD.into(), path(), 0, 0, 0);
    #[cfg(target_arch = "x86_64")]
    fork: SYS_fork();
    #[cfg(target_arch = "x86_64")]
    vfork: SYS_vfork();
    clone: SYS_clone(libc::SIGCHLD.into(), 0, 0, 0, 0);
    clone_a_thread: SYS_clone(libc::c_long::from(libc::CLONE_VM | libc::CLONE_THREAD | libc::CLONE_SIGHAND), 0, 0, 0, 0);
    clone3: SYS_clone3(0, 0);
    ptrace: SYS_ptrace(libc::PTRACE_TRACEME.into(), 0, 0, 0);
    read_anothers_memory: SYS_process_vm_readv(1, 0, 0, 0, 0, 0);
    kill: SYS_kill(std::process::id().into(), 0);
    kill_all: SYS_kill(-1, libc::SIGKILL.into());
    kill_a_thread: SYS_tgkill(own(0)[0], own(0)[1], libc::SIGTERM.into());
    abort_another: SYS_tgkill(1, 1, libc::SIGABRT.into());
    send_a_signal_by_descriptor: SYS_pidfd_send_signal(0, 0, 0, 0);
    open_a_process: SYS_pidfd_open(1, 0);
    wait_for_a_child: SYS_wait4(-1, 0, 0, 0);
    catch_a_signal: SYS_rt_sigaction(libc::SIGUSR1.into(), 0, 0, 8);

    // Memory that could hold code.
    executable_memory: SYS_mmap(0, 4096, EXECUTABLE, ANONYMOUS, -1, 0);
    make_memory_executable: SYS_mprotect(0, 4096, EXECUTABLE);
    make_memory_executable_with_a_key: SYS_pkey_mprotect(0, 4096, EXECUTABLE, -1);
    map_a_file: SYS_mmap(0, 4096, READABLE, PRIVATE, 0, 0);
    personality: SYS_personality(0x0040_0000);
    shared_memory: SYS_shmget(0, 4096, 0);

    // Rights, and what the kernel has had most of its holes in.
    prctl: SYS_prctl(libc::PR_SET_DUMPABLE.into(), 1, 0, 0, 0);
    another_filter: SYS_seccomp(0, 0, 0);
    setuid: SYS_setuid(0);
    setresuid: SYS_setresuid(0, 0, 0);
    setgid: SYS_setgid(0);
    setgroups: SYS_setgroups(0, 0);
    capabilities: SYS_capset(0, 0);
    limits: SYS_prlimit64(0, 0, 0, 0);
    unshare: SYS_unshare(libc::CLONE_NEWUSER.into());
    setns: SYS_setns(0, 0);
    mount: SYS_mount(0, 0, 0, 0, 0);
    new_mount: SYS_fsopen(path(), 0);
    chroot: SYS_chroot(path());
    bpf: SYS_bpf(0, 0, 0);
    io_uring: SYS_io_uring_setup(1, 0);
    io_uring_enter: SYS_io_uring_enter(0, 0, 0, 0, 0, 0);
    aio: SYS_io_setup(1, 0);
    userfaultfd: SYS_userfaultfd(0);
    performance_events: SYS_perf_event_open(0, 0, 0, 0, 0);
    keys: SYS_keyctl(0, 0, 0, 0, 0);
    add_a_key: SYS_add_key(0, 0, 0, 0, 0);
    load_a_module: SYS_finit_module(0, 0, 0);
    reboot: SYS_reboot(0, 0, 0, 0);
    set_the_clock: SYS_clock_settime(0, 0);
    priority_futex: SYS_futex(0, libc::FUTEX_LOCK_PI.into(), 0, 0, 0, 0);
    wait_on_a_futex: SYS_futex(0, libc::FUTEX_WAIT.into(), 0, 0, 0, 0);
    landlock: SYS_landlock_create_ruleset(0, 0, 1);
    a_call_that_no_kernel_has: SYS_invalid();
}

/// With one that is not there.
mod libc {
    pub(super) use ::libc::*;
    #[allow(non_upper_case_globals)]
    pub(super) const SYS_invalid: c_long = 0xfff;
}

#[test]
fn a_file_that_is_open_is_not_mapped_as_code() {
    let file = std::fs::File::open("/proc/self/exe").unwrap();
    inside(|| {
        call(libc::SYS_mmap, [0, 4096, EXECUTABLE, PRIVATE, file.as_raw_fd().into(), 0]);
    })
    .assert_killed_by_the_filter();
}

/// The numbers of the 32-bit calls are others: 20 is getpid there and writev here.
#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_the_32_bit_kernel() {
    let getpid = || {
        let mut number = 20_u64;
        // SAFETY: the call takes nothing and changes the register that it answers in, and on some kernels these.
        unsafe {
            std::arch::asm!("int 0x80", inout("rax") number, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        std::hint::black_box(number);
    };
    inside(getpid).assert_killed_by_the_filter();
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_of_the_x32_kernel() {
    inside(|| {
        call(0x4000_0000 | libc::SYS_getpid, []);
    })
    .assert_killed_by_the_filter();
}
