//! Small servers: pages over HTTP, echoes over UDP, one name over DNS. Each on threads of its own, for the test's life.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

/// What a DNS question of type A for the known name looks like after the name: type and class.
const TYPE_A: [u8; 4] = [0, 1, 0, 1];

/// Serves pages on `address`: who is asked, and who asks, a line each.
///
/// # Panics
/// When the address cannot be bound.
pub fn http(address: SocketAddr) {
    let listener = TcpListener::bind(address).unwrap_or_else(|error| panic!("no server on {address}: {error}"));
    thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            thread::spawn(move || answer_http(&connection));
        }
    });
}

fn answer_http(mut connection: &TcpStream) -> Option<()> {
    let mut lines = BufReader::new(connection).lines();
    let request = lines.next()?.ok()?;
    lines.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
    let body = match request.split(' ').nth(1)? {
        "/large" => "0123456789abcdef".repeat(64 * 1024),
        _ => format!("server {}\nclient {}\n", connection.local_addr().ok()?.ip(), connection.peer_addr().ok()?.ip()),
    };
    write!(connection, "HTTP/1.0 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len()).ok()
}

/// Fetches `/` of the web server on `address`, from the network of the calling thread.
///
/// # Errors
/// Those of the connection.
pub fn fetch(address: Ipv4Addr, limit: Duration) -> io::Result<String> {
    let mut connection = TcpStream::connect_timeout(&SocketAddr::from((address, 80)), limit)?;
    connection.set_read_timeout(Some(limit))?;
    write!(connection, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    reply.split_once("\r\n\r\n").map(|(_, page)| page.to_owned()).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sends every datagram back to where it came from.
///
/// # Panics
/// When the address cannot be bound.
pub fn udp_echo(address: SocketAddr) {
    let socket = UdpSocket::bind(address).unwrap_or_else(|error| panic!("no server on {address}: {error}"));
    thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], peer);
        }
    });
}

/// The end of names that [`dns`] leaves without any answer, as a server does that is down.
pub const DEAD_DOMAIN: &str = "dead.example";

/// Answers questions for `name` with `address` (other types of it with nothing), names that end in [`DEAD_DOMAIN`] never,
/// and any other name with "no such name".
///
/// # Panics
/// When the address cannot be bound.
pub fn dns(server: SocketAddr, name: &str, address: Ipv4Addr) {
    let socket = UdpSocket::bind(server).unwrap_or_else(|error| panic!("no server on {server}: {error}"));
    let known = encode_name(name);
    thread::spawn(move || {
        let mut buffer = [0; 1500];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if let Some(reply) = answer_dns(&buffer[..length], &known, address) {
                let _ = socket.send_to(&reply, peer);
            }
        }
    });
}

fn answer_dns(query: &[u8], known: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    let name_length = query.get(12..)?.iter().position(|byte| *byte == 0)? + 1;
    let question = query.get(12..12 + name_length + 4)?;
    let (name, kind) = question.split_at(name_length);
    if name.ends_with(&encode_name(DEAD_DOMAIN)) {
        return None;
    }
    let is_known = name.eq_ignore_ascii_case(known);
    let answers = u8::from(is_known && kind == TYPE_A);
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, if is_known { 0x80 } else { 0x83 }, 0, 1, 0, answers, 0, 0, 0, 0]);
    reply.extend(question);
    if answers == 1 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(address.octets());
    }
    Some(reply)
}

/// A question for the address of `name`.
#[must_use]
pub fn dns_query(id: u16, name: &str) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    query.extend(encode_name(name));
    query.extend(TYPE_A);
    query
}

/// The last address in a reply to [`dns_query`]; it is the reply's end.
#[must_use]
pub fn dns_answer(id: u16, reply: &[u8]) -> Option<Ipv4Addr> {
    let answers = u16::from_be_bytes(reply.get(6..8)?.try_into().ok()?);
    if reply.get(..2)? != id.to_be_bytes() || answers == 0 {
        return None;
    }
    let octets: [u8; 4] = reply.get(12..)?.last_chunk().copied()?;
    Some(Ipv4Addr::from(octets))
}

fn encode_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label is below 64 bytes"));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}
