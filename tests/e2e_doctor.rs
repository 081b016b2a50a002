//! `softnet doctor` on hosts where something is broken on purpose: it names the cause, and changes nothing.
#![cfg(target_os = "linux")]

#[path = "e2e_doctor/surroundings.rs"]
mod surroundings;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::internet::WEB;
use softnet_testbed::isolate::{self, SCRATCH, in_own_network};
use softnet_testbed::pair::Running;
use softnet_testbed::softnet::{self, Caller, Softnet};
use softnet_testbed::state::processes;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;
use softnet_testbed::{binary, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// What the doctor says.
struct Word {
    code: Option<i32>,
    findings: Vec<Value>,
}

/// `softnet doctor` of `program`, run by `caller` with `path` as PATH.
fn command(program: &Path, caller: Caller, path: &str) -> Command {
    let mut command = softnet::command(program, caller);
    command.arg("doctor").env("PATH", path);
    command
}

fn ask(program: &Path, caller: Caller, path: &str) -> Word {
    // What it prints for people stands in the test's output, and so in the documentation.
    println!("{}", tools::text(&tools::output(&mut command(program, caller, path))));
    let output = tools::output(command(program, caller, path).arg("--json"));
    let findings =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", tools::text(&output)));
    Word { code: output.status.code(), findings }
}

/// The setuid softnet, asked by a plain user in whose PATH it is.
fn doctor(bed: &LinuxTestbed) -> Word {
    ask(&bed.setuid, Caller::User, &path_to(&bed.setuid))
}

fn path_to(program: &Path) -> String {
    format!("{}:/usr/bin:/bin", program.parent().expect("it is in a folder").display())
}

impl Word {
    /// Levels and texts of one id.
    fn of(&self, id: &str) -> Vec<(&str, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let named = self.findings.iter().filter(|finding| finding["id"] == id);
        named
            .map(|one| {
                (one["level"].as_str().expect("a level"), format!("{} -> {}", text(&one["what"]), text(&one["mend"])))
            })
            .collect()
    }

    /// The ids that are not as they should be.
    fn bad(&self) -> Vec<&str> {
        let bad = self.findings.iter().filter(|finding| finding["level"] != "ok");
        bad.map(|finding| finding["id"].as_str().expect("an id")).collect()
    }

    /// Asserts that these ids fail, with these words, and nothing else is amiss.
    fn assert_fails(&self, faults: &[(&str, &str)]) {
        assert_eq!(self.bad(), faults.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "{:#?}", self.findings);
        for (id, word) in faults {
            let found = self.of(id);
            assert!(
                found.iter().any(|(level, text)| *level == "fail" && text.contains(word)),
                "{id}, {word:?}: {found:?}"
            );
        }
        assert_eq!(self.code, Some(1));
    }

    fn assert_warns(&self, id: &str, word: &str) {
        assert_eq!(self.bad(), [id], "{:#?}", self.findings);
        let found = self.of(id);
        assert!(found.iter().any(|(level, text)| *level == "warn" && text.contains(word)), "{id}, {word:?}: {found:?}");
        assert_eq!(self.code, Some(0), "a warning is no failure");
    }
}

/// A host with a guest that is served.
fn served() -> (LinuxTestbed, Softnet, PortableGuest) {
    let bed = LinuxTestbed::new(SOFTNET);
    let (softnet, mut guest) = bed.guest(MAC, "");
    guest.http_get(WEB, PATIENCE).expect("nothing is broken yet");
    (bed, softnet, guest)
}

fn kill_dnsmasq() {
    tools::sh("kill -KILL $(cat /run/softnet/softnet0.pid)");
    wait::until("its end", PATIENCE, || processes("dnsmasq").is_empty().then_some(())).expect("gone");
}

/// All that the doctor might change.
fn snapshot() -> String {
    // Without timers, the numbers of locks (which count those of other namespaces), and what the kernel does by itself meanwhile (IPv6 on the uplink).
    tools::sh(
        "ip -d -o link | sed -E 's/[a-z_]+timer +[0-9.]+//g'; ip -4 addr; ip -4 route show table all; ip rule; \
         bridge fdb | grep softnet; nft list ruleset; sed 's/^[0-9]*: //' /proc/locks; cat /proc/sys/net/ipv4/ip_forward; ls /run; \
         find /run/softnet -printf '%p %i %m %u %g %s %T@ %C@\n' 2>&1 || true",
    )
}

/// The same, once nothing of it changes by itself any more: carriers come and go a little after what they come with.
fn settled() -> String {
    let mut last = snapshot();
    wait::until("a host on which nothing changes", PATIENCE, || {
        std::thread::sleep(Duration::from_millis(300)); // as long as it has to be quiet
        let now = snapshot();
        let is_quiet = now == last;
        last = now;
        is_quiet.then_some(())
    })
    .expect("quiet");
    last
}

#[test]
fn a_host_that_is_in_order_has_nothing_to_mend() {
    in_own_network(|| {
        let (bed, softnet, _guest) = served();
        let word = doctor(&bed);
        assert_eq!((word.bad(), word.code), (vec![], Some(0)), "{:#?}", word.findings);
        for id in [
            "version",
            "install.path",
            "install.root",
            "install.writable",
            "administrator.file",
            "kernel.tun",
            "program.nft",
            "network.bridge",
            "network.subnet",
            "dhcp.server",
            "dhcp.pool",
            "dhcp.leases",
            "network.route",
            "dhcp.port",
            "state.leftovers",
            "state.guests",
            "network.forwarding",
            "firewall.softnet",
            "firewall.others",
        ] {
            assert_eq!(word.of(id).len(), 1, "{id}: {:#?}", word.findings);
        }
        assert!(word.of("state.guests")[0].1.starts_with("1 guest running"), "{:?}", word.of("state.guests"));
        softnet.stop();
    });
}

#[test]
fn it_changes_nothing_whoever_asks() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let plain = binary::install(&bed.program, "plain", 0o755);
        let ask_all = || {
            for (program, caller) in [(&bed.setuid, Caller::User), (&bed.program, Caller::Root), (&plain, Caller::User)]
            {
                let before = settled();
                ask(program, caller, &path_to(program));
                let after = snapshot();
                let changed: Vec<_> = after.lines().filter(|line| !before.contains(line)).collect();
                assert_eq!(after, before, "{caller:?}: {changed:#?}");
            }
        };
        ask_all();
        assert!(!fs::exists("/run/softnet").expect("asked"), "nor does it make anything");
        let (softnet, _guest) = bed.guest(MAC, "");
        ask_all();
        softnet.stop();
        ask_all();
    });
}

#[test]
fn what_only_root_may_see_is_left_out_and_said() {
    in_own_network(|| {
        let (bed, softnet, _guest) = served();
        let plain = binary::install(&bed.program, "plain", 0o755);
        let word = ask(&plain, Caller::User, &path_to(&plain));
        assert_eq!(word.bad(), ["install.root", "state.guests", "firewall.others"]);
        for id in ["state.guests", "firewall.others"] {
            assert!(
                word.of(id).iter().all(|(level, text)| *level == "skip" && text.contains("sudo softnet doctor")),
                "{id}"
            );
        }
        softnet.stop();
    });
}

#[test]
fn a_missing_setuid_bit_and_who_may_replace_the_program_are_told() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let folder = bed.setuid.parent().expect("it is in a folder").to_owned();
        let mode = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).expect("set");
        mode(&folder, 0o777);
        doctor(&bed).assert_fails(&[("install.writable", &format!("anyone may write to {}", folder.display()))]);
        mode(&folder, 0o755);
        tools::run(&format!("chown 4711 {}", folder.display()));
        doctor(&bed).assert_fails(&[("install.writable", &format!("{} belongs to uid 4711", folder.display()))]);
        tools::run(&format!("chown 0:4242 {}", folder.display()));
        mode(&folder, 0o775);
        doctor(&bed).assert_warns("install.writable", "group 4242 may write to");
        mode(&folder, 0o755);
        assert_eq!(doctor(&bed).bad(), Vec::<&str>::new(), "the control");
        mode(&bed.setuid, 0o755);
        let word = doctor(&bed);
        assert!(
            matches!(&word.of("install.root")[..], [("fail", text)] if text.contains("chmod u+s")),
            "{:?}",
            word.of("install.root")
        );
        assert_eq!(word.code, Some(1));
    });
}

#[test]
fn path_is_looked_at_with_the_callers_eyes() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let ask = |path: &str| ask(&bed.setuid, Caller::User, path);
        ask("/usr/bin:/bin").assert_warns("install.path", "softnet is not found in PATH");
        let other = binary::install(&bed.program, "other", 0o4755);
        let both = format!("{}:{}", other.parent().expect("a folder").display(), path_to(&bed.setuid));
        ask(&both).assert_warns("install.path", &format!("PATH leads to {}", other.display()));
        // Where only root may look, the caller finds nothing.
        fs::set_permissions(other.parent().expect("a folder"), Permissions::from_mode(0o700)).expect("set");
        assert_eq!(ask(&both).bad(), Vec::<&str>::new());
    });
}

#[test]
fn dhcp_that_stopped_is_told() {
    in_own_network(|| {
        let (bed, softnet, guest) = served();
        kill_dnsmasq();
        doctor(&bed).assert_fails(&[("dhcp.server", "no dnsmasq serves softnet0: guests get and renew no lease")]);
        // The mend: a guest's start brings it up for all.
        let (other, _guest) = bed.guest(Mac::guest(2), "");
        assert_eq!(doctor(&bed).bad(), Vec::<&str>::new());
        drop(guest);
        softnet.stop();
        other.stop();
        kill_dnsmasq();
        doctor(&bed).assert_warns("dhcp.server", "which has no guest");
    });
}

#[test]
fn a_firewall_that_is_closed_is_told_and_the_mend_opens_it() {
    in_own_network(|| {
        let (bed, softnet, mut guest) = served();
        for (table, chain) in [("inet mine", "wall"), ("ip filter", "FORWARD")] {
            tools::run(&format!("nft add table {table}"));
            tools::finish(
                tools::command("nft")
                    .arg(format!("add chain {table} {chain} {{ type filter hook forward priority 0; policy drop; }}")),
            );
            guest.http_get(WEB, SILENCE).expect_err("it is closed");
            let word = doctor(&bed);
            let what = format!("table {table}, chain {chain} drops what it does not know");
            let bridged =
                fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|text| text.trim() == "1");
            assert_eq!(
                word.bad(),
                if bridged { vec!["firewall.forward", "firewall.bridged"] } else { vec!["firewall.forward"] }
            );
            let [("fail", text)] = &word.of("firewall.forward")[..] else {
                panic!("{:?}", word.of("firewall.forward"))
            };
            assert!(text.starts_with(&what), "{text}");
            let mend = text.split(" -> ").nth(1).expect("a mend").replace("sudo ", "");
            tools::sh(&mend);
            guest.http_get(WEB, PATIENCE).unwrap_or_else(|error| panic!("after {mend}: {error}"));
            assert_eq!(doctor(&bed).bad(), Vec::<&str>::new(), "{}", tools::run("nft list ruleset"));
        }
        tools::run("nft add table ip closed");
        tools::finish(
            tools::command("nft").arg("add chain ip closed door { type filter hook input priority 0; policy drop; }"),
        );
        let word = doctor(&bed);
        word.assert_fails(&[("firewall.input", "table ip closed, chain door")]);
        let mend = word.of("firewall.input")[0].1.split(" -> ").nth(1).expect("a mend").replace("sudo ", "");
        tools::sh(&mend);
        guest.dhcp(PATIENCE).unwrap_or_else(|error| panic!("after {mend}: {error}"));
        assert_eq!(doctor(&bed).bad(), Vec::<&str>::new());
        softnet.stop();
    });
}

#[test]
fn the_firewall_that_is_gone_and_forwarding_that_is_off_are_told() {
    in_own_network(|| {
        let (bed, softnet, _guest) = served();
        tools::run("nft delete table inet softnet");
        doctor(&bed).assert_fails(&[("firewall.softnet", "the table inet softnet is gone")]);
        let (other, _other) = bed.guest(Mac::guest(2), "");
        fs::write("/proc/sys/net/ipv4/ip_forward", "0").expect("set");
        doctor(&bed).assert_fails(&[("network.forwarding", "net.ipv4.ip_forward is 0")]);
        fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("set");
        tools::run("ip link set softnet0 down");
        let word = doctor(&bed);
        assert!(
            word.of("network.bridge").iter().any(|(level, text)| *level == "fail" && text.contains("softnet0 is down"))
        );
        softnet.stop();
        other.stop();
    });
}

#[test]
fn ports_that_somebody_else_has_are_told_with_who() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let mut greedy = Command::new(tools::find("dnsmasq").expect("dnsmasq is installed"));
        greedy.args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--no-resolv", "--no-hosts"]);
        greedy.arg("--dhcp-range=10.9.9.2,10.9.9.9").arg(format!("--dhcp-leasefile={SCRATCH}/greedy"));
        greedy.arg(format!("--pid-file={SCRATCH}/greedy.pid")).stdin(Stdio::null());
        let greedy = Running::start(&mut greedy);
        let process =
            wait::until("the greedy server", PATIENCE, || processes("dnsmasq").first().copied()).expect("runs");
        wait::until("its ports", PATIENCE, || {
            let sockets = fs::read_to_string("/proc/net/udp").ok()?;
            (sockets.contains(":0043 ") && sockets.contains(":0035 ")).then_some(())
        })
        .expect("it has them");
        let word = doctor(&bed);
        assert_eq!(word.bad(), ["dhcp.port", "dhcp.port"], "{:#?}", word.findings);
        for port in ["67 (DHCP)", "53 (DNS)"] {
            let told = format!("dnsmasq (process {process}) has UDP port {port}");
            assert!(
                word.of("dhcp.port").iter().any(|(level, text)| *level == "fail" && text.starts_with(&told)),
                "{told}"
            );
        }
        // It is what keeps guests away.
        let ended = bed.launch(MAC).spawn().0.wait_end(PATIENCE);
        assert!(ended.said.contains("dnsmasq failed on softnet0"), "{}", ended.said);
        drop(greedy);
        let (softnet, _guest) = bed.guest(MAC, "");
        assert_eq!(doctor(&bed).bad(), Vec::<&str>::new());
        softnet.stop();
    });
}

#[test]
fn a_pool_that_is_full_is_told() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        // .2 to .6
        let guests: Vec<_> = (1..=5).map(|number| bed.guest(Mac::guest(number), "--subnet 172.29.7.0/29")).collect();
        doctor(&bed)
            .assert_fails(&[("dhcp.pool", "5 of the 5 addresses of softnet0 are leased: another guest gets none")]);
        let (softnet, socket) = bed.launch(Mac::guest(6)).start();
        PortableGuest::new(socket, Mac::guest(6)).dhcp(Duration::from_secs(1)).expect_err("there is none left");
        softnet.stop();
        for (softnet, _) in guests {
            softnet.stop();
        }
    });
}
