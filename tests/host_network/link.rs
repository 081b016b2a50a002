//! A guest's link as softnet opens it, and what the guest says on it.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use softnet::engine::{EthernetAddress, Isolation, NetType};
use softnet::host::tap::{self, Error, TapHost};
use softnet::host::{Host, Interrupted, LinkRequest, Offload, Owner};
use softnet::sys::batch::Batch;
use softnet_testbed::state::processes;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, Mac};

pub(crate) const GUEST: Mac = Mac::guest(5);
pub(crate) const OTHER: Mac = Mac::guest(6);

/// What softnet asks for without options.
pub(crate) fn request(guest: Mac) -> LinkRequest {
    LinkRequest {
        guest_mac: EthernetAddress(guest.0),
        net_type: NetType::Nat,
        isolation: Isolation::Isolated,
        lease_seconds: 600,
        bridge: None,
        subnet: None,
        owner: Owner { uid: 0, most_guests: None },
        offload: Offload::Wanted,
    }
}

/// The same with `--vm-net-type host`.
pub(crate) fn host_request(guest: Mac) -> LinkRequest {
    LinkRequest { net_type: NetType::Host, ..request(guest) }
}

/// A wait that nothing interrupts.
pub(crate) fn sleep(duration: Duration) -> Result<(), Interrupted> {
    thread::sleep(duration);
    Ok(())
}

pub(crate) fn open(request: &LinkRequest) -> Result<TapHost, Error> {
    tap::open(request, &mut sleep)
}

#[track_caller]
pub(crate) fn opened(request: &LinkRequest) -> TapHost {
    open(request).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
pub(crate) fn refused(request: &LinkRequest) -> String {
    open(request).expect_err("refused").to_string()
}

#[track_caller]
pub(crate) fn gateway_mac(host: &TapHost) -> Mac {
    Mac(host.network().gateway_mac.expect("the bridge has a MAC of its own").0)
}

/// All that the kernel tells of an interface.
pub(crate) fn details(interface: &str) -> String {
    tools::run(&format!("ip -d link show {interface}"))
}

/// The process that serves `bridge`.
pub(crate) fn dnsmasq(bridge: &str) -> String {
    tools::run(&format!("cat /run/softnet/{bridge}.pid")).trim().to_owned()
}

#[track_caller]
pub(crate) fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is to be in: {text}");
    }
}

/// As before the first start: no link but `lo`, no firewall, no state, no process.
#[track_caller]
pub(crate) fn assert_nothing_is_left() {
    assert_eq!(tools::sh("ip -o link | wc -l; nft list ruleset; ls -A /run"), "1\ntestbed\n");
    assert!(processes("dnsmasq").is_empty());
}

/// All frames that have come.
pub(crate) fn receive(host: &mut TapHost) -> Vec<Vec<u8>> {
    let mut batch = Batch::new(16, host.network().max_frame);
    host.receive(&mut batch).expect("the link is there");
    batch.frames().map(<[u8]>::to_vec).collect()
}

/// All frames that come within `time`.
pub(crate) fn receive_for(host: &mut TapHost, time: Duration) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let start = Instant::now();
    while start.elapsed() < time {
        all.extend(receive(host));
        thread::sleep(Duration::from_millis(2));
    }
    all
}

/// How many frames the host took: one or none.
pub(crate) fn send(host: &mut TapHost, frame: &[u8]) -> usize {
    let mut batch = Batch::new(1, host.network().max_frame);
    batch.free_slots().next().expect("room")[..frame.len()].copy_from_slice(frame);
    batch.commit(frame.len());
    host.send(&batch).expect("the link is there")
}

/// The question for [`Offer`].
pub(crate) fn discover(guest: Mac, xid: u32) -> Vec<u8> {
    wire::dhcp_request(guest, guest, xid, &[(53, &[1]), (55, &[1, 3, 6, 51])])
}

/// What the DHCP server offers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) seconds: u32,
    pub(crate) router: Option<Ipv4Addr>,
    pub(crate) dns: usize,
}

impl Offer {
    fn read(frame: &[u8], xid: u32) -> Option<Self> {
        let address = |value: &[u8]| value.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets));
        Some(Offer {
            seconds: u32::from_be_bytes(wire::dhcp_option(frame, xid, 51)?.try_into().ok()?),
            router: wire::dhcp_option(frame, xid, 3).and_then(address),
            dns: wire::dhcp_option(frame, xid, 6).map_or(0, |servers| servers.len() / 4),
        })
    }
}

#[track_caller]
pub(crate) fn offer(host: &mut TapHost, guest: Mac, xid: u32) -> Offer {
    assert_eq!(send(host, &discover(guest, xid)), 1);
    wait::until("an offer", PATIENCE / 2, || receive(host).iter().find_map(|frame| Offer::read(frame, xid)))
        .unwrap_or_else(|error| panic!("{error}"))
}
