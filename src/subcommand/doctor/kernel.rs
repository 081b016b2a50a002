//! What softnet needs of the kernel, and the programs that it runs.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use nix::unistd::getpid;

use super::report::Finding;
use crate::host::tap::survey::find_program;
use crate::sys::pidfd::open_pid;

/// The first Linux with close_range(2).
const OLDEST: (u32, u32) = (5, 9);

pub(super) fn check() -> Vec<Finding> {
    let mut findings = vec![tun(), bridge(), release(), features()];
    for name in ["nft", "dnsmasq"] {
        findings.push(program(name));
    }
    findings
}

fn tun() -> Finding {
    const ID: &str = "kernel.tun";
    match fs::metadata("/dev/net/tun") {
        Ok(metadata) if metadata.file_type().is_char_device() => Finding::ok(ID, "/dev/net/tun is there"),
        Ok(_) => Finding::fail(ID, "/dev/net/tun is no device", "rm /dev/net/tun; modprobe tun"),
        Err(_) => Finding::fail(
            ID,
            "there is no /dev/net/tun, by which guests get their ports",
            "modprobe tun; in a container, pass the device in",
        ),
    }
}

/// A module that is there is loaded when it is first needed. What a container cannot see, it does not tell.
fn bridge() -> Finding {
    const ID: &str = "kernel.bridge";
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let read = |path: String| fs::read_to_string(path).ok();
    let folder = format!("/lib/modules/{release}");
    let lists = [
        read("/proc/modules".into()),
        read(format!("{folder}/modules.builtin")),
        read(format!("{folder}/modules.dep")),
    ];
    if Path::new("/proc/sys/net/bridge").exists() || lists.iter().flatten().any(|list| has_module(list, "bridge")) {
        return Finding::ok(ID, "the kernel has bridges");
    }
    match lists.iter().all(Option::is_none) {
        true => Finding::skip(ID, "which modules this kernel has cannot be seen here", "the first guest's start tells"),
        false => Finding::fail(
            ID,
            "the kernel has no module bridge",
            "modprobe bridge; install the kernel's modules package",
        ),
    }
}

/// In /proc/modules a line begins with the name; in the other lists a path ends with it.
fn has_module(list: &str, name: &str) -> bool {
    let file = format!("/{name}.ko");
    list.lines().any(|line| {
        line.split(' ').next() == Some(name) || line.split(':').next().is_some_and(|path| path.contains(&file))
    })
}

fn release() -> Finding {
    const ID: &str = "kernel.version";
    let text = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map_while(|number| number.parse().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= OLDEST {
        Finding::ok(ID, format!("Linux {}.{} is new enough", version.0, version.1))
    } else {
        Finding::fail(ID, format!("Linux {text} is older than {}.{}", OLDEST.0, OLDEST.1), "use a newer kernel")
    }
}

/// What the sandbox and the care for dnsmasq rest on. Landlock is a second lock, the others are not.
fn features() -> Finding {
    const ID: &str = "kernel.features";
    let actions = fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
    let mut missing = Vec::new();
    if !actions.split_ascii_whitespace().any(|action| action == "kill_process") {
        missing.push("seccomp");
    }
    if open_pid(getpid()).is_err() {
        missing.push("pidfd");
    }
    if !missing.is_empty() {
        return Finding::fail(ID, format!("the kernel lacks {}", missing.join(" and ")), "use a kernel that has them");
    }
    match crate::sandbox::landlock_version() {
        Some(version) => Finding::ok(ID, format!("the kernel has seccomp, pidfd and Landlock ({version})")),
        None => Finding::warn(
            ID,
            "the kernel has no Landlock: the sandbox has one wall less",
            "add landlock to the kernel's lsm= list",
        ),
    }
}

fn program(name: &'static str) -> Finding {
    let id = if name == "nft" { "program.nft" } else { "program.dnsmasq" };
    match find_program(name) {
        Ok(path) => Finding::ok(id, format!("{} is there, and only root may change it", path.display())),
        Err(error) => {
            let text = error.to_string();
            let (what, mend) = text.rsplit_once(": ").unwrap_or((&text, "install it"));
            Finding::fail(id, what, mend)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_is_found_in_each_kind_of_list_by_its_whole_name() {
        assert!(has_module("stp 16384 1 bridge, Live\nbridge 4 0 - Live\n", "bridge"));
        assert!(has_module("kernel/net/bridge/bridge.ko\n", "bridge"));
        assert!(has_module("kernel/net/bridge/bridge.ko.xz: kernel/net/802/stp.ko.xz\n", "bridge"));
        assert!(!has_module("br_netfilter 4 0 - Live\nstp 1 1 bridge, Live\n", "bridge"));
        assert!(!has_module("kernel/x.ko: kernel/net/bridge/bridge.ko\n", "bridge"));
    }
}
