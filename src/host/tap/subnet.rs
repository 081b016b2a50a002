//! Which subnet a bridge gets. Pure: what the host uses goes in, a choice comes out.

use std::net::Ipv4Addr;

use ipnet::{IpAdd, Ipv4Net, Ipv4Subnets};

use super::Error;

/// The candidates: every /24 of 192.168.64.0/18, lowest first.
fn candidates() -> Ipv4Subnets {
    Ipv4Subnets::new(Ipv4Addr::new(192, 168, 64, 0), Ipv4Addr::new(192, 168, 127, 255), 24)
}

/// A prefix that the host uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Used {
    pub(super) prefix: Ipv4Net,
    /// By what, as "an address of eth0".
    pub(super) by: String,
}

/// A default route, or one half of a VPN's (0.0.0.0/1 and 128.0.0.0/1): it covers everything and says nothing.
fn is_default(prefix: &Ipv4Net) -> bool {
    prefix.prefix_len() <= 1
}

fn collision<'a>(subnet: &Ipv4Net, used: &'a [Used]) -> Option<&'a Used> {
    let overlap = |other: &Ipv4Net| subnet.contains(other) || other.contains(subnet);
    used.iter().find(|other| !is_default(&other.prefix) && overlap(&other.prefix))
}

/// The gateway's address with its prefix: in `wanted` if given, else in `remembered` if that is still free, else in the
/// first candidate that is.
pub(super) fn choose(wanted: Option<Ipv4Net>, remembered: Option<Ipv4Net>, used: &[Used]) -> Result<Ipv4Net, Error> {
    if let Some(subnet) = wanted {
        check(subnet)?;
        return match collision(&subnet.trunc(), used) {
            Some(other) => Err(Error::SubnetCollides { subnet, other: other.prefix, used_by: other.by.clone() }),
            None => Ok(gateway(subnet)),
        };
    }
    let remembered = remembered.filter(|address| check(*address).is_ok());
    let free = |subnet: &Ipv4Net| collision(&subnet.trunc(), used).is_none();
    if let Some(address) = remembered.filter(free) {
        return Ok(address);
    }
    candidates().find(free).map(gateway).ok_or(Error::NoFreeSubnet)
}

/// The first address of a subnet, with its prefix.
pub(super) fn gateway(subnet: Ipv4Net) -> Ipv4Net {
    Ipv4Net::new_assert(subnet.network().saturating_add(1), subnet.prefix_len())
}

/// Whether guests can live in a subnet.
pub(super) fn check(subnet: Ipv4Net) -> Result<(), Error> {
    let unusable = |reason| Err(Error::SubnetUnusable { subnet, reason });
    let (first, last) = (subnet.network(), subnet.broadcast());
    let any = |test: fn(&Ipv4Addr) -> bool| test(&first) || test(&last);
    if !(16..=30).contains(&subnet.prefix_len()) {
        unusable("its prefix length is not between 16 and 30")
    } else if any(Ipv4Addr::is_loopback) {
        unusable("it is the loopback network")
    } else if any(Ipv4Addr::is_link_local) {
        unusable("it is the link-local network")
    } else if any(Ipv4Addr::is_multicast) || first.octets()[0] >= 240 {
        unusable("its addresses are not unicast")
    } else if first.octets()[0] == 0 {
        unusable("its addresses mean \"this network\"")
    } else {
        Ok(())
    }
}

/// The first and last address that guests get: all hosts of the subnet but the gateway, when that is at either end.
pub(super) fn pool(gateway: Ipv4Net) -> (Ipv4Addr, Ipv4Addr) {
    let mut first = Ipv4Addr::from(u32::from(gateway.network()) + 1);
    let mut last = Ipv4Addr::from(u32::from(gateway.broadcast()) - 1);
    if gateway.addr() == first {
        first = first.saturating_add(1);
    } else if gateway.addr() == last {
        last = Ipv4Addr::from(u32::from(last) - 1);
    }
    (first, last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("a prefix")
    }

    fn used(prefixes: &[&str]) -> Vec<Used> {
        prefixes.iter().map(|text| Used { prefix: net(text), by: "an address of eth0".to_owned() }).collect()
    }

    #[test]
    fn the_first_free_subnet_is_chosen() {
        assert_eq!(choose(None, None, &[]).unwrap(), net("192.168.64.1/24"));
        assert_eq!(choose(None, None, &used(&["192.168.64.7/32"])).unwrap(), net("192.168.65.1/24"));
        assert_eq!(choose(None, None, &used(&["192.168.64.0/20"])).unwrap(), net("192.168.80.1/24"));
    }

    #[test]
    fn default_routes_do_not_collide() {
        let all = used(&["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1"]);
        assert_eq!(choose(None, None, &all).unwrap(), net("192.168.64.1/24"));
    }

    #[test]
    fn no_free_subnet_is_an_error_that_names_the_option() {
        let error = choose(None, None, &used(&["192.168.0.0/16"])).unwrap_err();
        assert!(error.to_string().contains("--subnet"), "{error}");
        assert_eq!(choose(Some(net("10.9.0.0/16")), None, &used(&["192.168.0.0/16"])).unwrap(), net("10.9.0.1/16"));
    }

    #[test]
    fn a_wanted_subnet_that_collides_names_what_it_collides_with() {
        let error = choose(Some(net("10.0.0.0/24")), None, &used(&["10.0.0.9/8"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--subnet 10.0.0.0/24: an address of eth0 already uses 10.0.0.9/8: choose another subnet"
        );
    }

    #[test]
    fn the_remembered_subnet_is_kept_while_it_is_free() {
        let before = Some(net("192.168.70.1/24"));
        assert_eq!(choose(None, before, &[]).unwrap(), net("192.168.70.1/24"));
        assert_eq!(choose(None, before, &used(&["192.168.70.0/23"])).unwrap(), net("192.168.64.1/24"));
        assert_eq!(choose(Some(net("10.0.0.0/24")), before, &[]).unwrap(), net("10.0.0.1/24"));
    }

    #[test]
    fn subnets_that_cannot_serve_guests_are_refused() {
        for text in [
            "10.0.0.0/8",
            "10.0.0.0/31",
            "127.0.0.0/16",
            "169.254.0.0/16",
            "224.0.0.0/24",
            "240.0.0.0/16",
            "0.0.0.0/16",
        ] {
            assert!(check(net(text)).is_err(), "{text}");
        }
        for text in ["10.0.0.0/16", "192.168.200.0/30", "100.64.0.0/24", "203.0.113.0/24"] {
            assert!(check(net(text)).is_ok(), "{text}");
        }
    }

    #[test]
    fn the_pool_leaves_the_gateway_out() {
        let ends = |text| pool(net(text));
        assert_eq!(ends("192.168.64.1/24"), (Ipv4Addr::new(192, 168, 64, 2), Ipv4Addr::new(192, 168, 64, 254)));
        assert_eq!(ends("10.0.0.254/24"), (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 253)));
        assert_eq!(ends("10.0.0.1/30"), (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 2)));
    }
}
