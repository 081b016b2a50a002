//! Port forwards of a fake vmnet, set and moved by way of what the relay calls.

use vmnet_fake::port_forwarding::{AddressFamily, Protocol, Rule};

use super::*;
use crate::cli::{Carrier, Forward};
use crate::forwards::ports::Port;
use crate::forwards::{By, Forwards, LinkPort};
use crate::host::PortForward;

const SSH: PortForward = PortForward { external: 2222, internal: 22 };
const WEB: PortForward = PortForward { external: 8080, internal: 80 };
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 7);
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 8);

fn rule(forward: PortForward, guest: Ipv4Addr) -> Rule {
    Rule {
        address_family: AddressFamily::Ipv4,
        protocol: Protocol::Tcp,
        external_port: forward.external,
        addr: guest.into(),
        internal_port: forward.internal,
    }
}

/// Forwards as the setup makes them; the fake needs no port of this machine.
fn forwards(of: &[PortForward]) -> Forwards {
    let port = |forward: &PortForward| {
        let PortForward { external, internal } = *forward;
        let forward = Forward { bind: None, external, internal, carrier: Carrier::Tcp };
        let socket = std::os::unix::net::UnixDatagram::unbound().unwrap().into();
        LinkPort::new(Port { forward, socket })
    };
    Forwards::new(
        of.iter().map(|forward| format!("{}:{}", forward.external, forward.internal)).collect(),
        By::Link(of.iter().map(port).collect()),
    )
}

#[test]
fn ports_lead_to_the_lease_move_with_it_and_end_with_it() {
    let (wire, mut host) = host();
    let mut forwards = forwards(&[SSH, WEB]);
    for (lease, rules) in [
        (None, vec![]),
        (Some(FIRST), vec![rule(SSH, FIRST), rule(WEB, FIRST)]),
        (Some(FIRST), vec![rule(SSH, FIRST), rule(WEB, FIRST)]),
        (Some(SECOND), vec![rule(SSH, SECOND), rule(WEB, SECOND)]),
        (None, vec![]),
        (Some(FIRST), vec![rule(SSH, FIRST), rule(WEB, FIRST)]),
    ] {
        forwards.turn(lease, &mut host);
        assert_eq!(wire.rules(), rules, "{lease:?}");
    }
}

#[test]
fn vmnet_is_asked_when_the_lease_changes_and_not_with_each_turn() {
    let (wire, mut host) = host();
    let mut forwards = forwards(&[SSH]);
    wire.refuse_rule(fault(Status::Failure));
    forwards.turn(Some(FIRST), &mut host);
    forwards.turn(Some(FIRST), &mut host);
    assert_eq!(wire.rules(), [], "a refusal is not followed by a try with each frame");
    forwards.turn(Some(SECOND), &mut host);
    assert_eq!(wire.rules(), [rule(SSH, SECOND)]);
}

#[test]
fn one_that_is_refused_holds_up_no_other() {
    let (wire, mut host) = host();
    wire.refuse_rule(fault(Status::InvalidArgument));
    forwards(&[SSH, WEB]).turn(Some(FIRST), &mut host);
    assert_eq!(wire.rules(), [rule(WEB, FIRST)]);
}

#[test]
fn a_refusal_names_the_port_and_what_vmnet_says() {
    let (wire, mut host) = host();
    wire.refuse_rule(fault(Status::InvalidArgument));
    let error = host.forward(SSH, Some(FIRST)).unwrap_err().to_string();
    assert!(error.contains("set up the forward of port 2222") && error.contains("forwarded already"), "{error}");
}

#[test]
fn a_rule_that_could_not_be_removed_is_not_forgotten() {
    let (wire, mut host) = host();
    host.forward(SSH, Some(FIRST)).unwrap();
    wire.refuse_rule(fault(Status::Failure));
    let error = host.forward(SSH, None).unwrap_err().to_string();
    assert!(error.contains("remove the forward of port 2222, which leads to 192.168.64.7 still"), "{error}");
    assert_eq!(wire.rules(), [rule(SSH, FIRST)]);
    // The same lease again finds it in place; the next change removes it first.
    host.forward(SSH, Some(FIRST)).unwrap();
    host.forward(SSH, Some(SECOND)).unwrap();
    assert_eq!(wire.rules(), [rule(SSH, SECOND)]);
}

#[test]
fn the_stop_removes_them_and_says_which_it_could_not() {
    let (wire, mut host) = host();
    host.forward(SSH, Some(FIRST)).unwrap();
    host.forward(WEB, Some(FIRST)).unwrap();
    wire.refuse_rule(fault(Status::Failure));
    let error = Box::new(host).stop().unwrap_err().to_string();
    assert!(error.contains("port 2222") && !error.contains("port 8080"), "{error}");
    assert_eq!(wire.rules(), [rule(SSH, FIRST)]);
    assert_eq!(wire.calls(), [Call::SetCallback, Call::ClearCallback, Call::Finalize]);
}
