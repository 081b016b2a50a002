//! A guest with a kernel's own stack, where real programs use the network.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;

use softnet_testbed::internet::{NAME, PRIVATE, UPLINK, WEB};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

#[test]
fn real_programs_use_the_network() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "");
        let (lease, gateway) = (guest.lease().clone(), guest.gateway());
        assert_eq!((lease.seconds, lease.prefix, lease.dns), (Some(600), 24, vec![gateway]));
        guest.run(&format!("ping -c 3 -i 0.2 -W 2 {gateway}"));
        guest.run(&format!("ping -c 3 -i 0.2 -W 2 {WEB}"));
        guest.run(&format!("arping -c 2 -w 3 -I eth0 {gateway}"));
        let answer = guest.run(&format!("busybox nslookup {NAME} {gateway}"));
        assert!(answer.contains(&WEB.to_string()), "{answer}");
        let page = guest.run(&format!("curl --silent --show-error --noproxy * --max-time 5 http://{WEB}/"));
        assert_eq!(page, format!("server {WEB}\nclient {UPLINK}\n"), "the world sees the host, not the guest");
        let large = guest.run(&format!("curl --silent --show-error --noproxy * --max-time 20 http://{WEB}/large"));
        assert_eq!(large.len(), 1 << 20, "a page of 1 MiB arrives whole");
        softnet.stop();
    });
}

#[test]
fn iperf3_moves_data_both_ways() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "");
        let mut server = bed
            .internet
            .netns
            .command("iperf3 --server")
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("iperf3 starts");
        wait::until("iperf3's server", PATIENCE, || {
            let sockets = bed.internet.netns.run("cat /proc/net/tcp6 /proc/net/tcp");
            sockets.contains(":1451 ").then_some(())
        })
        .expect("it listens");
        for direction in ["", "--reverse"] {
            let report = guest.run(&format!("iperf3 --client {WEB} --time 2 --format m --json {direction}"));
            let moved =
                report.split("\"sum_received\"").nth(1).and_then(|rest| rest.split("\"bits_per_second\":").nth(1));
            let rate: f64 = moved.and_then(|rest| rest.split([',', '\n']).next()?.trim().parse().ok()).expect("a rate");
            eprintln!("iperf3 {direction}: {:.0} Mbit/s", rate / 1e6);
            assert!(rate > 20e6, "{direction}: {rate} bit/s is too slow for one machine");
        }
        let _ = server.kill();
        let _ = server.wait();
        softnet.stop();
    });
}

#[test]
fn a_kernel_that_lies_is_not_heard() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "");
        let (own, gateway) = (guest.lease().address, guest.gateway());
        let [a, b, c, _] = own.octets();
        let other = Ipv4Addr::new(a, b, c, 251);
        let silent = |line: &str| assert!(!guest.output(line).status.success(), "{line} must get no answer");
        let answers = format!("ping -c 1 -W 2 {gateway}");
        guest.run(&answers);
        silent(&format!("ping -c 1 -W 1 {PRIVATE}"));
        // Another address.
        guest.run(&format!("ip addr add {other}/24 dev eth0"));
        silent(&format!("ping -c 1 -W 1 -I {other} {gateway}"));
        silent(&format!("arping -c 1 -w 1 -s {other} -I eth0 {gateway}"));
        guest.run(&format!("ip addr del {other}/24 dev eth0"));
        guest.run(&answers);
        // The gateway's address, announced to all.
        guest.run(&format!("ip addr add {gateway}/32 dev eth0"));
        let _ = guest.output(&format!("arping -U -c 2 -w 2 -s {gateway} -I eth0 {gateway}"));
        guest.run(&format!("ip addr del {gateway}/32 dev eth0"));
        let neighbours = tools::run("ip neigh show dev softnet0");
        assert!(!neighbours.contains(&format!("{gateway} ")), "the host believes nothing of it: {neighbours}");
        // Another MAC.
        let readdress = |mac: Mac| {
            guest.run(&format!("ip link set eth0 address {mac}"));
            guest.run(&format!("ip route replace default via {gateway}"));
        };
        readdress(Mac::guest(2));
        silent(&answers);
        readdress(Mac::guest(1));
        guest.run(&answers);
        softnet.stop();
    });
}

#[test]
fn a_guest_cannot_name_itself_in_dns() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "");
        let gateway = guest.gateway();
        let resolves = |name: &str| guest.output(&format!("busybox nslookup -type=a {name} {gateway}"));
        for name in ["wpad", NAME] {
            guest.run(&format!("busybox udhcpc -i eth0 -f -n -q -t 10 -T 1 -s /bin/true -x hostname:{name}"));
        }
        let own = guest.lease().address.to_string();
        assert!(!tools::text(&resolves("wpad")).contains(&own), "a guest's host name became a name for all guests");
        let answer = tools::text(&resolves(NAME));
        assert!(answer.contains(&WEB.to_string()) && !answer.contains(&own), "{answer}");
        softnet.stop();
    });
}

#[test]
fn a_host_mode_guest_has_the_host_alone() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "--vm-net-type host");
        let lease = guest.lease();
        assert_eq!(lease.router, None, "no default route is handed out");
        assert!(lease.dns.is_empty(), "no DNS server is handed out");
        guest.run(&format!("ping -c 1 -W 2 {}", lease.server));
        guest.run(&format!("ip route replace default via {}", lease.server));
        for target in [WEB, PRIVATE, UPLINK] {
            assert!(!guest.output(&format!("ping -c 1 -W 1 {target}")).status.success(), "{target} is not the host");
        }
        softnet.stop();
    });
}
