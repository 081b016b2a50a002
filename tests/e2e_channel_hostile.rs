//! Clients of the control channel that stall, flood, die or send without end: each hurts itself alone, and frames flow on all
//! the while. How long the guest's pings take is told, and has a bound.
#![cfg(target_os = "linux")]

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use softnet_testbed::channel::{Client, MAC, Pings, longest_policy};
use softnet_testbed::guest::portable::PortableGuest;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::PATIENCE;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const GET: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"softnet.policy.get\"}\n";
/// Generous: this is a build without optimisation on cores that many tests share. Without the bounds a turn, each of these
/// clients holds frames up for seconds.
const BOUND: Duration = Duration::from_millis(100);

/// Runs `client` on a channel while the guest pings, until the client is done; then both go on as before.
fn while_pinging(what: &str, client: impl FnOnce(UnixStream, &AtomicBool) + Send + 'static) {
    let bed = LinuxTestbed::new(SOFTNET);
    let (mut softnet, socket, channel) = bed.launch(MAC).start_with_channel();
    let mut guest = PortableGuest::new(socket, MAC);
    guest.dhcp(PATIENCE).expect("a lease");
    let pings = Pings::of(guest);
    let alone = pings.measure(|| true);

    channel.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, rest) = (Arc::clone(&stop), channel.try_clone().expect("a copy"));
    let start = Instant::now();
    let thread = std::thread::spawn(move || client(channel, &stopped));
    let meanwhile = pings.measure(|| {
        let long = start.elapsed() > Duration::from_secs(2);
        if long {
            stop.store(true, Ordering::Relaxed);
        }
        long && thread.is_finished()
    });
    thread.join().expect("the client did as it should");
    eprintln!("PINGS {what}: alone {alone}; meanwhile {meanwhile}");
    assert!(meanwhile.percentile(99) < BOUND, "{what}: {meanwhile}");
    drop(rest);
    pings.once(PATIENCE).expect("frames flow on");
    assert!(memory(&softnet) < 40 << 10, "{} KiB", memory(&softnet));
    assert!(softnet.is_alive());
    softnet.stop();
}

/// Resident, in KiB.
fn memory(softnet: &Softnet) -> u64 {
    softnet.status("VmHWM").split(' ').next().and_then(|kib| kib.parse().ok()).expect("a number")
}

fn would_block(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

#[test]
fn one_that_never_reads() {
    in_own_network(|| {
        while_pinging("never reads", |mut stream, stop| {
            let mut client = Client::new(stream.try_clone().expect("a copy"));
            assert!(client.ask(&longest_policy(0)).contains("result"));
            stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a timeout can be set");
            let mut stalled = false;
            while !stop.load(Ordering::Relaxed) {
                match stream.write_all(GET) {
                    Ok(()) => {}
                    Err(error) => {
                        assert!(would_block(&error), "it is not cut off for being slow: {error}");
                        stalled = true;
                    }
                }
            }
            assert!(stalled, "softnet takes no more requests than it can answer");
        })
    });
}

#[test]
fn one_that_reads_late_gets_every_reply() {
    in_own_network(|| {
        while_pinging("reads late", |stream, _| {
            let mut client = Client::new(stream.try_clone().expect("a copy"));
            assert!(client.ask(&longest_policy(0)).contains("result"));
            let mut writer = stream.try_clone().expect("a copy");
            let sender = std::thread::spawn(move || {
                writer.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
                for _ in 0..100 {
                    writer.write_all(GET).expect("taken as soon as the client reads");
                }
            });
            std::thread::sleep(Duration::from_millis(300)); // it is late
            for _ in 0..100 {
                assert!(client.reply().ends_with("\"block\":[],\"ruleCount\":4096}}"));
            }
            sender.join().expect("sent");
        })
    });
}

#[test]
fn one_that_sends_a_byte_at_a_time() {
    in_own_network(|| {
        while_pinging("a byte at a time", |mut stream, stop| {
            let mut client = Client::new(stream.try_clone().expect("a copy"));
            while !stop.load(Ordering::Relaxed) {
                for &byte in GET {
                    stream.write_all(&[byte]).expect("softnet reads");
                    std::thread::sleep(Duration::from_micros(500)); // its pace
                }
                assert!(client.reply().contains("result"));
            }
        })
    });
}

#[test]
fn one_that_sends_a_hundred_megabytes_without_a_line_end() {
    in_own_network(|| {
        while_pinging("100 MB without LF", |mut stream, _| {
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
            let mut client = Client::new(stream.try_clone().expect("a copy"));
            for _ in 0..100 {
                stream.write_all(&vec![b'['; 1 << 20]).expect("softnet reads");
            }
            assert!(client.reply().contains(r#""id":null,"error":{"code":-32700"#));
            assert!(
                client.ask("\n{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"softnet.policy.get\"}").contains("\"id\":2")
            );
        })
    });
}

#[test]
fn one_that_sends_requests_of_a_megabyte_one_after_the_other() {
    in_own_network(|| {
        while_pinging("1 MiB requests", |mut stream, stop| {
            stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
            let mut client = Client::new(stream.try_clone().expect("a copy"));
            let strings = vec!["\"\""; 340_000].join(",");
            let request = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"softnet.policy.set\",\"params\":{{\"allow\":[{strings}],\"block\":[]}}}}\n"
            );
            while !stop.load(Ordering::Relaxed) {
                stream.write_all(request.as_bytes()).expect("softnet reads");
                assert!(client.reply().contains("-32602"));
            }
        })
    });
}

#[test]
fn one_that_changes_the_longest_policy_again_and_again() {
    in_own_network(|| {
        while_pinging("longest policies", |stream, stop| {
            let mut client = Client::new(stream);
            let policies = [longest_policy(0), longest_policy(1)];
            let mut changes = 0;
            while !stop.load(Ordering::Relaxed) {
                assert!(client.ask(&policies[changes % 2]).ends_with("\"ruleCount\":4096}}"));
                changes += 1;
            }
            eprintln!("PINGS {changes} changes");
        })
    });
}

#[test]
fn one_that_dies_in_the_middle_of_a_request() {
    in_own_network(|| {
        while_pinging("dies in the middle", |mut stream, _| {
            let request = longest_policy(0);
            stream.write_all(&request.as_bytes()[..request.len() / 2]).expect("softnet reads");
            stream.shutdown(Shutdown::Both).expect("gone");
        })
    });
}

#[test]
fn one_that_half_closes_and_never_reads() {
    in_own_network(|| {
        while_pinging("half-close", |mut stream, stop| {
            stream.write_all(format!("{}\n", longest_policy(0)).as_bytes()).expect("softnet reads");
            stream.write_all(&GET.repeat(50)).expect("softnet reads");
            stream.shutdown(Shutdown::Write).expect("half closed");
            while !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(10)); // not reading
            }
            let mut replies = String::new();
            stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
            stream.read_to_string(&mut replies).expect("all replies, and the end");
            assert_eq!(replies.lines().count(), 51);
        })
    });
}
