//! What softnet says when something goes wrong while it runs: each broken on purpose.
#![cfg(target_os = "linux")]

use std::net::Ipv4Addr;
use std::time::Duration;

use softnet_testbed::attack::Party;
use softnet_testbed::guest::{KernelGuest, PortableGuest};
use softnet_testbed::internet::WEB;
use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::netns::Netns;
use softnet_testbed::softnet::{Ended, Softnet};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, ARP, Arp, IPV4, Mac};
use softnet_testbed::{state, tools};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
/// Ten seconds of silence, and patience with the machine.
const LONG: Duration = Duration::from_secs(20);

/// Waits until softnet has said `words`, while the guest sends and receives what it likes.
fn wait_for(softnet: &Softnet, guest: &mut PortableGuest, words: &str) {
    guest
        .serve(words, LONG, || softnet.said().contains(words).then_some(()))
        .unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
}

/// How each of the messages begins, behind what names an address.
const TROUBLES: [&str; 7] = [
    "the guest asks for an address",
    "the guest has asked for an address",
    "does not answer the guest's ARP",
    "the address that the guest has leased",
    "in use by another",
    "the guest sends from",
    "beyond this host",
];

/// The troubles of one run.
fn troubles(ended: &Ended) -> Vec<&str> {
    ended.said.lines().filter(|line| TROUBLES.iter().any(|words| line.contains(words))).collect()
}

#[test]
fn a_dhcp_server_that_has_stopped_is_named() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, socket) = bed.launch(MAC).start();
        for process in state::processes("dnsmasq") {
            tools::run(&format!("kill -9 {process}"));
        }
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(Duration::from_secs(2)).expect_err("nobody answers");
        wait_for(&softnet, &mut guest, "is the DHCP server of 192.168.64.1 running?");
        let ended = softnet.stop();
        assert_eq!(troubles(&ended).len(), 1, "{}", ended.said);
        // What it says to do helps.
        let (softnet, _guest) = bed.guest(Mac::guest(2), "");
        softnet.stop();
    });
}

#[test]
fn a_pool_that_is_full_is_named_also_when_it_fills_up_after_the_start() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let options = "--subnet 10.9.8.0/29";
        let (late, socket) = bed.launch(MAC).with(options).start();
        let guests: Vec<_> = (2..=6).map(|number| bed.guest(Mac::guest(number), options)).collect();
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(Duration::from_secs(2)).expect_err("no address is left");
        wait_for(&late, &mut guest, "all 5 of 10.9.8.0/29 are leased");
        let ended = late.stop();
        assert_eq!(troubles(&ended).len(), 1, "{}", ended.said);
        for (softnet, _guest) in guests {
            assert_eq!(troubles(&softnet.stop()).len(), 0);
        }
    });
}

/// A port of softnet's bridge that is not softnet's, with the address of somebody else: a container, say.
fn impostor(address: Ipv4Addr, isolated: &str) -> (Netns, Mac) {
    let netns = Netns::new("impostor");
    tools::run("ip link add impostor type veth peer name eth0 netns impostor");
    tools::run("ip link set impostor master softnet0 up");
    tools::run(&format!("bridge link set dev impostor isolated {isolated}"));
    netns.run(&format!("ip address add {address}/24 dev eth0"));
    netns.run("ip link set eth0 up");
    let line = netns.run("ip -o link show eth0");
    let text = line.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next()).expect("a hardware address");
    let octets: Vec<u8> = text.split(':').map(|octet| u8::from_str_radix(octet, 16).expect("an octet")).collect();
    (netns, Mac(octets.try_into().expect("six octets")))
}

/// On one port the guest's softnet sees its ARP, on the other, isolated as guests are, only the host does.
fn a_second_machine_with_the_leased_address_is_named(isolated: &str) {
    let bed = LinuxTestbed::new(SOFTNET);
    let (softnet, mut guest) = bed.guest(MAC, "");
    let gateway = guest.gateway();
    guest.ping(gateway, PATIENCE).expect("the gateway answers");
    let (netns, mac) = impostor(guest.address(), isolated);
    netns.run(&format!("ping -q -c 1 -W 5 {gateway}"));
    let words = format!("{mac} uses {}, the address that the guest has leased", guest.address());
    wait_for(&softnet, &mut guest, &words);
    let ended = softnet.stop();
    assert_eq!(troubles(&ended).len(), 1, "{}", ended.said);
}

#[test]
fn a_second_machine_with_the_leased_address_is_named_by_its_arp() {
    in_own_network(|| a_second_machine_with_the_leased_address_is_named("off"));
}

#[test]
fn a_second_machine_with_the_leased_address_is_named_though_it_is_isolated_from_the_guest() {
    in_own_network(|| a_second_machine_with_the_leased_address_is_named("on"));
}

#[test]
fn an_address_that_the_guest_itself_finds_in_use_is_named_and_it_gets_another() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // Neighbours are heard, so that the guest can find out.
        let (softnet, socket) = bed.launch(MAC).with("--allow 0.0.0.0/0").start();
        let mut guest = KernelGuest::new("guest1", socket, MAC);
        let address = guest.dhcp().address;
        let (_netns, mac) = impostor(address, "off");
        // A client that asks by ARP for what it was leased, before it uses it (RFC 2131, section 2.2).
        let client = format!("busybox udhcpc -a -i eth0 -f -n -q -t 10 -T 1 -A 1 -s {SCRATCH}/udhcpc-script");
        let ended = tools::output(guest.command(&client).env("LEASE_FILE", format!("{SCRATCH}/declined.lease")));
        let (client, said) = (tools::text(&ended), softnet.said());
        println!("{client}\n{said}");
        assert!(said.contains(&format!("the guest has found {address}, which it was leased, in use by another: ")));
        // dnsmasq leases it another one, which softnet learns.
        let declined = client.find("declining").unwrap_or_else(|| panic!("{client}"));
        assert!(
            client[declined..].contains("obtained") && !client[declined..].contains(&format!("lease of {address}"))
        );
        guest.run(&format!("ping -q -c 1 -W 5 {}", guest.gateway()));
        let ended = softnet.stop();
        let claimed = format!("{mac} uses {address}, the address that the guest has leased");
        let told = troubles(&ended);
        assert!(told.len() == 2 && told.iter().any(|line| line.contains(&claimed)), "{told:?}");
    });
}

#[test]
fn an_address_that_moves_from_guest_to_guest_is_nobodys_trouble() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let options = "--subnet 10.9.8.0/29";
        // Five addresses: the one that is given back is the only one that is free.
        let _others: Vec<_> = (3..=6).map(|number| bed.guest(Mac::guest(number), options)).collect();
        let (first, mut guest) = bed.guest(MAC, options);
        let address = guest.address();
        guest.ping(guest.gateway(), PATIENCE).expect("the gateway answers");
        let gateway = Party::gateway_of(&guest);
        let release = wire::dhcp(1, 77, MAC, Ipv4Addr::UNSPECIFIED, &[(53, &[7]), (54, &gateway.ip.octets())]);
        let mut release = release;
        release[12..16].copy_from_slice(&address.octets());
        let datagram = wire::udp((address, 68), (gateway.ip, 67), &release);
        guest.send_raw(&wire::ethernet(gateway.mac, MAC, IPV4, &datagram)).expect("the socket takes a frame");
        wait::until("the end of the lease", PATIENCE, || first.said().contains("has lost").then_some(()))
            .expect("given up");
        let (second, mut other) = bed.guest(Mac::guest(2), options);
        assert_eq!(other.address(), address);
        let census = std::time::Instant::now() + Duration::from_secs(8);
        other.serve("two looks", LONG, || (std::time::Instant::now() > census).then_some(())).expect("time passes");
        for softnet in [first, second] {
            let ended = softnet.stop();
            assert_eq!(troubles(&ended), [""; 0], "{}", ended.said);
        }
    });
}

#[test]
fn a_gateway_that_has_lost_its_address_is_named() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "");
        let (own, gateway) = (guest.address(), guest.gateway());
        guest.ping(gateway, PATIENCE).expect("the gateway answers");
        tools::run("ip address flush dev softnet0");
        let question = wire::ethernet(Mac::BROADCAST, MAC, ARP, &Arp::request(own, MAC, gateway).bytes());
        let mut next = std::time::Instant::now();
        let words = format!("the gateway {gateway} does not answer the guest's ARP requests");
        wait::until(&words, LONG, || {
            if std::time::Instant::now() >= next {
                next += Duration::from_secs(1);
                guest.send_raw(&question).expect("the socket takes a frame");
            }
            softnet.said().contains(&words).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
        let ended = softnet.stop();
        assert_eq!(troubles(&ended).len(), 1, "{}", ended.said);
    });
}

#[test]
fn a_firewall_that_is_closed_to_what_is_forwarded_is_told_of_and_one_that_is_open_is_not() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, socket) = bed.launch(MAC).start();
        let mut guest = KernelGuest::new("guest1", socket, MAC);
        guest.dhcp();
        let get = |guest: &KernelGuest| guest.output(&format!("curl --max-time 3 -sS -o /dev/null http://{WEB}/"));
        assert!(get(&guest).status.success(), "the control");
        tools::run("nft add table ip closed");
        let chain = "add chain ip closed door { type filter hook forward priority 0; policy drop; }";
        tools::finish(tools::command("nft").arg(chain));
        let words =
            "the guest has begun connections beyond this host for 10 s, and nothing has come from there: is this host";
        wait::until(words, LONG, || {
            assert!(!get(&guest).status.success(), "it is closed");
            softnet.said().contains(words).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
        // The host itself is there all the while, and later the world is.
        guest.run(&format!("ping -q -c 1 -W 5 {}", guest.gateway()));
        tools::run("nft delete table ip closed");
        assert!(get(&guest).status.success(), "the control");
        let ended = softnet.stop();
        println!("{}", ended.said);
        assert_eq!(troubles(&ended).len(), 1, "{}", ended.said);
    });
}

#[test]
fn a_guest_that_sends_from_another_mac_is_told_which_option_that_is() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, socket) = bed.launch(MAC).start();
        // As when the VM was given another MAC than softnet.
        let mut guest = PortableGuest::new(socket, Mac::guest(9));
        guest.dhcp(Duration::from_secs(2)).expect_err("its frames are dropped");
        wait_for(&softnet, &mut guest, &format!("the guest sends from {}", Mac::guest(9)));
        let ended = softnet.stop();
        assert!(ended.dropped("ethernet-source") > 1);
        let [line] = troubles(&ended)[..] else { panic!("{}", ended.said) };
        assert!(line.contains("--vm-mac-address"), "{line}");
    });
}
