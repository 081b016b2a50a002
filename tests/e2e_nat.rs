//! What a guest can make the host's NAT say in the name of others: nothing.
#![cfg(target_os = "linux")]

use std::net::UdpSocket;

use softnet_testbed::attack::Party;
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::internet::{UPLINK, WEB};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::sniffer::Sniffer;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::{self, IPV4, Mac};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

#[test]
fn an_icmp_error_about_a_neighbours_connection_does_not_leave_the_host() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (first, mut attacker) = bed.guest(Mac::guest(1), "");
        let (second, mut victim) = bed.guest(Mac::guest(2), "");
        attacker.flush();
        let gateway = Party::gateway_of(&attacker);
        let mut uplink = Sniffer::on("uplink");
        let port_unreachable = |from: &Party, quoted: &[u8]| {
            let rest = [&[0; 4], &quoted[14..14 + 28]].concat();
            wire::ethernet(gateway.mac, from.mac, IPV4, &wire::icmp(from.ip, WEB, (3, 3), &rest))
        };
        let is_error = |frame: &[u8]| {
            wire::ip_addresses(frame) == Some((UPLINK, WEB)) && frame[14 + 9] == 1 && frame[14 + 20] == 3
        };

        victim.udp_exchange((WEB, 7), b"a datagram", PATIENCE).expect("the victim's datagram is answered");
        let seen = victim.seen().iter().rev();
        let answer = seen.clone().find(|frame| wire::ip_addresses(frame) == Some((WEB, victim.address())));
        let answer = answer.expect("the answer was seen").clone();
        attacker.send_raw(&port_unreachable(&Party::of(&attacker), &answer)).expect("the socket takes a frame");
        attacker.flush();
        assert_eq!(uplink.count(is_error), 0, "the host told the victim's peer what the attacker said");

        // The control: the victim itself may say so.
        victim.send_raw(&port_unreachable(&Party::of(&victim), &answer)).expect("the socket takes a frame");
        uplink.expect("the victim's own error", PATIENCE, is_error).expect("it leaves the host");
        first.stop();
        second.stop();
    });
}

/// Whoever holds the host's half of a connection's five facts gets what the peer sends: a guest that chose a service's port
/// would be the service, for the peers that it names ("port shadow", Mixon-Baca et al., PoPETs 2024).
#[test]
fn a_guest_takes_no_port_of_the_hosts_services() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, socket) = bed.launch(Mac::guest(1)).start();
        let mut guest = KernelGuest::new("guest", socket, Mac::guest(1));
        guest.dhcp();
        let mut uplink = Sniffer::on("uplink");
        // IPsec's below 1024, WireGuard's above.
        for port in [500, 51_820] {
            let service = UdpSocket::bind((UPLINK, port)).expect("a service of the host's");
            service.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
            let [peer, other] = bed.internet.netns.enter(|| {
                [4500, 4501].map(|port| {
                    let peer = UdpSocket::bind((WEB, port)).expect("a peer's socket");
                    peer.set_read_timeout(Some(PATIENCE)).expect("a timeout is set");
                    peer
                })
            });
            for line in [
                format!("hping3 -n -q -c 1 --udp -s {port} -k -p 4500 {WEB}"),
                format!("hping3 -n -q -c 1 -S -s {port} -k -p 80 {WEB}"),
            ] {
                let _ = guest.output(&line);
            }
            let mut buffer = [0; 100];
            let (_, from) = peer.recv_from(&mut buffer).expect("the guest's datagram comes to the peer");
            let is_segment = |frame: &[u8]| wire::ip_addresses(frame) == Some((UPLINK, WEB)) && frame[14 + 9] == 6;
            let segment = uplink.expect("the guest's segment", PATIENCE, is_segment).expect("it leaves the host");
            for taken in [from.port(), u16::from_be_bytes([segment[34], segment[35]])] {
                assert!(taken >= 1024 && taken != port, "the guest speaks from the host's port {taken}");
            }

            // The control: who was not spoken to reaches the service; then who was.
            for peer in [other, peer] {
                peer.send_to(b"for the service", (UPLINK, port)).expect("sent");
                let (length, from) = service.recv_from(&mut buffer).expect("it comes to the service, not to the guest");
                assert_eq!(
                    (&buffer[..length], from),
                    (&b"for the service"[..], peer.local_addr().expect("an address"))
                );
            }
        }
        softnet.stop();
    });
}
