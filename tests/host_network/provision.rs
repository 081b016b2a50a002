//! The network of the host: made by the first start, adopted by the next, repaired when it is half there.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use softnet::host::tap::{self, Force};
use softnet::host::{Host, LinkRequest};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::Launch;
use softnet_testbed::state::{mac_of, processes};
use softnet_testbed::tools::{self, run, sh};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;

use crate::link::{
    GUEST, OTHER, assert_contains, assert_nothing_is_left, details, dnsmasq, gateway_mac, host_request, offer, open,
    opened, refused, request, sleep,
};

#[test]
fn the_first_start_provisions_everything() {
    in_own_network(|| {
        umask(Mode::from_bits_truncate(0o777));
        let start = Instant::now();
        let host = opened(&request(GUEST));
        eprintln!("first open took {:?}", start.elapsed());
        umask(Mode::from_bits_truncate(0o022));

        assert_contains(&details("softnet0"), &["UP", "link/ether 02:", "stp_state 0", "mcast_snooping 0"]);
        let addresses = run("ip address show softnet0");
        assert_contains(&addresses, &["inet 192.168.64.1/24 brd 192.168.64.255"]);
        assert!(!addresses.contains("inet6"), "{addresses}");
        assert_eq!(sh("cd /proc/sys/net/ipv6/conf/softnet0 && cat disable_ipv6 accept_ra"), "1\n0\n");
        assert_eq!(run("cat /proc/sys/net/ipv4/ip_forward"), "1\n");

        let port = ["link/ether fe:", "master softnet0", "state forwarding", "isolated on", "learning off"];
        assert_contains(&details(host.tap_name()), &port);
        assert_contains(&run("bridge fdb show br softnet0"), &[&format!("{GUEST} dev {}", host.tap_name())]);

        assert_eq!(host.network().gateway.to_string(), "192.168.64.1");
        assert_eq!(host.network().subnet.to_string(), "192.168.64.0/24");
        assert_eq!(host.network().max_frame, 1514);
        assert_eq!(gateway_mac(&host), mac_of("softnet0"));

        let pid = dnsmasq("softnet0");
        assert!(!run(&format!("cat /proc/{pid}/status")).contains("Uid:\t0"));
        assert_eq!(run(&format!("cat /proc/{pid}/environ")), "");
        assert_ne!(run(&format!("ps -o sid= -p {pid}")), sh("ps -o sid= -p $$"));
        assert_contains(&run("nft list table inet softnet"), &["masquerade"]);
        assert_eq!(
            sh("cd /run/softnet && stat -c '%a %n' . lock *.hosts *.hosts/* *.guests *.guests/* *.subnet"),
            format!(
                "755 .\n600 lock\n755 softnet0.hosts\n644 softnet0.hosts/{GUEST}\n700 softnet0.guests\n\
                 600 softnet0.guests/{GUEST}\n600 softnet0.guests/{GUEST}.record\n644 softnet0.subnet\n"
            )
        );
    });
}

#[test]
fn a_later_start_adopts_what_is_there() {
    in_own_network(|| {
        let first = opened(&request(GUEST));
        let index = || run("cat /sys/class/net/softnet0/ifindex");
        let facts = || (index(), mac_of("softnet0"), dnsmasq("softnet0"));
        let before = facts();
        let second = opened(&request(OTHER));
        assert_eq!(facts(), before);
        assert_eq!(first.network(), second.network());
        assert_ne!(first.tap_name(), second.tap_name());
        drop((first, second));
        let _third = opened(&request(GUEST));
        assert_eq!(facts(), before);

        let mut times = [(); 20].map(|()| {
            let start = Instant::now();
            drop(opened(&request(OTHER)));
            start.elapsed()
        });
        times.sort();
        eprintln!("open on a provisioned bridge: median {:?}, worst {:?}", times[10], times[19]);
    });
}

#[test]
fn whatever_is_amiss_is_mended_by_the_next_start() {
    in_own_network(|| {
        drop(opened(&LinkRequest { subnet: Some("10.9.0.0/16".parse().expect("a subnet")), ..request(GUEST) }));
        for damage in [
            "true",
            "kill -9 $(cat /run/softnet/softnet0.pid)",
            "nft delete table inet softnet",
            "ip link set softnet0 down",
            "ip address flush dev softnet0",
            "ip link set softnet0 type bridge stp_state 1 mcast_snooping 1",
            "echo 0 > /proc/sys/net/ipv6/conf/softnet0/disable_ipv6; echo 0 > /proc/sys/net/ipv4/ip_forward",
            "ip link delete softnet0",
            "ip link delete softnet0; ip link add softnet0 type bridge",
            "rm /run/softnet/softnet0.pid",
            "echo 1 > /run/softnet/softnet0.pid",
            "echo garbage > /run/softnet/softnet0.leases; kill -9 $(cat /run/softnet/softnet0.pid)",
            "touch /run/softnet/softnet0.guests/02:00:00:00:00:77 /run/softnet/softnet0.hosts/.x.new",
        ] {
            eprintln!("damage: {damage}");
            sh(damage);
            let mut host = opened(&request(GUEST));
            assert_eq!(host.network().gateway.to_string(), "10.9.0.1");
            assert_contains(&details("softnet0"), &["UP", "stp_state 0", "mcast_snooping 0"]);
            assert_eq!(gateway_mac(&host), mac_of("softnet0"));
            assert_eq!(
                run("cat /proc/sys/net/ipv6/conf/softnet0/disable_ipv6 /proc/sys/net/ipv4/ip_forward"),
                "1\n1\n"
            );
            assert_contains(&run("nft list table inet softnet"), &["10.9.0.0/16"]);
            assert_eq!(offer(&mut host, GUEST, 1).seconds, 600);
            assert_eq!(processes("dnsmasq").len(), 1);
        }
        sh("rm -r /run/softnet");
        assert_eq!(offer(&mut opened(&request(GUEST)), GUEST, 1).seconds, 600);
        assert_eq!(processes("dnsmasq").len(), 1);
    });
}

#[test]
fn a_start_that_may_not_set_what_a_bridge_needs_leaves_no_bridge() {
    in_own_network(|| {
        // As in a container that may make links, and not write there.
        sh("mount --bind /proc/sys /proc/sys && mount -o remount,ro,bind /proc/sys");
        let message = refused(&request(GUEST));
        assert_contains(&message, &["/proc/sys/net/", "softnet0", "Read-only"]);
        assert_eq!(run("ip -o link show type bridge"), "", "a bridge without settings is left");
        // One that was there is not softnet's to remove.
        run("ip link add softnet0 type bridge");
        refused(&request(GUEST));
        assert_contains(&run("ip -o link show type bridge"), &["softnet0"]);
        sh("umount /proc/sys");
        drop(opened(&request(GUEST)));
    });
}

#[test]
fn an_adopted_bridge_keeps_its_mac_when_ports_come() {
    in_own_network(|| {
        run("ip link add softnet0 type bridge");
        tools::add_interface("d0");
        run("ip link set d0 address 00:00:00:00:00:09");
        let mac = gateway_mac(&opened(&request(GUEST)));
        run("ip link set d0 master softnet0");
        assert_eq!(mac_of("softnet0"), mac);

        // A bridge that has taken its port's MAC gets one of its own.
        run("ip link add softnet1 type bridge");
        tools::add_interface("d1");
        run("ip link set d1 master softnet1");
        let mac = gateway_mac(&opened(&host_request(GUEST)));
        assert_ne!(mac_of("d1"), mac);
        run("ip link delete d1");
        assert_eq!(mac_of("softnet1"), mac);
    });
}

#[test]
fn a_start_that_is_killed_at_any_moment_leaves_what_the_next_one_mends() {
    in_own_network(|| {
        for round in 0..40u8 {
            // From nothing each second time, so that provisioning is cut as well as adoption.
            if round % 2 == 0 {
                tap::down(Force::Yes, &mut sleep).expect("taken down");
            }
            let mac = Mac([2, 0, 0, 0, 2, round]);
            let killed = Launch::new(Path::new(env!("CARGO_BIN_EXE_softnet")), mac).spawn();
            thread::sleep(Duration::from_millis(u64::from(round) * 2)); // the moment of the kill
            drop(killed);
            let mut host = open(&request(mac)).unwrap_or_else(|error| panic!("round {round}: {error}"));
            assert_eq!(offer(&mut host, mac, u32::from(round)).seconds, 600, "round {round}");
            // That of the killed one may still be two, when it is just going into the background.
            let is_one = || (processes("dnsmasq").len() == 1).then_some(());
            wait::until("one dnsmasq", PATIENCE, is_one).unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
        let guests = tap::status(&mut sleep).expect("a status").bridges[0].guests.len();
        assert_eq!(guests, 0, "the killed ones are gone");
        tap::down(Force::No, &mut sleep).expect("taken down");
        assert_nothing_is_left();
    });
}

#[test]
fn no_descriptor_is_left_to_children() {
    in_own_network(|| {
        let host = opened(&request(GUEST));
        let flags = nix::fcntl::fcntl(host.readiness(), nix::fcntl::FcntlArg::F_GETFD).expect("open");
        assert_ne!(flags & nix::libc::FD_CLOEXEC, 0);
        assert!(host.readiness().as_raw_fd() > 2);
        let list = run(&format!("ls -l /proc/{}/fd", dnsmasq("softnet0")));
        assert!(!list.contains("tun") && !list.contains("lock") && !list.contains("guests"), "{list}");
    });
}

/// As by way of the setuid bit: the caller's real uid, limits and priority.
#[test]
fn dnsmasq_has_nothing_of_the_caller_of_a_setuid_program() {
    in_own_network(|| {
        const CALLER: u32 = 12345;
        let (user, group, root) = (Uid::from_raw(CALLER), Gid::from_raw(CALLER), Uid::from_raw(0));
        sh(&format!("renice -n 15 -p {0}; echo 900 > /proc/{0}/oom_score_adj", std::process::id()));
        setrlimit(Resource::RLIMIT_FSIZE, 1 << 20, RLIM_INFINITY).expect("limited");
        setgroups(&[group]).expect("grouped");
        setresgid(group, Gid::from_raw(0), Gid::from_raw(0)).expect("set");
        setresuid(user, root, root).expect("set");

        let mut host = opened(&request(GUEST));
        assert_eq!(offer(&mut host, GUEST, 1).seconds, 600);
        setresuid(root, root, root).expect("set");
        let pid = dnsmasq("softnet0");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        assert!(!status.contains(&CALLER.to_string()), "{status}");
        assert_eq!(run(&format!("cat /proc/{pid}/oom_score_adj")).trim(), "0");
        assert_eq!(run(&format!("ps -o ni= -p {pid}")).trim(), "0");
        assert_contains(&run(&format!("grep Max.file.size /proc/{pid}/limits")), &["unlimited"]);
        assert_eq!(run(&format!("readlink /proc/{pid}/cwd")), "/\n");
        let kill = format!("setpriv --reuid {CALLER} --regid {CALLER} --clear-groups kill -0 {pid}");
        assert!(!tools::succeeds(&mut tools::command(&kill)), "the caller may not signal it");
    });
}
