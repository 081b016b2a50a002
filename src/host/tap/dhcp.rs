//! The DHCP server and DNS forwarder of a bridge: one dnsmasq (dnsmasq(8)), unprivileged, that outlives us.
//!
//! **Which dnsmasq is ours.** The process that the pid file names, if it is a dnsmasq of root's or of the unprivileged
//! user's whose command line names that pid file: a number that now belongs to another process is not taken for it. When
//! the command line is not exactly the one that we would start, what runs has old facts and is replaced; the bridge's
//! index is in it (as the tag of the range), since sockets bound to a bridge do not outlive it.
//!
//! **Ready.** dnsmasq puts itself into the background when it has its sockets, and says on standard error what kept it
//! from that, so its parent's exit status is the answer.
//!
//! **A guest's lease time.** A file `MAC,SECONDS` in a directory that dnsmasq watches by inotify. The event is queued
//! within rename(2), and dnsmasq reads its inotify descriptor before its DHCP socket in each turn of its loop: a
//! file that is in place before the guest's TAP is up is known before the guest's first DISCOVER. A newer record of the
//! same MAC wins over an older one. Removing a file changes nothing until SIGHUP, which makes dnsmasq read all anew.
//! dnsmasq hands out no lease shorter than 120 seconds, whatever is asked of it.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io};

use ipnet::Ipv4Net;
use nix::sys::signal::Signal;
use nix::unistd::{Group, Pid, User};

use super::nat::MOST_DNS_QUESTIONS;
use super::programs::{Program, run};
use super::state::{self, Made, State};
use super::{Error, NAT_BRIDGE, subnet};
use crate::engine::{EthernetAddress, colons};
use crate::host::Wait;
use crate::sys::pidfd::{has_ended, open_pid, signal_pid};

const DNSMASQ: Program = Program { name: "dnsmasq", package: "dnsmasq-base" };
/// What a guest gets that names no lease time.
const DEFAULT_LEASE_SECONDS: u32 = 600;
/// dnsmasq makes shorter ones this long.
const SHORTEST_LEASE_SECONDS: u32 = 120;
const START_TRIES: u32 = 3;
const START_PAUSE: Duration = Duration::from_millis(50);
const KILL_LIMIT: Duration = Duration::from_secs(2);
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// Whom dnsmasq becomes once it has its sockets.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    uid: u32,
    user: String,
    group: String,
}

/// What a dnsmasq serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service<'a> {
    pub(super) bridge: &'a str,
    pub(super) index: u32,
    /// The bridge's address, with its prefix.
    pub(super) address: Ipv4Net,
}

impl Service<'_> {
    /// Sees to it that dnsmasq serves the bridge, and a guest with its own lease time: that holds for every DISCOVER that
    /// is sent after this returns. `ended` are the guests whose lease times are to be forgotten.
    pub(super) fn ensure(
        &self,
        _locked: &State,
        guest: (EthernetAddress, u32),
        ended: &[EthernetAddress],
        wait: &mut Wait<'_>,
    ) -> Result<(), Error> {
        if guest.1 < SHORTEST_LEASE_SECONDS {
            log::warn!("dnsmasq hands out leases of {SHORTEST_LEASE_SECONDS} s and more, not of {} s", guest.1);
        }
        let hosts = State::path(self.bridge, "hosts");
        let hosts_made = state::make_directory(&hosts, 0o755)?;
        let path = |mac| hosts.join(colons(mac));
        for mac in ended.iter().filter(|mac| **mac != guest.0) {
            state::remove(&path(*mac))?;
        }
        state::write(&path(guest.0), &format!("{},{}\n", colons(guest.0), guest.1))?;

        let program = DNSMASQ.find()?;
        let arguments = self.arguments(&identity()?);
        // A dnsmasq whose files were removed watches and writes what nobody else sees.
        let has_files = hosts_made == Made::Before && State::path(self.bridge, "leases").exists();
        match recorded(self.bridge)? {
            Some(process) if has_files && process.command_line == command_line(&program, &arguments) => {
                if !ended.is_empty() {
                    process.signal(Signal::SIGHUP);
                }
                return Ok(());
            }
            Some(process) => process.kill(self.bridge, wait)?,
            None => {}
        }
        log::debug!("starting dnsmasq on {}", self.bridge);
        let mut tries = START_TRIES;
        loop {
            tries -= 1;
            match run(DNSMASQ, &arguments, "", self.bridge, wait) {
                // One that was killed has lost its command line, by which it is known, before its sockets.
                Err(Error::ProgramFailed { .. }) if tries > 0 => wait(START_PAUSE)?,
                result => return result.map(drop),
            }
        }
    }

    fn arguments(&self, identity: &Identity) -> Vec<String> {
        let bridge = self.bridge;
        let path = |what| State::path(bridge, what).display().to_string();
        let (first, last) = subnet::pool(self.address);
        let size = u32::from(last) - u32::from(first) + 1;
        let mut arguments = vec![
            // No file of the system's, which belongs to its own dnsmasq.
            "--conf-file=/dev/null".to_owned(),
            format!("--user={}", identity.user),
            format!("--group={}", identity.group),
            format!("--pid-file={}", path("pid")),
            // This bridge alone, while other dnsmasqs serve other bridges.
            format!("--interface={bridge}"),
            "--except-interface=lo".to_owned(),
            "--bind-dynamic".to_owned(),
            format!(
                "--dhcp-range=set:link{},{first},{last},{},{DEFAULT_LEASE_SECONDS}",
                self.index,
                self.address.netmask()
            ),
            format!("--dhcp-lease-max={size}"),
            format!("--dhcp-leasefile={}", path("leases")),
            format!("--dhcp-hostsdir={}", path("hosts")),
            "--dhcp-authoritative".to_owned(),
            // One address a MAC, whatever a guest calls itself.
            "--dhcp-ignore-clid".to_owned(),
            "--dhcp-ignore-names".to_owned(),
            // The ping before an offer takes seconds.
            "--no-ping".to_owned(),
            // The host's own names are not the guests' business.
            "--no-hosts".to_owned(),
            // One guest's questions for dead names must not use up everybody's.
            format!("--dns-forward-max={MOST_DNS_QUESTIONS}"),
            // A guest must not fill the host's log.
            "--quiet-dhcp".to_owned(),
        ];
        if bridge != NAT_BRIDGE {
            // Nowhere to route to, nothing to look up.
            arguments.extend(["--port=0", "--dhcp-option=3", "--dhcp-option=6"].map(str::to_owned));
        }
        arguments
    }
}

/// Ends the dnsmasq of a bridge, whatever it serves. Returns whether there was one.
pub(super) fn stop(bridge: &str, wait: &mut Wait<'_>) -> Result<bool, Error> {
    let Some(process) = recorded(bridge)? else { return Ok(false) };
    process.kill(bridge, wait)?;
    Ok(true)
}

/// The process number of the dnsmasq of a bridge.
pub(super) fn process(bridge: &str) -> Result<Option<i32>, Error> {
    Ok(recorded(bridge)?.map(|process| process.pid.as_raw()))
}

/// A dnsmasq of ours that runs.
#[derive(Debug)]
struct Process {
    pid: Pid,
    /// Stands for this process and no later one of the same number.
    handle: OwnedFd,
    command_line: Vec<u8>,
}

impl Process {
    fn kill(&self, bridge: &str, wait: &mut Wait<'_>) -> Result<(), Error> {
        let start = Instant::now();
        let mut signal = Signal::SIGTERM;
        while !has_ended(&self.handle).unwrap_or(true) {
            self.signal(signal);
            wait(KILL_PAUSE)?;
            if start.elapsed() > KILL_LIMIT / 2 {
                signal = Signal::SIGKILL;
            }
            if start.elapsed() > KILL_LIMIT {
                return Err(Error::ProgramHung {
                    program: DNSMASQ.name,
                    subject: bridge.to_owned(),
                    limit: KILL_LIMIT,
                });
            }
        }
        Ok(())
    }

    /// It may just have ended, which whoever asks next finds out.
    fn signal(&self, signal: Signal) {
        if let Err(error) = signal_pid(&self.handle, signal) {
            log::debug!("cannot send {signal} to dnsmasq (process {}): {error}", self.pid);
        }
    }
}

/// The dnsmasq of ours that serves a bridge, if it runs: where its pid file says, or, when an administrator removed that,
/// wherever it is.
fn recorded(bridge: &str) -> Result<Option<Process>, Error> {
    let trusted = trusted_users()?;
    let pid_file = State::path(bridge, "pid");
    let named = state::read_line(&pid_file).and_then(|text| text.trim().parse::<i32>().ok());
    let recognise = |pid| Process::recognise(Pid::from_raw(pid), &pid_file, &trusted);
    if let Some(process) = named.filter(|pid| *pid > 1).and_then(recognise) {
        return Ok(Some(process));
    }
    let entries = fs::read_dir("/proc").map_err(Error::os("list /proc"))?;
    let numbers = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    Ok(numbers.filter(|pid| Some(*pid) != named).find_map(recognise))
}

impl Process {
    fn recognise(pid: Pid, pid_file: &Path, trusted: &[u32]) -> Option<Self> {
        let is_ours = |line: &[u8]| names_pid_file(line, pid_file);
        if !is_ours(&read_command_line(pid).ok()?) {
            return None;
        }
        // The handle, and then all once more: what is read now is of the process of the handle, or of none.
        let handle = open_pid(pid).ok()?;
        let command_line = read_command_line(pid).ok().filter(|line| is_ours(line))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let is_trusted = real_uid(&status).is_some_and(|uid| trusted.contains(&uid));
        let has_ended = has_ended(&handle).unwrap_or(true);
        (is_trusted && !has_ended).then_some(Process { pid, handle, command_line })
    }
}

/// Whoever may call himself anything is asked for his real user: the second word of `Uid:` (proc_pid_status(5)).
fn real_uid(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Root, and whom dnsmasq becomes.
fn trusted_users() -> Result<Vec<u32>, Error> {
    Ok(vec![0, identity()?.uid])
}

fn names_pid_file(command_line: &[u8], pid_file: &Path) -> bool {
    let option = format!("--pid-file={}", pid_file.display());
    let mut words = command_line.split(|byte| *byte == 0);
    let is_dnsmasq = words.next().is_some_and(|program| program.ends_with(b"/dnsmasq"));
    is_dnsmasq && words.any(|word| word == option.as_bytes())
}

fn read_command_line(pid: Pid) -> io::Result<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cmdline"))
}

/// The command line as /proc shows it: each word ended by a zero byte (proc_pid_cmdline(5)).
fn command_line(program: &Path, arguments: &[String]) -> Vec<u8> {
    let mut line = OsString::from(program).into_encoded_bytes();
    line.push(0);
    for argument in arguments {
        line.extend_from_slice(argument.as_bytes());
        line.push(0);
    }
    line
}

/// Debian's package makes a user `dnsmasq`; dnsmasq-base alone does not.
fn identity() -> Result<Identity, Error> {
    let failed = |error: nix::Error| Error::os("look up the user for dnsmasq")(error.into());
    for name in ["dnsmasq", "nobody"] {
        let Some(user) = User::from_name(name).map_err(failed)? else { continue };
        let Some(group) = Group::from_gid(user.gid).map_err(failed)? else { continue };
        if !user.uid.is_root() && user.gid.as_raw() != 0 {
            return Ok(Identity { uid: user.uid.as_raw(), user: user.name, group: group.name });
        }
    }
    Err(Error::os("find the user nobody and its group in /etc/passwd and /etc/group, whom dnsmasq becomes")(
        io::Error::from(io::ErrorKind::NotFound),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::tap::HOST_BRIDGE;

    fn arguments(bridge: &str, address: &str) -> Vec<String> {
        let identity = Identity { uid: 65534, user: "nobody".to_owned(), group: "nogroup".to_owned() };
        Service { bridge, index: 7, address: address.parse().expect("an address") }.arguments(&identity)
    }

    #[test]
    fn the_range_is_the_subnet_without_the_gateway() {
        let of = |address| arguments(NAT_BRIDGE, address).into_iter().find(|a| a.starts_with("--dhcp-range"));
        assert_eq!(
            of("192.168.64.1/24").as_deref(),
            Some("--dhcp-range=set:link7,192.168.64.2,192.168.64.254,255.255.255.0,600")
        );
        assert_eq!(of("10.0.0.1/30").as_deref(), Some("--dhcp-range=set:link7,10.0.0.2,10.0.0.2,255.255.255.252,600"));
    }

    #[test]
    fn guests_of_the_host_bridge_get_neither_router_nor_names() {
        let has = |bridge, option: &str| arguments(bridge, "192.168.64.1/24").iter().any(|a| a == option);
        for option in ["--port=0", "--dhcp-option=3", "--dhcp-option=6"] {
            assert!(has(HOST_BRIDGE, option) && !has(NAT_BRIDGE, option), "{option}");
        }
    }

    #[test]
    fn a_dnsmasq_is_known_by_its_pid_file_option() {
        let pid_file = Path::new("/run/softnet/softnet0.pid");
        let line = command_line(Path::new("/usr/sbin/dnsmasq"), &arguments(NAT_BRIDGE, "192.168.64.1/24"));
        assert!(names_pid_file(&line, pid_file));
        assert!(!names_pid_file(&line, Path::new("/run/softnet/softnet1.pid")));
        assert!(!names_pid_file(b"", pid_file), "a zombie");
        assert!(!names_pid_file(b"/bin/sh\0--pid-file=/run/softnet/softnet0.pid\0", pid_file));
    }

    #[test]
    fn another_index_or_subnet_is_another_service() {
        let of = |index, address: &str| {
            let identity = Identity { uid: 65534, user: "nobody".to_owned(), group: "nogroup".to_owned() };
            Service { bridge: NAT_BRIDGE, index, address: address.parse().expect("an address") }.arguments(&identity)
        };
        assert_ne!(of(7, "10.0.0.1/24"), of(8, "10.0.0.1/24"));
        assert_ne!(of(7, "10.0.0.1/24"), of(7, "10.0.1.1/24"));
        assert_eq!(of(7, "10.0.0.1/24"), of(7, "10.0.0.1/24"));
    }
}
