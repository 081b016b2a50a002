//! `--reject` through the real program: what a kernel's stack makes of the answers, both ways, and their bound.
#![cfg(target_os = "linux")]

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use softnet_testbed::guest::KernelGuest;
use softnet_testbed::internet::PRIVATE;
use softnet_testbed::isolate::in_own_network;
use softnet_testbed::testbed::{LinuxTestbed, Testbed};
use softnet_testbed::wait::PATIENCE;

const SOFTNET: &str = env!("CARGO_BIN_EXE_softnet");

/// The error number and the milliseconds of a call of a socket's in the guest.
fn socket_error(guest: &KernelGuest, kind: &str, calls: &str) -> (i32, u64) {
    let script = format!(
        "import socket,time\ns=socket.socket(socket.AF_INET,socket.{kind})\ns.settimeout(5)\nb=time.monotonic()\ne=0\n\
         try:\n {calls}\nexcept OSError as error:\n e=error.errno or -1\nprint(e,int(1000*(time.monotonic()-b)))"
    );
    let output = guest.command("python3 -").stdin_text(&script);
    let mut numbers = output.split_ascii_whitespace();
    (numbers.next().unwrap().parse().unwrap(), numbers.next().unwrap().parse().unwrap())
}

/// Runs a command on a text.
trait OnText {
    fn stdin_text(&mut self, text: &str) -> String;
}

impl OnText for std::process::Command {
    fn stdin_text(&mut self, text: &str) -> String {
        use std::io::Write as _;
        use std::process::Stdio;
        let mut child = self.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
        child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("python3 reads");
        let output = child.wait_with_output().expect("python3 ends");
        String::from_utf8(output.stdout).expect("text")
    }
}

#[test]
fn a_guest_is_told_in_milliseconds_what_it_may_not_reach() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        bed.host_reaches(PRIVATE).expect("the control: it is there");
        let (softnet, guest) = bed.kernel_guest(1, "--reject");
        let (error, millis) = socket_error(&guest, "SOCK_STREAM", &format!("s.connect(('{PRIVATE}',80))"));
        assert_eq!(error, libc::ECONNREFUSED);
        assert!(millis < 100, "{millis} ms");
        let calls = format!("s.connect(('{PRIVATE}',7)); s.send(b'x'); s.recv(9)");
        let (error, millis) = socket_error(&guest, "SOCK_DGRAM", &calls);
        assert_eq!(error, libc::EHOSTUNREACH);
        assert!(millis < 100, "{millis} ms");
        let ping = guest.output(&format!("ping -n -c 1 -W 5 {PRIVATE}"));
        let said = String::from_utf8_lossy(&ping.stdout).into_owned();
        assert!(said.contains(&format!("From {} ", guest.gateway())) && said.contains("Packet filtered"), "{said}");
        let begin = Instant::now();
        let curl = guest.output(&format!("curl --silent --show-error --noproxy * --max-time 20 http://{PRIVATE}/"));
        assert_eq!(curl.status.code(), Some(7), "could not connect");
        assert!(begin.elapsed() < Duration::from_secs(1));
        assert!(softnet.stop().dropped("not-reachable") >= 4);
    });
}

#[test]
fn without_the_option_a_guest_waits() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (_softnet, guest) = bed.kernel_guest(1, "");
        let calls = format!("s.settimeout(1); s.connect(('{PRIVATE}',80))");
        let (error, millis) = socket_error(&guest, "SOCK_STREAM", &calls);
        assert!(error == -1 && millis >= 1000, "timed out, not {error} after {millis} ms");
    });
}

#[test]
fn the_host_is_told_in_milliseconds_what_it_may_not_begin() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "--reject --block 'in 0.0.0.0/0'");
        let begin = Instant::now();
        let error = TcpStream::connect_timeout(&SocketAddr::from((guest.lease().address, 22)), PATIENCE).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
        // A kernel that got it would have answered with its own reset: that it did not, the counters say.
        guest.run(&format!("ping -c 1 -W 5 {}", guest.gateway()));
        let said = softnet.stop().said;
        assert!(said.lines().any(|line| line.contains("from the host: ") && line.contains("blocked ")), "{said}");
    });
}

#[test]
fn a_flood_is_answered_no_more_than_a_thousand_times_a_second() {
    in_own_network(|| {
        let bed = LinuxTestbed::new(SOFTNET);
        let (softnet, guest) = bed.kernel_guest(1, "--reject");
        let received = || -> u64 {
            let text = guest.run("cat /proc/net/dev");
            let line = text.lines().find(|line| line.trim_start().starts_with("eth0:")).expect("eth0");
            line.split_ascii_whitespace().nth(2).expect("packets").parse().expect("a number")
        };
        let before = received();
        let begin = Instant::now();
        let _ = guest.output(&format!("timeout 1 hping3 --quiet --syn --destport 22 --flood {PRIVATE}"));
        let nmap = guest.output(&format!("nmap -n -Pn -sS --max-retries 0 --max-rtt-timeout 200ms -p 1-200 {PRIVATE}"));
        let elapsed = begin.elapsed();
        let answers = received() - before;
        let dropped = softnet.stop().dropped("not-reachable");
        let bound = 64 + u64::try_from(elapsed.as_millis()).unwrap() + 20;
        println!("{dropped} refused in {elapsed:?}, {answers} answered");
        assert!(answers >= 64 && answers <= bound, "{answers} answers in {elapsed:?}");
        assert!(dropped > 2 * answers, "a flood: {dropped}");
        let said = String::from_utf8_lossy(&nmap.stdout).into_owned();
        assert!(said.contains("closed"), "{said}");
    });
}
