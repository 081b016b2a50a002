//! What a guest can make the host's NAT say in the name of others: nothing.
#![cfg(target_os = "linux")]

use softnet_testbed::attack::Party;
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
