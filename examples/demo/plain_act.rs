//! The act without softnet: the control, where the attacks succeed.

use std::net::Ipv4Addr;

use softnet_testbed::attack;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::plain::PlainBridge;
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;

use crate::acts::steal_neighbour;
use crate::report::{Report, Tone};

const ATTACKER: Mac = Mac::guest(1);
const VICTIM: Mac = Mac::guest(2);

/// Two guests on a bridge that filters nothing: the thefts succeed.
pub(crate) fn without_softnet(report: &mut Report) {
    report.heading("Without softnet", "Two guests on a plain bridge. One of them is hostile.");
    let mut bridge = PlainBridge::new("plain0", Ipv4Addr::new(192, 168, 200, 1));
    let (socket, _first) = bridge.attach();
    let mut attacker = PortableGuest::new(socket, ATTACKER);
    let (socket, _second) = bridge.attach();
    let mut victim = PortableGuest::new(socket, VICTIM);
    for guest in [&mut attacker, &mut victim] {
        guest.dhcp(PATIENCE).expect("a plain bridge's guest gets a lease");
        guest.flush();
    }
    let far = Ipv4Addr::new(93, 184, 215, 14);
    let stolen = attack::steal_gateway(&mut attacker, &mut victim, far);
    report.line_if(
        stolen,
        Tone::Alarming,
        "ARP: \"the gateway is me\", told to the neighbour",
        "stolen: the neighbour's frames come to the attacker",
        "nothing was stolen: the attack itself is broken",
    );
    let stolen = steal_neighbour(&mut attacker, &victim);
    report.line_if(
        stolen,
        Tone::Alarming,
        "ARP: \"the neighbour is me\", told to the host",
        "stolen: the host's frames for the neighbour come to the attacker",
        "nothing was stolen: the attack itself is broken",
    );
}
