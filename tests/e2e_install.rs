//! `make install`: where only root may write, or with no setuid bit; and `make uninstall`, which leaves nothing.
#![cfg(target_os = "linux")]

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Output;

use softnet_testbed::isolate::in_own_network;
use softnet_testbed::{binary, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");

/// A checkout that is built, and places to install into, on a file system of the test's own.
struct Checkout {
    root: PathBuf,
}

impl Checkout {
    fn new() -> Self {
        tools::run("mount -t tmpfs -o mode=755 none /mnt");
        let root = PathBuf::from("/mnt/checkout");
        for folder in ["scripts", "target/release"] {
            fs::create_dir_all(root.join(folder)).expect("a folder is made");
        }
        for script in ["install.sh", "as-root.sh"] {
            fs::copy(Path::new(SCRIPTS).join(script), root.join("scripts").join(script)).expect("a script is copied");
        }
        fs::copy(SOFTNET, root.join("target/release/softnet")).expect("the program is copied");
        Checkout { root }
    }

    fn install(&self, prefix: &Path, setuid: &str) -> Output {
        self.script("", prefix, setuid)
    }

    /// `install.sh ARGUMENTS`, by somebody who keeps new files to himself.
    fn script(&self, arguments: &str, prefix: &Path, setuid: &str) -> Output {
        let mut command = tools::command("sh -c");
        command.arg(format!("umask 077 && bash scripts/install.sh {arguments}"));
        command.current_dir(&self.root).env("PREFIX", prefix).env("SETUID", setuid).env_remove("DESTDIR");
        tools::output(&mut command)
    }
}

/// A folder with this owner and these permissions.
fn folder(path: &str, owner: u32, mode: u32) -> PathBuf {
    fs::create_dir_all(path).expect("a folder is made");
    chown(path, Some(owner), None).expect("its owner is set");
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("its permissions are set");
    path.into()
}

#[test]
fn a_setuid_program_is_installed_where_only_root_may_replace_it() {
    in_own_network(|| {
        let checkout = Checkout::new();
        let (caller, _) = binary::caller();
        let refused = |prefix: &Path, culprit: &str| {
            let output = checkout.install(prefix, "1");
            let said = tools::text(&output);
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains(culprit), "it names {culprit}: {said}");
            assert!(!prefix.join("bin/softnet").exists(), "nothing is installed");
        };
        refused(&folder("/mnt/anyones", 0, 0o777), "/mnt/anyones");
        refused(&folder("/mnt/anyones/below", 0, 0o755), "/mnt/anyones");
        refused(&folder("/mnt/callers", caller, 0o755), "/mnt/callers");
        // A link does not hide where it leads.
        std::os::unix::fs::symlink("/mnt/callers", "/mnt/link").expect("a link is made");
        refused(Path::new("/mnt/link"), "/mnt/callers");

        // Without the bit it is a program like any other; and where only root may write, it gets the bit.
        for (prefix, setuid, mode) in [("/mnt/callers", "0", 0o755), ("/mnt/roots", "1", 0o4755)] {
            if setuid == "1" {
                folder(prefix, 0, 0o755);
            }
            let output = checkout.install(Path::new(prefix), setuid);
            assert!(output.status.success(), "{}", tools::text(&output));
            let installed = fs::metadata(format!("{prefix}/bin/softnet")).expect("it is there");
            assert_eq!((installed.uid(), installed.gid(), installed.mode() & 0o7777), (0, 0, mode), "{prefix}");
        }
        // One who forgets it the next time is told.
        let output = checkout.install(Path::new("/mnt/roots"), "0");
        assert!(output.status.success() && tools::text(&output).contains("SETUID=1"), "{}", tools::text(&output));
        assert_eq!(fs::metadata("/mnt/roots/bin/softnet").expect("it is there").mode() & 0o7777, 0o755);
    });
}

#[test]
fn a_releases_archive_is_installed_if_it_is_what_the_checksums_say() {
    in_own_network(|| {
        let checkout = Checkout::new();
        tools::sh(
            "mkdir -p /mnt/tree/softnet/man /mnt/tree/softnet/completions /mnt/release && cd /mnt/tree/softnet \
             && cp /mnt/checkout/target/release/softnet . && touch man/softnet.1 completions/_softnet completions/softnet.bash \
             completions/softnet.fish && tar -C .. -czf /mnt/release/softnet.tar.gz softnet",
        );
        let install = || checkout.script("/mnt/release/softnet.tar.gz", Path::new("/mnt/prefix"), "0");
        let refused = |why: &str| {
            let output = install();
            assert_eq!(output.status.code(), Some(1), "{}", tools::text(&output));
            assert!(tools::text(&output).contains(why), "{}", tools::text(&output));
            assert!(!Path::new("/mnt/prefix").exists(), "nothing is installed");
        };
        refused("SHA256SUMS does not have softnet.tar.gz");
        tools::sh(
            "cd /mnt/release && sha256sum softnet.tar.gz >SHA256SUMS && cp softnet.tar.gz whole && printf x >>softnet.tar.gz",
        );
        refused("is not what SHA256SUMS says");
        tools::sh("mv /mnt/release/whole /mnt/release/softnet.tar.gz");
        let output = install();
        assert!(output.status.success(), "{}", tools::text(&output));
        for file in ["bin/softnet", "share/man/man1/softnet.1", "share/bash-completion/completions/softnet"] {
            assert!(Path::new("/mnt/prefix").join(file).is_file(), "{file}");
        }
    });
}

/// Everything below a folder, folders too.
fn below(folder: &Path) -> Vec<PathBuf> {
    let found = tools::run(&format!("find {} -mindepth 1", folder.display()));
    found.lines().map(PathBuf::from).collect()
}

#[test]
fn what_is_installed_is_for_everyone_and_uninstall_leaves_nothing_of_it() {
    in_own_network(|| {
        let checkout = Checkout::new();
        let prefix = folder("/mnt/roots", 0, 0o755);
        tools::sh(
            "mkdir /mnt/checkout/target/manual && cd /mnt/checkout/target/manual \
             && touch softnet.1 softnet-run.1 _softnet softnet.bash softnet.fish",
        );
        // Another's manual page, in a folder that both use.
        fs::create_dir_all(prefix.join("share/man/man1")).expect("a folder is made");
        fs::write(prefix.join("share/man/man1/softnetwork.1"), "").expect("a file is written");
        let before = below(&prefix);

        let output = checkout.install(&prefix, "1");
        assert!(output.status.success(), "{}", tools::text(&output));
        for file in [
            "bin/softnet",
            "share/man/man1/softnet.1",
            "share/man/man1/softnet-run.1",
            "share/zsh/site-functions/_softnet",
            "share/fish/vendor_completions.d/softnet.fish",
            "share/bash-completion/completions/softnet",
        ] {
            let file = prefix.join(file);
            for place in file.ancestors().take_while(|place| *place != prefix) {
                let mode = fs::metadata(place).unwrap_or_else(|error| panic!("{}: {error}", place.display())).mode();
                assert_eq!(mode & 0o004, 0o004, "{} is for everyone", place.display());
            }
        }

        // There is nothing else to take the network down with.
        fs::create_dir("/run/softnet").expect("a folder is made");
        let refused = checkout.script("--remove", &prefix, "0");
        assert_eq!(refused.status.code(), Some(1), "{}", tools::text(&refused));
        assert!(tools::text(&refused).contains("/mnt/roots/bin/softnet network down"), "{}", tools::text(&refused));
        assert!(prefix.join("bin/softnet").exists(), "nothing is removed");

        fs::remove_dir("/run/softnet").expect("the folder is removed");
        let output = checkout.script("--remove", &prefix, "0");
        assert!(output.status.success(), "{}", tools::text(&output));
        let mut left = below(&prefix);
        left.retain(|path| *path != prefix.join("bin"));
        assert_eq!(left, before, "what was there before, and a folder for programs");
    });
}
