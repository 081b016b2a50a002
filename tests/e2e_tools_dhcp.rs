//! DHCP, attacked with the real tools: the pool, the identity, the server's place. Each attack succeeds on a plain bridge and
//! fails behind softnet.
#![cfg(target_os = "linux")]

use std::fs;
use std::time::Duration;

use softnet_testbed::isolate::{SCRATCH, in_own_network};
use softnet_testbed::pair::{ATTACKER, Pair, Running};
use softnet_testbed::testbed::LinuxTestbed;
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

/// The DHCP server's own records of the pair's link, a line each.
fn leases(pair: &Pair) -> Vec<String> {
    let path =
        if pair.is_control() { format!("{SCRATCH}/plain0.leases") } else { "/run/softnet/softnet0.leases".to_owned() };
    fs::read_to_string(path).expect("the server keeps records").lines().map(str::to_owned).collect()
}

#[test]
fn dhcpstarv_does_not_drain_the_pool() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let starve = |pair: &Pair| Running::start(&mut pair.attacker.command("dhcpstarv -i eth0"));
        {
            let mut plain = Pair::on_a_plain_bridge();
            let mut before = plain.newcomer(1);
            before.ask(PATIENCE).expect("there are addresses at first");
            let _tool = starve(&plain);
            // All of .10 to .100.
            wait::until("an empty pool", PATIENCE * 2, || (leases(&plain).len() >= 91).then_some(()))
                .unwrap_or_else(|error| panic!("dhcpstarv must drain a plain bridge's pool: {error}"));
            plain.newcomer(2).ask(Duration::from_secs(2)).expect_err("no address is left on a plain bridge");
        }
        let mut pair = Pair::behind_softnet(&bed, "");
        let mut said = pair.at_the_attacker();
        let tool = starve(&pair);
        let is_request = |frame: &[u8]| frame.get(23) == Some(&17) && frame.get(36..38) == Some(&[0, 67]);
        wait::until("dhcpstarv's attempts", PATIENCE * 2, || (said.count(is_request) >= 4).then_some(()))
            .unwrap_or_else(|error| panic!("{error}"));
        let took = pair.newcomer(2).ask(PATIENCE).expect("another guest gets its address");
        drop(tool);
        pair.attacker_is_served();
        let leases = leases(&pair);
        assert_eq!(leases.len(), 3, "the attacker's, the victim's, the newcomer's: {leases:?}");
        let ended = pair.stop();
        let tried = ended.dropped("dhcp-forbidden") + ended.dropped("ethernet-source");
        eprintln!("dhcpstarv: {tried} frames dropped; another guest's address took {took:?}; {}", ended.said);
        assert!(tried >= 4, "it has tried: {}", ended.said);
    });
}

#[test]
fn dhclient_and_udhcpc_get_one_address_whatever_they_call_themselves() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // As many clients, each by another identifier, half of them of either program.
        let attack = |pair: &Pair| {
            let mut served = 0;
            for number in 1..=2 {
                let configuration = format!("{SCRATCH}/dhclient.conf");
                let text = format!("send dhcp-client-identifier \"client-{number}\"; timeout 2;\n");
                fs::write(&configuration, text).expect("the client's configuration is written");
                let name = format!("{SCRATCH}/{}-{number}", pair.bridge);
                let files = format!("-cf {configuration} -lf {name}.leases -pf {name}.pid -sf /bin/true");
                let one = pair.attacker.output(&format!("dhclient -1 -q {files} eth0"));
                let other = pair.attacker.output(&format!(
                    "busybox udhcpc -i eth0 -f -n -q -t 2 -T 1 -s /bin/true -C -x 0x3d:00aabb{number:02}"
                ));
                served += [one, other].iter().filter(|output| output.status.success()).count();
                // What stays in the background would ask again.
                let _ = tools::output(tools::command("sh -c").arg(format!("kill $(cat {name}.pid)")));
            }
            let own = leases(pair).into_iter().filter(|line| line.contains(&ATTACKER.to_string()));
            (served, own.count())
        };
        let (served, addresses) = attack(&Pair::on_a_plain_bridge());
        assert_eq!((served, addresses), (4, 5), "on a plain bridge each identifier gets an address");
        let pair = Pair::behind_softnet(&bed, "");
        let (served, addresses) = attack(&pair);
        assert_eq!((served, addresses), (2, 1), "two more identifiers are heard, and all have one address");
        let ended = pair.stop();
        assert!(ended.dropped("dhcp-identifiers") >= 2, "it has tried: {}", ended.said);
    });
}

#[test]
fn a_dhcp_server_in_a_guest_serves_nobody() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // Whether an answer of the attacker's server came to the victim, which asks again.
        let attack = |pair: &Pair| {
            let [a, b, c, _] = pair.gateway().ip.octets();
            let own = pair.attackers_ip();
            let _server = Running::start(&mut pair.attacker.command(&format!(
                "dnsmasq --keep-in-foreground --conf-file=/dev/null --port=0 --user=root --interface=eth0 --no-ping \
                 --dhcp-authoritative --dhcp-range={a}.{b}.{c}.200,{a}.{b}.{c}.220,255.255.255.0 \
                 --dhcp-option=3,{own} --dhcp-leasefile={SCRATCH}/rogue-{} --pid-file=",
                pair.bridge
            )));
            wait::until("the attacker's DHCP server", PATIENCE, || {
                pair.attacker.run("cat /proc/net/udp").contains(":0043 ").then_some(())
            })
            .expect("it listens");
            let mut witness = pair.at_the_victim();
            // The server may take a moment more; whoever answers first wins, and both may answer.
            for _ in 0..3 {
                pair.victim.run("busybox udhcpc -i eth0 -f -n -q -t 10 -T 1 -s /bin/true");
            }
            // And one answer that waits for no question.
            pair.scapy("offer");
            pair.attacker_is_served();
            let from_attacker = |frame: &[u8]| {
                wire::source(frame) == Some(ATTACKER)
                    && frame.get(23) == Some(&17)
                    && frame.get(34..36) == Some(&[0, 67])
            };
            if pair.is_control() {
                witness.expect("an answer of the attacker's server", PATIENCE, from_attacker).map(|_| true)
            } else {
                Ok(witness.count(from_attacker) > 0)
            }
        };
        attack(&Pair::on_a_plain_bridge()).expect("a server in a guest answers on a plain bridge");
        // Without isolation, so that it is the filter alone that holds.
        let pair = Pair::behind_softnet(&bed, "--allow 0.0.0.0/0");
        assert_eq!(attack(&pair), Ok(false), "an answer of the attacker's server came to the victim");
        let ended = pair.stop();
        assert!(ended.dropped("dhcp-server-port") >= 1, "it has tried: {}", ended.said);
    });
}
