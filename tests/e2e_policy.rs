//! Entries with ports and directions, through the real program: what they open and close, and what they say at the start.
#![cfg(target_os = "linux")]

use softnet_testbed::internet::WEB;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const MAC: Mac = Mac::guest(1);

#[test]
fn answers_come_back_where_nobody_may_begin_anything() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, "--block 'in 0.0.0.0/0'");
        let gateway = guest.gateway();
        guest.ping(gateway, PATIENCE).expect("an echo comes back");
        guest.http_get(WEB, PATIENCE).expect("a connection is answered");
        softnet.stop();
    });
}

#[test]
fn ports_open_what_is_closed_without_and_the_start_says_so() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, mut guest) = bed.guest(MAC, &format!("--allow 0.0.0.0/0:80 --block {WEB}"));
        guest.http_get(WEB, PATIENCE).expect("port 80 is allowed");
        guest.ping(WEB, SILENCE).expect_err("all else is blocked");
        let ended = softnet.stop();
        assert!(ended.dropped("blocked") > 0, "{}", ended.said);
        let warning = format!("--allow '0.0.0.0/0:80' reaches what --block '{WEB}/32' closes");
        assert!(ended.said.contains(&warning), "{}", ended.said);
    });
}
