//! The machine's own programs, and what to say when one is missing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Every program that the tests and benches call, and the Debian package that has it.
pub const REQUIRED: &[(&str, &str)] = &[
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("prlimit", "util-linux"),
    ("chrt", "util-linux"),
    ("taskset", "util-linux"),
    ("timeout", "coreutils"),
    ("ping", "iputils-ping"),
    ("dnsmasq", "dnsmasq-base"),
    ("nft", "nftables"),
    ("busybox", "busybox-static"),
    ("udhcpc", "udhcpc"),
    ("curl", "curl"),
    ("iperf3", "iperf3"),
    ("ethtool", "ethtool"),
    ("arping", "iputils-arping"),
    ("arpspoof", "dsniff"),
    ("macof", "dsniff"),
    ("nmap", "nmap"),
    ("hping3", "hping3"),
    ("dhcpstarv", "dhcpstarv"),
    ("dhclient", "isc-dhcp-client"),
    ("scapy3", "python3-scapy"),
    ("tshark", "tshark"),
    ("sudo", "sudo"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("libvirtd", "libvirt-daemon libvirt-daemon-driver-qemu"),
    ("virsh", "libvirt-clients"),
    ("passt", "passt"),
];

/// Where `program` is, looked up in PATH and where Debian keeps administrators' programs.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(system).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Fails loudly, naming the packages, when one of `programs` is missing.
///
/// # Panics
/// With the `apt-get` line that mends it.
pub fn require(programs: &[&str]) {
    let package =
        |name: &str| REQUIRED.iter().find(|(program, _)| *program == name).map_or("?", |(_, package)| package);
    let missing: Vec<_> = programs.iter().copied().filter(|program| find(program).is_none()).collect();
    let mut packages: Vec<_> = missing.iter().map(|program| package(program)).collect();
    packages.dedup();
    assert!(
        missing.is_empty(),
        "programs that these tests need are missing: {}\n  to get them: apt-get install {}",
        missing.join(", "),
        packages.join(" ")
    );
}

/// A command for `line`, split at blanks, without standard input.
#[must_use]
pub fn command(line: &str) -> Command {
    let mut words = line.split_ascii_whitespace();
    let program = words.next().expect("a command has a first word");
    let mut command = Command::new(find(program).unwrap_or_else(|| Path::new(program).to_owned()));
    command.args(words).stdin(Stdio::null());
    command
}

/// Runs `line`, which must succeed, and returns what it printed.
///
/// # Panics
/// With all output when it does not.
pub fn run(line: &str) -> String {
    finish(&mut command(line))
}

/// Runs `script` in a shell, which must succeed, and returns what it printed.
///
/// # Panics
/// With all output when it does not.
pub fn sh(script: &str) -> String {
    finish(command("sh -c").arg(script))
}

/// Whether `command` succeeds.
///
/// # Panics
/// When it cannot be started.
pub fn succeeds(command: &mut Command) -> bool {
    output(command).status.success()
}

/// Makes a network interface that leads nowhere, up, in the calling thread's network namespace.
#[cfg(target_os = "linux")]
pub fn add_interface(name: &str) {
    run(&format!("ip link add {name} type veth peer name {name}-far"));
    for end in [name, &format!("{name}-far")] {
        // No address of IPv6 by itself, some time later.
        run(&format!("ip link set {end} addrgenmode none"));
        run(&format!("ip link set {end} up"));
    }
}

/// Runs `command`, which must succeed, and returns what it printed.
///
/// # Panics
/// With all output when it does not.
pub fn finish(command: &mut Command) -> String {
    let output = output(command);
    assert!(output.status.success(), "{command:?} failed ({}):\n{}", output.status, text(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs `command` to its end, however that is.
///
/// # Panics
/// When it cannot be started.
pub fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?} cannot be started: {error}"))
}

/// Both outputs, for a message.
#[must_use]
pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
