//! `--expose` with the real program: who reaches the guest by it, what gets out by it, and what ends with what.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::internet::UPLINK;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::{PATIENCE, SILENCE, until};
use softnet_testbed::wire::Mac;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");
const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;
const ANY: Ipv4Addr = Ipv4Addr::UNSPECIFIED;

/// A TCP service in the guest that gives back what it gets, and the end after the end; it says first whom it sees.
fn echo(guest: &KernelGuest, port: u16) {
    let listener = guest.netns().enter(|| TcpListener::bind((ANY, port)).unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let peer = stream.peer_addr().unwrap().ip();
                let _ = stream.write_all(format!("{peer}\n").as_bytes());
                let mut copy = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut copy, &mut stream);
                let _ = stream.shutdown(Shutdown::Write);
            });
        }
    });
}

fn connect(to: (Ipv4Addr, u16)) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&SocketAddr::from(to), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Ok(stream)
}

/// What the service says to one that sends `text` and ends; an error if it is refused.
fn ask(to: (Ipv4Addr, u16), text: &str) -> std::io::Result<String> {
    let mut stream = connect(to)?;
    stream.write_all(text.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn assert_works(to: (Ipv4Addr, u16), guest: &KernelGuest) {
    let long = "x".repeat(300_000);
    assert_eq!(ask(to, &long).unwrap(), format!("{}\n{long}", guest.gateway()), "the gateway is who the guest sees");
}

fn wait_said(softnet: &Softnet, words: &str) {
    until(words, PATIENCE, || softnet.said().contains(words).then_some(())).unwrap();
}

/// The companion of a softnet.
fn companion(softnet: &Softnet) -> Option<i32> {
    let pid = softnet.pid();
    fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?.split_whitespace().next()?.parse().ok()
}

fn is_there(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn an_exposed_port_is_reached_from_everywhere_whatever_the_policy_says() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        for (number, options) in [
            (1, "--block 0.0.0.0/0,@host"),
            (2, "--block 'in 0.0.0.0/0,in @host,out 0.0.0.0/0,out @host'"),
            (3, "--vm-net-type host"),
            (4, "--allow 0.0.0.0/0"),
        ] {
            let port = 2200 + u16::from(number);
            let (softnet, guest) = bed.kernel_guest(number, &format!("--expose {port}:22 {options}"));
            wait_said(&softnet, &format!("--expose {port}:22 works"));
            assert!(softnet.said().contains(&format!("--expose {port}:22 waits")), "{}", softnet.said());
            echo(&guest, 22);
            for to in [LOCAL, UPLINK, guest.gateway()] {
                assert_works((to, port), &guest);
            }
            let answer = bed.internet.netns.enter(|| ask((UPLINK, port), "from the network"));
            assert_eq!(answer.unwrap(), format!("{}\nfrom the network", guest.gateway()));
            softnet.stop();
        }
    });
}

/// What the counters say of the forwards, asked for until `is_it`.
fn forwards_told(softnet: &Softnet, is_it: impl Fn(&Value) -> bool) {
    until("the counters of the forwards", PATIENCE, || {
        softnet.signal(Signal::SIGUSR1);
        let said = softnet.said();
        let mut lines = said.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.find(|line| line["message"] == "counters").filter(|line| is_it(&line["forwards"]))
    })
    .unwrap();
}

#[test]
fn the_counters_say_of_each_port_whether_it_leads_to_the_guest_and_how_many_go_through() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let options = "--expose 2222:22,2223:23,5353:53/udp";
        let (softnet, socket) = bed.launch(Mac::guest(1)).with(options).start();
        let expected = |is_open: bool, connections: [u64; 3]| {
            let names = ["2222:22", "2223:23", "5353:53/udp"];
            let forward = |(name, count)| json!({"forward": name, "open": is_open, "connections": count});
            names.into_iter().zip(connections).map(forward).collect::<Value>()
        };
        forwards_told(&softnet, |told| *told == expected(false, [0, 0, 0]));
        let mut guest = KernelGuest::new("guest", socket, Mac::guest(1));
        guest.dhcp();
        forwards_told(&softnet, |told| *told == expected(true, [0, 0, 0]));
        echo(&guest, 22);
        echo(&guest, 23);
        let streams = [2222, 2223, 2222].map(|port| connect((LOCAL, port)).unwrap());
        let client = UdpSocket::bind((LOCAL, 0)).unwrap();
        client.send_to(b"question", (LOCAL, 5353)).unwrap();
        forwards_told(&softnet, |told| *told == expected(true, [2, 1, 1]));
        drop(streams);
        forwards_told(&softnet, |told| *told == expected(true, [0, 0, 1]));
        kill(Pid::from_raw(companion(&softnet).unwrap()), Signal::SIGKILL).unwrap();
        forwards_told(&softnet, |told| *told == expected(false, [0, 0, 0]));
        softnet.stop();
    });
}

#[test]
fn another_guest_reaches_it_by_the_gateway_and_where_its_policy_says_no_it_does_not() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, server) = bed.kernel_guest(1, "--expose 2222:22");
        echo(&server, 22);
        let (free, client) = bed.kernel_guest(2, "");
        let gateway = client.gateway();
        assert_eq!(client.netns().enter(|| ask((gateway, 2222), "hi")).unwrap(), format!("{gateway}\nhi"));
        let (bound, other) = bed.kernel_guest(3, "--block @host");
        let tried = other.netns().enter(|| TcpStream::connect_timeout(&SocketAddr::from((gateway, 2222)), SILENCE));
        assert!(tried.is_err());
        for softnet in [softnet, free, bound] {
            softnet.stop();
        }
    });
}

#[test]
fn what_the_guest_begins_is_the_policys_business_also_from_an_exposed_port() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "--expose 2222:22,5353:53/udp --block @host");
        let gateway = guest.gateway();
        let service = TcpListener::bind((gateway, 8000)).unwrap();
        let datagrams = UdpSocket::bind((gateway, 8000)).unwrap();
        datagrams.set_read_timeout(Some(SILENCE)).unwrap();
        echo(&guest, 22);
        let answerer = guest.netns().enter(|| UdpSocket::bind((ANY, 53)).unwrap());
        let port = Some(PATIENCE);
        answerer.set_read_timeout(port).unwrap();

        // The exposed ports work.
        assert_works((LOCAL, 2222), &guest);
        let client = UdpSocket::bind((LOCAL, 0)).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.send_to(b"question", (LOCAL, 5353)).unwrap();
        let mut buffer = [0; 64];
        let (length, from) = answerer.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from.ip()), (&b"question"[..], gateway.into()));
        answerer.send_to(b"answer", from).unwrap();
        let (length, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (&b"answer"[..], (LOCAL, 5353).into()));

        // What starts in the guest does not get out.
        answerer.send_to(b"of its own", (gateway, 8000)).unwrap();
        assert!(datagrams.recv_from(&mut buffer).is_err());
        let tried = guest.netns().enter(|| TcpStream::connect_timeout(&SocketAddr::from((gateway, 8000)), SILENCE));
        assert!(tried.is_err());
        drop(service);
        let ended = softnet.stop();
        assert!(ended.dropped("blocked") > 0, "{}", ended.said);
    });
}

#[test]
fn a_bind_address_binds_and_an_answer_comes_from_where_the_question_went() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) =
            bed.kernel_guest(1, "--expose 127.0.0.1:2222:22,7:7/udp".replace("7:7/udp", "7007:7/udp").as_str());
        echo(&guest, 22);
        assert_works((LOCAL, 2222), &guest);
        assert!(connect((UPLINK, 2222)).is_err());
        let service = guest.netns().enter(|| UdpSocket::bind((ANY, 7)).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 2000];
            while let Ok((length, from)) = service.recv_from(&mut buffer) {
                service.send_to(&buffer[..length], from).unwrap();
            }
        });
        for address in [LOCAL, Ipv4Addr::new(127, 0, 0, 9), UPLINK, guest.gateway()] {
            let clients = [0, 1].map(|_| UdpSocket::bind((LOCAL, 0)).unwrap());
            for (client, text) in clients.iter().zip(["one", "two"]) {
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.send_to(text.as_bytes(), (address, 7007)).unwrap();
            }
            for (client, text) in clients.iter().zip(["one", "two"]) {
                let mut buffer = [0; 64];
                let (length, from) = client.recv_from(&mut buffer).unwrap();
                assert_eq!((&buffer[..length], from), (text.as_bytes(), (address, 7007).into()));
            }
        }
        softnet.stop();
    });
}

#[test]
fn without_a_lease_it_refuses_and_with_another_it_moves() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET).as_root();
        let (softnet, socket) = bed.launch(Mac::guest(1)).with("--expose 2222:22").start();
        wait_said(&softnet, "--expose 2222:22 waits");
        let refused = connect((LOCAL, 2222)).and_then(|mut stream| stream.read(&mut [0]).map(drop));
        assert!(refused.is_err(), "refused at once");
        let mut guest = KernelGuest::new("guest", socket, Mac::guest(1));
        let first = guest.dhcp().address;
        wait_said(&softnet, "--expose 2222:22 works");
        echo(&guest, 22);
        let mut kept = connect((LOCAL, 2222)).unwrap();
        let greeting = format!("{}\n", guest.gateway());
        kept.read_exact(&mut vec![0; greeting.len()]).unwrap();

        // Another address: the server's record says so.
        let other = Ipv4Addr::from_bits(first.to_bits() + 7);
        move_lease(&bed, first, other);
        assert_eq!(guest.dhcp().address, other);
        wait_said(&softnet, &format!("--expose 2222:22 moves from {first} to {other}"));
        let end = kept.read(&mut [0; 8]);
        assert!(end.is_err() || end.unwrap() == 0, "what led to the old address ends");
        assert_works((LOCAL, 2222), &guest);
        softnet.stop();
    });
}

/// Writes another address into the record of the DHCP server, which the next softnet starts again.
fn move_lease(bed: &LinuxTestbed, from: Ipv4Addr, to: Ipv4Addr) {
    softnet_testbed::tools::sh(
        "pkill -f 'dns[m]asq.*softnet0'; while pgrep -f 'dns[m]asq.*softnet0'; do sleep 0.01; done",
    );
    let leases = "/run/softnet/softnet0.leases";
    let text = fs::read_to_string(leases).unwrap();
    fs::write(leases, text.replace(&format!("{from} "), &format!("{to} "))).unwrap();
    bed.launch(Mac::guest(2)).start().0.stop();
}

#[test]
fn a_port_that_is_not_to_be_had_is_told_before_anything_is_set_up() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let _taken = TcpListener::bind((ANY, 2222)).unwrap();
        for (options, words) in [
            ("--expose 2222:22", ["--expose 2222:22", "is taken"]),
            ("--expose 80:80", ["--expose 80:80", "root itself"]),
            ("--expose 203.0.113.9:2223:22", ["--expose 203.0.113.9:2223:22", "no address of this host"]),
        ] {
            let (softnet, _guest) = bed.launch(Mac::guest(1)).with(options).spawn();
            let ended = softnet.wait_end(PATIENCE);
            assert_eq!(ended.status.code(), Some(1), "{}", ended.said);
            ended.assert_told(&words);
            assert!(!fs::exists("/sys/class/net/softnet0").unwrap() && !fs::exists("/run/softnet").unwrap());
        }
        let (softnet, _socket) = bed.as_root().launch(Mac::guest(1)).with("--expose 80:80").start();
        softnet.stop();
    });
}

#[test]
fn a_client_that_never_reads_holds_up_neither_another_nor_the_guest_and_there_is_an_end_to_them() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (mut softnet, guest) = bed.kernel_guest(1, "--expose 2222:22,2223:23");
        echo(&guest, 22);
        let source = guest.netns().enter(|| TcpListener::bind((ANY, 23)).unwrap());
        thread::spawn(move || {
            for stream in source.incoming() {
                thread::spawn(
                    move || while stream.as_ref().is_ok_and(|mut stream| stream.write(&[7; 65536]).is_ok()) {},
                );
            }
        });
        let stalled: Vec<TcpStream> = (0..20).map(|_| connect((LOCAL, 2223)).unwrap()).collect();
        until("the buffers are full", PATIENCE, || {
            let waiting = softnet_testbed::tools::run("ss -Htn state established sport = :2223");
            let is_full = |line: &&str| line.split_ascii_whitespace().nth(1).is_some_and(|queue| queue != "0");
            (waiting.lines().filter(is_full).count() >= 20).then_some(())
        })
        .unwrap();
        let start = Instant::now();
        assert_works((LOCAL, 2222), &guest);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        guest.run(&format!("ping -c 3 -i 0.2 -W 1 {}", guest.gateway()));

        // More than there may be.
        let mut held: Vec<TcpStream> = Vec::new();
        let mut refused = 0;
        for _ in 0..400 {
            // Refused at once: that may be before connect(2) is back.
            match connect((LOCAL, 2222)).and_then(|mut stream| stream.read_exact(&mut [0; 1]).map(|()| stream)) {
                Ok(stream) => held.push(stream),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(held.len() + stalled.len(), 256, "{refused} of 400 were refused");
        drop(held);
        until("there is room again", PATIENCE, || ask((LOCAL, 2222), "again").ok()).unwrap();
        assert!(softnet.is_alive());
        softnet.stop();
    });
}

#[test]
fn neither_outlives_what_it_should() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        // The relay is killed, or asked to end: the companion goes, and the port is free.
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
            let (softnet, _socket) = bed.launch(Mac::guest(1)).with("--expose 2222:22").start();
            let companion = companion(&softnet).expect("a companion");
            softnet.signal(signal);
            let _ = softnet.wait_end(PATIENCE);
            until("the companion has ended", PATIENCE, || (!is_there(companion)).then_some(())).unwrap();
            drop(TcpListener::bind((ANY, 2222)).unwrap());
        }
        // A terminal's Ctrl-C reaches both.
        let (softnet, _socket) = bed.launch(Mac::guest(1)).with("--expose 2222:22").start();
        let child = companion(&softnet).expect("a companion");
        kill(Pid::from_raw(child), Signal::SIGINT).unwrap();
        assert!(is_there(child));
        let ended = softnet.stop();
        assert!(!ended.said.contains("before its time"), "{}", ended.said);
        // The companion is killed: the guest's network goes on.
        let (softnet, guest) = bed.kernel_guest(1, "--expose 2222:22");
        let child = companion(&softnet).expect("a companion");
        kill(Pid::from_raw(child), Signal::SIGKILL).unwrap();
        wait_said(&softnet, "has ended before its time");
        guest.run(&format!("ping -c 1 -W 5 {}", guest.gateway()));
        assert_eq!(softnet.said().matches("before its time").count(), 1);
        assert!(connect((LOCAL, 2222)).is_err());
        softnet.stop();
    });
}
