//! Names through the real program: what the host's own DNS service answers opens what `--allow` has names for.
#![cfg(target_os = "linux")]

use std::time::{Duration, Instant};

use softnet_testbed::channel::MAC;
use softnet_testbed::guest::portable::PortableGuest;
use softnet_testbed::internet::{NAME, OTHER_WEB, RESOLVER, WEB};
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::servers::dns_query;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{PATIENCE, SILENCE};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

const CLOSED: &str = "--block 0.0.0.0/0 --allow @host:53";

fn resolve(guest: &mut PortableGuest) {
    let resolver = *guest.lease().dns.first().expect("the lease names a DNS server");
    assert_eq!(guest.resolve(resolver, NAME, PATIENCE).expect("a name is resolved"), WEB);
}

#[test]
fn a_name_opens_its_address_once_the_hosts_dns_has_told_it_to_the_guest() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for allow in ["www.example.com", "*.Example.com:80"] {
            let (softnet, mut guest) = bed.guest(MAC, CLOSED);
            resolve(&mut guest);
            guest.http_get(WEB, SILENCE).expect_err("no entry is about the name");
            softnet.stop();
            let (softnet, mut guest) = bed.guest(MAC, &format!("{CLOSED} --allow {allow}"));
            guest.http_get(WEB, SILENCE).expect_err("nobody has asked yet");
            resolve(&mut guest);
            guest.http_get(WEB, PATIENCE).expect("a page of the name's");
            guest.http_get(OTHER_WEB, SILENCE).expect_err("another address");
            let ended = softnet.stop();
            assert!(ended.dropped("blocked") >= 2, "{}", ended.said);
        }
    });
}

#[test]
fn a_question_for_another_name_is_refused_at_once() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) =
            bed.guest(MAC, "--block 0.0.0.0/0 --allow @host:53,9.9.9.9:53,www.example.com --dns-names-only");
        let gateway = guest.gateway();
        for (server, name) in [(gateway, "other.example.com"), (RESOLVER, "example.com"), (gateway, "x.dead.example")] {
            let begin = Instant::now();
            let reply = guest.udp_exchange((server, 53), &dns_query(0x5a5a, name), PATIENCE).expect("an answer");
            assert!(begin.elapsed() < Duration::from_millis(500), "the server was not asked");
            let mut expected = dns_query(0x5a5a, name);
            // An answer, recursion desired, REFUSED.
            (expected[2], expected[3]) = (0x81, 5);
            assert_eq!(reply, expected);
        }
        resolve(&mut guest);
        guest.http_get(WEB, PATIENCE).expect("a page of the name's");
        assert!(softnet.stop().dropped("dns-name") >= 3);
    });
}

#[test]
fn a_client_of_the_channel_uses_names_only_if_softnet_was_told_that_it_knows_them() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (options, takes) in [(CLOSED.to_owned(), false), (format!("{CLOSED} --policy-names"), true)] {
            let (softnet, mut guest, mut client) = bed.guest_with_channel(MAC, &options);
            let reply = client.set("@host:53,WWW.example.com", "0.0.0.0/0");
            if takes {
                assert!(reply.contains(r#""allow":["@host:53","www.example.com"]"#), "{reply}");
                resolve(&mut guest);
                guest.http_get(WEB, PATIENCE).expect("a page of the name's");
                assert!(client.set("@host:53", "0.0.0.0/0").contains("result"));
            } else {
                assert!(reply.contains("-32602") && reply.contains("--policy-names"), "{reply}");
            }
            guest.http_get(WEB, SILENCE).expect_err("closed");
            softnet.stop();
        }
    });
}
