//! What is refused, with how to mend it; what is left as it is; and `softnet network status` and `down`.

use softnet::host::tap::{self, Error, Force};
use softnet::host::{Host, Interrupted, LinkRequest};
use softnet::sys::batch::Batch;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::state::processes;
use softnet_testbed::tools::{self, run, sh};

use crate::link::{
    GUEST, OTHER, assert_contains, assert_nothing_is_left, details, dnsmasq, host_request, offer, opened, refused,
    request, sleep,
};

#[test]
fn occupied_names_and_subnets_are_refused_with_a_mend() {
    in_own_network(|| {
        tools::add_interface("softnet0");
        let error = refused(&request(GUEST));
        assert!(error.starts_with("softnet0 exists and is a veth, not a bridge"), "{error}");
        run("ip link delete softnet0");

        tools::add_interface("eth0");
        run("ip address add 192.168.64.9/20 dev eth0");
        run("ip route add default via 192.168.64.10");
        run("ip route add 192.168.80.0/21 via 192.168.64.10");
        let with = |subnet: &str| LinkRequest { subnet: Some(subnet.parse().expect("a subnet")), ..request(GUEST) };
        for (subnet, occupant) in [
            ("192.168.70.0/24", "an address of eth0 already uses 192.168.64.9/20"),
            ("192.168.81.0/24", "a route of this host by way of eth0 already uses 192.168.80.0/21"),
        ] {
            let error = refused(&with(subnet));
            assert!(error.starts_with(&format!("--subnet {subnet}: {occupant}")), "{error}");
        }
        assert_contains(&refused(&with("10.0.0.0/8")), &["prefix length"]);

        let host = opened(&request(GUEST));
        assert_eq!(host.network().subnet.to_string(), "192.168.88.0/24");
        let of_other = |subnet| LinkRequest { guest_mac: request(OTHER).guest_mac, ..with(subnet) };
        let error = refused(&of_other("10.0.0.0/24"));
        assert!(error.starts_with("--subnet 10.0.0.0/24: softnet0 already has 192.168.88.0/24"), "{error}");
        drop(opened(&of_other("192.168.88.0/24")));
    });
}

#[test]
fn a_state_directory_of_someone_elses_is_refused() {
    in_own_network(|| {
        for made in [
            "mkdir /run/testbed/softnet; ln -s /run/testbed/softnet /run/softnet",
            "rm /run/softnet; mkdir -m 777 /run/softnet; chown nobody /run/softnet",
        ] {
            sh(made);
            assert_contains(&refused(&request(GUEST)), &["/run/softnet is not a directory of root's"]);
        }
        assert_eq!(run("ip -o link").lines().count(), 1, "nothing was made");
    });
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    in_own_network(|| {
        for (program, package) in [("nft", "nftables"), ("dnsmasq", "dnsmasq-base")] {
            let file = tools::find(program).and_then(|file| file.canonicalize().ok()).expect("it is installed");
            run(&format!("mount --bind /dev/null {}", file.display()));
            let error = refused(&request(GUEST));
            assert_contains(&error, &[&format!("{program} not found"), &format!("`apt-get install {package}`")]);
            run(&format!("umount {}", file.display()));
        }
        opened(&request(GUEST));
    });
}

#[test]
fn the_wait_is_ended_by_an_interrupt() {
    in_own_network(|| {
        let error = tap::open(&request(GUEST), &mut |_| Err(Interrupted)).expect_err("interrupted");
        assert!(matches!(error, Error::Interrupted(_)), "{error}");
        let mut host = opened(&request(GUEST));
        assert_eq!(offer(&mut host, GUEST, 1).seconds, 600);
    });
}

#[test]
fn a_bridge_of_someone_elses_is_attached_to_and_left_as_it_is() {
    in_own_network(|| {
        let to = |name: &str| LinkRequest { bridge: Some(name.to_owned()), ..request(GUEST) };
        for name in ["br9", "", ".", "../../etc", "a name", "a-name-that-is-too-long"] {
            assert_contains(&refused(&to(name)), &["there is no such interface"]);
        }
        assert_contains(&refused(&to("lo")), &["--bridge lo: it is a device, not a bridge"]);
        run("ip link add br9 type bridge stp_state 0");
        assert_contains(&refused(&to("br9")), &["`ip link set br9 up`"]);
        run("ip link set br9 up");
        assert_contains(&refused(&to("br9")), &["no IPv4 address"]);
        assert!(!run("ls /run/softnet").contains("br9"));
        run("ip address add 172.20.0.1/16 dev br9");
        run("ip link set br9 mtu 1400");

        let host = opened(&to("br9"));
        assert_eq!(host.network().gateway.to_string(), "172.20.0.1");
        assert_eq!(host.network().subnet.to_string(), "172.20.0.0/16");
        assert_eq!(host.network().max_frame, 1414);
        assert_contains(&details(host.tap_name()), &["isolated on", "mtu 1400"]);
        assert_eq!(run("nft list ruleset"), "");
        assert!(processes("dnsmasq").is_empty());
        assert_eq!(host.network().gateway_mac, None, "it has its port's MAC, which may change");
    });
}

#[test]
fn network_down_refuses_while_guests_are_attached_and_leaves_nothing() {
    in_own_network(|| {
        let mut nat = opened(&request(GUEST));
        let host = opened(&host_request(OTHER));
        let process = std::process::id();
        let error = tap::down(Force::No, &mut sleep).expect_err("guests are attached").to_string();
        assert_eq!(
            error,
            format!(
                "guests are attached: {} ({GUEST}, process {process}) on softnet0, {} ({OTHER}, process {process}) on \
                 softnet1: end them, or use --force",
                nat.tap_name(),
                host.tap_name()
            )
        );
        assert_eq!(offer(&mut nat, GUEST, 1).seconds, 600, "nothing was changed");

        let report = tap::down(Force::Yes, &mut sleep).expect("forced").to_string();
        assert_contains(&report, &["softnet0", "softnet1", nat.tap_name(), "inet softnet"]);
        let error = nat.receive(&mut Batch::new(1, 1514)).expect_err("its link is gone").to_string();
        assert_contains(&error, &["was removed from softnet0"]);
        assert_nothing_is_left();

        assert_eq!(tap::down(Force::No, &mut sleep).expect("nothing").to_string(), "nothing to remove\n");
        drop((nat, host));
        drop(opened(&request(GUEST)));
        tap::down(Force::No, &mut sleep).expect("no guest is left");
        assert_nothing_is_left();
    });
}

#[test]
fn status_shows_bridges_guests_and_leases_and_changes_nothing() {
    in_own_network(|| {
        let status = || tap::status(&mut sleep).expect("a status").to_string();
        assert!(status().starts_with("no network of softnet's is up"));
        assert_nothing_is_left();
        let host = opened(&request(GUEST));
        let pid = dnsmasq("softnet0");
        assert_contains(
            &status(),
            &[
                "softnet0: up",
                "subnet: 192.168.64.0/24, gateway 192.168.64.1",
                &format!("dnsmasq, process {pid}"),
                &format!("{} ({GUEST}, process {})", host.tap_name(), std::process::id()),
                "the nftables table inet softnet is in place",
            ],
        );
        sh(&format!("kill -9 {pid}; nft delete table inet softnet; ip link set softnet0 down; sleep 0.1"));
        assert_contains(&status(), &["softnet0: DOWN", "DHCP: NOT RUNNING", "firewall: MISSING"]);
        assert!(!details("softnet0").contains("UP"));
    });
}
