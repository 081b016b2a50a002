//! A release on a clean root file system: the Debian package installed, given to a group, used by a member of it, replaced, removed;
//! the archive unpacked, installed, used, removed. What docs/install.md says of both.
//!
//! `scripts/test-package.sh` makes the file system and names the release, and runs this; where they are not named there is nothing to test.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network_within};
use softnet_testbed::softnet::Softnet;
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;
use softnet_testbed::{sys, tools};

/// The clean file system, with what the package depends on.
const BASE: &str = "SOFTNET_PACKAGE_BASE";
/// The package.
const PACKAGE: &str = "SOFTNET_PACKAGE";
/// The archive of the same architecture.
const ARCHIVE: &str = "SOFTNET_ARCHIVE";

/// A login's, on Debian.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const MAC: Mac = Mac::guest(1);

fn named(variable: &str) -> PathBuf {
    std::env::var_os(variable)
        .unwrap_or_else(|| panic!("{variable} is not set: scripts/test-package.sh sets it"))
        .into()
}

/// A machine that never saw softnet, as far as its files go: what is changed in it is gone with the test.
struct Machine {
    root: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let at = |name: &str| format!("{SCRATCH}/{name}");
        for folder in ["changes", "work", "root"] {
            fs::create_dir(at(folder)).expect("a folder is made");
        }
        let base = named(BASE);
        let options = format!("lowerdir={},upperdir={},workdir={}", base.display(), at("changes"), at("work"));
        tools::run(&format!("mount -t overlay overlay -o {options} {}", at("root")));
        tools::run(&format!("mount -t proc proc {}/proc", at("root")));
        tools::run(&format!("mount -t tmpfs -o mode=755 none {}/run", at("root")));
        tools::run(&format!("mount --rbind /dev {}/dev", at("root")));
        Machine { root: at("root").into() }
    }

    /// A file of the release's, brought along.
    fn bring(&self, file: &str, to: &str) {
        fs::copy(named(file), self.path(to)).expect("a file is copied");
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.join(inside.trim_start_matches('/'))
    }

    fn command(&self, line: &str) -> Command {
        let mut command = tools::command(&format!("chroot {} {line}", self.root.display()));
        command.env_clear().env("PATH", PATH).env("DEBIAN_FRONTEND", "noninteractive");
        command
    }

    fn run(&self, line: &str) -> String {
        tools::finish(&mut self.command(line))
    }

    /// softnet, started by a user of the machine, as a login gives it: with its groups.
    fn softnet_of(&self, user: &str) -> Command {
        let mut command = self.command(&format!("setpriv --reuid {user} --regid {user} --init-groups"));
        // setpriv keeps root's capabilities until it has started something: that is to be the shell, not softnet.
        command.args(["sh", "-c", r#"exec "$0" "$@""#, "softnet"]);
        command.env("RUST_LOG", "softnet=info");
        command
    }

    fn say(&self, user: &str, options: &str) -> Output {
        tools::output(self.softnet_of(user).args(options.split_ascii_whitespace()))
    }

    /// Owner, group and permissions of the installed program.
    fn rights(&self) -> (u32, u32, u32) {
        let program = fs::metadata(self.path("/usr/bin/softnet")).expect("the program is installed");
        (program.uid(), program.gid(), program.mode() & 0o7777)
    }

    /// The number of the group that the package makes.
    fn group(&self) -> u32 {
        let groups = fs::read_to_string(self.path("/etc/group")).expect("groups");
        let line =
            groups.lines().find(|line| line.starts_with("softnet:")).expect("the package makes the group softnet");
        line.split(':').nth(2).and_then(|gid| gid.parse().ok()).expect("a number")
    }
}

/// A guest of `user`'s gets its lease and reaches its gateway.
fn a_guest_has_a_network(machine: &Machine, user: &str) {
    let (guest, other) = sys::frame_sockets();
    let mut command = machine.softnet_of(user);
    command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string()]).stdin(OwnedFd::from(other));
    let mut softnet = Softnet::spawn(&mut command);
    softnet.wait_ready();
    let mut guest = PortableGuest::new(guest, MAC);
    guest.dhcp(PATIENCE).expect("a lease");
    guest.ping(guest.gateway(), PATIENCE).expect("an answer of the gateway's");
    softnet.stop();
}

/// `softnet doctor` finds this installation as it should be.
fn nothing_is_wrong(machine: &Machine, user: &str) {
    let doctor = tools::text(&machine.say(user, "doctor"));
    let installation: Vec<&str> = doctor.lines().filter(|line| line.contains(" install.")).collect();
    assert!(installation.len() >= 3 && installation.iter().all(|line| line.starts_with("ok ")), "{doctor}");
    assert!(!doctor.contains("FAIL"), "{doctor}");
}

#[test]
#[ignore = "scripts/test-package.sh runs it: it needs a package and a file system to install it in"]
fn the_package_gives_a_network_to_the_members_of_a_group_and_leaves_nothing_behind() {
    in_own_network_within(Duration::from_secs(120), || {
        let machine = Machine::new();
        machine.bring(PACKAGE, "/softnet.deb");
        machine.run("dpkg --install /softnet.deb");
        assert_eq!(machine.run("dpkg --verify softnet"), "", "what is installed is what the package has");

        // Nothing is given to anyone by installing it.
        assert_eq!(machine.rights(), (0, 0, 0o755), "root's, without the setuid bit");
        let group = machine.group();
        for user in ["alice", "bob"] {
            machine.run(&format!("useradd --create-home {user}"));
        }
        let version = machine.say("bob", "--version");
        assert!(tools::text(&version).starts_with("softnet "), "{}", tools::text(&version));
        let refused = machine.say("alice", "--vm-fd 0 --vm-mac-address 5a:94:ef:e4:0c:ee");
        assert_eq!(refused.status.code(), Some(1), "{}", tools::text(&refused));

        // What a user looks for after the installation.
        let files = machine.run("dpkg --listfiles softnet");
        for file in [
            "/usr/lib/systemd/system/softnet@.service", // tests/e2e_systemd.rs starts it
            "/usr/share/man/man1/softnet.1.gz",
            "/usr/share/bash-completion/completions/softnet",
            "/usr/share/zsh/vendor-completions/_softnet",
            "/usr/share/fish/vendor_completions.d/softnet.fish",
            "/usr/share/doc/softnet/copyright",
            "/usr/share/doc/softnet/changelog.gz",
        ] {
            assert!(files.lines().any(|line| line == file), "{file} in\n{files}");
        }
        let manual = tools::finish(&mut machine.command("zcat /usr/share/man/man1/softnet.1.gz"));
        let remedy = "dpkg\\-statoverride \\-\\-update \\-\\-add root softnet 4750 /usr/bin/softnet";
        assert!(manual.contains(remedy), "the manual says how to give it to the group");

        // As the manual says.
        machine.run(&remedy.replace('\\', ""));
        assert_eq!(machine.rights(), (0, group, 0o4750));
        machine.run("usermod --append --groups softnet alice");
        a_guest_has_a_network(&machine, "alice");
        nothing_is_wrong(&machine, "alice");
        let outsider = machine.say("bob", "--version");
        assert!(!outsider.status.success(), "{}", tools::text(&outsider));

        // A new version keeps the administrator's word; and what is removed for good takes it along.
        machine.run("dpkg --install /softnet.deb");
        assert_eq!(machine.rights(), (0, group, 0o4750));
        assert!(machine.path("/run/softnet").exists(), "the network is still there");
        machine.run("dpkg --purge softnet");
        let overrides = tools::output(&mut machine.command("dpkg-statoverride --list /usr/bin/softnet"));
        assert!(!overrides.status.success(), "{}", tools::text(&overrides));
        let left: Vec<&str> = files.lines().filter(|file| file.contains("softnet")).collect();
        assert!(left.len() > 8, "{files}");
        for file in left {
            assert!(!machine.path(file).exists(), "{file} is left");
        }
        assert!(fs::metadata(machine.path("/run/softnet")).is_err(), "the network is taken down with it");
        let links = tools::run("ip -brief link");
        assert!(!links.contains("softnet"), "{links}");
    });
}

#[test]
#[ignore = "scripts/test-package.sh runs it: it needs an archive and a file system to install it in"]
fn the_archive_gives_a_network_to_everyone_and_leaves_nothing_behind() {
    in_own_network_within(Duration::from_secs(120), || {
        let machine = Machine::new();
        machine.bring(ARCHIVE, "/softnet.tar.gz");
        machine.run("useradd --create-home alice");
        machine.run("mkdir /release");
        machine.run("tar -xf /softnet.tar.gz -C /release --strip-components=1");
        let before = tools::run(&format!("find {} -mindepth 1", machine.path("/usr/local").display()));

        machine.run("env SETUID=1 /release/install.sh");
        a_guest_has_a_network(&machine, "alice");
        nothing_is_wrong(&machine, "alice");
        for file in ["man/man1/softnet.1", "man/man1/softnet-run.1", "bash-completion/completions/softnet"] {
            let size = fs::metadata(machine.path(&format!("/usr/local/share/{file}"))).map(|metadata| metadata.len());
            assert!(size.is_ok_and(|size| size > 200), "{file}");
        }

        let early = tools::output(&mut machine.command("/release/install.sh --remove"));
        assert!(tools::text(&early).contains("/usr/local/bin/softnet network down"), "{}", tools::text(&early));
        machine.run("softnet network down");
        machine.run("/release/install.sh --remove");
        let after = tools::run(&format!("find {} -mindepth 1", machine.path("/usr/local").display()));
        assert_eq!(after, before, "nothing is left");
    });
}

/// The bases of what the tests say: on this file system the program would be found, and it is not there before.
#[test]
#[ignore = "scripts/test-package.sh runs it: it needs a file system"]
fn the_machine_of_the_test_never_saw_softnet() {
    in_own_network_within(Duration::from_secs(60), || {
        let machine = Machine::new();
        assert!(!machine.path("/usr/bin/softnet").exists() && !machine.path("/run/softnet").exists());
        let groups = fs::read_to_string(machine.path("/etc/group")).expect("groups");
        assert!(!groups.contains("softnet"), "{groups}");
        assert!(Path::new("/dev/net/tun").exists() && machine.path("/dev/net/tun").exists());
        let mode = fs::metadata(machine.path("/usr/bin")).expect("a folder").permissions().mode() & 0o7777;
        assert_eq!(mode, 0o755, "only root may write where it is installed");
    });
}
