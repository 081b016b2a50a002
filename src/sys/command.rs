//! Starting a system program as root, out of reach of whoever started us.
//!
//! We may run by way of the setuid bit: then the caller chose our environment, limits, working directory, descriptors,
//! control group and place in the scheduler, and could signal a child that kept the caller's real uid. A program that is
//! started here gets none of that: its ids are all 0 and its groups none, its environment empty, its directory `/`, its
//! session its own, its descriptors three files of ours, its limits and its scheduling the system's usual ones. What it says is kept in memory, so that it cannot block on us
//! nor we on it, even when it leaves a daemon behind.

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::limits;

/// The most of a program's output that is kept.
const OUTPUT_LIMIT: u64 = 64 * 1024;

/// A program under way; dropping it kills it.
#[derive(Debug)]
pub struct Running {
    child: Child,
    output: File,
    ended: bool,
}

/// How a program ended.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it wrote to standard output and standard error, lossily as text.
    pub output: String,
}

/// Starts `program` with `arguments`; `input` is its standard input.
///
/// # Errors
/// What the kernel said about the descriptors, the fork or the program.
pub fn start<S: AsRef<OsStr>>(
    program: &Path,
    arguments: impl IntoIterator<Item = S>,
    input: &str,
) -> io::Result<Running> {
    let mut stdin = memory_file()?;
    stdin.write_all(input.as_bytes())?;
    stdin.rewind()?;
    let output = memory_file()?;

    let mut command = Command::new(program);
    command.args(arguments).env_clear().current_dir("/");
    command.stdin(Stdio::from(stdin)).stdout(Stdio::from(output.try_clone()?));
    command.stderr(Stdio::from(output.try_clone()?));
    // SAFETY: between fork and exec `become_roots_own` only makes system calls; it neither allocates nor locks.
    unsafe { command.pre_exec(become_roots_own) };
    Ok(Running { child: command.spawn()?, output, ended: false })
}

impl Running {
    /// How it ended, when it has ended; never blocks.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn poll(&mut self) -> io::Result<Option<Outcome>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        self.ended = true;
        let mut bytes = Vec::new();
        self.output.rewind()?;
        (&self.output).take(OUTPUT_LIMIT).read_to_end(&mut bytes)?;
        Ok(Some(Outcome { status, output: String::from_utf8_lossy(&bytes).into_owned() }))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            // It leads a session and so a process group of its own: its children go with it.
            if let Ok(group) = i32::try_from(self.child.id()) {
                let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _ = self.child.wait();
        }
    }
}

fn memory_file() -> io::Result<File> {
    Ok(File::from(memfd_create(c"softnet", MFdFlags::MFD_CLOEXEC)?))
}

/// Sheds what the child has of the caller. Runs between fork and exec: system calls only.
fn become_roots_own() -> io::Result<()> {
    let check = |result: libc::c_int| if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) };

    // SAFETY: every call takes integers, or pointers to values that live through the call; all are async-signal-safe.
    unsafe {
        check(libc::setgroups(0, std::ptr::null()))?;
        check(libc::setresgid(0, 0, 0))?;
        check(libc::setresuid(0, 0, 0))?;
        check(libc::setsid())?;
        libc::umask(0o022);
        limits::restore()?;
        be_scheduled_as_usual();
        write_zero(c"/proc/self/oom_score_adj");
        // Out of the caller's control group, which may be frozen, starved or killed as a whole (cgroup.kill), by a service
        // manager or by the caller to whom it was delegated: the root of the hierarchy, where systemd has mounted it.
        write_zero(c"/sys/fs/cgroup/cgroup.procs");
        write_zero(c"/sys/fs/cgroup/unified/cgroup.procs");
        for signal in 1..32 {
            libc::signal(signal, libc::SIG_DFL);
        }
        // Everything that is open closes at exec, also what someone opened without the flag. ENOSYS before Linux 5.11:
        // what softnet itself opens carries the flag.
        let _ = libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    Ok(())
}

/// The scheduler's defaults, any processor: a daemon that stays must not wait behind everything else on one processor of
/// the caller's choice. What cannot be set stays. Runs between fork and exec: system calls only.
fn be_scheduled_as_usual() {
    const DEFAULT_SLACK_NANOS: libc::c_ulong = 50_000;
    // SAFETY: every call takes integers, or pointers to values that live through the call; all bits of a processor set may
    // be 1 (the kernel takes those that exist), all of a sched_param 0.
    unsafe {
        let parameters: libc::sched_param = std::mem::zeroed();
        let _ = libc::sched_setscheduler(0, libc::SCHED_OTHER, &raw const parameters);
        let _ = libc::setpriority(libc::PRIO_PROCESS, 0, 0);
        let mut processors: libc::cpu_set_t = std::mem::zeroed();
        std::ptr::write_bytes(&raw mut processors, 0xff, 1);
        let _ = libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const processors);
        let _ = libc::prctl(libc::PR_SET_TIMERSLACK, DEFAULT_SLACK_NANOS, 0, 0, 0);
        const WHO_PROCESS: libc::c_int = 1;
        let _ = libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, 0);
    }
}

/// Writes "0" into a file of the kernel's, where there is one. Runs between fork and exec: system calls only.
fn write_zero(path: &CStr) {
    // SAFETY: the path and the text end with a zero byte and live through the calls; the descriptor is ours.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            let _ = libc::write(file, c"0".as_ptr().cast(), 1);
            let _ = libc::close(file);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::sleep;
    use std::time::Duration;

    fn run(script: &str, input: &str) -> Outcome {
        let mut running = start(Path::new("/bin/sh"), ["-c", script], input).expect("started");
        loop {
            if let Some(outcome) = running.poll().expect("polled") {
                return outcome;
            }
            sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn input_output_and_status_come_through() {
        let outcome = run("cat; echo err >&2; exit 3", "in\n");
        assert_eq!(outcome.output, "in\nerr\n");
        assert_eq!(outcome.status.code(), Some(3));
    }

    #[test]
    fn nothing_of_the_caller_is_inherited() {
        let leaked = File::open("/dev/null").expect("opened");
        nix::fcntl::fcntl(&leaked, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("inheritable");
        let outcome = run("env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD=; pwd; ls /proc/$$/fd; umask", "");
        let lines: Vec<&str> = outcome.output.lines().collect();
        assert_eq!(lines.first(), Some(&"/"), "{lines:?}");
        assert_eq!(lines.last(), Some(&"0022"));
        let open: Vec<u32> = lines[1..lines.len() - 1].iter().map(|n| n.parse().expect("a number")).collect();
        assert!(open.iter().all(|&n| n <= 2 || n == 10 || n == 255), "{open:?}");
    }

    #[test]
    fn a_dropped_program_is_killed() {
        let running = start(Path::new("/bin/sleep"), ["1000"], "").expect("started");
        let pid = running.child.id();
        drop(running);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }
}
