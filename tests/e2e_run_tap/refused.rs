//! A start without what it takes.

use std::path::Path;
use std::process::Command;

use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::{Caller, Softnet, command};
use softnet_testbed::tools;
use softnet_testbed::wait::PATIENCE;

use super::harness::{DEVICE, bed, code, run};

#[test]
fn what_cannot_be_had_is_told_with_its_mend_before_anything_is_started() {
    in_own_network(|| {
        let bed = bed();
        let fails = |command: &mut Command, expected: i32, words: &[&str]| {
            let ended = Softnet::spawn(command).wait_end(PATIENCE);
            assert_eq!((code(&ended), &ended.printed[..]), (expected, &b""[..]), "{}", ended.said);
            for word in words {
                assert!(ended.said.contains(word), "{word}: {}", ended.said);
            }
            assert!(!Path::new("/run/softnet").exists(), "nothing of the host's is touched");
        };
        for name in ["", "sixteen-letters-", "a/b", "a b", "a:b", "..", "-x", "lo", "all", "tap%d"] {
            let mut command = command(&bed.setuid, Caller::User);
            fails(
                command.args(["run", &format!("--tap={name}"), "--", "echo", "started"]),
                2,
                &["--tap", "TAP device's name"],
            );
        }
        // No user namespace: in one where the limit is the user's own to set.
        let script = format!(
            "echo 0 > /proc/sys/user/max_user_namespaces && exec setpriv --inh-caps=-all --ambient-caps=-all {} run --tap {DEVICE} -- echo started",
            bed.program.display()
        );
        let mut words = command(Path::new("/usr/bin/unshare"), Caller::User);
        words.args(["--user", "--map-current-user", "--keep-caps", "sh", "-c", &script]);
        fails(&mut words, 1, &["run: --tap vm0: no network namespace", "max_user_namespaces"]);
        // No access to the device, and then no device.
        tools::run("chmod 600 /run/testbed/tun");
        fails(
            &mut run(&bed.setuid, Caller::User, "", "echo started"),
            1,
            &["run: --tap vm0: /dev/net/tun", "chmod 666"],
        );
        softnet_testbed::isolate::replace_directory("/dev/net");
        fails(
            &mut run(&bed.setuid, Caller::User, "", "echo started"),
            1,
            &["run: --tap vm0: /dev/net/tun", "modprobe tun"],
        );
    });
}
