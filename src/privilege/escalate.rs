//! Getting root by sudo, for a caller who has no setuid softnet but a sudoers line.
//!
//! Phase: before the setup, without any privilege. Nothing here runs in a process that has root: sudo is looked up in the
//! caller's own PATH.

use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{getgid, getuid};
use thiserror::Error;

use crate::cli::ServeOptions;

/// Asks a softnet that sudo started to end at once with 0.
pub const PROBING: &str = "--sudo-escalation-probing";
/// Tells a softnet that sudo started that it need not try sudo again.
pub const DONE: &str = "--sudo-escalation-done";

/// Why root was not to be had.
#[derive(Debug, Error)]
pub enum EscalationError {
    /// Neither the setuid bit nor sudo.
    #[error(
        "softnet needs root to open the host's network, and neither has {} the setuid bit nor may you run it by sudo \
         without a password: {}",
        .exe.display(), remedies(.exe, .group)
    )]
    NoWay {
        /// This program.
        exe: PathBuf,
        /// The group that the sudoers line would name.
        group: String,
    },
    /// sudo would close an inherited socket.
    #[error(
        "{0} {1}: root is to be had by sudo only, which closes all descriptors above 2: pass the socket as 0, 1 or 2, or set the setuid bit"
    )]
    DescriptorLost(&'static str, RawFd),
    /// This program cannot be found.
    #[error("the path of this program cannot be told: {0}")]
    NoExecutable(io::Error),
    /// sudo worked a moment ago.
    #[error("sudo cannot be started: {0}")]
    Exec(io::Error),
}

/// Becomes, by execve(2), a softnet that sudo started with the arguments of this one, and with the caller as `--user` and
/// `--group` where these were not given. Returns only if that cannot be.
///
/// # Errors
/// What is missing, with both remedies as commands that can be pasted.
pub fn by_sudo(serve: &ServeOptions) -> Result<Infallible, EscalationError> {
    let exe = env::current_exe().map_err(EscalationError::NoExecutable)?;
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    if serve.sudo_escalation_done || !sudo_would_run(&exe, &arguments) {
        return Err(EscalationError::NoWay { exe, group: primary_group() });
    }
    for (flag, fd) in [("--vm-fd", serve.vm_fd), ("--control-fd", serve.control_fd), ("--ready-fd", serve.ready_fd)] {
        if let Some(fd) = fd.filter(|&fd| fd > 2) {
            return Err(EscalationError::DescriptorLost(flag, fd));
        }
    }
    let mut command = sudo(&exe, &arguments);
    if serve.user.is_none() {
        command.arg("--user").arg(getuid().to_string());
        if serve.group.is_none() {
            command.arg("--group").arg(getgid().to_string());
        }
    }
    Err(EscalationError::Exec(command.arg(DONE).exec()))
}

/// Both ways to root for the program `exe`, as commands that an administrator can paste: for all users, or for `group`.
#[must_use]
pub fn remedies(exe: &Path, group: &str) -> String {
    let exe = exe.display().to_string();
    format!(
        "as an administrator, set the setuid bit: sudo chown root '{exe}' && sudo chmod u+s '{exe}'   or allow sudo: echo \
         '%{group} ALL=(root) NOPASSWD: {}' | sudo tee /etc/sudoers.d/softnet",
        exe.replace(' ', "\\ ")
    )
}

fn sudo(exe: &Path, arguments: &[OsString]) -> Command {
    let mut command = Command::new("sudo");
    command.arg("--non-interactive").arg(exe).args(arguments);
    command
}

fn sudo_would_run(exe: &Path, arguments: &[OsString]) -> bool {
    sudo(exe, arguments)
        .arg(PROBING)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The caller's own group, by name.
#[must_use]
pub fn primary_group() -> String {
    match nix::unistd::Group::from_gid(getgid()) {
        Ok(Some(group)) => group.name,
        _ => "admin".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedies_are_commands_to_paste() {
        let remedies = remedies(Path::new("/opt/soft net/bin/softnet"), "admin");
        assert!(
            remedies
                .contains("sudo chown root '/opt/soft net/bin/softnet' && sudo chmod u+s '/opt/soft net/bin/softnet'")
        );
        assert!(
            remedies.contains(
                "'%admin ALL=(root) NOPASSWD: /opt/soft\\ net/bin/softnet' | sudo tee /etc/sudoers.d/softnet"
            )
        );
    }
}
