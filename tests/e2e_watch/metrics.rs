//! The counters in a file.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use softnet_testbed::softnet::{self, Caller};
use softnet_testbed::{binary, sys};

use super::*;

/// A directory that the plain caller may write.
fn directory(mode: u32, owner: Option<(u32, u32)>) -> PathBuf {
    let path = PathBuf::from(format!("/run/metrics-{mode:o}"));
    fs::create_dir(&path).unwrap();
    if let Some((uid, gid)) = owner {
        nix::unistd::chown(&path, Some(uid.into()), Some(gid.into())).unwrap();
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

/// The value of a sample, of a text that is whole: it begins and ends as one does.
fn sample(text: &str, name: &str) -> f64 {
    assert!(text.starts_with("# HELP softnet_info") && text.ends_with('\n'), "a part of a file: {text}");
    assert!(text.contains("softnet_forward_connections"), "a part of a file: {text}");
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn the_metrics_file_is_whole_at_any_moment_and_for_others_to_read() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let place = directory(0o750, Some(binary::caller()));
        let file = place.join("guest.prom");
        // A link that leads to what the caller could not write.
        fs::write("/run/precious", "precious").unwrap();
        symlink("/run/precious", &file).unwrap();
        let (softnet, mut guest) = bed.guest(MAC, &format!("--metrics-file {} --stats-interval 1", file.display()));
        let is_kept = || fs::symlink_metadata(&file).is_ok_and(|status| status.is_file()).then_some(());
        wait::until("the first version", PATIENCE, is_kept).unwrap();
        let status = fs::metadata(&file).unwrap();
        assert_eq!(
            (status.mode() & 0o777, status.uid(), status.gid()),
            (0o644, binary::caller().0, binary::caller().1)
        );
        let first = fs::metadata(&file).unwrap().ino();
        let me = guest.address();
        let start = Instant::now();
        let (mut versions, mut last) = (0, first);
        while versions < 3 && start.elapsed() < PATIENCE {
            guest.send_raw_when_there_is_room(&frame_to(&guest, Ipv4Addr::new(10, 9, 9, 9), (guest.gateway(), 9)));
            let text = fs::read_to_string(&file).unwrap();
            assert_eq!(sample(&text, "softnet_up"), 1.0);
            let now = fs::metadata(&file).unwrap().ino();
            versions += i32::from(now != last);
            last = now;
        }
        assert!(versions >= 3, "{versions} versions");
        let _ = me;
        softnet.stop();
        let text = fs::read_to_string(&file).unwrap();
        assert_eq!(sample(&text, "softnet_up"), 0.0);
        assert!(sample(&text, "softnet_forwarded_frames_total") >= 2.0);
        if let Some(promtool) = tools::find("promtool") {
            let checked =
                Command::new(promtool).args(["check", "metrics"]).stdin(fs::File::open(&file).unwrap()).output();
            assert!(checked.as_ref().unwrap().status.success(), "{checked:?}");
        }
        let names: Vec<_> = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["guest.prom"], "nothing else is left");
        assert_eq!(fs::read_to_string("/run/precious").unwrap(), "precious");
    });
}

#[test]
fn a_metrics_file_that_the_caller_may_not_write_is_refused_before_anything_is_set_up() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let roots = directory(0o755, None);
        let hidden = directory(0o700, None);
        fs::create_dir(hidden.join("in")).unwrap();
        let missing = PathBuf::from("/run/nothing-there");
        let link = PathBuf::from("/run/link");
        symlink(&roots, &link).unwrap();
        for place in [&roots, &hidden.join("in"), &missing, &link] {
            let file = place.join("guest.prom");
            let launch = bed.launch(MAC).with(&format!("--metrics-file {}", file.display()));
            let (softnet, _guest) = launch.spawn();
            let ended = softnet.wait_end(PATIENCE);
            assert_eq!(ended.status.code(), Some(1), "{place:?}: {}", ended.said);
            assert!(ended.said.contains("--metrics-file") && ended.said.contains("guest.prom"), "{}", ended.said);
            assert!(!file.exists());
        }
        assert!(
            !Path::new("/sys/class/net/softnet0").exists() && tools::run("ip -o link").matches("softnet0").count() == 0
        );
        // Root itself becomes nobody, and so it is for root too.
        let launch = bed.as_root().launch(MAC).with(&format!("--metrics-file {}/guest.prom", roots.display()));
        let (softnet, _guest) = launch.spawn();
        assert_eq!(softnet.wait_end(PATIENCE).status.code(), Some(1));
    });
}

#[test]
fn a_relative_metrics_file_is_where_the_caller_is_and_by_the_callers_rights() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (uid, gid) = binary::caller();
        let (own, roots) = (directory(0o700, Some((uid, gid))), directory(0o755, None));
        fs::create_dir(own.join("in")).unwrap();
        chown(own.join("in"), Some(uid), None).unwrap();
        let start = |working: &Path, file: &str| {
            let (guest, other) = sys::frame_sockets();
            let mut command = softnet::command(&bed.setuid, Caller::User);
            command.args(["--vm-fd", "0", "--vm-mac-address", &MAC.to_string(), "--metrics-file", file]);
            (Softnet::spawn(command.current_dir(working).stdin(OwnedFd::from(other))), guest)
        };
        for (working, file, expected) in [
            (&own, "guest.prom", "guest.prom"),
            (&own, "./in/a.prom", "in/a.prom"),
            (&own.join("in"), "../b.prom", "b.prom"),
        ] {
            let (mut softnet, _guest) = start(working, file);
            softnet.wait_ready();
            let ended = softnet.stop();
            let file = own.join(expected);
            assert_eq!(
                fs::metadata(&file).unwrap_or_else(|error| panic!("{file:?}: {error}: {}", ended.said)).uid(),
                uid
            );
        }
        // Nothing is left of a try, and nothing is where softnet itself works.
        assert_eq!(fs::read_dir(&own).unwrap().count(), 3);
        assert!(!Path::new("/guest.prom").exists());
        tools::run("rm -r /run/softnet");
        for (working, file) in
            [(&roots, "guest.prom"), (&roots, "../softnet.prom"), (&own, "../guest.prom"), (&own, "no/a")]
        {
            let (softnet, _guest) = start(working, file);
            let ended = softnet.wait_end(PATIENCE);
            assert_eq!(ended.status.code(), Some(1), "{working:?} {file}: {}", ended.said);
            assert!(ended.said.contains(&format!("--metrics-file {file}: ")), "{}", ended.said);
        }
        assert!(!Path::new("/run/softnet").exists(), "nothing was set up");
    });
}

#[test]
fn a_disk_that_is_full_or_a_companion_that_is_killed_is_told_once_and_frames_go_on() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (uid, gid) = binary::caller();
        fs::create_dir("/run/small").unwrap();
        tools::run(&format!("mount -t tmpfs -o size=4k,uid={uid},gid={gid},mode=755 none /run/small"));
        let (softnet, mut guest) = bed.guest(MAC, "--metrics-file /run/small/guest.prom --stats-interval 1");
        wait::until("two tries", PATIENCE, || (with_message(&objects(&softnet), "counters").len() > 2).then_some(()))
            .unwrap();
        let said = softnet.said();
        assert_eq!(said.matches("it cannot be written").count(), 1, "{said}");
        assert_eq!(fs::read_dir("/run/small").unwrap().count(), 0, "no part of a file is left");
        guest.ping(guest.gateway(), PATIENCE).unwrap();
        // The companion is the child of softnet.
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", softnet.pid())).unwrap();
        tools::run(&format!("kill -9 {}", children.trim()));
        wait::until("word of it", PATIENCE, || softnet.said().contains("has ended before its time").then_some(()))
            .unwrap();
        guest.ping(guest.gateway(), PATIENCE).unwrap();
        let ended = softnet.stop();
        assert_eq!(ended.said.matches("has ended before its time").count(), 1, "{}", ended.said);
        tools::run("umount /run/small");
    });
}
