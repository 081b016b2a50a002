//! The act of who operates it: an answer instead of silence, a port of the guest's on the host, and what can be seen of it all.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use nix::sys::signal::Signal;
use softnet_testbed::guest::KernelGuest;
use softnet_testbed::softnet::Softnet;
use softnet_testbed::testbed::{HostTestbed, Testbed};
use softnet_testbed::wait::{PATIENCE, Timeout, until};
use softnet_testbed::wire::Mac;

use crate::report::{Report, Tone};

const GUEST: Mac = Mac::guest(4);
/// What curl ends with: nobody can be connected to, and nothing came in time (curl(1), EXIT CODES).
const REFUSED: Option<i32> = Some(7);
const TOO_LATE: Option<i32> = Some(28);
/// How long curl waits where nothing answers.
const SECONDS: u64 = 2;
const EXPOSED: u16 = 8080;

/// `--reject`, `--expose`, `--log-drops` and the counters.
pub(crate) fn operate(report: &mut Report, bed: &HostTestbed) {
    let private = bed.facts().private;
    report.heading(
        "To operate it",
        "The guest has a kernel of its own now, this machine's, and curl. The host reaches everything that is tried.",
    );
    let (softnet, guest) = guest(bed, "silent", "");
    let (code, _) = curl(&guest, private);
    report.line_if(
        code == TOO_LATE,
        Tone::Good,
        &format!("curl http://{private}/"),
        &format!("no answer; curl gives up after {SECONDS} s, as it was told"),
        "it ended otherwise",
    );
    softnet.stop();

    let options = format!("--reject --log-drops --expose {EXPOSED}:80 --block @host");
    let (softnet, guest) = self::guest(bed, "answered", &options);
    let (code, millis) = curl(&guest, private);
    report.line_if(
        code == REFUSED && millis < 1000 * SECONDS,
        Tone::Good,
        "the same with --reject",
        &format!("refused; curl ends after {millis} ms"),
        "it ended otherwise",
    );
    let works = until("the forward", PATIENCE, || softnet.said().contains(":80 works").then_some(()));
    let served = works.map_err(io::Error::other).and_then(|()| serve_and_fetch(&guest));
    report.must(&format!("--expose {EXPOSED}:80: http://127.0.0.1:{EXPOSED}/, on the host"), served);
    let (code, _) = curl(&guest, guest.gateway());
    let blocked = "refused: only what was begun with an exposed port is answered";
    report.line_if(code == REFUSED, Tone::Good, "--block @host: curl to the host", blocked, "it ended otherwise");

    let logged = until("the drop log", PATIENCE, || {
        softnet.said().lines().rev().find_map(|line| Some(line.split_once("blocked: ")?.1.to_owned()))
    });
    report.must("--log-drops names the entry that decided", logged);
    report.must("kill -USR1 prints the counters, as JSON", counters(&softnet));
    softnet.stop();
}

fn guest(bed: &HostTestbed, name: &str, options: &str) -> (Softnet, KernelGuest) {
    let (softnet, socket) = bed.launch(GUEST).with(options).start();
    let mut guest = KernelGuest::new(name, socket, GUEST);
    guest.dhcp();
    (softnet, guest)
}

/// What curl in the guest ends with, and after how many milliseconds.
fn curl(guest: &KernelGuest, server: Ipv4Addr) -> (Option<i32>, u64) {
    let began = Instant::now();
    let ended = guest.output(&format!("curl --silent --noproxy * --max-time {SECONDS} http://{server}/"));
    (ended.status.code(), u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX))
}

/// A service in the guest, for one client, which is the host.
fn serve_and_fetch(guest: &KernelGuest) -> io::Result<String> {
    let listener = guest.netns().enter(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80)))?;
    let service = thread::spawn(move || -> io::Result<Ipv4Addr> {
        let (mut stream, peer) = listener.accept()?;
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nthe guest\n")?;
        match peer {
            SocketAddr::V4(peer) => Ok(*peer.ip()),
            SocketAddr::V6(_) => Err(io::Error::other("a peer of IPv6")),
        }
    });
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, EXPOSED)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    if !page.ends_with("the guest\n") {
        return Err(io::Error::other(format!("another page: {page}")));
    }
    let seen = service.join().map_err(|_| io::Error::other("the guest's service panicked"))??;
    Ok(format!("the guest answers; it sees the gateway, {seen}"))
}

fn counters(softnet: &Softnet) -> Result<String, Timeout> {
    softnet.signal(Signal::SIGUSR1);
    until("the counters", PATIENCE, || {
        let said = softnet.said();
        let line = said.lines().find(|line| line.contains("\"counters\""))?;
        let dropped = line.split_once("\"dropped\":")?.1.split_once('}')?.0;
        Some(format!("\"dropped\":{dropped}}}, and the rest"))
    })
}
