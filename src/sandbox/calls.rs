//! The system calls that softnet makes after the drop. Any other ends the process at once.
//!
//! # The lists
//! [`EVERY`] is what each process of softnet's calls, [`RELAY`] what the relay calls besides, and each companion has a list of its
//! own ([`crate::companion`]). They were made from what the relay, the standard library, the allocator and the ways to end call, under glibc and
//! musl, on x86-64 and arm64; docs/privileges.md prints it. Where an argument that the filter can see tells the use of ours
//! from another, only ours is allowed. A call that is not used is not there, however harmless: each is a door to the kernel.
//!
//! # How it is enforced
//! seccomp(2) in its filter mode, on all threads at once, with SECCOMP_RET_KILL_PROCESS: an attacker gets no second try,
//! and a call that was forgotten here does not go on as an error in some corner. The kernel logs it (audit, type 1326).
//! Calls without a condition cost next to nothing: since Linux 5.11 the kernel knows them without running the filter.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use SeccompCmpArgLen::{Dword, Qword};
use SeccompCmpOp::{Eq, MaskedEq};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter_all_threads,
};

use super::Features;
use crate::record::LENGTH;

mod lists;

pub use lists::{EVERY, FORWARDER, METRICS, PUMP, RELAY, REMOVER};

/// A system call that softnet may make.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Its name.
    pub name: &'static str,
    /// None where this build does not make it: another architecture has it, or another C library.
    number: Option<libc::c_long>,
    only: Only,
    why: &'static str,
}

/// With which arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Any,
    ReceiveFrames,
    SendFrames,
    Receive,
    Send,
    AnonymousMemory,
    NoCode,
    Unlock,
    Abort,
    AbortThread,
    Faults,
    Wake,
    AskForFlags,
    Reply,
    ShutDown,
    Leases,
    Record,
    NewFile,
    Unlink,
    CloseOnExec,
    TcpSocket,
    UdpSocket,
    AskForError,
    TcpOption,
    SocketOption,
    ShutWrite,
    ReceiveOne,
    SendOne,
}

impl Allowed {
    /// Its row in the table of docs/privileges.md.
    #[must_use]
    pub fn row(&self) -> String {
        format!("| `{}` | {} | {} |", self.name, self.only.text(), self.why)
    }
}

impl Only {
    const fn text(self) -> &'static str {
        match self {
            Only::Any => "",
            Only::ReceiveFrames => "flags exactly `MSG_DONTWAIT`",
            Only::SendFrames => "flags exactly `MSG_DONTWAIT`, `MSG_NOSIGNAL`",
            Only::Receive => "no address asked for; no flag but `MSG_DONTWAIT`",
            Only::Send => "no address given; no flag but `MSG_DONTWAIT`",
            Only::AnonymousMemory => "no file (`MAP_ANONYMOUS`), no `PROT_EXEC`",
            Only::NoCode => "no `PROT_EXEC`",
            Only::Unlock => "`LOCK_UN`",
            Only::Abort => "this process, `SIGABRT`",
            Only::AbortThread => "its one thread, `SIGABRT`",
            Only::Faults => "`SIGABRT`, `SIGBUS`, `SIGSEGV`",
            Only::Wake => "`FUTEX_WAKE`",
            Only::AskForFlags => "`F_GETFD`",
            Only::Reply => "the channel's socket; no address given; flags exactly `MSG_DONTWAIT`, `MSG_NOSIGNAL`",
            Only::ShutDown => "the channel's socket, `SHUT_RDWR`",
            Only::Leases => "the descriptor of the leases",
            Only::Record => "the guest's file under `/run/softnet`; 512 bytes at its start",
            Only::NewFile => "`O_WRONLY`, `O_CREAT`, `O_EXCL`, `O_NOFOLLOW`, `O_CLOEXEC`",
            Only::Unlink => "flags 0",
            Only::CloseOnExec => "`SOCK_CLOEXEC`",
            Only::TcpSocket => "`AF_INET`, `SOCK_STREAM`, `SOCK_NONBLOCK`, `SOCK_CLOEXEC`",
            Only::UdpSocket => "`AF_INET`, `SOCK_DGRAM`, `SOCK_NONBLOCK`, `SOCK_CLOEXEC`",
            Only::AskForError => "`SOL_SOCKET`, `SO_ERROR`",
            Only::TcpOption => {
                "`IPPROTO_TCP`; `TCP_NODELAY`, `TCP_KEEPIDLE`, `TCP_KEEPINTVL`, `TCP_KEEPCNT`, `TCP_USER_TIMEOUT`"
            }
            Only::SocketOption => "`SOL_SOCKET`; `SO_KEEPALIVE`, `SO_LINGER`",
            Only::ShutWrite => "`SHUT_WR`",
            Only::ReceiveOne | Only::SendOne => "flags exactly `MSG_DONTWAIT`",
        }
    }

    /// Whether the call is made at all.
    const fn is_needed(self, features: Features) -> bool {
        match self {
            Only::Reply | Only::ShutDown => features.channel.is_some(),
            Only::Leases => features.leases.is_some(),
            Only::Record => features.record.is_some(),
            _ => true,
        }
    }

    /// What must hold, as alternatives; none means that nothing need hold.
    fn rules(self, features: Features) -> Result<Vec<SeccompRule>, BackendError> {
        // Without a channel, a descriptor that nobody has.
        let is_channel = || SeccompCondition::new(0, Dword, Eq, number(features.channel.unwrap_or(RawFd::MAX)));
        let is = |index, value: libc::c_int| SeccompCondition::new(index, Dword, Eq, number(value));
        let is_null = |index| SeccompCondition::new(index, Qword, Eq, 0);
        let is_me = |index| SeccompCondition::new(index, Dword, Eq, std::process::id().into());
        let among = |index, flags: u64| SeccompCondition::new(index, Dword, MaskedEq(!flags), 0);
        let has = |index, flag: libc::c_int| SeccompCondition::new(index, Dword, MaskedEq(number(flag)), number(flag));
        let has_not = |index, flag: libc::c_int| SeccompCondition::new(index, Qword, MaskedEq(number(flag)), 0);
        let either = |index, values: &[libc::c_int]| -> Result<Vec<SeccompRule>, BackendError> {
            values.iter().map(|&value| SeccompRule::new(vec![is(index, value)?])).collect()
        };
        let all = |conditions| Ok(vec![SeccompRule::new(conditions)?]);
        let socket_of = |kind| -> Result<_, BackendError> {
            Ok(vec![is(0, libc::AF_INET)?, is(1, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)?])
        };
        let options = |level, names: &[libc::c_int]| -> Result<Vec<SeccompRule>, BackendError> {
            names.iter().map(|&name| SeccompRule::new(vec![is(1, level)?, is(2, name)?])).collect()
        };
        match self {
            Only::Any => Ok(Vec::new()),
            Only::ReceiveFrames => all(vec![is(3, libc::MSG_DONTWAIT)?]),
            Only::SendFrames => all(vec![is(3, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)?]),
            Only::Receive | Only::Send => all(vec![is_null(4)?, among(3, number(libc::MSG_DONTWAIT))?]),
            Only::AnonymousMemory => all(vec![has(3, libc::MAP_ANONYMOUS)?, has_not(2, libc::PROT_EXEC)?]),
            Only::NoCode => all(vec![has_not(2, libc::PROT_EXEC)?]),
            Only::Unlock => all(vec![is(1, libc::LOCK_UN)?]),
            Only::Abort => all(vec![is_me(0)?, is(2, libc::SIGABRT)?]),
            Only::AbortThread => all(vec![is_me(0)?, is(1, libc::SIGABRT)?]),
            Only::Faults => either(0, &[libc::SIGABRT, libc::SIGBUS, libc::SIGSEGV]),
            Only::Wake => either(1, &[libc::FUTEX_WAKE, libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG]),
            Only::AskForFlags => all(vec![is(1, libc::F_GETFD)?]),
            Only::Reply => all(vec![is_channel()?, is(3, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)?, is_null(4)?]),
            Only::ShutDown => all(vec![is_channel()?, is(1, libc::SHUT_RDWR)?]),
            Only::Leases => all(vec![is(0, features.leases.unwrap_or(RawFd::MAX))?]),
            Only::Record => {
                let is_record = SeccompCondition::new(0, Dword, Eq, number(features.record.unwrap_or(RawFd::MAX)))?;
                let is_whole = SeccompCondition::new(2, Qword, Eq, LENGTH as u64)?;
                all(vec![is_record, is_whole, SeccompCondition::new(3, Qword, Eq, 0)?])
            }
            // The C library may add O_LARGEFILE, which says nothing here.
            Only::NewFile => all(vec![SeccompCondition::new(
                2,
                Dword,
                MaskedEq(!number(libc::O_LARGEFILE | 0o100_000)),
                number(NEW_FILE),
            )?]),
            Only::Unlink => all(vec![is(2, 0)?]),
            Only::CloseOnExec => all(vec![is(3, libc::SOCK_CLOEXEC)?]),
            Only::TcpSocket => all(socket_of(libc::SOCK_STREAM)?),
            Only::UdpSocket => all(socket_of(libc::SOCK_DGRAM)?),
            Only::AskForError => all(vec![is(1, libc::SOL_SOCKET)?, is(2, libc::SO_ERROR)?]),
            Only::TcpOption => options(
                libc::IPPROTO_TCP,
                &[
                    libc::TCP_NODELAY,
                    libc::TCP_KEEPIDLE,
                    libc::TCP_KEEPINTVL,
                    libc::TCP_KEEPCNT,
                    libc::TCP_USER_TIMEOUT,
                ],
            ),
            Only::SocketOption => options(libc::SOL_SOCKET, &[libc::SO_KEEPALIVE, libc::SO_LINGER]),
            Only::ShutWrite => all(vec![is(1, libc::SHUT_WR)?]),
            Only::ReceiveOne | Only::SendOne => all(vec![is(2, libc::MSG_DONTWAIT)?]),
        }
    }
}

/// How a file is made that nobody else has made.
const NEW_FILE: libc::c_int = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;

/// The bits of a flag or a number that is not negative.
fn number(value: libc::c_int) -> u64 {
    value.unsigned_abs().into()
}

fn program(list: &[Allowed], features: Features) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<_, Vec<SeccompRule>> = BTreeMap::new();
    for call in EVERY.iter().chain(list).filter(|call| call.only.is_needed(features)) {
        if let Some(number) = call.number {
            // The lines of one call are alternatives. A test sees to it that each of them has a condition.
            rules.entry(number).or_default().extend(call.only.rules(features)?);
        }
    }
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, architecture)?.try_into()
}

/// Allows [`EVERY`] call and those of the list to all threads of this process and kills it at any other, for good.
///
/// # Errors
/// What the kernel refused: it has no seccomp, or another thread has a filter of its own.
pub(super) fn install(list: &[Allowed], features: Features) -> Result<(), seccompiler::Error> {
    apply_filter_all_threads(&program(list, features)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const LISTS: [&[Allowed]; 5] = [RELAY, METRICS, REMOVER, FORWARDER, PUMP];

    #[test]
    fn each_call_is_listed_once_or_with_a_condition_on_every_line() {
        for list in LISTS {
            let mut names = HashSet::new();
            let lines = || EVERY.iter().chain(list);
            let again: HashSet<_> = lines().map(|call| call.name).filter(|name| !names.insert(*name)).collect();
            for call in lines().filter(|call| again.contains(call.name)) {
                assert_ne!(call.only, Only::Any, "{}: the condition of its other line would mean nothing", call.name);
            }
        }
    }

    #[test]
    fn the_filter_fits_into_the_kernel() {
        for list in LISTS {
            let length = program(list, Features { channel: Some(3), record: Some(4), leases: Some(5) }).unwrap().len();
            assert!(length < 400, "{length} instructions, of the 4096 that the kernel takes");
        }
    }
}
