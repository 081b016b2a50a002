//! What a hostile guest tries, as bytes.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::guest::PortableGuest;
use crate::sniffer::Sniffer;
use crate::wait::{PATIENCE, SILENCE};
use crate::wire::{self, ARP, Arp, IPV4, IPV6, Mac, PROVIDER_VLAN, VLAN};

/// Someone on the link.
#[derive(Clone, Copy, Debug)]
pub struct Party {
    /// Its hardware address.
    pub mac: Mac,
    /// Its address.
    pub ip: Ipv4Addr,
}

impl Party {
    /// The party that `guest` is.
    #[must_use]
    pub fn of(guest: &PortableGuest) -> Party {
        Party { mac: guest.mac(), ip: guest.address() }
    }

    /// The party that `guest`'s gateway is, as its frames show.
    ///
    /// # Panics
    /// When the gateway has not spoken yet.
    #[must_use]
    pub fn gateway_of(guest: &PortableGuest) -> Party {
        let ip = guest.gateway();
        let speaks = |frame: &&Vec<u8>| wire::ip_addresses(frame).is_some_and(|(from, _)| from == ip);
        let frame = guest.seen().iter().find(speaks).expect("the gateway has spoken to the guest");
        Party { mac: wire::source(frame).expect("a whole frame"), ip }
    }
}

/// A frame that no guest may send, and what it would do.
#[derive(Clone, Debug)]
pub struct Spoof {
    /// What is wrong with it.
    pub name: &'static str,
    /// Its bytes.
    pub frame: Vec<u8>,
}

/// Frames of `me`'s that must reach nobody. `private` is a host beyond the gateway that is not global, `public` one that is.
#[must_use]
pub fn spoofs(me: Party, gateway: Party, victim: Party, private: Ipv4Addr, public: Ipv4Addr) -> Vec<Spoof> {
    let everyone = Mac::BROADCAST;
    let nobody = Ipv4Addr::UNSPECIFIED;
    let broadcast = Ipv4Addr::BROADCAST;
    let ip = |source, destination, payload: &[u8]| {
        wire::ethernet(gateway.mac, source, IPV4, &(wire::udp(destination, (public, 7), payload)))
    };
    let arp = |claim: Arp| wire::ethernet(claim.target_mac, me.mac, ARP, &claim.bytes());
    let echo = |from, to| wire::ethernet(gateway.mac, me.mac, IPV4, &wire::echo(from, to, 0x5afe));
    let to_gateway = wire::echo(me.ip, gateway.ip, 0x5afe);
    let offer =
        wire::dhcp(2, 0x1234_5678, victim.mac, me.ip, &[(53, &[2]), (54, &me.ip.octets()), (51, &[0, 0, 2, 88])]);
    // A loose source route with no hop left.
    let with_options = wire::ipv4_with_options(me.ip, gateway.ip, 17, &[0x83, 3, 4, 0], &[1, 2, 3, 4, 0, 8, 0, 0]);
    let llc = {
        // The length of an 802.3 frame where Ethernet II has its type, then SNAP with IPv4 inside.
        let mut body = vec![0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
        body.extend(&to_gateway);
        wire::ethernet(gateway.mac, me.mac, u16::try_from(body.len()).unwrap_or(0), &body)
    };
    let tagged = |tags: &[[u8; 4]]| {
        // The first tag's type is the frame's; what follows each tag is the next one's, or IPv4.
        let bytes: Vec<u8> = tags.iter().flatten().copied().chain(to_gateway.clone()).collect();
        wire::ethernet(gateway.mac, me.mac, VLAN, &bytes)
    };
    let list: Vec<(&'static str, Vec<u8>)> = vec![
        ("a neighbour's address", echo(victim.ip, gateway.ip)),
        ("the gateway's address", echo(gateway.ip, public)),
        ("a public address", echo(Ipv4Addr::new(8, 8, 8, 8), public)),
        ("loopback as source", echo(Ipv4Addr::LOCALHOST, gateway.ip)),
        ("no address", echo(nobody, gateway.ip)),
        ("a neighbour's MAC", ip(victim.mac, (me.ip, 4000), b"mac")),
        ("the gateway's MAC", ip(gateway.mac, (me.ip, 4001), b"mac")),
        ("an unknown MAC", ip(Mac([2, 0, 0, 0x66, 0x66, 0x66]), (me.ip, 4002), b"mac")),
        ("a broadcast MAC as source", ip(everyone, (me.ip, 4003), b"mac")),
        (
            "the gateway's address by ARP reply to the victim",
            arp(Arp::claim(gateway.ip, me.mac, (victim.mac, victim.ip))),
        ),
        ("the gateway's address by ARP reply to everyone", arp(Arp::claim(gateway.ip, me.mac, (everyone, gateway.ip)))),
        (
            "the victim's address by ARP reply to the gateway",
            arp(Arp::claim(victim.ip, me.mac, (gateway.mac, gateway.ip))),
        ),
        (
            "the victim's address by ARP request",
            wire::ethernet(everyone, me.mac, ARP, &Arp::request(victim.ip, me.mac, gateway.ip).bytes()),
        ),
        (
            "another hardware address in ARP than the frame's",
            wire::ethernet(everyone, me.mac, ARP, &Arp::request(me.ip, victim.mac, gateway.ip).bytes()),
        ),
        (
            "an IPv6 router advertisement",
            wire::ethernet(Mac([0x33, 0x33, 0, 0, 0, 1]), me.mac, IPV6, &router_advertisement()),
        ),
        ("a VLAN tag", tagged(&[[0, 7, 8, 0]])),
        ("a priority tag", tagged(&[[0, 0, 8, 0]])),
        ("two VLAN tags", tagged(&[[0, 7, 0x81, 0], [0, 9, 8, 0]])),
        ("an LLC/SNAP frame", llc),
        ("a DHCP offer", wire::ethernet(everyone, me.mac, IPV4, &wire::udp((me.ip, 67), (broadcast, 68), &offer))),
        (
            "UDP to everyone",
            wire::ethernet(everyone, me.mac, IPV4, &wire::udp((me.ip, 4004), (broadcast, 4005), b"all")),
        ),
        (
            "multicast DNS",
            wire::ethernet(
                Mac([1, 0, 0x5e, 0, 0, 0xfb]),
                me.mac,
                IPV4,
                &wire::udp((me.ip, 5353), (Ipv4Addr::new(224, 0, 0, 251), 5353), b"mdns"),
            ),
        ),
        ("IPv4 options", wire::ethernet(gateway.mac, me.mac, IPV4, &with_options)),
        ("a private network", echo(me.ip, private)),
        ("the metadata service", echo(me.ip, Ipv4Addr::new(169, 254, 169, 254))),
        (
            "a public address by the victim's MAC",
            wire::ethernet(victim.mac, me.mac, IPV4, &wire::echo(me.ip, public, 0x5afe)),
        ),
        (
            "a public address by everyone's MAC",
            wire::ethernet(everyone, me.mac, IPV4, &wire::echo(me.ip, public, 0x5aff)),
        ),
        ("a neighbour", wire::ethernet(victim.mac, me.mac, IPV4, &wire::echo(me.ip, victim.ip, 0x5afe))),
    ];
    list.into_iter().map(|(name, frame)| Spoof { name, frame }).collect()
}

/// Those of [`spoofs`] that are honest but for where they go: with `--allow 0.0.0.0/0`, they may go there.
pub const ONLY_MISDIRECTED: &[&str] = &[
    "UDP to everyone",
    "multicast DNS",
    "a private network",
    "the metadata service",
    "a public address by the victim's MAC",
    "a neighbour",
];

/// "I am the router of this link", in IPv6, to every node.
fn router_advertisement() -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 16, 58, 255];
    bytes.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x66]);
    bytes.extend([0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    bytes.extend([134, 0, 0x12, 0x34, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Whether `witnessed` is the frame `sent`. The kernel hands a VLAN tag over beside the frame, not in it, and may cut the
/// padding off.
#[must_use]
pub fn is_same(sent: &[u8], witnessed: &[u8]) -> bool {
    let unpadded =
        |frame: &[u8]| frame[..frame.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)].to_vec();
    let (sent, witnessed) = (unpadded(sent), unpadded(witnessed));
    let untagged = [&sent[..12], sent.get(16..).unwrap_or_default()].concat();
    witnessed == sent || ([VLAN, PROVIDER_VLAN].map(Some).contains(&wire::ether_type(&sent)) && witnessed == untagged)
}

/// The attacker sends `spoofs`, and none of them passes on `bridge`.
///
/// # Panics
/// When one does, or nothing at all passes.
pub fn assert_held_back(attacker: &mut PortableGuest, spoofs: &[Spoof], bridge: &str) {
    let mut witness = Sniffer::on(bridge);
    for spoof in spoofs {
        attacker.send_raw(&spoof.frame).expect("the socket takes a frame");
    }
    attacker.flush();
    // The control: what this guest may send is seen.
    let honest = |frame: &[u8]| wire::ip_addresses(frame) == Some((attacker.address(), attacker.gateway()));
    witness.expect("the attacker's honest ping", PATIENCE, honest).expect("the witness sees");
    for spoof in spoofs {
        let passed = witness.count(|frame| is_same(&spoof.frame, frame));
        assert_eq!(passed, 0, "{} reached {bridge}", spoof.name);
    }
}

/// The attacker tells the victim to be the gateway, while the victim talks to `web`. Returns whether a frame of the victim's
/// for `web` came to the attacker.
pub fn steal_gateway(attacker: &mut PortableGuest, victim: &mut PortableGuest, web: Ipv4Addr) -> bool {
    let target = Party::of(victim);
    let me = attacker.mac();
    let claims = [(target.mac, target.ip), (Mac::BROADCAST, target.ip)];
    let claims = claims.map(|to| wire::ethernet(to.0, me, ARP, &Arp::claim(victim.gateway(), me, to).bytes()));
    steal(
        attacker,
        &claims,
        |frame| wire::ip_addresses(frame) == Some((target.ip, web)),
        |pause| {
            // It counts where the frame went, not whether an answer came.
            let _ = victim.ping(web, pause);
        },
    )
}

/// The attacker tells the host to have the victim's address, while `host_speaks` makes the host talk to the victim. Returns
/// whether a frame for the victim came to the attacker.
pub fn steal_neighbour(
    attacker: &mut PortableGuest,
    victim: Party,
    gateway: Party,
    mut host_speaks: impl FnMut(),
) -> bool {
    let me = attacker.mac();
    let claims = [
        wire::ethernet(gateway.mac, me, ARP, &Arp::claim(victim.ip, me, (gateway.mac, gateway.ip)).bytes()),
        wire::ethernet(Mac::BROADCAST, me, ARP, &Arp::request(victim.ip, me, gateway.ip).bytes()),
    ];
    let fits = |frame: &[u8]| wire::ip_addresses(frame).is_some_and(|(_, to)| to == victim.ip);
    steal(attacker, &claims, fits, |_| host_speaks())
}

fn steal(
    attacker: &mut PortableGuest,
    claims: &[Vec<u8>],
    fits: impl Fn(&[u8]) -> bool,
    mut others_speak: impl FnMut(Duration),
) -> bool {
    let pause = SILENCE / 5;
    let start = Instant::now();
    while start.elapsed() < SILENCE {
        for claim in claims {
            let _ = attacker.send_raw(claim);
        }
        others_speak(pause);
        if attacker.expect_frame("the victim's frame", pause, &fits).is_ok() {
            return true;
        }
    }
    false
}
