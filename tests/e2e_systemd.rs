//! The unit template of the Debian package under a systemd that is process 1: started as its head says, used, stopped.
//!
//! `scripts/test-package.sh` makes the file system and the package, and runs this; where they are not named there is nothing to test.
//!
//! The machine is a container of this test's own, as systemd-nspawn makes them: namespaces of every kind, a control group below which systemd
//! has its own, and of the kernel's settings only the network's to write to. A VM is outside, and shares the directory of the sockets.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network_within};
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;

const MAC: Mac = Mac::guest(1);
/// Where the unit puts the sockets, here as in the machine.
const SOCKETS: &str = "/run/softnet-guests";
/// softnet's.
const NET: &str = "/run/softnet-guests/web/net.sock";

fn named(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set: scripts/test-package.sh sets it"))
}

/// The files of the machine `$1`, from `$2`, with the package `$3`.
const FURNISH: &str = r#"
    set -eu
    root=$1
    mkdir -p "$root" "$root.changes" "$root.work"
    mount -t overlay overlay -o "lowerdir=$2,upperdir=$root.changes,workdir=$root.work" "$root"
    for folder in run dev tmp; do mount -t tmpfs -o mode=755 none "$root/$folder"; done
    mount -t sysfs sysfs "$root/sys"
    mkdir "$root/dev/net" "$root/dev/pts" "$root/run/softnet-guests" "$root/before"
    mount --bind /run/softnet-guests "$root/run/softnet-guests"
    while read -r name major minor; do mknod -m 666 "$root/dev/$name" c "$major" "$minor"; done <<end
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
tty 5 0
net/tun 10 200
end
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    cp "$3" "$root/softnet.deb"
    chroot "$root" dpkg --install /softnet.deb
    chroot "$root" useradd alice
"#;

/// Becomes the first process of the machine `$1`, in the control group `$2`.
const BOOT: &str = r#"
    set -eu
    echo $$ >"$2/cgroup.procs"
    exec unshare --pid --fork --kill-child --cgroup --ipc --uts --mount sh -euc '
        mount -t proc proc "$1/proc"
        for folder in kernel fs vm; do
            mount --bind "$1/proc/sys/$folder" "$1/proc/sys/$folder"
            mount -o remount,bind,ro "$1/proc/sys/$folder"
        done
        mount -t cgroup2 none "$1/sys/fs/cgroup"
        cd "$1"
        pivot_root . before
        umount -l /before
        exec env -i container=softnet-test PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=console
    ' sh "$1"
"#;

/// A booted machine.
struct Machine {
    unshare: Child,
    /// Its first process, as this process sees it.
    init: u32,
    cgroup: PathBuf,
}

impl Machine {
    fn boot() -> Self {
        fs::create_dir(SOCKETS).expect("made");
        let root = Path::new(SCRATCH).join("machine");
        let mut furnish = tools::command("sh -c");
        furnish.arg(FURNISH).arg("sh").arg(&root).args([named("SOFTNET_PACKAGE_BASE"), named("SOFTNET_PACKAGE")]);
        furnish.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("DEBIAN_FRONTEND", "noninteractive");
        tools::finish(&mut furnish);
        let configuration = root.join("etc/softnet");
        fs::create_dir(&configuration).expect("made");
        let settings = format!("MAC={MAC}\nVM_USER=alice\nOPTIONS=--name web\n");
        fs::write(configuration.join("web.env"), settings).expect("written");

        let unique = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("a name that nobody has");
        let groups = Path::new(SCRATCH).join("cgroups");
        fs::create_dir(&groups).expect("made");
        tools::run(&format!("mount -t cgroup2 none {}", groups.display()));
        let cgroup = groups.join(format!("softnet-test-{}", unique.trim()));
        fs::create_dir(&cgroup).expect("a control group is made");
        let log = fs::File::create(Path::new(SCRATCH).join("console")).expect("a console");
        let mut boot = tools::command("sh -c");
        boot.arg(BOOT).arg("sh").arg(&root).arg(&cgroup).stdout(log.try_clone().expect("twice")).stderr(log);
        let unshare = boot.spawn().expect("unshare starts");
        let mut machine = Machine { unshare, init: 0, cgroup };
        let children = format!("/proc/{0}/task/{0}/children", machine.unshare.id());
        machine.init = machine.until("its first process", || fs::read_to_string(&children).ok()?.trim().parse().ok());
        machine.until("its systemd", || {
            let state = tools::output(&mut machine.command("systemctl is-system-running"));
            ["running", "degraded"].contains(&tools::text(&state).trim()).then_some(())
        });
        machine
    }

    fn until<T>(&self, what: &str, is: impl FnMut() -> Option<T>) -> T {
        wait::until(what, PATIENCE, is).unwrap_or_else(|error| {
            let console = fs::read_to_string(Path::new(SCRATCH).join("console")).unwrap_or_default();
            panic!("{error}; the machine's console:\n{console}")
        })
    }

    fn command(&self, line: &str) -> Command {
        let mut command = tools::command("nsenter --mount --pid --ipc --uts --cgroup --target");
        command.arg(self.init.to_string()).args(line.split(' '));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("SYSTEMD_PAGER", "");
        command
    }

    fn run(&self, line: &str) -> String {
        tools::finish(&mut self.command(line))
    }

    fn journal(&self) -> String {
        self.run("journalctl --unit softnet@web --output cat")
    }

    /// A property of the unit's.
    fn unit(&self, property: &str) -> String {
        self.run(&format!("systemctl show --value --property {property} softnet@web")).trim().to_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        // What is in a group is gone when its last process is reaped.
        let mut remove = tools::command("find");
        remove.arg(&self.cgroup).args("-depth -type d -exec rmdir {} ;".split(' '));
        let _ = wait::until("the end of the machine's control groups", PATIENCE, || {
            let _ = tools::output(&mut remove);
            (!self.cgroup.exists()).then_some(())
        });
    }
}

/// A VM of `machine`'s user, which connects by path as QEMU does.
fn vm(machine: &Machine, name: &str) -> PortableGuest {
    let user = fs::metadata(format!("{SOCKETS}/web")).expect("the unit makes the directory").uid();
    let own = format!("{SOCKETS}/web/{name}");
    let socket = UnixDatagram::bind(&own).expect("bound");
    chown(&own, Some(user), None).expect("the VM is the user's");
    socket.connect(NET).expect("the socket is there");
    socket.send(b"VFKT").expect("greeted");
    let mut guest = PortableGuest::new(socket, MAC);
    let leased = guest.dhcp(PATIENCE);
    leased.unwrap_or_else(|error| panic!("{error}\n{}", machine.journal()));
    guest.ping(guest.gateway(), PATIENCE).expect("an answer of the gateway's");
    guest
}

#[test]
#[ignore = "scripts/test-package.sh runs it: it needs a package and a file system with systemd"]
fn systemd_keeps_a_network_ready_for_one_vm_after_another() {
    in_own_network_within(Duration::from_secs(100), || {
        let machine = Machine::boot();
        machine.run("systemctl start softnet@web");
        assert!(Path::new(NET).exists(), "started is what a VM can connect to");
        let guest = vm(&machine, "first.sock");
        let address = guest.address();
        let list = machine.run("softnet list");
        assert!(list.contains("web") && list.contains("alice"), "{list}");
        let status = machine.run("systemctl status --no-pager softnet@web");
        assert!(status.contains("Active: active (running)"), "{status}");

        // The VM ends, and the next one has its network, and its address.
        drop(guest);
        machine.until("another softnet", || {
            (machine.unit("NRestarts") == "1" && machine.unit("ActiveState") == "active").then_some(())
        });
        let guest = vm(&machine, "second.sock");
        assert_eq!(guest.address(), address);

        // It is stopped under its VM: nothing of it is left, but the DHCP server, which others may need.
        machine.run("systemctl stop softnet@web");
        assert_eq!((machine.unit("ActiveState"), machine.unit("Result")), ("inactive".into(), "success".into()));
        assert!(!Path::new(NET).exists());
        let processes = machine.run("softnet network status");
        assert!(processes.contains("DHCP: dnsmasq, process") && processes.contains("guests: none"), "{processes}");
        assert_eq!(machine.run("systemctl --failed --quiet --no-legend"), "");
        let journal = machine.journal();
        for said in ["waiting for the VM", "ready: guest", "the guest has", "asked to end by a signal"] {
            assert!(journal.contains(said), "{said} in:\n{journal}");
        }
        drop(guest);

        // What cannot start says so at once.
        fs::write(Path::new(SCRATCH).join("machine/etc/softnet/bad.env"), "MAC=none\nVM_USER=alice\n")
            .expect("written");
        let start = tools::output(&mut machine.command("systemctl start softnet@bad"));
        let journal = machine.run("journalctl --unit softnet@bad --output cat");
        assert!(!start.status.success() && journal.contains("--vm-mac-address"), "{}{journal}", tools::text(&start));
    });
}
