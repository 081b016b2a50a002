//! The act of the control channel: an orchestrator changes the policy of a guest that runs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;

use softnet_testbed::channel::Client;
use softnet_testbed::guest::PortableGuest;
use softnet_testbed::testbed::{HostTestbed, Testbed};
use softnet_testbed::wait::{PATIENCE, SILENCE};
use softnet_testbed::wire::Mac;

use crate::acts::end;
use crate::report::Report;

const GUEST: Mac = Mac::guest(3);
/// Nothing listens there: the guest's own "no" comes back, or nothing does.
const CLOSED_PORT: u16 = 81;

/// Directions and ports, set while the guest runs.
pub(crate) fn live_policy(report: &mut Report, bed: &HostTestbed) {
    let facts = bed.facts();
    report.heading(
        "A policy that changes while the guest runs",
        "The standard output of softnet is a socket, as Tart makes it; an orchestrator speaks JSON-RPC on it.",
    );
    let (softnet, socket, stream) = bed.launch(GUEST).start_with_channel();
    let mut client = Client::new(stream);
    let mut guest = PortableGuest::new(socket, GUEST);
    if let Err(error) = guest.dhcp(PATIENCE) {
        return report.must("a lease by DHCP", Err::<String, _>(error));
    }
    let gateway = guest.gateway();

    let page = |guest: &mut PortableGuest, server| guest.http_get(server, PATIENCE).map(|_| "answered".to_owned());
    report.must(&format!("no entries yet: {}", facts.other_web), page(&mut guest, facts.other_web));
    let only = format!("out {}:80", facts.web);
    set(report, &mut client, &only, "out 0.0.0.0/0");
    report.must(&format!("port 80 of {}", facts.web), page(&mut guest, facts.web));
    let blocked = guest.http_get(facts.other_web, SILENCE);
    report.must_not(&format!("port 80 of {}", facts.other_web), blocked, "no answer", "answered");

    set(report, &mut client, "in @host", "out 0.0.0.0/0,in 0.0.0.0/0");
    report.must_not("the guest pings the host", guest.ping(gateway, SILENCE), "no answer", "answered");
    report.must("the host connects to the guest", knock(&mut guest).map(|()| "the guest answers".to_owned()));
    end(report, softnet, guest, "the guest's");
}

fn set(report: &mut Report, client: &mut Client, allow: &str, block: &str) {
    let reply = client.set(allow, block);
    let count = reply.split("\"ruleCount\":").nth(1).and_then(|rest| rest.split('}').next());
    let told = count.map(|count| format!("{count} rules in force"));
    report.must(&format!("set: allow {allow}, nothing else"), told.ok_or(reply));
}

/// The host connects to the guest, which answers that nobody listens.
fn knock(guest: &mut PortableGuest) -> io::Result<()> {
    let address: Ipv4Addr = guest.address();
    let connecting =
        thread::spawn(move || TcpStream::connect_timeout(&SocketAddr::from((address, CLOSED_PORT)), SILENCE));
    let outcome = guest.serve("the host's connection", PATIENCE, || connecting.is_finished().then_some(()));
    outcome.map_err(io::Error::other)?;
    match connecting.join().map_err(|_| io::Error::other("the host's thread panicked"))? {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}
