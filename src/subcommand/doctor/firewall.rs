//! Whether a firewall of somebody else's drops what softnet lets through.
//!
//! In nftables a packet has to be accepted by every table. Which chains drop is read from the text that nft(8) lists, iptables'
//! tables included: a base chain of the forward or input hook whose policy is to drop, or whose last rule drops or rejects all
//! that is left. It is in nobody's way if a rule that it comes to names softnet's bridges and accepts, or goes elsewhere with
//! them.

use std::collections::BTreeMap;
use std::fs;

use super::report::Finding;
use crate::host::tap::survey::{self, Survey};
use crate::privilege::Standing;

/// What [`crate::sys::command`] keeps of what a program says.
const KEPT: usize = 64 * 1024;
const OWN: &str = "firewall.softnet";
const OTHERS: &str = "firewall.others";
const FORWARD: &str = "firewall.forward";

pub(super) fn check(standing: Standing, survey: &Survey) -> Vec<Finding> {
    let mut findings = vec![forwarding(survey)];
    if standing == Standing::Unprivileged {
        let what = "firewalls, whose rules only root may see, were not looked at";
        findings.push(Finding::skip(OTHERS, what, "sudo softnet doctor, or give softnet the setuid bit"));
        return findings;
    }
    let mut wait = |duration| {
        std::thread::sleep(duration);
        Ok(())
    };
    if !survey.bridges.is_empty() {
        findings.push(match survey::has_own_table(&mut wait) {
            Ok(true) => Finding::ok(OWN, "softnet's own table, inet softnet, is in place"),
            Ok(false) => Finding::fail(
                OWN,
                "the table inet softnet is gone: guests have no NAT, and reach what of the host they should not",
                "start a guest, which puts it back",
            ),
            Err(error) => Finding::fail(OWN, error.to_string(), "mend that first"),
        });
    }
    match survey::foreign_rules(&mut wait) {
        Ok(rules) => findings.extend(judge(&rules)),
        Err(error) => {
            findings.push(Finding::skip(OTHERS, format!("no firewall could be looked at: {error}"), "mend that first"))
        }
    }
    findings.extend(bridged(&findings));
    if fs::read_to_string("/proc/net/ip_tables_names").is_ok_and(|names| names.lines().any(|name| name == "filter")) {
        let what = "there are rules of iptables-legacy, which were not looked at";
        findings.push(Finding::skip("firewall.legacy", what, "look yourself: sudo iptables-legacy -S"));
    }
    findings
}

/// docker turns it on: then a bridge's own frames pass the forward chains, too.
fn bridged(findings: &[Finding]) -> Option<Finding> {
    let is_on = fs::read_to_string("/proc/sys/net/bridge/bridge-nf-call-iptables").is_ok_and(|text| text.trim() == "1");
    let drops = findings.iter().any(|finding| finding.id == FORWARD);
    (is_on && drops).then(|| {
        Finding::warn(
            "firewall.bridged",
            "bridge-nf-call-iptables is 1: what drops forwarded packets drops those between open guests as well",
            "let softnet0 through, as said for that table",
        )
    })
}

fn forwarding(survey: &Survey) -> Finding {
    const ID: &str = "network.forwarding";
    let is_on = fs::read_to_string("/proc/sys/net/ipv4/ip_forward").is_ok_and(|text| text.trim() == "1");
    let is_needed = survey.bridges.iter().any(|bridge| bridge.name == crate::host::tap::NAT_BRIDGE);
    match (is_on, is_needed) {
        (true, _) => Finding::ok(ID, "the host forwards (net.ipv4.ip_forward is 1)"),
        (false, false) => Finding::ok(ID, "the host does not forward yet: the first guest's start sees to it"),
        (false, true) => Finding::fail(
            ID,
            "net.ipv4.ip_forward is 0: guests reach nothing beyond the host",
            "sudo sysctl -w net.ipv4.ip_forward=1, and find out who sets it to 0 (/etc/sysctl.d)",
        ),
    }
}

/// A base chain that lets through only what it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Obstacle {
    table: String,
    chain: String,
    hook: Hook,
    /// Whose table it is, as far as its chains' names tell.
    maker: Maker,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hook {
    Forward,
    Input,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    Docker,
    Ufw,
    Firewalld,
    Somebody,
}

impl Obstacle {
    fn finding(&self) -> Finding {
        let Obstacle { table, chain, .. } = self;
        let (id, what) = match self.hook {
            Hook::Forward => (FORWARD, "guests reach the host and nothing beyond it"),
            Hook::Input => ("firewall.input", "guests get no DHCP, and no DNS from the host"),
        };
        Finding::fail(id, format!("table {table}, chain {chain} drops what it does not know: {what}"), self.mend())
    }

    fn mend(&self) -> String {
        match (self.maker, self.hook) {
            (Maker::Docker, Hook::Forward) => {
                "sudo iptables -I DOCKER-USER -i softnet0 -j ACCEPT && sudo iptables -I DOCKER-USER \
                                               -o softnet0 -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
                    .to_owned()
            }
            (Maker::Ufw, Hook::Forward) => "sudo ufw route allow in on softnet0".to_owned(),
            (Maker::Ufw, Hook::Input) => "sudo ufw allow in on softnet0".to_owned(),
            (Maker::Firewalld, _) => {
                "sudo firewall-cmd --permanent --zone=trusted --add-interface=softnet0 && sudo firewall-cmd --reload"
                    .to_owned()
            }
            (_, Hook::Forward) => {
                let Obstacle { table, chain, .. } = self;
                format!(
                    "sudo nft insert rule {table} {chain} iifname softnet0 accept; sudo nft insert rule {table} {chain} oifname \
                     softnet0 ct state established,related accept"
                )
            }
            (_, Hook::Input) => format!("sudo nft insert rule {} {} iifname softnet0 accept", self.table, self.chain),
        }
    }
}

fn judge(rules: &str) -> Vec<Finding> {
    let tables = tables(rules);
    let mut findings: Vec<Finding> =
        tables.iter().flat_map(Table::obstacles).map(|obstacle| obstacle.finding()).collect();
    if findings.is_empty() {
        let others = tables.iter().filter(|table| table.name != "inet softnet").count();
        findings.push(Finding::ok(OTHERS, format!("no other table drops what guests send ({others} looked at)")));
    }
    if rules.len() >= KEPT {
        let what = "the firewall has more rules than were read";
        findings.push(Finding::skip("firewall.length", what, "look yourself: sudo nft list ruleset"));
    }
    findings
}

/// A table: its chains, each with its lines.
#[derive(Debug)]
struct Table<'a> {
    /// Family and name.
    name: &'a str,
    chains: BTreeMap<&'a str, Vec<&'a str>>,
}

/// The tables of IPv4, as nft(8) lists them: a table at the margin, a chain one tab in, its lines two.
fn tables(rules: &str) -> Vec<Table<'_>> {
    let mut tables: Vec<Table<'_>> = Vec::new();
    let mut chain: Option<&str> = None;
    for line in rules.lines() {
        if let Some(name) = line.strip_prefix("table ").and_then(|rest| rest.split(" {").next()) {
            tables.push(Table { name, chains: BTreeMap::new() });
            chain = None;
        } else if let Some(rest) = line.strip_prefix("\tchain ") {
            chain = rest.split(" {").next();
        } else if line == "\t}" {
            chain = None;
        } else if let (Some(chain), Some(table)) = (chain, tables.last_mut()) {
            table.chains.entry(chain).or_default().push(line.trim());
        }
    }
    tables.retain(|table| table.name.starts_with("ip ") || table.name.starts_with("inet "));
    tables
}

impl Table<'_> {
    fn obstacles(&self) -> Vec<Obstacle> {
        if self.name == "inet softnet" {
            return Vec::new();
        }
        let obstacle = |(chain, lines): (&&str, &Vec<&str>)| {
            let head = lines.iter().find(|line| line.starts_with("type filter hook "))?;
            let hook = match head.split(' ').nth(3)? {
                "forward" => Hook::Forward,
                "input" => Hook::Input,
                _ => return None,
            };
            let drops = head.contains("policy drop") || lines.last().is_some_and(|line| drops_everything(line));
            let lets = self.comes_to(chain).iter().any(|line| lets_guests(line, hook));
            let maker = self.maker();
            (drops && !lets).then(|| Obstacle { table: self.name.to_owned(), chain: (*chain).to_owned(), hook, maker })
        };
        self.chains.iter().filter_map(obstacle).collect()
    }

    /// The lines of a chain and of all that it leads to.
    fn comes_to(&self, chain: &str) -> Vec<&str> {
        let (mut waiting, mut seen, mut found) = (vec![chain], Vec::new(), Vec::new());
        while let Some(chain) = waiting.pop() {
            if seen.contains(&chain) {
                continue;
            }
            seen.push(chain);
            for line in self.chains.get(chain).into_iter().flatten() {
                found.push(*line);
                let mut words = line.split(' ').skip_while(|word| !matches!(*word, "jump" | "goto"));
                waiting.extend(words.nth(1));
            }
        }
        found
    }

    fn maker(&self) -> Maker {
        let has = |prefix: &str| self.chains.keys().any(|chain| chain.starts_with(prefix));
        if self.name.ends_with(" firewalld") {
            Maker::Firewalld
        } else if has("ufw-") {
            Maker::Ufw
        } else if has("DOCKER-USER") {
            Maker::Docker
        } else {
            Maker::Somebody
        }
    }
}

/// Whether a rule drops whatever comes to it.
fn drops_everything(rule: &str) -> bool {
    let mut words = rule.split(' ').peekable();
    if words.peek() == Some(&"counter") {
        // "counter packets 0 bytes 0"
        words.by_ref().take(5).for_each(drop);
    }
    matches!(words.next(), Some("drop" | "reject"))
}

/// Whether a rule lets guests through, or says elsewhere what becomes of them.
fn lets_guests(rule: &str, hook: Hook) -> bool {
    let goes_on = rule.split(' ').any(|word| matches!(word, "accept" | "jump" | "goto"));
    let serves_dhcp = || rule.contains(" dport ") && rule.split([' ', ',']).any(|word| matches!(word, "67" | "bootps"));
    goes_on && (rule.contains("softnet") || (hook == Hook::Input && rule.ends_with("accept") && serves_dhcp()))
}

#[cfg(test)]
mod tests {
    use super::super::report::Level;
    use super::*;

    fn chain(name: &str, lines: &[&str]) -> String {
        let lines: String = lines.iter().map(|line| format!("\t\t{line}\n")).collect();
        format!("\tchain {name} {{\n{lines}\t}}\n\n")
    }

    fn table(name: &str, chains: &[String]) -> String {
        format!("table {name} {{\n{}}}\n", chains.concat())
    }

    /// What is told, and of which table.
    fn told(rules: &str) -> Vec<(&'static str, Level)> {
        judge(rules).iter().map(|finding| (finding.id, finding.level)).collect()
    }

    const DROPS_FORWARD: &str = "type filter hook forward priority filter; policy drop;";
    const INPUT: &str = "type filter hook input priority filter; policy drop;";

    #[test]
    fn a_policy_that_drops_is_an_obstacle_unless_it_lets_softnets_bridges_through() {
        let forward = |lines: &[&str]| table("inet mine", &[chain("f", &[&[DROPS_FORWARD], lines].concat())]);
        assert_eq!(told(&forward(&[])), [("firewall.forward", Level::Fail)]);
        assert_eq!(told(&forward(&["iifname \"eth0\" accept"])), [("firewall.forward", Level::Fail)]);
        assert_eq!(told(&forward(&["iifname \"softnet0\" accept"])), [(OTHERS, Level::Ok)]);
        assert_eq!(told(&forward(&["iifname \"softnet0\" drop"])), [("firewall.forward", Level::Fail)]);
        let open = DROPS_FORWARD.replace("drop", "accept");
        assert_eq!(told(&table("ip a", &[chain("f", &[&open])])), [(OTHERS, Level::Ok)]);
    }

    #[test]
    fn a_last_rule_that_drops_all_that_is_left_is_one_as_well() {
        let open = DROPS_FORWARD.replace("drop", "accept");
        for last in ["drop", "counter packets 3 bytes 9 drop", "reject with icmpx admin-prohibited"] {
            assert_eq!(
                told(&table("ip a", &[chain("f", &[&open, last])])),
                [("firewall.forward", Level::Fail)],
                "{last}"
            );
        }
        for last in ["ct state invalid drop", "counter packets 3 bytes 9 accept"] {
            assert_eq!(told(&table("ip a", &[chain("f", &[&open, last])])), [(OTHERS, Level::Ok)], "{last}");
        }
    }

    #[test]
    fn what_a_chain_leads_to_counts_and_what_another_hooks_leads_to_does_not() {
        let docker = |user: &str| {
            table(
                "ip filter",
                &[
                    chain("DOCKER-USER", &[user, "counter packets 0 bytes 0 return"]),
                    chain(
                        "FORWARD",
                        &[DROPS_FORWARD, "counter packets 0 bytes 0 jump DOCKER-USER", "jump DOCKER-USER"],
                    ),
                    chain("INPUT", &[&INPUT.replace("drop", "accept"), "iifname \"softnet0\" accept"]),
                ],
            )
        };
        assert_eq!(told(&docker("iifname \"softnet0\" counter packets 0 bytes 0 accept")), [(OTHERS, Level::Ok)]);
        let closed = judge(&docker("counter packets 0 bytes 0"));
        assert_eq!(closed.len(), 1);
        assert!(closed[0].mend.as_deref().is_some_and(|mend| mend.contains("iptables -I DOCKER-USER -i softnet0")));
    }

    #[test]
    fn an_input_chain_that_serves_dhcp_to_all_is_no_obstacle() {
        let input = |line: &str| table("inet filter", &[chain("input", &[INPUT, line])]);
        assert_eq!(told(&input("tcp dport 22 accept")), [("firewall.input", Level::Fail)]);
        assert_eq!(told(&input("udp dport { 53, 67 } accept")), [(OTHERS, Level::Ok)]);
        assert_eq!(told(&input("udp dport 6767 accept")), [("firewall.input", Level::Fail)]);
    }

    #[test]
    fn softnets_own_table_and_those_of_ipv6_are_not_asked() {
        let own = table("inet softnet", &[chain("f", &[DROPS_FORWARD])]);
        assert_eq!(told(&(own + &table("ip6 filter", &[chain("f", &[DROPS_FORWARD])]))), [(OTHERS, Level::Ok)]);
    }
}
