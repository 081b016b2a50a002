//! libvirt's domain of the documentation: its guest, behind softnet, as a plain user's libvirt runs it.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use softnet_testbed::binary::CALLER;
use softnet_testbed::guest::vm::{self, Console};
use softnet_testbed::isolate::{SCRATCH, in_own_network_within, is_inside, own_etc};
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The domain in docs/linux.md.
fn documented_domain() -> String {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/linux.md")).expect("the document");
    let domain = text.split("```xml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("the domain is there");
    domain.to_owned()
}

/// The same with what a machine without KVM and without a disk needs in the places of those.
fn domain(image: &Path, kernel_line: &str, console: &Path) -> String {
    let image = image.display();
    let kernel = format!(
        "</type>\n<kernel>{image}/vmlinuz</kernel><initrd>{image}/initramfs.gz</initrd><cmdline>{kernel_line}</cmdline>"
    );
    let serial = format!("<serial type='file'><source path='{}'/></serial>", console.display());
    let mut domain = documented_domain();
    let disk = domain.lines().find(|line| line.trim_start().starts_with("<disk ")).expect("a disk").to_owned();
    for (place, own) in [
        ("<domain type='kvm'", "<domain type='qemu'"),
        ("</type>", &kernel),
        ("<serial type='pty'/>", &serial),
        (&disk, ""),
    ] {
        assert_eq!(domain.matches(place).count(), 1, "{place} in {domain}");
        domain = domain.replace(place, own);
    }
    domain
}

/// A directory of the user's own.
fn folder(path: &str) -> PathBuf {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path).expect("a folder is made");
    chown(path, Some(CALLER), Some(CALLER)).expect("it is the user's");
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("the user's alone");
    path.into()
}

/// virsh, by the user with libvirt's own daemons: they are started when they are needed.
fn virsh(words: &str) -> Command {
    let mut command = tools::command("setpriv");
    command.args(["--reuid", &CALLER.to_string(), "--regid", &CALLER.to_string(), "--clear-groups"]);
    command.args("virsh --connect qemu:///session".split(' ')).args(words.split(' '));
    command.env_clear().env("PATH", "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    command.env("HOME", format!("{SCRATCH}/home")).env("XDG_RUNTIME_DIR", format!("/run/user/{CALLER}"));
    command
}

#[test]
fn the_documented_domain_has_a_filtered_network() {
    let image = if is_inside() { Path::new(ROOT).join("target/vm") } else { vm::image(Path::new(ROOT)) };
    in_own_network_within(vm::LIMIT + Duration::from_secs(30), || {
        tools::require(&["libvirtd", "virsh", "qemu-system-x86_64"]);
        let bed = LinuxTestbed::new(SOFTNET);
        own_etc();
        tools::sh(&format!("echo 'alice:x:{CALLER}:{CALLER}::{SCRATCH}/home:/bin/sh' >>/etc/passwd"));
        tools::sh(&format!("echo 'alice:x:{CALLER}:' >>/etc/group"));
        let home = folder(&format!("{SCRATCH}/home"));
        folder(&format!("/run/user/{CALLER}"));

        // As the unit starts it, which the documentation says to do first.
        folder("/run/softnet-guests/web");
        let socket = Path::new("/run/softnet-guests/web/net.sock");
        let mut command = Command::new(SOFTNET);
        command.arg("--socket").arg(socket).args(["--vm-mac-address", "02:97:d4:80:60:e1"]);
        command.args(["--user", "alice", "--group", &CALLER.to_string()]).args(vm::policy(bed.facts()).split(' '));
        let mut softnet = Softnet::spawn(command.env("RUST_LOG", "softnet=info"));
        softnet.wait_said("waiting").unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));

        let (file, console) = (home.join("web.xml"), home.join("console"));
        fs::write(&file, domain(&image, &vm::kernel_line(bed.facts()), &console)).expect("written");
        tools::finish(&mut virsh(&format!("define --validate {}", file.display())));
        tools::finish(&mut virsh("start web"));
        let console = Console(console);
        console.wait_for("done");
        let results = console.results();
        let page = format!("server {}", bed.facts().web);
        for (what, outcome) in [
            ("lease", "600"),
            ("gateway", "answered"),
            ("page", &page),
            ("blocked", "unreachable"),
            ("other-address", "silent"),
            ("other-mac", "silent"),
            ("own-mac-again", "answered"),
        ] {
            assert_eq!(results.get(what).map(String::as_str), Some(outcome), "{what}, among {results:#?}");
        }
        // It powers off: libvirt sees it, and softnet.
        wait::until("the end of the domain", PATIENCE, || {
            tools::finish(&mut virsh("domstate web")).contains("shut off").then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}; its console:\n{}", console.text()));
        let ended = softnet.wait_end(PATIENCE);
        assert!(ended.status.success() && !socket.exists(), "{}", ended.said);
    });
}
