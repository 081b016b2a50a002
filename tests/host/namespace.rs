//! Runs a test in network, mount and PID namespaces of its own, so that the machine's own network is never touched.

use std::env;
use std::process::Command;

const INSIDE: &str = "SOFTNET_TEST_INSIDE";

/// Runs `body` in fresh namespaces: /run is empty, only `lo` is there. `test` is the path of the test itself, which is
/// started once more by its name inside.
pub(crate) fn isolated(test: &str, body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    assert!(
        nix::unistd::geteuid().is_root(),
        "{test} makes network namespaces: run it as root, as `sudo -E cargo test`"
    );
    // bash is PID 1 inside and reaps what the daemons leave.
    let script = "mount --make-rprivate / && mount -t tmpfs none /run && ip link set lo up && \"$@\"; exit $?";
    let output = Command::new("timeout")
        .args([
            "--signal=KILL",
            "120",
            "unshare",
            "--kill-child",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "bash",
            "-c",
            script,
            "bash",
        ])
        .arg(env::current_exe().expect("own path"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare, of util-linux, starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    eprintln!("{text}");
    assert!(output.status.success(), "{test} failed inside its namespaces");
    assert!(text.contains("1 passed"), "{test} is not the name of a test");
}

/// Runs a shell command and returns what it printed.
#[track_caller]
pub(crate) fn sh(script: &str) -> String {
    let (ok, text) = try_sh(script);
    assert!(ok, "`{script}` failed: {text}");
    text
}

/// Runs a shell command; whether it succeeded, and what it printed.
pub(crate) fn try_sh(script: &str) -> (bool, String) {
    let output =
        Command::new("timeout").args(["30", "bash", "-c", script]).output().expect("timeout, of coreutils, starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}
