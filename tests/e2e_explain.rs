//! `softnet explain` as a plain user meets it by way of the setuid bit: whose rights open the files, and that a capture which
//! softnet wrote is explained as it was judged.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use softnet_testbed::attack::Party;
use softnet_testbed::binary::{callers_directory, install_setuid};
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::isolate::{self, SCRATCH, in_own_network};
use softnet_testbed::softnet::{self, Caller};
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::tools;
use softnet_testbed::wait::{self, PATIENCE};
use softnet_testbed::wire::{self, IPV4, Mac};

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);
const LEASE: Ipv4Addr = Ipv4Addr::new(192, 168, 64, 7);

/// What the setuid softnet `program` answers to a plain user.
fn explain(program: &Path, arguments: &[&str]) -> Output {
    tools::output(softnet::command(program, Caller::User).arg("explain").args(arguments))
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", tools::text(output));
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// How many frames had which verdict, by direction: `2 dropped: blocked`.
type Verdicts = BTreeMap<String, u64>;

/// As the comments of a capture say.
fn commented(path: &Path) -> Verdicts {
    let mut command =
        tools::command("tshark -n -T fields -E separator=| -e frame.packet_flags_direction -e frame.comment -r");
    let output = tools::output(command.arg(path));
    let mut verdicts = Verdicts::new();
    for line in String::from_utf8(output.stdout).expect("text").lines() {
        let (way, comment) = line.split_once('|').expect("two fields");
        if comment != "softnet's own answer" {
            let verdict: Vec<&str> = comment.split(": ").take(2).collect();
            let way = if way.ends_with('1') { "from_host" } else { "from_guest" };
            *verdicts.entry(format!("{way} {}", verdict.join(": "))).or_default() += 1;
        }
    }
    verdicts
}

/// As `softnet explain --json` says.
fn explained(text: &str) -> Verdicts {
    let mut verdicts = Verdicts::new();
    for line in text.lines() {
        let field = |name: &str| {
            let (_, rest) = line.split_once(&format!("\"{name}\":")).expect(name);
            rest.split([',', '}']).next().expect("a value").trim_matches('"').to_owned()
        };
        let verdict = match (field("passes").as_str(), field("answered").as_str()) {
            ("true", _) => "forwarded".into(),
            (_, "true") => format!("answered: {}", field("reason")),
            _ => format!("dropped: {}", field("reason")),
        };
        let count: u64 = field("count").parse().expect("a number");
        *verdicts.entry(format!("{} {verdict}", field("direction"))).or_default() += count;
    }
    verdicts
}

#[test]
fn a_capture_of_softnets_is_explained_as_it_was_judged() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let path = callers_directory().join("capture.pcapng");
        let options = ["--allow=name.example,in 192.0.2.0/24:22", "--block=203.0.113.0/24:80", "--dns-names-only"];
        let quoted = options.map(|option| format!("'{option}'")).join(" ");
        let (softnet, mut guest) = bed.guest(MAC, &format!("--pcap {} {quoted}", path.display()));
        let gateway = Party::gateway_of(&guest);
        guest.ping(gateway.ip, PATIENCE).expect("the gateway answers");
        let _ = guest.http_get(bed.facts().web, wait::SILENCE);
        let spoofed = wire::echo(gateway.ip, bed.facts().web, 1);
        let unreachable = wire::echo(guest.address(), bed.facts().private, 1);
        for datagram in [spoofed, unreachable.clone(), unreachable] {
            guest.send_raw(&wire::ethernet(gateway.mac, MAC, IPV4, &datagram)).expect("the socket takes a frame");
        }
        let _ = guest.resolve(gateway.ip, "elsewhere.example", wait::SILENCE);
        guest.flush();
        softnet.stop();

        let file = path.display().to_string();
        let arguments = [&options[..], &["--json", "--read", &file]].concat();
        let expected = commented(&path);
        for reason in ["from_guest dropped: source-address", "from_guest answered: dns-name"] {
            assert!(expected.contains_key(reason), "{reason}: {expected:?}");
        }
        assert_eq!(expected.get("from_guest dropped: not-reachable"), Some(&2), "{expected:?}");
        assert_eq!(explained(&printed(&explain(&bed.setuid, &arguments))), expected);

        // For people; by standard input; and another policy makes another answer of it.
        let script = format!("exec {} explain --block @host --read - <{file}", bed.setuid.display());
        let mut shell = softnet::command(&tools::find("bash").expect("bash"), Caller::User);
        let text = printed(&tools::output(shell.args(["-c", &script])));
        println!("{text}");
        let is_told = |words: &[&str]| text.lines().any(|line| words.iter().all(|word| line.contains(word)));
        let ping = format!("ICMP {} > {}", guest.address(), gateway.ip);
        assert!(is_told(&["from the guest", &ping, "dropped   blocked", "--block '@host'"]), "{text}");
        assert!(is_told(&["      2  from the guest", "not-reachable", "default: not reachable"]), "{text}");
        assert!(is_told(&["UDP 0.0.0.0 > 255.255.255.255:67", "passes", "DHCP"]), "{text}");

        // As any tool writes one, without directions and from after the lease on.
        let old = path.with_file_name("old.pcap");
        tools::run(&format!("tshark -n -r {file} -F pcap -w {} icmp", old.display()));
        fs::set_permissions(&old, Permissions::from_mode(0o644)).expect("set");
        let old = old.display().to_string();
        let refused = explain(&bed.setuid, &["--read", &old]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(tools::text(&refused).contains("--vm-mac-address"), "{}", tools::text(&refused));
        let mac = MAC.to_string();
        let without = explain(&bed.setuid, &["--read", &old, "--vm-mac-address", &mac]);
        assert!(tools::text(&without).contains("--lease ADDRESS") && printed(&without).contains("no-lease"));
        let lease = guest.address().to_string();
        let with = printed(&explain(&bed.setuid, &["--read", &old, "--vm-mac-address", &mac, "--lease", &lease]));
        let is_told = |words: &[&str]| with.lines().any(|line| words.iter().all(|word| line.contains(word)));
        assert!(is_told(&["from the guest", &ping, "passes", "default: the gateway"]), "{with}");
        assert!(is_told(&["from the guest", "dropped   source-address"]), "{with}");
    });
}

#[test]
fn answers_and_exposed_ports_of_a_capture_are_explained_as_they_were_judged() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let path = callers_directory().join("capture.pcapng");
        let options = ["--reject", "--expose=2222:22", "--block=0.0.0.0/0,in @host,out @host"];
        let quoted = options.map(|option| format!("'{option}'")).join(" ");
        let (softnet, socket) = bed.launch(MAC).with(&format!("--pcap {} {quoted}", path.display())).start();
        let mut guest = KernelGuest::new("guest1", socket, MAC);
        guest.dhcp();
        wait::until("the forward", PATIENCE, || softnet.said().contains("2222:22 works").then_some(())).expect("works");
        let listener = guest.netns().enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 22)).expect("bound"));
        let _client = TcpStream::connect((Ipv4Addr::LOCALHOST, 2222)).expect("the host's port is open");
        let _accepted = listener.accept().expect("the guest's is reached");
        let refused = guest.output("curl --max-time 20 -sS http://10.20.30.40/");
        assert!(tools::text(&refused).contains("Failed to connect"), "{}", tools::text(&refused));
        let _ = guest.output("ping -n -c 1 -W 5 10.20.30.40");
        softnet.stop();

        let file = path.display().to_string();
        let json = printed(&explain(&bed.setuid, &[&options[..], &["--json", "--read", &file]].concat()));
        assert_eq!(explained(&json), commented(&path));
        let has = |words: &[&str]| json.lines().any(|line| words.iter().all(|word| line.contains(word)));
        let to = format!("\"destination\":\"{}:22\"", guest.lease().address);
        let from = format!("\"source\":\"{}:22\"", guest.lease().address);
        for words in [
            ["from_host", &to, "\"passes\":true", "\"decider\":\"exposed-port\""],
            ["from_guest", &from, "\"passes\":true", "\"decider\":\"exposed-port\""],
            ["from_guest", "10.20.30.40:80", "\"answered\":true,\"answer\":\"tcp-reset\"", "\"reason\":\"blocked\""],
            ["from_guest", "\"10.20.30.40\"", "\"answer\":\"icmp-prohibited\"", "\"reason\":\"blocked\""],
        ] {
            assert!(has(&words), "{words:?}: {json}");
        }
        // The control: without these options nothing of it passes, and nothing is answered.
        let json = printed(&explain(&bed.setuid, &[options[2], "--json", "--read", &file]));
        assert!(!json.contains("exposed-port") && !json.contains("\"answered\":true"), "{json}");
    });
}

#[test]
fn what_a_rate_limit_drops_of_a_capture_is_told() {
    in_own_network(|| {
        isolate::own_etc();
        let program = install_setuid(Path::new(SOFTNET));
        let file = callers_directory().join("flood.pcap");
        // From an address that nobody asks about, all at one time.
        let ping = wire::ethernet(MAC, Mac::guest(9), IPV4, &wire::echo(Ipv4Addr::new(1, 1, 1, 1), LEASE, 1));
        fs::write(&file, pcap(&vec![ping; 100])).expect("written");
        let file = file.display().to_string();
        let mac = MAC.to_string();
        let ask = |more: &[&str]| {
            let arguments = [&["--json", "--vm-mac-address", &mac, "--read", &file], more].concat();
            explained(&printed(&explain(&program, &arguments)))
        };
        let flooded =
            Verdicts::from([("from_host forwarded".into(), 64), ("from_host dropped: rate-limit".into(), 36)]);
        assert_eq!(ask(&[]), Verdicts::from([("from_host forwarded".into(), 100)]), "the control");
        assert_eq!(ask(&["--rate-limit", "50pps"]), flooded);
        // The administrator's is there without being asked for, and is told.
        fs::write("/etc/softnet.toml", "rate-limit = \"50pps\"\nexpose = []\n").expect("written");
        assert_eq!(ask(&[]), flooded);
        let told = explain(&program, &["--expose", "2222:22", "1.1.1.1"]);
        for words in [
            "--rate-limit 50pps, as /etc/softnet.toml has it: what comes to the guest faster is dropped",
            "you may not start a guest with this: --expose 2222:22: /etc/softnet.toml lets callers expose no ports",
        ] {
            assert!(tools::text(&told).contains(words), "{}", tools::text(&told));
        }
        assert!(printed(&told).starts_with("1.1.1.1  passes"));
    });
}

/// A capture in the old format, whose packets come at one time.
fn pcap(frames: &[Vec<u8>]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut file = words(&[0xA1B2_C3D4, 4 << 16 | 2, 0, 0, 65_535, 1]);
    for frame in frames {
        let length = u32::try_from(frame.len()).expect("a short one");
        file.extend(words(&[1_700_000_000, 0, length, length]));
        file.extend(frame);
    }
    file
}

#[test]
fn after_a_thousand_lines_the_rest_is_counted() {
    in_own_network(|| {
        let program = install_setuid(Path::new(SOFTNET));
        let file = callers_directory().join("many.pcap");
        // Each EtherType is a line of its own. All come twice, so that those of a line are counted behind the thousandth too.
        let of_type = |kind: u16| wire::ethernet(Mac::guest(9), MAC, 0x9000 + kind, &[0; 46]);
        let explain = |kinds: u16, more: &[&str]| {
            let frames: Vec<Vec<u8>> = (0..kinds).chain(0..kinds).map(of_type).collect();
            fs::write(&file, pcap(&frames)).expect("written");
            let (mac, file) = (MAC.to_string(), file.display().to_string());
            let text = printed(&explain(&program, &[&["--vm-mac-address", &mac, "--read", &file], more].concat()));
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let lines = explain(1000, &[]);
        assert!(lines.len() == 1000 && lines.iter().all(|line| line.starts_with("      2  from the guest  TYPE-9")));
        let lines = explain(1003, &[]);
        assert_eq!((lines.len(), lines[1000].as_str()), (1001, "and 6 more frames, of further lines"));
        assert!(lines[999].contains("TYPE-93E7") && lines[999].starts_with("      2  "), "{}", lines[999]);
        let lines = explain(1003, &["--json"]);
        assert_eq!((lines.len(), lines[1000].as_str()), (1001, "{\"more_frames\":6}"));
    });
}

#[test]
fn a_file_is_opened_by_the_rights_of_the_caller() {
    in_own_network(|| {
        let program = install_setuid(Path::new(SOFTNET));
        let own = callers_directory();
        let secret = Path::new(SCRATCH).join("secret");
        // A whole pcap: what is refused is not what is in it.
        let header = [0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0];
        for path in [&secret, &own.join("own")] {
            fs::write(path, header).expect("written");
        }
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).expect("set");
        let refused = explain(&program, &["--read", &secret.display().to_string()]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(tools::text(&refused).contains("Permission denied"), "{}", tools::text(&refused));
        // A relative path starts where the caller is.
        let mut command = softnet::command(&program, Caller::User);
        let output = tools::output(command.args(["explain", "--read", "own"]).current_dir(&own));
        assert_eq!(printed(&output), "");
    });
}

#[test]
fn a_setuid_callers_destinations_are_judged_with_the_administrators_word() {
    in_own_network(|| {
        isolate::own_etc();
        let program = install_setuid(Path::new(SOFTNET));
        let file = "/etc/softnet.toml";
        let answer = || printed(&explain(&program, &["--allow", "1.1.1.1", "1.1.1.1:443"]));
        assert_eq!(answer(), "1.1.1.1:443  passes   --allow '1.1.1.1/32'\n");
        fs::write(file, "block = [\"1.0.0.0/8\"]\n").expect("written");
        fs::set_permissions(file, Permissions::from_mode(0o644)).expect("set");
        assert_eq!(answer(), "1.1.1.1:443  dropped  the administrator's block '1.0.0.0/8'\n");
        fs::set_permissions(file, Permissions::from_mode(0o600)).expect("set");
        let refused = explain(&program, &["1.1.1.1"]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(tools::text(&refused).contains("Permission denied"), "{}", tools::text(&refused));
    });
}
