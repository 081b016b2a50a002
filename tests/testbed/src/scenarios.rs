//! What must hold on every host: scenarios over a [`Testbed`] and portable guests, without a word of Linux.
//!
//! Each is a statement; it panics when the statement does not hold.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::attack::{self, Party};
use crate::guest::{Lease, PortableGuest};
use crate::testbed::Testbed;
use crate::wait::{PATIENCE, SILENCE};
use crate::wire::{self, IPV4, Mac};

const FIRST: Mac = Mac::guest(1);
const SECOND: Mac = Mac::guest(2);

/// A guest gets a lease of the length that softnet promises, reaches its gateway, resolves a name, and fetches a page.
pub fn a_guest_uses_the_network(bed: &impl Testbed) {
    let (softnet, mut guest) = bed.guest(FIRST, "");
    let facts = bed.facts();
    assert_eq!(guest.lease().seconds, Some(facts.lease_seconds), "the lease's length");
    let gateway = guest.gateway();
    guest.ping(gateway, PATIENCE).expect("the gateway answers");
    let resolver = *guest.lease().dns.first().expect("the lease names a DNS server");
    let address = guest.resolve(resolver, &facts.name.0, PATIENCE).expect("a name is resolved");
    assert_eq!(address, facts.name.1);
    guest.http_get(facts.web, PATIENCE).expect("a page comes from the Internet");
    softnet.stop();
}

/// The lease time that was asked for is the one in the server's acknowledgement, and renewing keeps the address.
pub fn a_lease_has_the_length_that_was_asked_for(bed: &impl Testbed) {
    let (softnet, mut guest) = bed.guest(FIRST, "--bootpd-lease-time 120");
    assert_eq!(guest.lease().seconds, Some(120));
    let address = guest.address();
    let again = guest.dhcp(PATIENCE).expect("the lease is granted again");
    assert_eq!((again.address, again.seconds), (address, Some(120)));
    softnet.stop();
    let (softnet, guest) = bed.guest(FIRST, "--bootpd-lease-time 86400");
    assert_eq!(guest.lease().seconds, Some(86400), "the next start's own length");
    softnet.stop();
}

/// Private networks and the metadata service, which the host reaches, are closed to the guest.
pub fn what_is_not_global_is_closed(bed: &impl Testbed) {
    let (softnet, mut guest) = bed.guest(FIRST, "");
    let facts = bed.facts();
    for target in [facts.private, facts.metadata] {
        guest.http_get(target, SILENCE).expect_err("a private address must not answer");
        guest.ping(target, SILENCE).expect_err("a private address must not answer");
    }
    guest.http_get(facts.web, PATIENCE).expect("the Internet stays open meanwhile");
    softnet.stop();
}

/// An address that nobody leased is of no use, even when it would be free; the same guest with a lease is served.
pub fn nobody_speaks_before_a_lease(bed: &impl Testbed) {
    let (first_softnet, first) = bed.guest(FIRST, "");
    let lease = first.lease().clone();
    first_softnet.stop();
    let (softnet, socket) = bed.launch(SECOND).start();
    let mut guest = PortableGuest::new(socket, SECOND);
    guest.configure(lease.clone());
    guest.ping(lease.router.expect("a gateway"), SILENCE).expect_err("no answer without a lease");
    guest.dhcp(PATIENCE).expect("a lease is granted");
    guest.flush();
    softnet.stop();
}

/// A guest with a lease is heard under its leased address alone.
pub fn nobody_speaks_from_another_address(bed: &impl Testbed) {
    let (softnet, mut guest) = bed.guest(FIRST, "");
    let own = guest.lease().clone();
    let gateway = guest.gateway();
    let [a, b, c, d] = own.address.octets();
    let other = [a, b, c, if d == 250 { 249 } else { 250 }].into();
    guest.configure(Lease { address: other, ..own.clone() });
    guest.ping(gateway, SILENCE).expect_err("no answer to another address");
    guest.configure(own);
    guest.flush();
    softnet.stop();
}

/// A guest with another MAC than its own does not even get a lease.
pub fn nobody_speaks_with_another_mac(bed: &impl Testbed) {
    let (softnet, socket) = bed.launch(FIRST).start();
    let mut impostor = PortableGuest::new(socket, SECOND);
    impostor.dhcp(Duration::from_secs(3)).expect_err("no lease for another MAC");
    let mut honest = PortableGuest::new(impostor.into_socket(), FIRST);
    honest.dhcp(PATIENCE).expect("a lease for the guest's own MAC");
    softnet.stop();
}

/// `--allow` opens what is closed by default, and nothing more.
pub fn allow_opens_a_private_network(bed: &impl Testbed) {
    let private = bed.facts().private;
    let (softnet, mut guest) = bed.guest(FIRST, &format!("--allow {private}/24"));
    guest.http_get(private, PATIENCE).expect("what is allowed answers");
    guest.http_get(bed.facts().metadata, SILENCE).expect_err("what is not allowed stays closed");
    softnet.stop();
}

/// `--block` closes what is open by default, and nothing more.
pub fn block_closes_a_public_address(bed: &impl Testbed) {
    let (web, other) = (bed.facts().web, bed.facts().other_web);
    let (softnet, mut guest) = bed.guest(FIRST, &format!("--block {web}"));
    guest.http_get(web, SILENCE).expect_err("what is blocked must not answer");
    guest.http_get(other, PATIENCE).expect("what is not blocked answers");
    softnet.stop();
}

/// The longest prefix wins, whichever list it is in.
pub fn the_longest_prefix_wins(bed: &impl Testbed) {
    let (web, other) = (bed.facts().web, bed.facts().other_web);
    let options = format!("--block 0.0.0.0/0 --allow {web}/24,{other}/24 --block {other}/32");
    let (softnet, mut guest) = bed.guest(FIRST, &options);
    guest.http_get(web, PATIENCE).expect("the longer allow entry wins over the shorter block entry");
    guest.http_get(other, SILENCE).expect_err("the longer block entry wins over the shorter allow entry");
    softnet.stop();
}

/// The same target in both lists is blocked, an empty list is none, and the host itself can be blocked, yet gives leases.
pub fn block_wins_a_tie_and_may_name_the_host(bed: &impl Testbed) {
    let web = bed.facts().web;
    let options = format!("--allow= --allow {web} --block {web},@host");
    let (softnet, mut guest) = bed.guest(FIRST, &options);
    guest.http_get(web, SILENCE).expect_err("a target in both lists is blocked");
    guest.http_get(bed.facts().other_web, PATIENCE).expect("what is in no list answers");
    let gateway = guest.gateway();
    guest.ping(gateway, SILENCE).expect_err("@host is blocked");
    softnet.stop();
}

/// In host mode there is the host, and nothing behind it; `--allow` is what lets the filter pass more.
pub fn host_mode_ends_at_the_host(bed: &impl Testbed) {
    let (softnet, mut guest) = bed.guest(FIRST, "--vm-net-type host");
    guest.ping(guest.lease().server, PATIENCE).expect("the host answers");
    let lease = guest.lease().clone();
    // The DHCP server names no router here; a guest can name one itself.
    guest.configure(Lease { router: Some(lease.server), ..lease });
    for target in [bed.facts().web, bed.facts().private, bed.facts().metadata] {
        guest.http_get(target, SILENCE).expect_err("nothing behind the host answers");
    }
    softnet.stop();
}

/// Guests that live at the same time have addresses of their own and do not reach each other.
pub fn neighbours_are_apart(bed: &impl Testbed) {
    let (first_softnet, mut first) = bed.guest(FIRST, "");
    let (second_softnet, mut second) = bed.guest(SECOND, "");
    assert_ne!(first.address(), second.address());
    let neighbour = second.address();
    first.ping(neighbour, SILENCE).expect_err("a neighbour must not answer");
    // ARP would have failed above; so here it is not asked.
    second.forget_seen();
    let datagram = wire::udp((first.address(), 4000), (neighbour, 4000), b"past ARP");
    first.send_raw(&wire::ethernet(SECOND, FIRST, IPV4, &datagram)).expect("the socket takes a frame");
    first.flush();
    second.flush();
    let from_first = |frame: &&Vec<u8>| wire::source(frame) == Some(FIRST);
    assert_eq!(second.seen().iter().filter(from_first).count(), 0, "no frame of the neighbour's arrives");
    first_softnet.stop();
    second_softnet.stop();
}

/// ARP that steals the gateway on a plain bridge steals nothing here.
pub fn nobody_steals_the_gateway(bed: &impl Testbed) {
    let (first_softnet, mut attacker) = bed.guest(FIRST, "");
    let (second_softnet, mut victim) = bed.guest(SECOND, "");
    victim.flush();
    let web = bed.facts().web;
    assert!(!attack::steal_gateway(&mut attacker, &mut victim, web), "the attacker got the victim's frames");
    victim.http_get(web, PATIENCE).expect("the victim is served all the while");
    first_softnet.stop();
    second_softnet.stop();
}

/// ARP that steals a neighbour's frames from the host on a plain bridge steals nothing here.
pub fn nobody_steals_a_neighbour(bed: &impl Testbed) {
    let (first_softnet, mut attacker) = bed.guest(FIRST, "");
    let (second_softnet, mut victim) = bed.guest(SECOND, "");
    victim.flush();
    attacker.flush();
    let gateway = Party::gateway_of(&attacker);
    let target = Party::of(&victim);
    let speaker = std::net::UdpSocket::bind("0.0.0.0:0").expect("a socket of the host");
    let stolen = attack::steal_neighbour(&mut attacker, target, gateway, || {
        let _ = speaker.send_to(b"for the victim", (target.ip, 4000));
    });
    assert!(!stolen, "the attacker got the host's frames for the victim");
    victim.flush();
    first_softnet.stop();
    second_softnet.stop();
}

/// `--allow 0.0.0.0/0` is how two guests may reach each other, when both say so.
pub fn guests_that_allow_everything_reach_each_other(bed: &impl Testbed) {
    let (first_softnet, mut first) = bed.guest(FIRST, "--allow 0.0.0.0/0");
    let (second_softnet, mut second) = bed.guest(SECOND, "--allow 0.0.0.0/0");
    let neighbour = second.address();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| second.serve("the ping's end", PATIENCE, || done.load(Ordering::Relaxed).then_some(())));
        let answered = first.ping(neighbour, PATIENCE);
        done.store(true, Ordering::Relaxed);
        answered.expect("a neighbour answers");
    });
    first_softnet.stop();
    second_softnet.stop();
}
