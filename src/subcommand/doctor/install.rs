//! How softnet is installed: where Tart finds it, with root's rights, and where nobody else may replace it.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::report::Finding;
use crate::privilege::{Standing, escalate};
use crate::sys::process;

const ROOT: &str = "install.root";
const WRITABLE: &str = "install.writable";

/// What of the program's files counts.
struct Program {
    /// As it was found.
    path: PathBuf,
    /// Without links.
    real: PathBuf,
    metadata: Metadata,
}

pub(super) fn check(standing: Standing) -> Vec<Finding> {
    let own = std::env::current_exe().ok().and_then(Program::at);
    let (found, finding) = in_path(&process::callers_path(), own.as_ref());
    let mut findings = vec![finding];
    if let Some(program) = found.or(own) {
        findings.push(rights(standing, &program));
        findings.push(writable(&program));
    }
    findings
}

impl Program {
    fn at(path: PathBuf) -> Option<Self> {
        let real = fs::canonicalize(&path).ok()?;
        let metadata = fs::metadata(&real).ok()?;
        Some(Program { path, real, metadata })
    }

    fn is_setuid_root(&self) -> bool {
        self.metadata.uid() == 0 && self.metadata.mode() & 0o4000 != 0
    }
}

/// The first executable `softnet` in `path`, as Tart looks for it.
fn find(path: &OsStr) -> Option<Program> {
    let is_executable = |metadata: &Metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0;
    let programs =
        std::env::split_paths(path).filter(|folder| folder.is_absolute()).map(|folder| folder.join("softnet"));
    programs.filter_map(Program::at).find(|program| is_executable(&program.metadata))
}

fn in_path(path: &OsStr, own: Option<&Program>) -> (Option<Program>, Finding) {
    const ID: &str = "install.path";
    let here = own.map_or_else(|| "this program".to_owned(), |own| own.real.display().to_string());
    let Some(found) = find(path) else {
        let mend = "put it into a directory of PATH, such as /usr/local/bin (`make install SETUID=1`)";
        return (
            None,
            Finding::warn(ID, format!("softnet is not found in PATH, where Tart looks for it; this is {here}"), mend),
        );
    };
    let same_file =
        |own: &Program| (own.metadata.dev(), own.metadata.ino()) == (found.metadata.dev(), found.metadata.ino());
    let finding = if own.is_none_or(same_file) {
        Finding::ok(ID, format!("{} is what PATH leads to", found.path.display()))
    } else {
        let what = format!("PATH leads to {}, which is another softnet than this one, {here}", found.path.display());
        Finding::warn(ID, what, format!("remove one of them, or ask that one: {} doctor", found.real.display()))
    };
    (Some(found), finding)
}

/// The setuid bit, or sudo without a password, as Tart asks for them and softnet itself does.
fn rights(standing: Standing, program: &Program) -> Finding {
    let path = program.real.display();
    if program.is_setuid_root() {
        return match nosuid(&program.real) {
            false => Finding::ok(ROOT, format!("{path} has the setuid bit and belongs to root")),
            true => Finding::fail(
                ROOT,
                format!(
                    "{path} has the setuid bit, and is on a file system that is mounted nosuid, where it does not count"
                ),
                "install it elsewhere, or remount that file system with suid",
            ),
        };
    }
    if standing == Standing::Unprivileged && sudo_would_run(&program.path) {
        return Finding::ok(ROOT, format!("{path} has no setuid bit, and may be run by sudo without a password"));
    }
    let group = match standing {
        // Root's own group would help nobody: the administrators', as macOS and Debian call it.
        Standing::Root if cfg!(target_os = "macos") => "admin".to_owned(),
        Standing::Root => "sudo".to_owned(),
        Standing::Unprivileged | Standing::Setuid { .. } => escalate::primary_group(),
    };
    let mend = escalate::remedies(&program.real, &group);
    let lacks = match program.metadata.mode() & 0o4000 != 0 {
        true => format!("has the setuid bit of uid {}, not of root", program.metadata.uid()),
        false => "has no setuid bit".to_owned(),
    };
    match standing {
        Standing::Unprivileged => {
            Finding::fail(ROOT, format!("{path} {lacks}, and you may not run it by sudo without a password"), mend)
        }
        // Whether others may use sudo, root does not find out by trying.
        Standing::Root | Standing::Setuid { .. } => Finding::warn(
            ROOT,
            format!("{path} {lacks}: only root, and who may use sudo without a password, can start guests"),
            mend,
        ),
    }
}

/// Tart's question. Only without any right: sudo is looked up in the caller's PATH.
fn sudo_would_run(path: &Path) -> bool {
    let mut command = Command::new("sudo");
    command.arg("--non-interactive").arg(path).arg("--help");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn nosuid(path: &Path) -> bool {
    use nix::sys::statvfs::{FsFlags, statvfs};
    statvfs(path).is_ok_and(|file_system| file_system.flags().contains(FsFlags::ST_NOSUID))
}

/// Who may put another program in the place of this one: each directory on both ways to it, with and without links.
fn writable(program: &Program) -> Finding {
    // Where a link leads, and the link's own directories but for those that both have.
    let links = program.path.ancestors().skip(1).filter(|way| !program.real.starts_with(way));
    let ways = program.real.ancestors().chain(links);
    let mut faults: Vec<String> = Vec::new();
    let mut groups: Vec<String> = Vec::new();
    for way in ways {
        let Ok(metadata) = fs::metadata(way) else { continue };
        let name = way.display();
        match judge(&metadata) {
            Some(Culprit::Owner(owner)) => faults.push(format!("{name} belongs to uid {owner}")),
            Some(Culprit::Anyone) => faults.push(format!("anyone may write to {name}")),
            Some(Culprit::Group(group)) => groups.push(format!("group {group} may write to {name}")),
            None => {}
        }
    }
    let path = program.real.display();
    let mend = "install it where root alone may write: `make install SETUID=1`, which checks that";
    if !faults.is_empty() {
        let what = format!("others than root may replace {path}, which runs as root: {}", faults.join(", "));
        Finding::fail(WRITABLE, what, mend)
    } else if !groups.is_empty() {
        Finding::warn(WRITABLE, format!("a group may replace {path}, which runs as root: {}", groups.join(", ")), mend)
    } else {
        Finding::ok(WRITABLE, format!("{path} and every directory above it can be changed by root alone"))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Culprit {
    Owner(u32),
    Group(u32),
    Anyone,
}

fn judge(metadata: &Metadata) -> Option<Culprit> {
    let mode = metadata.mode();
    if metadata.uid() != 0 {
        Some(Culprit::Owner(metadata.uid()))
    } else if mode & 0o002 != 0 {
        Some(Culprit::Anyone)
    } else if mode & 0o020 != 0 && metadata.gid() != 0 {
        Some(Culprit::Group(metadata.gid()))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    #[test]
    fn a_path_without_it_is_told_and_relative_directories_do_not_count() {
        assert!(find(OsStr::new("/nonexistent:.:relative")).is_none());
        let (found, finding) = in_path(OsStr::new("/nonexistent"), None);
        assert!(found.is_none() && finding.level == Level::Warn, "{finding:?}");
    }

    #[test]
    fn who_may_write_is_found_on_the_way() {
        let temporary = fs::metadata("/tmp").expect("there is one");
        assert_eq!(judge(&temporary), Some(Culprit::Anyone));
        assert_eq!(judge(&fs::metadata("/").expect("there is one")), None);
        let null = Program::at("/dev/null".into()).expect("there is one");
        assert_eq!(writable(&null).level, Level::Fail, "anyone may write to it");
    }

    #[test]
    fn the_remedy_names_a_group_that_there_is() {
        let program = Program::at("/bin/sh".into()).expect("there is one");
        let administrators = if cfg!(target_os = "macos") { "%admin " } else { "%sudo " };
        let told = format!("{:?}", rights(Standing::Root, &program));
        assert!(told.contains(administrators), "{told}");
        let caller = Standing::Setuid { uid: nix::unistd::getuid(), gid: nix::unistd::getgid() };
        let told = format!("{:?}", rights(caller, &program));
        assert!(told.contains(&format!("%{} ", escalate::primary_group())), "{told}");
    }

    #[test]
    fn each_culprit_on_the_way_is_named_once() {
        let folder = std::env::temp_dir().join(format!("softnet-doctor-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder is made");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its permissions are set");
        fs::write(folder.join("softnet"), "").expect("a file is written");
        let told = format!("{:?}", writable(&Program::at(folder.join("softnet")).expect("it is there")));
        fs::remove_dir_all(&folder).expect("it is removed");
        // Whoever runs the test: root's folder, or one's own.
        let name = folder.display();
        let times =
            told.matches(&format!("may write to {name}")).count() + told.matches(&format!("{name} belongs")).count();
        assert_eq!(times, 1, "{told}");
    }
}
