//! The Linux host's side, for real, in namespaces of its own: what is made, adopted, repaired, refused and removed.
#![cfg(target_os = "linux")]

#[path = "host/namespace.rs"]
mod namespace;

use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use namespace::{isolated, sh, try_sh};
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Packet,
    Ipv4Repr, UdpPacket, UdpRepr,
};
use softnet::engine::{EthernetAddress, Isolation, NetType};
use softnet::host::tap::{self, Error, Force, TapHost};
use softnet::host::{Host, Interrupted, LinkRequest};
use softnet::sys::batch::Batch;

const GUEST: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x05]);
const OTHER: EthernetAddress = EthernetAddress([0x02, 0, 0, 0, 0, 0x06]);

fn options(guest_mac: EthernetAddress) -> LinkRequest {
    LinkRequest {
        guest_mac,
        net_type: NetType::Nat,
        isolation: Isolation::Isolated,
        lease_seconds: 600,
        bridge: None,
        subnet: None,
    }
}

fn sleep(duration: Duration) -> Result<(), Interrupted> {
    thread::sleep(duration);
    Ok(())
}

fn open(options: &LinkRequest) -> Result<TapHost, Error> {
    tap::open(options, &mut sleep)
}

#[track_caller]
fn opened(options: &LinkRequest) -> TapHost {
    open(options).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(options: &LinkRequest) -> String {
    open(options).expect_err("refused").to_string()
}

fn link(name: &str) -> String {
    sh(&format!("ip -d link show {name}"))
}

fn dnsmasq(bridge: &str) -> String {
    sh(&format!("cat /run/softnet/{bridge}.pid")).trim().to_owned()
}

/// All frames that come within the time.
fn frames(host: &mut TapHost, time: Duration) -> Vec<Vec<u8>> {
    let mut batch = Batch::new(16, host.network().max_frame);
    let mut all = Vec::new();
    let end = Instant::now() + time;
    while Instant::now() < end {
        batch.clear();
        host.receive(&mut batch).expect("the link is there");
        all.extend(batch.frames().map(<[u8]>::to_vec));
        thread::sleep(Duration::from_millis(2));
    }
    all
}

fn send(host: &mut TapHost, frame: &[u8]) -> usize {
    let mut batch = Batch::new(1, host.network().max_frame);
    batch.free_slots().next().expect("room")[..frame.len()].copy_from_slice(frame);
    batch.commit(frame.len());
    host.send(&batch).expect("the link is there")
}

fn discover(mac: EthernetAddress, transaction_id: u32) -> Vec<u8> {
    let dhcp = DhcpRepr {
        message_type: DhcpMessageType::Discover,
        transaction_id,
        secs: 0,
        client_hardware_address: mac,
        client_ip: [0, 0, 0, 0].into(),
        your_ip: [0, 0, 0, 0].into(),
        server_ip: [0, 0, 0, 0].into(),
        router: None,
        subnet_mask: None,
        relay_agent_ip: [0, 0, 0, 0].into(),
        broadcast: true,
        requested_ip: None,
        client_identifier: None,
        server_identifier: None,
        parameter_request_list: Some(&[1, 3, 6, 51]),
        dns_servers: None,
        max_size: None,
        lease_duration: None,
        renew_duration: None,
        rebind_duration: None,
        additional_options: &[],
    };
    let udp = UdpRepr { src_port: 68, dst_port: 67 };
    let (source, destination) = ([0, 0, 0, 0].into(), [255, 255, 255, 255].into());
    let udp_length = udp.header_len() + dhcp.buffer_len();
    let ip = Ipv4Repr {
        src_addr: source,
        dst_addr: destination,
        next_header: IpProtocol::Udp,
        payload_len: udp_length,
        hop_limit: 64,
    };
    let ethernet =
        EthernetRepr { src_addr: mac, dst_addr: EthernetAddress::BROADCAST, ethertype: EthernetProtocol::Ipv4 };
    let mut bytes = vec![0; 14 + ip.buffer_len() + udp_length];
    ethernet.emit(&mut EthernetFrame::new_unchecked(&mut bytes));
    let mut packet = Ipv4Packet::new_unchecked(&mut bytes[14..]);
    ip.emit(&mut packet, &Default::default());
    udp.emit(
        &mut UdpPacket::new_unchecked(packet.payload_mut()),
        &source.into(),
        &destination.into(),
        dhcp.buffer_len(),
        |payload| dhcp.emit(&mut DhcpPacket::new_unchecked(payload)).expect("emitted"),
        &Default::default(),
    );
    bytes
}

fn is_dhcp(frame: &[u8]) -> bool {
    Ipv4Packet::new_checked(&frame[14..]).is_ok_and(|packet| packet.next_header() == IpProtocol::Udp)
}

/// What a DHCP server offers, when it does.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    seconds: u32,
    router: Option<String>,
    dns: usize,
}

#[track_caller]
fn offer(host: &mut TapHost, mac: EthernetAddress, transaction_id: u32) -> Offer {
    assert_eq!(send(host, &discover(mac, transaction_id)), 1);
    let end = Instant::now() + Duration::from_secs(5);
    while Instant::now() < end {
        let Some(frame) = frames(host, Duration::from_millis(10)).into_iter().find(|frame| is_dhcp(frame)) else {
            continue;
        };
        let Ok(packet) = Ipv4Packet::new_checked(&frame[14..]) else { continue };
        let Ok(udp) = UdpPacket::new_checked(packet.payload()) else { continue };
        let Ok(dhcp) = DhcpPacket::new_checked(udp.payload()) else { continue };
        let Ok(repr) = DhcpRepr::parse(&dhcp) else { continue };
        if repr.transaction_id == transaction_id {
            return Offer {
                seconds: repr.lease_duration.expect("a lease time"),
                router: repr.router.map(|address| address.to_string()),
                dns: repr.dns_servers.map_or(0, |servers| servers.len()),
            };
        }
    }
    panic!("no offer came");
}

#[test]
fn the_first_start_provisions_everything() {
    isolated("the_first_start_provisions_everything", || {
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o777));
        let start = Instant::now();
        let host = opened(&options(GUEST));
        eprintln!("first open took {:?}", start.elapsed());
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));

        let bridge = link("softnet0");
        for part in ["UP", "link/ether 02:", "stp_state 0", "mcast_snooping 0"] {
            assert!(bridge.contains(part), "{part}: {bridge}");
        }
        assert!(sh("ip address show softnet0").contains("inet 192.168.64.1/24 brd 192.168.64.255"));
        assert!(!sh("ip address show softnet0").contains("inet6"));
        assert_eq!(sh("cat /proc/sys/net/ipv6/conf/softnet0/{disable_ipv6,accept_ra}"), "1\n0\n");
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward"), "1\n");

        let port = link(host.tap_name());
        for part in ["link/ether fe:", "master softnet0", "state forwarding", "isolated on", "learning off"] {
            assert!(port.contains(part), "{part}: {port}");
        }
        assert!(sh("bridge fdb show br softnet0").contains(&format!("02:00:00:00:00:05 dev {}", host.tap_name())));

        assert_eq!(host.network().gateway.to_string(), "192.168.64.1");
        assert_eq!(host.network().subnet.to_string(), "192.168.64.0/24");
        assert_eq!(host.network().max_frame, 1514);
        let mac = host.network().gateway_mac.expect("the bridge's").to_string().replace('-', ":");
        assert!(bridge.contains(&mac));

        let pid = dnsmasq("softnet0");
        assert!(!sh(&format!("cat /proc/{pid}/status")).contains("Uid:\t0"));
        assert_eq!(sh(&format!("tr '\\0' ' ' < /proc/{pid}/environ | wc -c")), "0\n");
        assert_ne!(sh(&format!("ps -o sid= -p {pid}")), sh("ps -o sid= -p $$"));
        assert!(sh("nft list table inet softnet").contains("masquerade"));
        let modes = sh("cd /run/softnet && stat -c '%a %n' . lock *.hosts *.hosts/* *.guests *.guests/* *.subnet");
        assert_eq!(
            modes,
            "755 .\n600 lock\n755 softnet0.hosts\n644 softnet0.hosts/02:00:00:00:00:05\n700 softnet0.guests\n\
             600 softnet0.guests/02:00:00:00:00:05\n644 softnet0.subnet\n"
        );
    });
}

#[test]
fn a_guest_gets_its_own_lease_time_at_once_and_after_every_change() {
    isolated("a_guest_gets_its_own_lease_time_at_once_and_after_every_change", || {
        for (id, seconds) in [(1, 600), (2, 120), (3, 86400), (4, 120), (5, 600), (6, 7200), (7, 120)] {
            let mut host = opened(&LinkRequest { lease_seconds: seconds, ..options(GUEST) });
            let offer = offer(&mut host, GUEST, id);
            assert_eq!(offer, Offer { seconds, router: Some("192.168.64.1".to_owned()), dns: 1 });
            if id == 4 {
                sh(&format!("kill -9 {}", dnsmasq("softnet0")));
            }
        }
        let mut host = opened(&LinkRequest { lease_seconds: 300, ..options(OTHER) });
        assert_eq!(offer(&mut host, OTHER, 8).seconds, 300);
        assert_eq!(offer(&mut host, GUEST, 9).seconds, 600, "the ended guest's time is forgotten");
    });
}

#[test]
fn a_later_start_adopts_what_is_there() {
    isolated("a_later_start_adopts_what_is_there", || {
        let first = opened(&options(GUEST));
        let facts = || (sh("ip -o link show softnet0 | cut -d' ' -f1,17"), dnsmasq("softnet0"));
        let before = facts();
        let second = opened(&options(OTHER));
        assert_eq!(facts(), before);
        assert_eq!(first.network(), second.network());
        assert_ne!(first.tap_name(), second.tap_name());
        drop((first, second));
        let _third = opened(&options(GUEST));
        assert_eq!(facts(), before);

        let mut times = Vec::new();
        for _ in 0..20 {
            let start = Instant::now();
            drop(opened(&options(OTHER)));
            times.push(start.elapsed());
        }
        times.sort();
        eprintln!("open on a provisioned bridge: median {:?}, worst {:?}", times[10], times[19]);
    });
}

#[test]
fn whatever_is_amiss_is_mended_by_the_next_start() {
    isolated("whatever_is_amiss_is_mended_by_the_next_start", || {
        drop(opened(&LinkRequest { subnet: Some("10.9.0.0/16".parse().unwrap()), ..options(GUEST) }));
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
            sh(damage);
            let mut host = open(&options(GUEST)).unwrap_or_else(|error| panic!("{damage}: {error}"));
            assert_eq!(host.network().gateway.to_string(), "10.9.0.1", "{damage}");
            let bridge = link("softnet0");
            for part in ["UP", "stp_state 0", "mcast_snooping 0"] {
                assert!(bridge.contains(part), "{damage}: {bridge}");
            }
            let mac = host.network().gateway_mac.expect("a MAC").to_string().replace('-', ":");
            assert!(bridge.contains(&mac), "{damage}: {bridge}");
            assert_eq!(sh("cat /proc/sys/net/ipv6/conf/softnet0/disable_ipv6 /proc/sys/net/ipv4/ip_forward"), "1\n1\n");
            assert!(sh("nft list table inet softnet").contains("10.9.0.0/16"), "{damage}");
            assert_eq!(offer(&mut host, GUEST, 1).seconds, 600, "{damage}");
            assert_eq!(sh("pgrep -c dnsmasq"), "1\n", "{damage}");
        }
        sh("rm -r /run/softnet");
        assert_eq!(offer(&mut opened(&options(GUEST)), GUEST, 1).seconds, 600);
        assert_eq!(sh("pgrep -c dnsmasq"), "1\n");
    });
}

#[test]
fn an_adopted_bridge_keeps_its_mac_when_ports_come() {
    isolated("an_adopted_bridge_keeps_its_mac_when_ports_come", || {
        sh(
            "ip link add softnet0 type bridge; ip link add d0 type veth peer name e0; ip link set d0 address 00:00:00:00:00:09",
        );
        let host = opened(&options(GUEST));
        let mac = host.network().gateway_mac.expect("a MAC").to_string().replace('-', ":");
        sh("ip link set d0 master softnet0 up");
        assert!(link("softnet0").contains(&mac));

        // A bridge that has taken its port's MAC gets one of its own.
        sh(
            "ip link add softnet1 type bridge; ip link add d1 type veth peer name e1; ip link set d1 master softnet1 up",
        );
        let host = opened(&LinkRequest { net_type: NetType::Host, ..options(GUEST) });
        let mac = host.network().gateway_mac.expect("a MAC").to_string().replace('-', ":");
        assert!(!link("d1").contains(&mac));
        sh("ip link delete d1");
        assert!(link("softnet1").contains(&mac));
    });
}

#[test]
fn guests_that_start_in_the_same_moment_all_get_a_link() {
    isolated("guests_that_start_in_the_same_moment_all_get_a_link", || {
        let start = Instant::now();
        let threads: Vec<_> = (0..8u8)
            .map(|n| {
                thread::spawn(move || {
                    let mac = EthernetAddress([2, 0, 0, 0, 1, n]);
                    let net_type = if n % 2 == 0 { NetType::Nat } else { NetType::Host };
                    let mut host = opened(&LinkRequest { net_type, lease_seconds: 120 + u32::from(n), ..options(mac) });
                    assert_eq!(offer(&mut host, mac, u32::from(n)).seconds, 120 + u32::from(n));
                    host
                })
            })
            .collect();
        let hosts: Vec<TapHost> = threads.into_iter().map(|thread| thread.join().expect("a link")).collect();
        eprintln!("8 starts at once, offers and all, took {:?}", start.elapsed());
        assert_ne!(hosts[0].network().subnet, hosts[1].network().subnet);
        assert_eq!(sh("pgrep -c dnsmasq"), "2\n");
        let status = tap::status(&mut sleep).expect("a status");
        assert_eq!(status.bridges.iter().map(|bridge| bridge.guests.len()).collect::<Vec<_>>(), [4, 4]);
    });
}

#[test]
fn guests_of_the_host_bridge_are_told_of_no_router_and_no_dns() {
    isolated("guests_of_the_host_bridge_are_told_of_no_router_and_no_dns", || {
        let mut host = opened(&LinkRequest { net_type: NetType::Host, ..options(GUEST) });
        assert_eq!(offer(&mut host, GUEST, 1), Offer { seconds: 600, router: None, dns: 0 });
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward"), "0\n", "the host does not forward for them");
    });
}

#[test]
fn a_mac_that_is_live_is_refused() {
    isolated("a_mac_that_is_live_is_refused", || {
        let first = opened(&options(GUEST));
        let start = Instant::now();
        let error = refused(&options(GUEST));
        assert!((3000..5000).contains(&start.elapsed().as_millis()));
        let process = std::process::id();
        assert_eq!(
            error,
            format!(
                "--vm-mac-address 02:00:00:00:00:05: a guest with this MAC is running on softnet0 (process {process}): \
                 end it, or give this guest another MAC"
            )
        );
        assert!(link(first.tap_name()).contains("master softnet0"), "the first is left alone");

        // A predecessor that is ending is waited for, and others start meanwhile.
        let ending = thread::spawn(move || {
            thread::sleep(Duration::from_millis(600));
            drop(first);
        });
        let waiting = thread::spawn(|| opened(&options(GUEST)));
        thread::sleep(Duration::from_millis(100));
        let start = Instant::now();
        let _other = opened(&options(OTHER));
        assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
        ending.join().expect("ended");
        waiting.join().expect("a link");
    });
}

#[test]
fn a_mac_of_the_hosts_or_of_another_port_is_refused() {
    isolated("a_mac_of_the_hosts_or_of_another_port_is_refused", || {
        let host = opened(&options(GUEST));
        let bridge_mac = host.network().gateway_mac.expect("a MAC");
        assert!(refused(&options(bridge_mac)).contains("it is the MAC of the bridge on softnet0"));

        sh("ip link add v0 type veth peer name v1; ip link set v0 address 02:00:00:00:00:99 master softnet0 up;
            ip link set v1 up");
        let error = refused(&options(EthernetAddress([2, 0, 0, 0, 0, 0x99])));
        assert!(error.contains("it is the MAC of v0 on softnet0"), "{error}");

        sh("bridge fdb add 02:00:00:00:00:98 dev v0 master static");
        let error = refused(&options(EthernetAddress([2, 0, 0, 0, 0, 0x98])));
        assert!(error.contains("it was seen on v0 of softnet0"), "{error}");
        let other = thread::spawn(|| opened(&options(EthernetAddress([2, 0, 0, 0, 0, 0x98]))));
        thread::sleep(Duration::from_millis(300));
        sh("bridge fdb del 02:00:00:00:00:98 dev v0 master");
        other.join().expect("a link once the other is gone");
    });
}

#[test]
fn occupied_names_and_subnets_are_refused_with_a_mend() {
    isolated("occupied_names_and_subnets_are_refused_with_a_mend", || {
        sh("ip link add softnet0 type veth peer name p");
        let error = refused(&options(GUEST));
        assert!(error.starts_with("softnet0 exists and is a veth, not a bridge"), "{error}");
        sh(
            "ip link delete softnet0; ip link add eth0 type veth peer name p; ip link set p up; ip address add 192.168.64.9/20 dev eth0",
        );
        sh(
            "ip link set eth0 up; ip route add default via 192.168.64.10; ip route add 192.168.80.0/21 via 192.168.64.10",
        );
        let with = |subnet: &str| LinkRequest { subnet: Some(subnet.parse().unwrap()), ..options(GUEST) };
        let error = refused(&with("192.168.70.0/24"));
        assert!(
            error.starts_with("--subnet 192.168.70.0/24: an address of eth0 already uses 192.168.64.9/20"),
            "{error}"
        );
        let error = refused(&with("192.168.81.0/24"));
        assert!(
            error.starts_with("--subnet 192.168.81.0/24: a route of this host already uses 192.168.80.0/21"),
            "{error}"
        );
        assert!(refused(&with("10.0.0.0/8")).contains("prefix length"));
        let host = opened(&options(GUEST));
        assert_eq!(host.network().subnet.to_string(), "192.168.88.0/24");
        let error = refused(&LinkRequest { guest_mac: OTHER, ..with("10.0.0.0/24") });
        assert!(error.starts_with("--subnet 10.0.0.0/24: softnet0 already has 192.168.88.0/24"), "{error}");
        drop(opened(&LinkRequest { guest_mac: OTHER, ..with("192.168.88.0/24") }));
    });
}

#[test]
fn a_state_directory_of_someone_elses_is_refused() {
    isolated("a_state_directory_of_someone_elses_is_refused", || {
        sh("mkdir /tmp/x-$$; ln -s /tmp/x-$$ /run/softnet");
        assert!(refused(&options(GUEST)).contains("/run/softnet is not a directory of root's"));
        sh("rmdir $(readlink /run/softnet); rm /run/softnet; mkdir -m 777 /run/softnet; chown nobody /run/softnet");
        assert!(refused(&options(GUEST)).contains("/run/softnet is not a directory of root's"));
        assert_eq!(sh("ip -o link | wc -l"), "1\n", "nothing was made");
    });
}

#[test]
fn a_missing_program_is_named_with_its_package() {
    isolated("a_missing_program_is_named_with_its_package", || {
        for (program, package) in [("nft", "nftables"), ("dnsmasq", "dnsmasq-base")] {
            sh(&format!("p=$(command -v {program}); mount --bind /dev/null $(readlink -f $p)"));
            let error = refused(&options(GUEST));
            assert!(error.contains(&format!("{program} not found")), "{error}");
            assert!(error.contains(&format!("`apt-get install {package}`")), "{error}");
            sh(&format!("umount $(readlink -f $(ls /usr/sbin/{program}))"));
        }
        opened(&options(GUEST));
    });
}

#[test]
fn the_wait_is_ended_by_an_interrupt() {
    isolated("the_wait_is_ended_by_an_interrupt", || {
        let error = tap::open(&options(GUEST), &mut |_| Err(Interrupted)).expect_err("interrupted");
        assert!(matches!(error, Error::Interrupted(_)), "{error}");
        let mut host = opened(&options(GUEST));
        assert_eq!(offer(&mut host, GUEST, 1).seconds, 600);
    });
}

#[test]
fn network_down_refuses_while_guests_are_attached_and_leaves_nothing() {
    isolated("network_down_refuses_while_guests_are_attached_and_leaves_nothing", || {
        let mut nat = opened(&options(GUEST));
        let host = opened(&LinkRequest { net_type: NetType::Host, ..options(OTHER) });
        let process = std::process::id();
        let error = tap::down(Force::No, &mut sleep).expect_err("guests are attached").to_string();
        assert_eq!(
            error,
            format!(
                "guests are attached: {} (02:00:00:00:00:05, process {process}) on softnet0, {} (02:00:00:00:00:06, \
                 process {process}) on softnet1: end them, or use --force",
                nat.tap_name(),
                host.tap_name()
            )
        );
        assert_eq!(offer(&mut nat, GUEST, 1).seconds, 600, "nothing was changed");

        let report = tap::down(Force::Yes, &mut sleep).expect("forced").to_string();
        for part in ["softnet0", "softnet1", nat.tap_name(), "inet softnet"] {
            assert!(report.contains(part), "{part}: {report}");
        }
        let mut batch = Batch::new(1, 1514);
        let error = nat.receive(&mut batch).expect_err("its link is gone").to_string();
        assert!(error.contains("was removed from softnet0"), "{error}");
        assert_eq!(
            sh("ip -o link | wc -l; nft list ruleset | wc -l; ls -A /run | wc -l; pgrep -c dnsmasq || true"),
            "1\n0\n0\n0\n"
        );

        assert_eq!(tap::down(Force::No, &mut sleep).expect("nothing").to_string(), "nothing to remove\n");
        drop((nat, host));
        drop(opened(&options(GUEST)));
        tap::down(Force::No, &mut sleep).expect("no guest is left");
        assert_eq!(sh("ip -o link | wc -l; ls -A /run | wc -l"), "1\n0\n");
    });
}

#[test]
fn status_shows_bridges_guests_and_leases_and_changes_nothing() {
    isolated("status_shows_bridges_guests_and_leases_and_changes_nothing", || {
        let text = || tap::status(&mut sleep).expect("a status").to_string();
        assert!(text().starts_with("no network of softnet's is up"));
        assert_eq!(sh("ls -A /run | wc -l"), "0\n");
        let host = opened(&options(GUEST));
        let status = text();
        let pid = dnsmasq("softnet0");
        for part in [
            "softnet0: up",
            "subnet: 192.168.64.0/24, gateway 192.168.64.1",
            &format!("dnsmasq, process {pid}"),
            &format!("{} (02:00:00:00:00:05, process {})", host.tap_name(), std::process::id()),
            "the nftables table inet softnet is in place",
        ] {
            assert!(status.contains(part), "{part}: {status}");
        }
        sh(&format!("kill -9 {pid}; nft delete table inet softnet; ip link set softnet0 down; sleep 0.1"));
        let status = text();
        for part in ["softnet0: DOWN", "DHCP: NOT RUNNING", "firewall: MISSING"] {
            assert!(status.contains(part), "{part}: {status}");
        }
        assert!(!link("softnet0").contains("UP"));
    });
}

#[test]
fn a_bridge_of_someone_elses_is_attached_to_and_left_as_it_is() {
    isolated("a_bridge_of_someone_elses_is_attached_to_and_left_as_it_is", || {
        let to = |name: &str| LinkRequest { bridge: Some(name.to_owned()), ..options(GUEST) };
        for name in ["br9", "", ".", "../../etc", "a name", "a-name-that-is-too-long"] {
            assert!(refused(&to(name)).contains("there is no such interface"), "{name}");
        }
        assert!(refused(&to("lo")).contains("--bridge lo: it is a device, not a bridge"));
        sh("ip link add br9 type bridge stp_state 0");
        assert!(refused(&to("br9")).contains("`ip link set br9 up`"));
        sh("ip link set br9 up");
        assert!(refused(&to("br9")).contains("no IPv4 address"));
        assert!(!sh("ls /run/softnet").contains("br9"));
        sh("ip address add 172.20.0.1/16 dev br9; ip link set br9 mtu 1400");

        let host = opened(&to("br9"));
        assert_eq!(host.network().gateway.to_string(), "172.20.0.1");
        assert_eq!(host.network().subnet.to_string(), "172.20.0.0/16");
        assert_eq!(host.network().max_frame, 1414);
        assert!(link(host.tap_name()).contains("isolated on"));
        assert!(link(host.tap_name()).contains("mtu 1400"));
        assert_eq!(sh("nft list ruleset | wc -l; pgrep -c dnsmasq || true"), "0\n0\n");
        assert_eq!(host.network().gateway_mac, None, "it has its port's MAC, which may change");
    });
}

#[test]
fn frames_between_guests_pass_only_when_both_are_open() {
    isolated("frames_between_guests_pass_only_when_both_are_open", || {
        let pair = |isolation| {
            let with = |mac| LinkRequest { isolation, ..options(mac) };
            (opened(&with(GUEST)), opened(&with(OTHER)))
        };
        // An IPv4 datagram and an ARP-like broadcast from the one to the other.
        let mut unicast = discover(GUEST, 7);
        unicast[..6].copy_from_slice(&OTHER.0);
        let arrives = |isolation| {
            let (mut from, mut to) = pair(isolation);
            frames(&mut to, Duration::from_millis(100));
            assert_eq!(send(&mut from, &unicast), 1);
            frames(&mut to, Duration::from_millis(200)).contains(&unicast)
        };
        assert!(arrives(Isolation::Open));
        assert!(!arrives(Isolation::Isolated));
    });
}

#[test]
fn a_link_that_is_down_loses_frames_and_comes_back() {
    isolated("a_link_that_is_down_loses_frames_and_comes_back", || {
        let mut host = opened(&options(GUEST));
        sh(&format!("ip link set {} down", host.tap_name()));
        assert_eq!(send(&mut host, &discover(GUEST, 1)), 0);
        assert!(frames(&mut host, Duration::from_millis(20)).is_empty());
        sh(&format!("ip link set {} up", host.tap_name()));
        assert_eq!(offer(&mut host, GUEST, 2).seconds, 600);
        assert_eq!(send(&mut host, &[0; 5]), 0, "a runt is not taken");
        assert_eq!(send(&mut host, &[0; 0]), 0, "nor an empty frame");
    });
}

/// What NAT and firewall let through, asked by a kernel's own IP stack behind a port of the bridge.
#[test]
fn guests_reach_the_world_and_nothing_else_of_the_host() {
    isolated("guests_reach_the_world_and_nothing_else_of_the_host", || {
        let _nat = opened(&LinkRequest { isolation: Isolation::Open, ..options(GUEST) });
        let _host = opened(&LinkRequest { net_type: NetType::Host, ..options(GUEST) });
        sh("set -e
            for g in 'g0 softnet0 192.168.64.50' 'g1 softnet0 192.168.64.51' 'h0 softnet1 192.168.65.50'; do
              set -- $g; ip netns add $1; ip link add v-$1 type veth peer name eth0 netns $1
              ip link set v-$1 master $2 up; ip -n $1 address add $3/24 dev eth0; ip -n $1 link set eth0 up
              ip -n $1 route add default via ${3%.*}.1
            done
            ip netns add world; ip link add wan type veth peer name eth0 netns world
            ip address add 203.0.113.1/24 dev wan; ip link set wan up
            ip -n world address add 203.0.113.2/24 dev eth0; ip -n world link set eth0 up; ip -n world link set lo up
            ip -n world route add 192.168.64.0/23 via 203.0.113.1");
        let ping = |from: &str, to: &str| try_sh(&format!("ip netns exec {from} ping -c1 -W1 {to}")).0;
        assert!(ping("g0", "203.0.113.2"), "the world, by NAT");
        assert!(ping("g0", "192.168.64.1"), "the gateway");
        assert!(ping("g0", "192.168.64.51"), "a neighbour behind an open port");
        assert!(ping("h0", "192.168.65.1"), "the host");
        assert!(!ping("g0", "203.0.113.1"), "another address of the host's");
        assert!(!ping("g0", "192.168.65.1"), "the other bridge");
        assert!(!ping("g0", "192.168.65.50"), "a guest of the other bridge");
        assert!(!ping("h0", "203.0.113.2"), "the world from the host bridge");
        assert!(!ping("h0", "192.168.64.1"), "the other bridge from the host bridge");
        assert!(!ping("world", "192.168.64.50"), "a guest from the world");
        assert!(!ping("world", "192.168.64.1"), "the bridge from the world");
        assert!(!ping("world", "192.168.65.50"), "a guest of the host bridge from the world");
        assert!(try_sh("ping -c1 -W1 192.168.64.50").0, "a guest from the host");
        // A guest with the address of another network.
        sh("ip -n g0 address add 10.1.1.1/32 dev eth0");
        assert!(!try_sh("ip netns exec g0 ping -I 10.1.1.1 -c1 -W1 192.168.64.1").0);
        // A port that the host forwards elsewhere, as docker does.
        sh("nft -f - <<< 'table ip dock { chain pre { type nat hook prerouting priority dstnat; policy accept
            fib daddr type local tcp dport 8080 dnat to 203.0.113.2:80
            } }' 2>/dev/null || nft -f - <<'E'
table ip dock {
  chain pre {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local tcp dport 8080 dnat to 203.0.113.2:80
  }
}
E");
        sh("ip netns exec world busybox httpd -p 80 -h /etc");
        let get = |from: &str, url: &str| try_sh(&format!("ip netns exec {from} curl -s -m2 -o /dev/null {url}")).0;
        assert!(get("g0", "http://203.0.113.2/hostname"));
        assert!(!get("g0", "http://203.0.113.1:8080/hostname"), "through the host's other address");
        assert!(!get("h0", "http://192.168.65.1:8080/hostname"), "out of the host bridge through its gateway");
    });
}

#[test]
fn no_descriptor_is_left_to_children() {
    isolated("no_descriptor_is_left_to_children", || {
        let host = opened(&options(GUEST));
        let flags = nix::fcntl::fcntl(host.readiness(), nix::fcntl::FcntlArg::F_GETFD).expect("open");
        assert_ne!(flags & nix::libc::FD_CLOEXEC, 0);
        assert!(host.readiness().as_raw_fd() > 2);
        let list = sh(&format!("ls -l /proc/{}/fd", dnsmasq("softnet0")));
        assert!(!list.contains("tun") && !list.contains("lock") && !list.contains("guests"), "{list}");
    });
}
