//! Finding and running the two system programs that the bridge needs, nft and dnsmasq.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::Error;
use crate::host::Wait;
use crate::sys::command;

const DIRECTORIES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const LIMIT: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(1);

/// A program, and Debian's package that has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
}

impl Program {
    /// Its absolute path; never by way of PATH, which is the caller's.
    pub(super) fn find(self) -> Result<PathBuf, Error> {
        self.find_in(&DIRECTORIES)
    }

    fn find_in(self, directories: &[&str]) -> Result<PathBuf, Error> {
        for directory in directories {
            let path = Path::new(directory).join(self.name);
            let Ok(metadata) = fs::metadata(&path) else { continue };
            if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
                continue;
            }
            if metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
                return Err(Error::ProgramUnsafe { path, package: self.package });
            }
            return Ok(path);
        }
        Err(Error::ProgramMissing { program: self.name, package: self.package })
    }
}

/// Runs a program to its end and returns what it said. `subject` is what it works on, for the error message.
pub(super) fn run<S: AsRef<OsStr>>(
    program: Program,
    arguments: impl IntoIterator<Item = S>,
    input: &str,
    subject: &str,
    wait: &mut Wait<'_>,
) -> Result<String, Error> {
    let path = program.find()?;
    let what = || format!("run {}", path.display());
    let start = Instant::now();
    let mut running = command::start(&path, arguments, input).map_err(Error::os(what()))?;
    let outcome = loop {
        if let Some(outcome) = running.poll().map_err(Error::os(what()))? {
            break outcome;
        }
        if start.elapsed() > LIMIT {
            return Err(Error::ProgramHung { program: program.name, subject: subject.to_owned(), limit: LIMIT });
        }
        wait(PAUSE)?;
    };
    log::debug!("{} ended after {:?}", path.display(), start.elapsed());
    if outcome.status.success() {
        return Ok(outcome.output);
    }
    let said = outcome.output.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it said nothing");
    let message = format!("{said} ({})", outcome.status);
    Err(Error::ProgramFailed { program: program.name, subject: subject.to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHELL: Program = Program { name: "sh", package: "dash" };

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = Program { name: "no-such-program", package: "such" }.find().unwrap_err().to_string();
        assert_eq!(
            error,
            "no-such-program not found in /usr/sbin, /usr/bin, /sbin, /bin: install it with `apt-get install such`"
        );
    }

    #[test]
    fn a_program_that_others_may_replace_is_refused() {
        let directory = std::env::temp_dir().join(format!("softnet-programs-{}", std::process::id()));
        fs::create_dir_all(&directory).expect("made");
        let path = directory.join("sh");
        fs::write(&path, "#!/bin/sh\n").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).expect("set");
        let found = SHELL.find_in(&[directory.to_str().expect("text")]);
        assert!(matches!(found, Err(Error::ProgramUnsafe { .. })), "{found:?}");
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let result = run(SHELL, ["-c", "echo wrong >&2; exit 4"], "", "nothing", &mut |pause| {
            std::thread::sleep(pause);
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "sh failed on nothing: wrong (exit status: 4)");
    }

    #[test]
    fn an_interrupt_ends_the_wait() {
        let start = Instant::now();
        let result = run(SHELL, ["-c", "sleep 100"], "", "nothing", &mut |_| Err(crate::host::Interrupted));
        assert!(matches!(result, Err(Error::Interrupted(_))));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}
