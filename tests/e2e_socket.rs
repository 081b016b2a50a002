//! `--socket PATH`: the guest's socket made by softnet, by its caller's rights, for one peer.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use softnet_testbed::binary::{CALLER, callers_directory};
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::softnet::{Caller, Ended, Softnet, command};
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// The setuid copy with `--socket PATH`, started by the caller.
fn start(bed: &LinuxTestbed, path: &Path) -> Softnet {
    let mut command = command(&bed.setuid, Caller::User);
    Softnet::spawn(command.arg("--socket").arg(path).args(["--vm-mac-address", &MAC.to_string()]))
}

/// The same, once it waits.
fn wait_for_vm(bed: &LinuxTestbed, path: &Path) -> Softnet {
    let mut softnet = start(bed, path);
    softnet.wait_said("waiting").unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
    softnet
}

/// A VM's socket, bound to a path of its own as vfkit, libkrun and QEMU have it. The caller may write to it.
fn vm(folder: &Path, name: &str) -> UnixDatagram {
    let path = folder.join(name);
    let socket = UnixDatagram::bind(&path).expect("bound");
    chown(&path, Some(CALLER), Some(CALLER)).expect("the caller's VM");
    socket
}

fn assert_refused(ended: &Ended, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{}: {}", ended.status, ended.said);
    ended.assert_told(words);
}

#[test]
fn who_greets_first_is_the_guest_and_the_greeting_no_frame() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        let path = folder.join("vm.sock");
        let mut softnet = wait_for_vm(&bed, &path);
        let found = fs::metadata(&path).expect("the socket is there");
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o7777, 0o600);
        assert!(fs::read_dir("/run/softnet").is_err(), "nothing of the host's is touched before the VM is there");
        let socket = vm(&folder, "vm");
        socket.connect(&path).expect("connected, as vfkit does");
        socket.send(b"VFKT").expect("greeted");
        softnet.wait_ready();
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        guest.ping(guest.gateway(), PATIENCE).expect("an answer");
        // Nobody else is heard, by the path or otherwise.
        let other = vm(&folder, "other");
        assert_eq!(other.send_to(&[0; 60], &path).unwrap_err().raw_os_error(), Some(Errno::EPERM as i32));
        assert!(other.connect(&path).is_err());
        for field in ["Uid", "Gid"] {
            assert_eq!(softnet.status(field), [CALLER; 4].map(|id| id.to_string()).join(" "), "{field}");
        }
        drop(guest);
        let ended = softnet.wait_end(Duration::from_secs(3));
        assert!(ended.status.success(), "{}", ended.said);
        assert_eq!(ended.drops().count(), 0, "the greeting is no bad frame: {}", ended.said);
        assert!(!path.exists(), "removed at the end");
    });
}

#[test]
fn the_name_goes_with_a_signal_too_while_it_waits_and_while_it_serves() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        let path = folder.join("vm.sock");
        let softnet = wait_for_vm(&bed, &path);
        softnet.stop();
        assert!(!path.exists(), "while it waits");
        let mut softnet = wait_for_vm(&bed, &path);
        let socket = vm(&folder, "vm");
        socket.send_to(&[0; 60], &path).expect("sent");
        softnet.wait_ready();
        softnet.stop();
        assert!(!path.exists(), "while it serves");
    });
}

#[test]
fn the_end_of_who_is_to_remove_the_name_is_told_once_and_the_guest_goes_on() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        let path = folder.join("vm.sock");
        let mut softnet = wait_for_vm(&bed, &path);
        let socket = vm(&folder, "vm");
        socket.connect(&path).expect("connected");
        socket.send(b"VFKT").expect("greeted");
        softnet.wait_ready();
        let pid = softnet.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("read");
        let remover = children.trim().parse().expect("one companion");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(remover), Signal::SIGKILL).expect("killed");
        wait::until("the word of it", PATIENCE, || {
            softnet.said().contains("the companion for --socket has ended").then_some(())
        })
        .expect("told");
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        guest.ping(guest.gateway(), PATIENCE).expect("an answer");
        drop(guest);
        let ended = softnet.wait_end(Duration::from_secs(3));
        assert!(ended.status.success(), "{}", ended.said);
        assert_eq!(ended.said.matches("has ended before").count(), 1, "{}", ended.said);
        assert!(path.exists(), "nobody is left to remove it: the next start does");
    });
}

#[test]
fn what_a_killed_softnet_left_is_replaced_and_what_is_in_use_is_not() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        let path = folder.join("vm.sock");
        let softnet = wait_for_vm(&bed, &path);
        softnet.signal(Signal::SIGKILL);
        drop(softnet);
        assert!(path.exists());
        let mut softnet = wait_for_vm(&bed, &path);
        assert_refused(&start(&bed, &path).wait_end(PATIENCE), &["--socket", "another program listens"]);
        // It looks when the sender is gone, and not before.
        softnet.signal(Signal::SIGSTOP);
        vm(&folder, "vm").send_to(&[0; 60], &path).expect("sent");
        softnet.signal(Signal::SIGCONT);
        softnet.wait_said("answered").expect("whoever is gone already is not the guest");
        drop(softnet);
    });
}

#[test]
fn what_the_caller_may_not_do_softnet_does_not_do_for_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let roots = Path::new(SCRATCH).join("roots");
        fs::create_dir(&roots).expect("made");
        for mode in [0o755, 0o700] {
            fs::set_permissions(&roots, Permissions::from_mode(mode)).expect("root's alone");
            assert_refused(&start(&bed, &roots.join("vm.sock")).wait_end(PATIENCE), &["--socket", "Permission denied"]);
        }
        assert_eq!(fs::read_dir(&roots).expect("listed").count(), 0);
        // Another's socket that nobody listens to, and what is no socket, in a folder where the caller may remove all of it.
        let folder = callers_directory();
        drop(UnixDatagram::bind(folder.join("roots")).expect("bound"));
        fs::write(folder.join("file"), "kept").expect("written");
        symlink(roots.join("target"), folder.join("link")).expect("linked");
        for (name, word) in [("roots", "uid 0"), ("file", "something else"), ("link", "something else")] {
            assert_refused(&start(&bed, &folder.join(name)).wait_end(PATIENCE), &["--socket", word]);
            assert!(fs::symlink_metadata(folder.join(name)).is_ok(), "{name} is still there");
        }
        assert!(!roots.join("target").exists(), "no link is followed");
        assert_eq!(tools::run("ip -o link show type bridge"), "", "nothing else was done");
    });
}

#[test]
fn a_sender_that_cannot_be_answered_is_not_the_guest() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        let path = folder.join("vm.sock");
        let mut softnet = wait_for_vm(&bed, &path);
        UnixDatagram::unbound().expect("a socket").send_to(&[0; 60], &path).expect("sent");
        softnet.wait_said("address").expect("it is told");
        // Of root's, whose socket the caller may not write to: acting for the caller, softnet may not either.
        let roots = UnixDatagram::bind(folder.join("roots")).expect("bound");
        roots.send_to(&[0; 60], &path).expect("sent");
        softnet.wait_said("answered").expect("it is told");
        let socket = vm(&folder, "vm");
        let mut guest = {
            socket.connect(&path).expect("connected");
            socket.send(b"VFKT").expect("greeted");
            softnet.wait_ready();
            PortableGuest::new(socket, MAC)
        };
        guest.dhcp(PATIENCE).expect("a lease");
        roots.set_read_timeout(Some(SILENCE)).expect("set");
        assert!(roots.recv(&mut [0; 2000]).is_err(), "nothing comes to another");
        drop(guest);
        assert!(softnet.wait_end(PATIENCE).status.success());
    });
}

#[test]
fn qemu_connects_by_path() {
    in_own_network(|| {
        tools::require(&["qemu-system-x86_64"]);
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = callers_directory();
        let (path, own) = (folder.join("vm.sock"), folder.join("qemu.sock"));
        let softnet = wait_for_vm(&bed, &path);
        // Without a disk, the card's own firmware asks for an address: the first frame.
        let netdev = format!(
            "dgram,id=n0,local.type=unix,local.path={},remote.type=unix,remote.path={}",
            own.display(),
            path.display()
        );
        let mut qemu = tools::command("setpriv");
        qemu.args(["--reuid", &CALLER.to_string(), "--regid", &CALLER.to_string(), "--clear-groups"]);
        qemu.args(
            "qemu-system-x86_64 -accel tcg -machine pc -m 64 -nodefaults -no-user-config -display none -boot n"
                .split(' '),
        );
        qemu.args(["-netdev", &netdev, "-device", &format!("virtio-net-pci,netdev=n0,mac={MAC}")]);
        let mut qemu = qemu.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("QEMU starts");
        let leased = wait::until("a lease of QEMU's", Duration::from_secs(40), || {
            softnet.said().contains("the guest has 192.168.").then_some(())
        });
        let alive = qemu.try_wait().expect("asked");
        qemu.kill().expect("killed");
        qemu.wait().expect("waited for");
        leased.unwrap_or_else(|error| panic!("{error}: QEMU ended: {alive:?}: {}", softnet.said()));
        let ended = softnet.wait_end(Duration::from_secs(3));
        assert!(ended.status.success() && !path.exists(), "{}", ended.said);
    });
}
