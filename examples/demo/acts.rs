//! The acts with portable guests: behind softnet, and with a policy.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use softnet_testbed::attack::{self, Party};
use softnet_testbed::binary;
use softnet_testbed::guest::{Lease, PortableGuest};
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{HostTestbed, Testbed};
use softnet_testbed::wait::{PATIENCE, SILENCE, Timeout};
use softnet_testbed::wire::{self, IPV4, Mac};

use crate::report::{Report, Tone};

const GUEST: Mac = Mac::guest(1);
const VICTIM: Mac = Mac::guest(2);
/// softnet looks once a second, and on a Mac vmnet may take three more to stop.
const AT_ONCE: Duration = Duration::from_secs(5);

/// The host on which the other acts play, and the Internet behind it.
pub(crate) fn host(softnet: &Path) -> HostTestbed {
    HostTestbed::new(&softnet.to_string_lossy())
}

/// Use and misuse of the network behind softnet.
pub(crate) fn with_softnet(report: &mut Report, bed: &HostTestbed) {
    let about = format!(
        "The real program, setuid root, started by user {}, who has no rights. Its guest's address: {GUEST}.",
        binary::caller().0
    );
    report.heading("With softnet", &about);
    let began = Instant::now();
    let (softnet, socket) = bed.launch(GUEST).start();
    let ready = began.elapsed();
    report.must(
        if cfg!(target_os = "linux") {
            "softnet starts: bridge, NAT, DHCP, filter"
        } else {
            "softnet starts: vmnet, bootpd, filter"
        },
        Ok::<_, Timeout>(format!("ready after {} ms", ready.as_millis())),
    );
    let mut guest = PortableGuest::new(socket, GUEST);
    if !use_network(report, bed, &mut guest) {
        return;
    }
    dropped_rights(report, &softnet);

    let (victim_softnet, mut victim) = bed.guest(VICTIM, "");
    let about = format!(
        "The same guest, {}, turns hostile. A neighbour, {}, is behind a softnet of its own.",
        guest.address(),
        victim.address()
    );
    report.heading("A hostile guest", &about);
    theft(report, bed, &mut guest, &mut victim);
    spoofing(report, bed, &mut guest, &mut victim);
    closed(report, bed, &mut guest);
    let fetched = victim.http_get(bed.facts().web, PATIENCE).map(|_| "answered, all the while".to_owned());
    report.must("the neighbour fetches a page", fetched);
    for (softnet, guest, name) in [(softnet, guest, "the guest's"), (victim_softnet, victim, "the neighbour's")] {
        end(report, softnet, guest, name);
    }
}

/// Allow and block entries.
pub(crate) fn policy(report: &mut Report, bed: &HostTestbed) {
    let facts = bed.facts();
    report.heading("Allow and block", "The operator's entries: the longest prefix wins, and block wins a tie.");
    let [a, b, c, _] = facts.private.octets();
    let network = format!("{a}.{b}.{c}.0/24");
    let options = format!("--allow {network} --block {}", facts.other_web);
    let (softnet, mut guest) = bed.guest(GUEST, &options);
    let opened = guest.http_get(facts.private, PATIENCE).map(|_| "answered".to_owned());
    report.must(&format!("--allow {network}: {}", facts.private), opened);
    let blocked = format!("--block {}: {}", facts.other_web, facts.other_web);
    closed_to(report, bed, &mut guest, &blocked, facts.other_web);
    let open = guest.http_get(facts.web, PATIENCE).map(|_| "answered".to_owned());
    report.must(&format!("in neither list: {}", facts.web), open);
    closed_to(report, bed, &mut guest, &format!("not allowed: {}", facts.metadata), facts.metadata);
    end(report, softnet, guest, "the guest's");
}

/// The honest guest. False if it got no lease, without which nothing else can be shown.
fn use_network(report: &mut Report, bed: &HostTestbed, guest: &mut PortableGuest) -> bool {
    let facts = bed.facts();
    let lease = guest.dhcp(PATIENCE);
    let told = lease.clone().map(|lease| format!("{} for {} s", lease.address, lease.seconds.unwrap_or_default()));
    report.must("a lease by DHCP", told);
    let Ok(lease) = lease else { return false };
    report.line_if(
        lease.seconds == Some(facts.lease_seconds),
        Tone::Good,
        "the lease is short, so that addresses come back",
        &format!("{} s, not a day", facts.lease_seconds),
        "it is not what softnet promises",
    );
    let gateway = guest.gateway();
    report.must(
        &format!("a ping of the gateway, {gateway}"),
        guest.ping(gateway, PATIENCE).map(|()| "answered".to_owned()),
    );
    let (name, _) = &facts.name;
    let resolver = lease.dns.first().copied().unwrap_or(gateway);
    let resolved = guest.resolve(resolver, name, PATIENCE).map(|address| address.to_string());
    report.must(&format!("the address of {name}, by DNS"), resolved);
    let page = guest.http_get(facts.web, PATIENCE);
    // The servers of the demo's own Internet tell whom they see.
    let seen_as = page.map(|page| match page.lines().find_map(|line| line.strip_prefix("client ")) {
        Some(host) if host != lease.address.to_string() => format!("answered; the server sees the host, {host}"),
        _ => "answered".to_owned(),
    });
    report.must(&format!("a page from http://{}/", facts.web), seen_as);
    true
}

fn dropped_rights(report: &mut Report, softnet: &Softnet) {
    let (uid, gid) = binary::caller();
    let caller = softnet.ids() == [uid, uid, uid, gid, gid];
    #[cfg(target_os = "linux")]
    let (nothing, told) = {
        let sets = ["CapEff", "CapPrm"].map(|set| softnet.status(set).bytes().all(|digit| digit == b'0'));
        let nothing = sets == [true; 2] && softnet.status("NoNewPrivs") == "1";
        (nothing, format!("nothing: user {uid}, no capability, no way back"))
    };
    #[cfg(target_os = "macos")]
    let (nothing, told) = (true, format!("nothing: user {uid} in every respect, no way back"));
    let tried = "what is left of root in the running softnet";
    report.line_if(nothing && caller, Tone::Good, tried, &told, "something");
}

fn theft(report: &mut Report, bed: &HostTestbed, guest: &mut PortableGuest, victim: &mut PortableGuest) {
    for guest in [&mut *guest, &mut *victim] {
        guest.flush();
    }
    let stolen = attack::steal_gateway(guest, victim, bed.facts().web);
    let held = "held back: the neighbour never hears of it";
    report.line_if(!stolen, Tone::Good, "ARP: \"the gateway is me\", told to the neighbour", held, "stolen");
    let stolen = steal_neighbour(guest, victim);
    let held = "held back: the host never hears of it";
    report.line_if(!stolen, Tone::Good, "ARP: \"the neighbour is me\", told to the host", held, "stolen");
}

fn spoofing(report: &mut Report, bed: &HostTestbed, guest: &mut PortableGuest, victim: &mut PortableGuest) {
    let facts = bed.facts();
    let own = guest.lease().clone();
    let gateway = guest.gateway();
    guest.configure(Lease { address: victim.address(), ..own.clone() });
    let tried = format!("a ping from the neighbour's address, {}", victim.address());
    report.must_not(&tried, guest.ping(gateway, SILENCE), "held back", "answered");
    guest.configure(own);
    guest.flush();

    let parties = (Party::of(guest), Party::gateway_of(guest), Party::of(victim));
    let spoofs = attack::spoofs(parties.0, parties.1, parties.2, facts.private, facts.web);
    let honest = (parties.1.mac, wire::udp((parties.0.ip, 4711), (parties.1.ip, 9), b"honest"));
    let honest = wire::ethernet(honest.0, parties.0.mac, IPV4, &honest.1);
    let Some(mut witness) = bed.witness(guest) else {
        return report.note("forged frames on the link", "looking at it takes root");
    };
    for frame in spoofs.iter().map(|spoof| &spoof.frame).chain([&honest]) {
        let _ = guest.send_raw(frame);
    }
    guest.flush();
    let control = witness.expect("an honest frame", PATIENCE, |frame| attack::is_same(&honest, frame));
    report.must("an honest frame", control.map(|_| "seen on the bridge".to_owned()));
    let mut passed = |name: &str| {
        let chosen = spoofs.iter().filter(|spoof| name.is_empty() || spoof.name == name);
        chosen.filter(|spoof| witness.count(|frame| attack::is_same(&spoof.frame, frame)) > 0).count()
    };
    for (name, tried) in [
        ("an unknown MAC", "a frame from another MAC"),
        ("a DHCP offer", "a forged lease, offered to everyone"),
        ("an IPv6 router advertisement", "IPv6: \"the router is me\""),
        ("two VLAN tags", "a frame under two VLAN tags"),
    ] {
        report.line_if(passed(name) == 0, Tone::Good, tried, "held back: not seen on the bridge", "seen on the bridge");
    }
    let tried = format!("{} forged frames of as many kinds, these included", spoofs.len());
    report.line_if(passed("") == 0, Tone::Good, &tried, "none seen on the bridge", "some seen on the bridge");
}

fn closed(report: &mut Report, bed: &HostTestbed, guest: &mut PortableGuest) {
    let facts = bed.facts();
    let private = format!("a private network of the host's, {}", facts.private);
    closed_to(report, bed, guest, &private, facts.private);
    closed_to(report, bed, guest, &format!("the cloud's metadata, {}", facts.metadata), facts.metadata);
}

/// A server that the host reaches at this moment, and the guest must not.
fn closed_to(report: &mut Report, bed: &HostTestbed, guest: &mut PortableGuest, tried: &str, server: Ipv4Addr) {
    match bed.host_reaches(server) {
        Ok(()) => report.must_not(tried, guest.http_get(server, SILENCE), "no answer (the host gets one)", "answered"),
        Err(_) if cfg!(target_os = "macos") => {
            report.note(tried, "not even the host reaches it: silence proves nothing")
        }
        Err(error) => report.must(tried, Err::<String, _>(format!("not even the host reaches it: {error}"))),
    }
}

pub(crate) fn steal_neighbour(attacker: &mut PortableGuest, victim: &PortableGuest) -> bool {
    let target = Party::of(victim);
    let host = UdpSocket::bind("0.0.0.0:0").expect("the host has a socket");
    attacker.flush();
    let gateway = Party::gateway_of(attacker);
    attack::steal_neighbour(attacker, target, gateway, || {
        let _ = host.send_to(b"for the neighbour", (target.ip, 4000));
    })
}

/// The VM goes away without a word, and softnet with it.
pub(crate) fn end(report: &mut Report, softnet: Softnet, guest: PortableGuest, whose: &str) {
    drop(guest);
    let ended = softnet.wait_end(PATIENCE);
    report.line_if(
        ended.status.success() && ended.after <= AT_ONCE,
        Tone::Good,
        &format!("{whose} VM is gone"),
        &format!("softnet ended in order after {} ms", ended.after.as_millis()),
        &format!("softnet ended with {}", ended.status),
    );
}
