//! The systemd unit template: what it lets softnet have is enough, and the documentation has the score that systemd gives it.
#![cfg(target_os = "linux")]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use softnet_testbed::binary::CALLER;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::tools;
use softnet_testbed::wait::PATIENCE;
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MAC: Mac = Mac::guest(1);

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect("it is there")
}

/// A setting of the unit's, with the names of one VM in their places.
fn setting(name: &str) -> String {
    let unit = read("packaging/systemd/softnet@.service");
    let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).expect("the unit has it");
    let user = CALLER.to_string();
    let places = [("%i", "web"), ("${MAC}", &MAC.to_string()), ("${VM_USER}", &user), ("$OPTIONS", "--group 4711")];
    places.into_iter().fold(line.to_owned(), |line, (place, value)| line.replace(place, value))
}

#[test]
fn what_the_unit_runs_serves_a_vm_with_the_capabilities_that_it_has() {
    in_own_network(|| {
        fs::create_dir("/run/softnet-guests").expect("made, as install -d does");
        tools::run(&setting("ExecStartPre"));
        let capabilities: Vec<String> = setting("CapabilityBoundingSet")
            .split(' ')
            .map(|capability| format!("+{}", capability.trim_start_matches("CAP_").to_lowercase()))
            .collect();
        let line = setting("ExecStart");
        let mut command = tools::command("setpriv --no-new-privs --bounding-set");
        command.arg(format!("-all,{}", capabilities.join(","))).arg(SOFTNET).args(line.split(' ').skip(1));
        command.env("RUST_LOG", "softnet=info");
        let mut softnet = Softnet::spawn(&mut command);
        softnet.wait_said("waiting").unwrap_or_else(|error| panic!("{error}: {}", softnet.said()));
        let own = "/run/softnet-guests/web/vm.sock";
        let socket = UnixDatagram::bind(own).expect("bound");
        std::os::unix::fs::chown(own, Some(CALLER), Some(CALLER)).expect("the VM is the user's");
        socket.send_to(b"VFKT", "/run/softnet-guests/web/net.sock").expect("greeted");
        socket.connect("/run/softnet-guests/web/net.sock").expect("connected");
        softnet.wait_ready();
        let mut guest = PortableGuest::new(socket, MAC);
        guest.dhcp(PATIENCE).expect("a lease");
        guest.ping(guest.gateway(), PATIENCE).expect("an answer");
        drop(guest);
        assert!(softnet.wait_end(PATIENCE).status.success());
        assert!(!Path::new("/run/softnet-guests/web/net.sock").exists());
    });
}

#[test]
fn the_documentation_has_systemds_score() {
    if tools::find("systemd-analyze").is_none() {
        eprintln!("no systemd-analyze here: the score of the unit is not looked at");
        return;
    }
    let unit = Path::new(ROOT).join("packaging/systemd/softnet@.service");
    let mut analyze = tools::command("systemd-analyze security --no-pager --offline=yes");
    let output = tools::text(&tools::output(analyze.arg(&unit)));
    let line = output.lines().find(|line| line.contains("Overall exposure level")).expect("a score");
    let score: f32 = line.split(": ").nth(1).and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a number");
    // Versions of systemd differ by what they look at.
    let documented = read("docs/linux.md");
    let told = documented.split("exposure level of ").nth(1).and_then(|rest| rest.split(' ').next()).expect("told");
    let told: f32 = told.parse().expect("a number");
    assert!((score - told).abs() < 0.6, "systemd says {score}, docs/linux.md {told}");
}
