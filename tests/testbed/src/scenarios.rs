//! What must hold on every host: scenarios over a [`Testbed`] and portable guests, without a word of Linux.
//!
//! Each is a statement; it panics when the statement does not hold.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::attack::{self, Party, Spoof};
use crate::guest::{Lease, PortableGuest};
use crate::softnet::Ended;
use crate::testbed::Testbed;
use crate::wait::{self, PATIENCE, SILENCE};
use crate::wire::{self, IPV4, Mac};

const FIRST: Mac = Mac::guest(1);
const SECOND: Mac = Mac::guest(2);

/// What softnet calls a destination that the policy does not open.
const NOT_REACHABLE: &str = "not-reachable";

/// A guest gets no answer of `target`, however it asks.
fn assert_closed(bed: &impl Testbed, guest: &mut PortableGuest, target: Ipv4Addr) {
    // Silence proves something where the host gets an answer at the same moment. It is not the only proof: see below.
    if let Err(error) = bed.host_reaches(target) {
        let what =
            format!("that {target} is silent to the guest alone, for the host does not reach it either ({error})");
        bed.cannot_show(&what, "that softnet counts the guest's frames for it as dropped");
    }
    guest.http_get(target, SILENCE).expect_err("what is closed must not answer");
    guest.ping(target, SILENCE).expect_err("what is closed must not answer");
}

/// It was softnet that held the frames for `closed` targets back: each got a ping and a SYN at least.
fn assert_counted(ended: &Ended, reason: &str, closed: usize) {
    let counted = ended.dropped(reason);
    assert!(counted >= 2 * closed as u64, "{counted} frames were dropped as {reason}: {}", ended.said);
}

/// A guest gets a lease of the length that softnet promises, reaches its gateway, resolves a name, and fetches a page.
pub fn a_guest_uses_the_network(bed: &impl Testbed) {
    let (softnet, mut guest) = bed.guest(FIRST, "");
    let facts = bed.facts();
    if bed.sets_lease_time() {
        assert_eq!(guest.lease().seconds, Some(facts.lease_seconds), "the lease's length");
        assert_recorded(bed, &guest, facts.lease_seconds);
    } else {
        let instead = "that softnet says so, and that its guest is served";
        bed.cannot_show(&format!("a lease of {} s, for setting it takes root", facts.lease_seconds), instead);
        assert!(softnet.said().contains("lease time"), "{}", softnet.said());
    }
    let gateway = guest.gateway();
    guest.ping(gateway, PATIENCE).expect("the gateway answers");
    let resolver = *guest.lease().dns.first().expect("the lease names a DNS server");
    let address = guest.resolve(resolver, &facts.name.0, PATIENCE).expect("a name is resolved");
    assert!(bed.is_address_of_name(address), "{address} is no address of {}", facts.name.0);
    guest.http_get(facts.web, PATIENCE).expect("a page comes from the Internet");
    softnet.stop();
}

/// The lease that `guest` was told of is the one that the DHCP server keeps, and ends within `seconds`.
fn assert_recorded(bed: &impl Testbed, guest: &PortableGuest, seconds: u32) {
    let recorded = wait::until("the DHCP server's record of the lease", PATIENCE, || bed.recorded_lease(guest.mac()))
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(recorded.0, guest.address());
    assert!((1..=u64::from(seconds)).contains(&recorded.1), "it is kept for {} s, not {seconds}", recorded.1);
}

/// The lease time that was asked for is the one in the server's acknowledgement, and renewing keeps the address.
pub fn a_lease_has_the_length_that_was_asked_for(bed: &impl Testbed) {
    if !bed.sets_lease_time() {
        let (softnet, mut guest) = bed.guest(FIRST, "--bootpd-lease-time 120");
        bed.cannot_show("a lease of 120 s, for setting it takes root", "that the guest is served all the same");
        guest.flush();
        softnet.stop();
        return;
    }
    let (softnet, mut guest) = bed.guest(FIRST, "--bootpd-lease-time 120");
    assert_eq!(guest.lease().seconds, Some(120));
    assert_recorded(bed, &guest, 120);
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
    let closed = [facts.private, facts.metadata];
    for target in closed {
        assert_closed(bed, &mut guest, target);
    }
    guest.http_get(facts.web, PATIENCE).expect("the Internet stays open meanwhile");
    assert_counted(&softnet.stop(), NOT_REACHABLE, closed.len());
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
    // Without an answer to its ARP a guest does not come to speak: one that knows the gateway needs none.
    let to = Party::gateway_of(&guest).mac;
    guest.send_raw(&wire::ethernet(to, FIRST, IPV4, &wire::echo(other, gateway, 7))).expect("the socket takes a frame");
    guest.configure(own);
    guest.flush();
    let ended = softnet.stop();
    assert!(ended.dropped("source-address") > 0, "{}", ended.said);
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
    assert_closed(bed, &mut guest, bed.facts().metadata);
    assert_counted(&softnet.stop(), NOT_REACHABLE, 1);
}

/// `--block` closes what is open by default, and nothing more.
pub fn block_closes_a_public_address(bed: &impl Testbed) {
    let (web, other) = (bed.facts().web, bed.facts().other_web);
    let (softnet, mut guest) = bed.guest(FIRST, &format!("--block {web}"));
    assert_closed(bed, &mut guest, web);
    guest.http_get(other, PATIENCE).expect("what is not blocked answers");
    assert_counted(&softnet.stop(), "blocked", 1);
}

/// The longest prefix wins, whichever list it is in.
pub fn the_longest_prefix_wins(bed: &impl Testbed) {
    let (web, other) = (bed.facts().web, bed.facts().other_web);
    let options = format!("--block 0.0.0.0/0 --allow {web}/24,{other}/24 --block {other}/32");
    let (softnet, mut guest) = bed.guest(FIRST, &options);
    guest.http_get(web, PATIENCE).expect("the longer allow entry wins over the shorter block entry");
    // The longer block entry wins over the shorter allow entry.
    assert_closed(bed, &mut guest, other);
    assert_counted(&softnet.stop(), "blocked", 1);
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
    let behind = [bed.facts().web, bed.facts().private, bed.facts().metadata];
    for target in behind {
        assert_closed(bed, &mut guest, target);
    }
    assert_counted(&softnet.stop(), NOT_REACHABLE, behind.len());
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

/// Of the frames that no guest may send, none is on the link, none comes to a second guest, and each is counted.
pub fn forged_frames_reach_nobody(bed: &impl Testbed) {
    assert_forgeries_reach_nobody(bed, "", |_| true);
}

/// The same without isolation between the guests, which the second one's socket shows: what is honest comes to it.
pub fn forged_frames_reach_nobody_without_isolation(bed: &impl Testbed) {
    assert_forgeries_reach_nobody(bed, "--allow 0.0.0.0/0", |spoof| !attack::ONLY_MISDIRECTED.contains(&spoof.name));
}

fn assert_forgeries_reach_nobody(bed: &impl Testbed, options: &str, is_forged: impl Fn(&Spoof) -> bool) {
    let (first_softnet, mut attacker) = bed.guest(FIRST, options);
    let (second_softnet, mut victim) = bed.guest(SECOND, options);
    attacker.flush();
    victim.flush();
    let (me, gateway, target) = (Party::of(&attacker), Party::gateway_of(&attacker), Party::of(&victim));
    let mut forged = attack::spoofs(me, gateway, target, bed.facts().private, bed.facts().web);
    forged.retain(is_forged);
    let honest = |to: Party| wire::ethernet(to.mac, me.mac, IPV4, &wire::udp((me.ip, 4711), (to.ip, 9), b"honest"));
    let mut witness = bed.witness(&attacker);
    if witness.is_none() {
        let instead = "what comes to a second guest, and what softnet counts";
        bed.cannot_show("what passes on the guests' link, for looking at it takes root", instead);
    }
    victim.forget_seen();
    for frame in forged.iter().map(|spoof| &spoof.frame).chain([&honest(gateway), &honest(target)]) {
        attacker.send_raw(frame).expect("the socket takes a frame");
    }
    attacker.flush();
    if !options.is_empty() {
        let what = "an honest frame, after the forged ones";
        victim.expect_frame(what, PATIENCE, |frame| attack::is_same(&honest(target), frame)).expect(what);
    }
    victim.flush();
    let seen: Vec<_> = victim.seen().to_vec();
    let at_victim = |frame: &[u8]| seen.iter().any(|seen| attack::is_same(frame, seen));
    for spoof in &forged {
        assert!(!at_victim(&spoof.frame), "{} came to the second guest", spoof.name);
    }
    if let Some(witness) = &mut witness {
        let what = "an honest frame on the link, after the forged ones";
        witness.expect(what, PATIENCE, |frame| attack::is_same(&honest(gateway), frame)).expect(what);
        for spoof in &forged {
            let passed = witness.count(|frame| attack::is_same(&spoof.frame, frame));
            assert_eq!(passed, 0, "{} is on the link", spoof.name);
        }
    }
    let ended = first_softnet.stop();
    let dropped: u64 = ended.drops().map(|(_, count)| count).sum();
    assert!(dropped >= forged.len() as u64, "{dropped} of {} frames were dropped: {}", forged.len(), ended.said);
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
