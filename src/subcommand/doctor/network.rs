//! softnet's bridges, their subnets and their DHCP service, from what was seen of the host. Pure.

use std::time::Duration;

use super::report::Finding;
use crate::host::tap::NAT_BRIDGE;
use crate::host::tap::survey::{BridgeSurvey, Guests, Survey};

/// From here on the pool is nearly full, in percent.
const NEARLY_FULL: usize = 90;
/// A lease that lasts longer than this belongs to no guest of the default lease time.
const LONG: Duration = Duration::from_secs(3600);
/// How much of the pool may be held by such leases of guests that do not run, in percent.
const MUCH: usize = 25;

pub(super) fn check(survey: &Survey, guests: Option<&Guests>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, kind) in &survey.impostors {
        let mend = format!("remove or rename it: sudo ip link set {name} down name other");
        findings.push(Finding::fail("network.bridge", format!("{name} exists and is a {kind}, not a bridge"), mend));
    }
    for bridge in &survey.bridges {
        findings.push(state(bridge));
        findings.extend(clash(bridge));
        findings.push(dhcp(bridge));
        findings.extend(pool(bridge));
        findings.extend(long_leases(bridge, guests));
    }
    if !survey.bridges.iter().any(|bridge| bridge.name == NAT_BRIDGE) {
        findings.push(next(survey));
    }
    findings.push(default_route(survey));
    findings.extend(ports(survey));
    findings.extend(leftovers(survey));
    findings.push(claims(guests));
    findings
}

fn state(bridge: &BridgeSurvey) -> Finding {
    const ID: &str = "network.bridge";
    let BridgeSurvey { name, .. } = bridge;
    let mend = "start a guest, which puts it right";
    match (bridge.up, bridge.address) {
        (true, Some(address)) => Finding::ok(ID, format!("{name} is up, {address}, {} guests", bridge.ports.len())),
        (false, _) => Finding::fail(ID, format!("{name} is down: its guests are cut off"), mend),
        (true, None) => Finding::fail(ID, format!("{name} has no address: its guests are cut off"), mend),
    }
}

/// A VPN, a container network: what came later and took the guests' addresses.
fn clash(bridge: &BridgeSurvey) -> Option<Finding> {
    const ID: &str = "network.subnet";
    let subnet = bridge.address?.trunc();
    let clashes: Vec<String> = bridge.clashes.iter().map(|(prefix, by)| format!("{prefix}, {by}")).collect();
    Some(if clashes.is_empty() {
        Finding::ok(ID, format!("nothing else on this host has addresses of {subnet} ({})", bridge.name))
    } else {
        Finding::fail(
            ID,
            format!("{} has {subnet}, and so has something else on this host: {}", bridge.name, clashes.join("; ")),
            "end the guests, sudo softnet network down, and start them again: another subnet is chosen then",
        )
    })
}

fn next(survey: &Survey) -> Finding {
    const ID: &str = "network.subnet";
    match survey.next_subnet {
        Some(subnet) => {
            Finding::ok(ID, format!("{NAT_BRIDGE} is not up yet: the first guest's start gives it {subnet}"))
        }
        None => Finding::fail(
            ID,
            "no /24 of 192.168.64.0/18 is free: all collide with addresses or routes of this host (a VPN?)",
            "name another: sudo softnet --subnet 10.99.0.0/24 ...",
        ),
    }
}

fn dhcp(bridge: &BridgeSurvey) -> Finding {
    const ID: &str = "dhcp.server";
    let BridgeSurvey { name, ports, .. } = bridge;
    match bridge.dnsmasq {
        Some(process) => Finding::ok(ID, format!("dnsmasq serves {name} (process {process})")),
        None if ports.is_empty() => Finding::warn(
            ID,
            format!("no dnsmasq serves {name}, which has no guest"),
            "none needed: the next guest's start brings it up",
        ),
        None => Finding::fail(
            ID,
            format!("no dnsmasq serves {name}: its {} guests get and renew no lease, and have no names", ports.len()),
            "start a guest, which brings it up for all; the system's log says why it ended",
        ),
    }
}

fn pool(bridge: &BridgeSurvey) -> Option<Finding> {
    const ID: &str = "dhcp.pool";
    let (used, size, name) = (bridge.leases.len(), bridge.pool, &bridge.name);
    if size == 0 {
        return None;
    }
    let what = format!("{used} of the {size} addresses of {name} are leased");
    let mend = "end guests and wait for leases to lapse (softnet network status), start guests with a shorter --bootpd-lease-time, \
                or take the network down and give it a larger --subnet";
    Some(if used >= size {
        Finding::fail(ID, format!("{what}: another guest gets none"), mend)
    } else if used * 100 >= size * NEARLY_FULL {
        Finding::warn(ID, format!("{what}: it is nearly full"), mend)
    } else {
        Finding::ok(ID, what)
    })
}

/// Addresses that nobody uses and nobody else gets.
fn long_leases(bridge: &BridgeSurvey, guests: Option<&Guests>) -> Option<Finding> {
    const ID: &str = "dhcp.leases";
    let runs = |mac| guests?.running.iter().any(|(running, _)| *running == mac).then_some(());
    let long = bridge.leases.iter().filter(|lease| lease.left.is_none_or(|left| left > LONG));
    let idle = long.filter(|lease| guests.is_some() && runs(lease.mac).is_none()).count();
    guests?;
    Some(if idle * 100 > bridge.pool * MUCH {
        Finding::warn(
            ID,
            format!("{idle} addresses of {} are leased for more than an hour to guests that do not run", bridge.name),
            "leave --bootpd-lease-time at its 600 s for guests that come and go",
        )
    } else {
        Finding::ok(
            ID,
            format!("{idle} addresses of {} are leased for more than an hour to guests that do not run", bridge.name),
        )
    })
}

fn default_route(survey: &Survey) -> Finding {
    const ID: &str = "network.route";
    if survey.has_default_route {
        Finding::ok(ID, "the host has a default route")
    } else {
        Finding::warn(
            ID,
            "the host has no default route: guests reach what the host reaches, and that is not the Internet",
            "connect the host",
        )
    }
}

fn ports(survey: &Survey) -> Vec<Finding> {
    let taken = survey.taken_ports.iter().map(|(port, process)| {
        let (service, what) = if *port == 67 { ("DHCP", "leases") } else { ("DNS", "names") };
        Finding::fail(
            "dhcp.port",
            format!("{process} has UDP port {port} ({service}) on all interfaces or on softnet's: guests may get no {what}"),
            "end it, or bind it to its own interface (dnsmasq: --bind-interfaces --interface=NAME or --except-interface=softnet0)",
        )
    });
    let mut findings: Vec<Finding> = taken.collect();
    if findings.is_empty() {
        findings.push(Finding::ok("dhcp.port", "nothing else has UDP port 67 or 53 on all interfaces"));
    }
    findings
}

fn leftovers(survey: &Survey) -> Vec<Finding> {
    const ID: &str = "state.leftovers";
    if let Some(fault) = &survey.state_fault {
        return vec![Finding::fail("state.directory", format!("/run/softnet {fault}"), "sudo rm -r /run/softnet")];
    }
    if survey.leftovers.is_empty() {
        return vec![Finding::ok(ID, "/run/softnet has nothing of a bridge that is gone")];
    }
    let what = format!("/run/softnet has files of a bridge that is gone: {}", survey.leftovers.join(", "));
    vec![Finding::warn(
        ID,
        what,
        "none needed: the next guest's start takes them over; to remove them, sudo softnet network down",
    )]
}

fn claims(guests: Option<&Guests>) -> Finding {
    const ID: &str = "state.guests";
    match guests {
        None => Finding::skip(ID, "whose guests run, only root may see", "sudo softnet doctor"),
        Some(guests) => {
            let (running, ended) = (guests.running.len(), guests.ended.len());
            let left = if ended == 0 {
                String::new()
            } else {
                format!(
                    "; {ended} lock files that nobody holds are left of guests that ended, and the next start removes them"
                )
            };
            Finding::ok(ID, format!("{running} guests run{left}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::super::report::Level;
    use super::*;
    use crate::engine::EthernetAddress;
    use crate::host::tap::LeaseStatus;

    fn bridge() -> BridgeSurvey {
        BridgeSurvey {
            name: NAT_BRIDGE.to_owned(),
            up: true,
            address: Some("192.168.64.1/24".parse().expect("an address")),
            clashes: Vec::new(),
            dnsmasq: Some(7),
            ports: vec!["softnet-0".to_owned()],
            leases: Vec::new(),
            pool: 253,
        }
    }

    fn survey(bridges: Vec<BridgeSurvey>) -> Survey {
        Survey {
            bridges,
            impostors: Vec::new(),
            next_subnet: Some("192.168.64.0/24".parse().expect("a subnet")),
            has_default_route: true,
            taken_ports: Vec::new(),
            leftovers: Vec::new(),
            state_fault: None,
        }
    }

    fn leases(count: u8, left: Option<u64>) -> Vec<LeaseStatus> {
        let lease = |n| LeaseStatus {
            mac: EthernetAddress([2, 0, 0, 0, 0, n]),
            address: Ipv4Addr::new(192, 168, 64, n),
            left: left.map(Duration::from_secs),
        };
        (0..count).map(lease).collect()
    }

    /// The one finding of an id that is not as it should be.
    fn found(survey: &Survey, guests: Option<&Guests>) -> Vec<(&'static str, Level)> {
        let bad = |finding: &Finding| finding.level != Level::Ok;
        check(survey, guests).iter().filter(|finding| bad(finding)).map(|finding| (finding.id, finding.level)).collect()
    }

    #[test]
    fn a_host_that_is_in_order_has_nothing_to_mend() {
        let nobody = Guests::default();
        assert_eq!(found(&survey(vec![bridge()]), Some(&nobody)), []);
        assert_eq!(found(&survey(vec![]), Some(&nobody)), []);
        assert_eq!(found(&survey(vec![bridge()]), None), [("state.guests", Level::Skip)]);
    }

    #[test]
    fn each_fault_is_told_once_by_its_own_id() {
        use Level::{Fail, Warn};
        let of = |change: fn(&mut Survey)| {
            let mut survey = survey(vec![bridge()]);
            change(&mut survey);
            found(&survey, Some(&Guests::default()))
        };
        assert_eq!(of(|s| s.bridges[0].up = false), [("network.bridge", Fail)]);
        assert_eq!(of(|s| s.bridges[0].address = None), [("network.bridge", Fail)]);
        assert_eq!(of(|s| s.impostors = vec![("softnet1".into(), "veth".into())]), [("network.bridge", Fail)]);
        let vpn = ("192.168.0.0/16".parse().expect("a prefix"), "a route of this host".to_owned());
        let mut vpns = survey(vec![bridge()]);
        vpns.bridges[0].clashes = vec![vpn];
        assert_eq!(found(&vpns, Some(&Guests::default())), [("network.subnet", Fail)]);
        assert_eq!(of(|s| s.bridges[0].dnsmasq = None), [("dhcp.server", Fail)]);
        assert_eq!(of(|s| (s.bridges[0].dnsmasq, s.bridges[0].ports) = (None, vec![])), [("dhcp.server", Warn)]);
        assert_eq!(of(|s| s.has_default_route = false), [("network.route", Warn)]);
        assert_eq!(of(|s| s.taken_ports = vec![(67, "dhcpd (process 9)".into())]), [("dhcp.port", Fail)]);
        assert_eq!(of(|s| s.leftovers = vec!["softnet1.subnet".into()]), [("state.leftovers", Warn)]);
        assert_eq!(of(|s| s.state_fault = Some("is a link".into())), [("state.directory", Fail)]);
        assert_eq!(of(|s| (s.bridges, s.next_subnet) = (vec![], None)), [("network.subnet", Fail)]);
    }

    #[test]
    fn the_pool_is_nearly_full_before_it_is_full() {
        let of = |count| {
            let bridge = BridgeSurvey { leases: leases(count, Some(600)), ..bridge() };
            found(&survey(vec![bridge]), Some(&Guests::default()))
        };
        assert_eq!(of(227), []);
        assert_eq!(of(228), [("dhcp.pool", Level::Warn)]);
        assert_eq!(of(253), [("dhcp.pool", Level::Fail)]);
    }

    #[test]
    fn long_leases_of_guests_that_do_not_run_are_told() {
        let of = |left, running: u8| {
            let bridge = BridgeSurvey { leases: leases(64, left), ..bridge() };
            let running = (0..running).map(|n| (EthernetAddress([2, 0, 0, 0, 0, n]), 0)).collect();
            found(&survey(vec![bridge]), Some(&Guests { running, ended: vec![] }))
        };
        assert_eq!(of(Some(3601), 0), [("dhcp.leases", Level::Warn)]);
        assert_eq!(of(None, 0), [("dhcp.leases", Level::Warn)]);
        assert_eq!(of(Some(3600), 0), []);
        assert_eq!(of(Some(3601), 1), []);
    }
}
