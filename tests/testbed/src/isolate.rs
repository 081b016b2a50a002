//! A network of its own for each test.
//!
//! The test's body is run by the same executable, started again under `unshare` in new network, mount and PID namespaces;
//! the test itself only waits for that process and passes on what it said. With the last process of the PID namespace all
//! of it goes: bridges, firewall tables, daemons, mounts. A body that hangs is killed at its deadline.
//!
//! `timeout` is outermost, since it can kill what `sudo` started too. The first process of the PID namespace is a shell: it
//! must be one that reaps, or daemons that ended would stay zombies and look alive.

use std::any::type_name;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::{MsFlags, mount};

use crate::tools;

/// Set in the environment of the process inside.
const INSIDE: &str = "SOFTNET_TESTBED_INSIDE";

/// How long a body may take if it does not say otherwise.
const LIMIT: Duration = Duration::from_secs(60);

/// A directory of the body's own, on a file system where the setuid bit counts.
pub const SCRATCH: &str = "/run/testbed";

/// Runs `body` in namespaces of its own. To be called by a test as its only statement, with a closure written in place.
///
/// # Panics
/// When the body does, or does not end within a minute.
pub fn in_own_network<F: FnOnce()>(body: F) {
    in_own_network_within(LIMIT, body);
}

/// [`in_own_network`] with another deadline.
///
/// # Panics
/// When the body does, or does not end within `limit`.
pub fn in_own_network_within<F: FnOnce()>(limit: Duration, body: F) {
    if is_inside() {
        return body();
    }
    // The path of a closure names the test that it was written in: `e2e_lease::some_test::{{closure}}`.
    let path = type_name::<F>().trim_end_matches("::{{closure}}");
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    let executable = std::env::current_exe().expect("the test knows its executable");
    let arguments = ["--exact", name, "--nocapture", "--include-ignored", "--test-threads=1"];
    let output = tools::output(command(&executable, limit).args(arguments).stdin(Stdio::null()));
    let text = tools::text(&output);
    eprintln!("{text}");
    assert_ne!(output.status.code(), Some(137), "{name} was killed: it did not end within {} s", limit.as_secs());
    assert!(output.status.success(), "{name} failed inside its namespaces ({}), see its output above", output.status);
    assert!(
        text.contains("1 passed"),
        "{name} was not found inside its namespaces: call this from the test function itself"
    );
}

/// A command that runs `executable` in namespaces of its own, killed after `limit`; arguments may be added.
///
/// # Panics
/// When programs or rights are missing, with the way to get them.
#[must_use]
pub fn command(executable: &Path, limit: Duration) -> Command {
    tools::require(&["unshare", "timeout", "ip"]);
    let root = nix::unistd::geteuid().is_root();
    let seconds = limit.as_secs().to_string();
    let mut words: Vec<PathBuf> = Vec::new();
    if !root {
        let probe = tools::output(&mut tools::command("sudo --non-interactive true"));
        assert!(
            probe.status.success(),
            "these tests make network namespaces, which needs root: run them as root, or allow sudo without a password \
             (`sudo -v` first, or a sudoers line)"
        );
        words.extend(["sudo", "--non-interactive"].map(PathBuf::from));
    }
    words.extend(["timeout", "--foreground", "--signal=KILL", &seconds].map(PathBuf::from));
    words.extend(["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"].map(PathBuf::from));
    words.extend(["env", &format!("{INSIDE}=1"), "RUST_BACKTRACE=0"].map(PathBuf::from));
    // The command after the shell's own first command makes the shell stay, as the process that reaps.
    words.extend(["sh", "-c", "\"$@\"; exit $?", "init"].map(PathBuf::from));
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(executable);
    command
}

/// Whether this process is the one inside; the first call there furnishes the namespaces.
///
/// # Panics
/// When the namespaces cannot be furnished.
pub fn is_inside() -> bool {
    let inside = std::env::var_os(INSIDE).is_some();
    if inside {
        static FURNISHED: std::sync::Once = std::sync::Once::new();
        FURNISHED.call_once(furnish);
    }
    inside
}

/// Private /run with the scratch directory, `lo` up.
fn furnish() {
    let none: Option<&str> = None;
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("a private /run is mounted");
    std::fs::create_dir(SCRATCH).expect("the scratch directory is made");
    // What sysfs shows is that of the network namespace it was mounted in.
    mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).expect("a sysfs of this network is mounted");
    tools::run("ip link set lo up");
}

/// Puts `content` in the place of the file `path`, for this mount namespace alone.
///
/// # Panics
/// When it cannot be mounted.
pub fn replace_file(path: &str, content: &str) {
    let target =
        std::fs::read_link(path).map_or_else(|_| PathBuf::from(path), |link| Path::new(path).with_file_name(link));
    if !target.exists() {
        // A link into the old /run, which the private one covers.
        let folder = target.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).expect("the folder of a file to be replaced is made");
        std::fs::write(&target, content).expect("the file to be replaced is written");
        return;
    }
    let own = format!("{SCRATCH}/{}", path.trim_start_matches('/').replace('/', "-"));
    std::fs::write(&own, content).expect("the replacing file is written");
    mount(Some(own.as_str()), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("a file is replaced");
}

/// Puts a copy of /etc in its place, for this mount namespace alone: what is written there is this body's own.
///
/// # Panics
/// When it cannot be made.
pub fn own_etc() {
    let copy = format!("{SCRATCH}/etc");
    tools::run(&format!("cp -a /etc {copy}"));
    mount(Some(copy.as_str()), "/etc", None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .expect("a copy of /etc is mounted");
}

/// Puts an empty directory in the place of `path`, for this mount namespace alone.
///
/// # Panics
/// When it cannot be mounted.
pub fn replace_directory(path: &str) {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some("mode=755")).expect("a directory is replaced");
}
