//! The host's network: made by the first softnet, adopted by the next, repaired when it is half there, and taken down.
#![cfg(target_os = "linux")]

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use softnet_testbed::attack::{self, Party};
use softnet_testbed::guest::{KernelGuest, PortableGuest};
use softnet_testbed::internet::{METADATA, PRIVATE, WEB};
use softnet_testbed::isolate::{self, in_own_network};
use softnet_testbed::plain::PlainBridge;
use softnet_testbed::softnet::{self, Caller, Launch};
use softnet_testbed::state::{mac_of, processes};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

/// Runs `softnet network ACTION` as root: whether it succeeded, and what it printed and said.
fn network(action: &str) -> (bool, String) {
    let mut command = softnet::command(Path::new(SOFTNET), Caller::Root);
    let output = tools::output(command.arg("network").args(action.split_ascii_whitespace()));
    (output.status.success(), tools::text(&output))
}

#[test]
fn the_bridge_is_as_it_should_be() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, guest) = bed.guest(MAC, "");
        let mac = mac_of("softnet0");
        let (second, _other) = bed.guest(Mac::guest(2), "");
        assert_eq!(mac_of("softnet0"), mac, "the gateway's MAC stays as guests come");
        let details = tools::run("ip -o -d link show softnet0");
        assert!(details.contains("stp_state 0") && details.contains("mcast_snooping 0"), "{details}");
        assert_eq!(tools::run("ip -6 addr show dev softnet0"), "", "no IPv6 on the bridge");
        let ports = tools::run("ip -o -d link show master softnet0");
        assert_eq!(ports.lines().count(), 2, "{ports}");
        assert!(ports.lines().all(|port| port.contains("isolated on")), "{ports}");
        first.stop();
        let ports = tools::run("ip -o link show master softnet0");
        assert_eq!(ports.lines().count(), 1, "a port goes with its softnet: {ports}");
        second.stop();
        assert_eq!(mac_of("softnet0"), mac, "the gateway's MAC stays as guests go");
        drop(guest);
    });
}

#[test]
fn a_guests_port_has_no_ipv6_and_an_offload_header_unless_told_otherwise_and_does_not_outlive_it() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (options, header) in [("", "vnet_hdr on"), ("--no-offload", "vnet_hdr off")] {
            let (softnet, _guest) = bed.guest(MAC, options);
            assert_eq!(tools::run("ip -6 addr show dev softnet-0"), "", "no IPv6 on the port");
            let details = tools::run("ip -o -d link show dev softnet-0");
            for part in ["type tap", "pi off", header, "persist off"] {
                assert!(details.contains(part), "{part}: {details}");
            }
            softnet.stop();
            assert!(!tools::run("ip -o link show").contains("softnet-0"), "it goes with its softnet");
        }
    });
}

#[test]
fn the_next_start_adopts_the_network_and_gives_the_same_address() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.guest(MAC, "");
        let (address, mac, server) = (guest.address(), mac_of("softnet0"), processes("dnsmasq"));
        softnet.stop();
        assert_eq!(processes("dnsmasq"), server, "the DHCP server outlives the softnet that started it");
        assert_eq!(server.len(), 1);
        let (softnet, guest) = bed.guest(MAC, "");
        assert_eq!(guest.address(), address);
        assert_eq!((mac_of("softnet0"), processes("dnsmasq")), (mac, server), "nothing is made anew");
        softnet.stop();
    });
}

#[test]
fn what_an_administrator_left_half_done_is_repaired() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "");
        softnet.stop();
        for damage in [
            "kill -KILL $(cat /run/softnet/softnet0.pid)",
            "ip link set softnet0 down",
            "ip addr flush dev softnet0",
            "nft delete table inet softnet",
            "ip link del softnet0",
            "rm -rf /run/softnet",
        ] {
            tools::sh(damage);
            let (softnet, mut guest) = bed.guest(MAC, "");
            eprintln!("repaired: {damage}");
            guest.http_get(bed.facts().web, PATIENCE).unwrap_or_else(|error| panic!("after {damage}: {error}"));
            guest.http_get(PRIVATE, Duration::from_millis(300)).expect_err("closed is closed after a repair");
            softnet.stop();
        }
        assert_eq!(processes("dnsmasq").len(), 1, "one DHCP server is left");
    });
}

#[test]
fn killed_at_any_moment_of_the_setup_it_leaves_what_the_next_start_repairs() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // How long a whole setup takes here, from nothing.
        let (softnet, _guest) = bed.guest(MAC, "");
        softnet.stop();
        let (down, text) = network("down");
        assert!(down, "{text}");
        // From early to late, finer than any step, then at random; every fourth time from nothing.
        let mut random = Random::new();
        for round in 0..24u64 {
            let moment = if round < 16 { (3 + round * 11) * 1000 } else { random.below(60_000) };
            let (softnet, socket) = bed.launch(MAC).spawn();
            std::thread::sleep(Duration::from_micros(moment)); // the moment of the kill
            softnet.signal(Signal::SIGKILL);
            assert!(!softnet.wait_end(PATIENCE).status.success(), "killed");
            drop(socket);
            if round % 4 == 3 {
                let (softnet, mut guest) = bed.guest(MAC, "");
                guest.http_get(bed.facts().web, PATIENCE).unwrap_or_else(|error| panic!("round {round}: {error}"));
                softnet.stop();
                assert_eq!(processes("dnsmasq").len(), 1, "round {round}: one DHCP server");
                let (down, text) = network("down");
                assert!(down, "round {round}: {text}");
            }
        }
        assert_eq!(tools::run("ip -o link show type bridge"), "", "nothing is left");
        assert!(processes("dnsmasq").is_empty(), "nothing is left");
    });
}

/// Numbers that differ from run to run; the seed is said.
struct Random(u64);

impl Random {
    fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let seed = now.as_nanos() as u64 | 1;
        eprintln!("seed {seed}");
        Random(seed)
    }

    /// One below `end` (xorshift64, Marsaglia 2003).
    fn below(&mut self, end: u64) -> u64 {
        for shift in [13, -7, 17] {
            self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
        }
        self.0 % end
    }
}

#[test]
fn down_removes_everything_but_not_under_a_guest() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "");
        let (host_softnet, _host_guest) = bed.guest(Mac::guest(2), "--vm-net-type host");
        let (status, text) = network("status");
        assert!(status, "{text}");
        for word in ["softnet0", "softnet1", &guest.gateway().to_string(), &MAC.to_string()] {
            assert!(text.contains(word), "{word} is to be told: {text}");
        }
        let (down, text) = network("down");
        assert!(!down && text.contains("--force"), "{text}");
        guest.flush();
        softnet.stop();
        host_softnet.stop();
        let (down, text) = network("down");
        assert!(down, "{text}");
        assert_eq!(tools::run("ip -o link show type bridge"), "");
        assert!(!tools::run("nft list tables").contains("softnet"));
        wait::until("the end of the DHCP servers", PATIENCE, || processes("dnsmasq").is_empty().then_some(()))
            .expect("gone");
        assert!(network("down").0, "what is down may be taken down again");
        assert!(network("status").0, "and asked about");
        // What was taken down comes up again.
        let (softnet, _guest) = bed.guest(MAC, "");
        // With force, the guest loses its network, and softnet says so and ends.
        let (down, text) = network("down --force");
        assert!(down, "{text}");
        let ended = softnet.wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
    });
}

#[test]
fn anyone_may_ask_for_the_status() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, _guest) = bed.guest(MAC, "");
        let output = tools::output(softnet::command(&bed.setuid, Caller::User).args(["network", "status"]));
        assert!(output.status.success(), "{}", tools::text(&output));
        assert!(tools::text(&output).contains("softnet0"), "{}", tools::text(&output));
        softnet.stop();
    });
}

#[test]
fn the_subnet_avoids_what_the_host_has() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        tools::add_interface("lan");
        tools::run("ip addr add 192.168.64.77/24 dev lan");
        tools::run("ip route add 192.168.65.128/25 via 10.99.0.1");
        let (softnet, mut guest) = bed.guest(MAC, "");
        assert_eq!(guest.gateway(), Ipv4Addr::new(192, 168, 66, 1));
        guest.flush();
        softnet.stop();
    });
}

#[test]
fn root_may_name_the_subnet_and_a_taken_one_is_refused() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let ended = bed.launch(MAC).with("--subnet 10.99.0.0/24").spawn().0.wait_end(PATIENCE);
        assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
        assert!(ended.said.contains("--subnet") && ended.said.contains("10.99.0.0/24"), "{}", ended.said);
        assert_eq!(tools::run("ip -o link show type bridge"), "", "nothing is left behind");
        let (softnet, guest) = bed.guest(MAC, "--subnet 172.29.7.0/24");
        assert_eq!(guest.gateway(), Ipv4Addr::new(172, 29, 7, 1));
        assert_eq!(guest.address().octets()[..3], [172, 29, 7]);
        softnet.stop();
    });
}

#[test]
fn a_bridge_of_somebody_elses_is_used_as_it_is() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let gateway = Ipv4Addr::new(192, 168, 200, 1);
        let mut bridge = PlainBridge::new("virbr7", gateway);
        let (neighbour_socket, _pump) = bridge.attach();
        let mut neighbour = PortableGuest::new(neighbour_socket, Mac::guest(7));
        neighbour.dhcp(PATIENCE).expect("a plain lease");
        let (softnet, socket) = Launch::new(Path::new(SOFTNET), MAC).with("--bridge virbr7").start();
        let mut guest = PortableGuest::new(socket, MAC);
        let lease = guest.dhcp(PATIENCE).expect("a lease of the bridge's own server");
        assert_eq!((lease.seconds, lease.router), (Some(700), Some(gateway)), "the bridge's own DHCP server answers");
        guest.flush();
        guest.ping(METADATA, SILENCE).expect_err("the filter is the same");
        let parties = (Party::of(&guest), Party::gateway_of(&guest), Party::of(&neighbour));
        let spoofs = attack::spoofs(parties.0, parties.1, parties.2, PRIVATE, WEB);
        attack::assert_held_back(&mut guest, &spoofs, "virbr7");
        assert_eq!(tools::run("ip -o link show type bridge").lines().count(), 1, "nothing else is provisioned");
        assert!(!tools::run("nft list tables").contains("softnet"), "nothing else is provisioned");
        softnet.stop();
        assert_eq!(processes("dnsmasq").len(), 1, "the bridge's own server is left alone");
        drop(bed);
    });
}

/// Whom a service says it sees, which is reached by this port.
fn seen_through(to: (Ipv4Addr, u16)) -> String {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE).expect("the port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut peer = String::new();
    stream.read_to_string(&mut peer).expect("an answer");
    peer
}

#[test]
fn ports_of_a_guest_on_a_bridge_of_somebody_elses_are_exposed_as_on_softnets_own() {
    in_own_network(|| {
        isolate::own_etc();
        std::fs::write("/etc/softnet.toml", "bridges = [\"virbr7\"]\n").expect("written");
        let bed = LinuxTestbed::new(SOFTNET);
        let gateway = Ipv4Addr::new(192, 168, 200, 1);
        let mut bridge = PlainBridge::new("virbr7", gateway);
        // It may have more of them.
        tools::run("ip address add 192.168.200.2/24 dev virbr7");
        tools::run("ip address add 10.77.0.1/24 dev virbr7");
        let (neighbour_socket, _pump) = bridge.attach();
        let mut neighbour = KernelGuest::new("neighbour", neighbour_socket, Mac::guest(7));
        neighbour.dhcp();
        let options =
            "--bridge virbr7 --expose 2222:22,127.0.0.1:5353:53/udp --block '0.0.0.0/0,in 0.0.0.0/0,in @host,@host'";
        let (softnet, socket) = bed.launch(MAC).with(options).start();
        let mut guest = KernelGuest::new("guest1", socket, MAC);
        assert_eq!(guest.dhcp().seconds, Some(700), "the bridge's own DHCP server answers");
        wait::until("the forward", PATIENCE, || softnet.said().contains("2222:22 works").then_some(())).expect("works");

        let listener = guest.netns().enter(|| TcpListener::bind("0.0.0.0:22").expect("bound"));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                use std::io::Write as _;
                let mut stream = stream.expect("a connection");
                let peer = stream.peer_addr().expect("a peer").ip();
                let _ = write!(stream, "{peer}");
            }
        });
        for to in [Ipv4Addr::LOCALHOST, gateway, Ipv4Addr::new(192, 168, 200, 2), Ipv4Addr::new(10, 77, 0, 1)] {
            assert_eq!(seen_through((to, 2222)), gateway.to_string(), "by {to} the guest sees the gateway");
        }
        let from_neighbour = neighbour.netns().enter(|| seen_through((gateway, 2222)));
        assert_eq!(from_neighbour, gateway.to_string());
        // The control: what is not exposed is closed, to the host too.
        let _other = guest.netns().enter(|| TcpListener::bind("0.0.0.0:23").expect("bound"));
        let straight = SocketAddr::from((guest.lease().address, 23));
        TcpStream::connect_timeout(&straight, SILENCE).expect_err("straight to another port of the guest's");

        let service = guest.netns().enter(|| UdpSocket::bind("0.0.0.0:53").expect("bound"));
        service.set_read_timeout(Some(PATIENCE)).expect("set");
        let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
        client.set_read_timeout(Some(PATIENCE)).expect("set");
        client.send_to(b"question", "127.0.0.1:5353").expect("sent");
        let mut buffer = [0; 64];
        let (length, peer) = service.recv_from(&mut buffer).expect("a question");
        assert_eq!((&buffer[..length], peer.ip()), (&b"question"[..], gateway.into()));
        service.send_to(b"answer", peer).expect("sent");
        assert_eq!(client.recv(&mut buffer).map(|length| buffer[..length].to_vec()).expect("answered"), b"answer");
        let ended = softnet.stop();
        assert!(!ended.said.contains("panicked") && !ended.said.contains("before its time"), "{}", ended.said);
        assert!(!tools::run("nft list tables").contains("softnet"), "nothing is provisioned");
    });
}
