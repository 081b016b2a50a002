//! A guest that runs anywhere: smoltcp's stack over the guest's end of the frame socket.
//!
//! It answers ARP and pings only while one of its methods is being waited in: [`PortableGuest::serve`] is for when it is
//! another one's turn. Every frame that comes is kept, for scenarios to look at.

use std::io;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::socket::{AnySocket, dhcpv4, icmp, tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, IpCidr, Ipv4Cidr};

use super::Lease;
use crate::servers;
use crate::sys;
use crate::wait::{self, PATIENCE, Timeout};
use crate::wire::Mac;

/// The longest wait between two looks at a condition that no frame announces.
const TICK: Duration = Duration::from_millis(20);

/// A guest of smoltcp's.
pub struct PortableGuest {
    mac: Mac,
    device: FrameSocket,
    interface: Interface,
    sockets: SocketSet<'static>,
    lease: Option<Lease>,
    serial: u16,
}

impl PortableGuest {
    /// A guest with the address `mac` on `socket`, that has no IP address yet.
    ///
    /// # Panics
    /// When the socket cannot be made non-blocking.
    #[must_use]
    pub fn new(socket: UnixDatagram, mac: Mac) -> Self {
        socket.set_nonblocking(true).expect("a socket can be non-blocking");
        let mut device = FrameSocket { socket, seen: Vec::new() };
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac.0)));
        // Ports and transaction numbers must differ from guest to guest and from run to run.
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        config.random_seed =
            u64::from(mac.0[5]) << 48 ^ u64::from(std::process::id()) << 32 ^ u64::from(clock.subsec_nanos());
        let interface = Interface::new(config, &mut device, Instant::now());
        PortableGuest { mac, device, interface, sockets: SocketSet::new(Vec::new()), lease: None, serial: 0 }
    }

    /// Its hardware address.
    #[must_use]
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// Its lease.
    ///
    /// # Panics
    /// When it never got one.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("the guest has a lease")
    }

    /// Its leased address.
    #[must_use]
    pub fn address(&self) -> Ipv4Addr {
        self.lease().address
    }

    /// Its gateway.
    ///
    /// # Panics
    /// When the lease named none.
    #[must_use]
    pub fn gateway(&self) -> Ipv4Addr {
        self.lease().router.unwrap_or(self.lease().server)
    }

    /// Asks for a lease, and configures itself by it.
    ///
    /// # Errors
    /// None was granted in time.
    pub fn dhcp(&mut self, limit: Duration) -> Result<Lease, Timeout> {
        let mut socket = dhcpv4::Socket::new();
        socket.set_receive_packet_buffer(Box::leak(vec![0; 1500].into_boxed_slice()));
        let mut retry = dhcpv4::RetryConfig::default();
        retry.discover_timeout = smoltcp::time::Duration::from_secs(1);
        retry.initial_request_timeout = smoltcp::time::Duration::from_secs(1);
        socket.set_retry_config(retry);
        let lease = self.with(socket, |guest, handle| {
            guest.drive("a DHCP lease", limit, |sockets| {
                match sockets.get_mut::<dhcpv4::Socket<'_>>(handle).poll()? {
                    dhcpv4::Event::Configured(granted) => Some(read_lease(&granted)),
                    dhcpv4::Event::Deconfigured => None,
                }
            })
        })?;
        self.configure(lease.clone());
        Ok(lease)
    }

    /// Takes `lease` for granted, rightly or not.
    pub fn configure(&mut self, lease: Lease) {
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(lease.address, lease.prefix)));
        });
        if let Some(router) = lease.router {
            let _ = self.interface.routes_mut().add_default_ipv4_route(router);
        }
        self.lease = Some(lease);
    }

    /// Pings `target` until it answers.
    ///
    /// # Errors
    /// It did not in time.
    ///
    /// # Panics
    /// When smoltcp's buffers are too small.
    pub fn ping(&mut self, target: Ipv4Addr, limit: Duration) -> Result<(), Timeout> {
        let ident = self.next_serial();
        let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 4], vec![0; 512]);
        let mut socket = icmp::Socket::new(buffer(), buffer());
        socket.bind(icmp::Endpoint::Ident(ident)).expect("an identifier can be bound");
        let request = Icmpv4Repr::EchoRequest { ident, seq_no: 1, data: b"softnet testbed" };
        let room = socket.send(request.buffer_len(), target.into()).expect("an empty buffer has room");
        request.emit(&mut Icmpv4Packet::new_unchecked(room), &ChecksumCapabilities::default());
        self.with(socket, |guest, handle| {
            guest.drive(&format!("a ping of {target}"), limit, |sockets| {
                let (bytes, from) = sockets.get_mut::<icmp::Socket<'_>>(handle).recv().ok()?;
                let reply = Icmpv4Packet::new_checked(bytes).ok()?;
                let reply = Icmpv4Repr::parse(&reply, &ChecksumCapabilities::default()).ok()?;
                let is_answer = from == target.into() && matches!(reply, Icmpv4Repr::EchoReply { .. });
                is_answer.then_some(())
            })
        })
    }

    /// Waits until all that was sent so far has been judged: frames keep their order, and this ping comes last.
    ///
    /// # Panics
    /// When the gateway does not answer.
    pub fn flush(&mut self) {
        let gateway = self.gateway();
        self.ping(gateway, PATIENCE).expect("a guest's gateway answers pings");
    }

    /// Fetches `/` of the web server on `server`, and returns the page.
    ///
    /// # Errors
    /// The page had not come in time.
    ///
    /// # Panics
    /// When smoltcp refuses to connect at all.
    pub fn http_get(&mut self, server: Ipv4Addr, limit: Duration) -> Result<String, Timeout> {
        let buffer = || tcp::SocketBuffer::new(vec![0; 65535]);
        let port = 49152 + self.next_serial() % 16384;
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket.connect(self.interface.context(), (server, 80), port).expect("a new socket connects");
        let request = format!("GET / HTTP/1.0\r\nHost: {server}\r\n\r\n");
        self.with(socket, |guest, handle| {
            let (mut asked, mut reply) = (false, Vec::new());
            guest.drive(&format!("a page from {server}"), limit, |sockets| {
                let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
                if !asked && socket.can_send() {
                    asked = socket.send_slice(request.as_bytes()).is_ok();
                }
                while socket.can_recv() {
                    let _ = socket.recv(|bytes| (bytes.len(), reply.extend_from_slice(bytes)));
                }
                (asked && !socket.may_recv()).then_some(())?;
                let text = String::from_utf8_lossy(&reply);
                text.split_once("\r\n\r\n").map(|(_, page)| page.to_owned())
            })
        })
    }

    /// Sends `payload` to `server` until a datagram comes back from there.
    ///
    /// # Errors
    /// None came in time.
    ///
    /// # Panics
    /// When smoltcp's buffers are too small.
    pub fn udp_exchange(
        &mut self,
        server: (Ipv4Addr, u16),
        payload: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Timeout> {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 8192]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(49152 + self.next_serial() % 16384).expect("a port can be bound");
        socket.send_slice(payload, server).expect("an empty buffer has room");
        self.with(socket, |guest, handle| {
            guest.drive(&format!("an answer of {}:{}", server.0, server.1), limit, |sockets| {
                let (reply, from) = sockets.get_mut::<udp::Socket<'_>>(handle).recv().ok()?;
                (from.endpoint.addr == server.0.into()).then(|| reply.to_vec())
            })
        })
    }

    /// Asks `server` for the address of `name`.
    ///
    /// # Errors
    /// No answer in time, or one without an address.
    pub fn resolve(&mut self, server: Ipv4Addr, name: &str, limit: Duration) -> Result<Ipv4Addr, Timeout> {
        let id = self.next_serial();
        let reply = self.udp_exchange((server, 53), &servers::dns_query(id, name), limit)?;
        servers::dns_answer(id, &reply).ok_or(Timeout { what: format!("an address for {name}"), after: limit })
    }

    /// Sends `frame` as it is, past the stack.
    ///
    /// # Errors
    /// Those of the socket: `WouldBlock` when softnet is behind, `ConnectionRefused` when it is gone.
    pub fn send_raw(&mut self, frame: &[u8]) -> io::Result<()> {
        sys::send_frame(&self.device.socket, frame)
    }

    /// [`PortableGuest::send_raw`], as soon as there is room for it.
    ///
    /// # Panics
    /// When there is none in time.
    pub fn send_raw_when_there_is_room(&mut self, frame: &[u8]) {
        let has_gone = || self.send_raw(frame).is_ok().then_some(());
        wait::until("room in the socket", PATIENCE, has_gone).expect("softnet reads");
    }

    /// The socket, to be closed or read past the stack.
    #[must_use]
    pub fn into_socket(self) -> UnixDatagram {
        self.device.socket
    }

    /// Every frame that came, oldest first.
    #[must_use]
    pub fn seen(&self) -> &[Vec<u8>] {
        &self.device.seen
    }

    /// Forgets the frames that came.
    pub fn forget_seen(&mut self) {
        self.device.seen.clear();
    }

    /// Waits for a frame that fits, among those that came and those to come.
    ///
    /// # Errors
    /// None came in time.
    pub fn expect_frame(
        &mut self,
        what: &str,
        limit: Duration,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, Timeout> {
        let mut looked_at = 0;
        let mut found = None;
        self.drive_seeing(what, limit, |_, seen| {
            found = seen[looked_at..].iter().find(|frame| fits(frame)).cloned();
            looked_at = seen.len();
            found.clone()
        })
    }

    /// Answers what comes, until `done` says so.
    ///
    /// # Errors
    /// [`Timeout`], when it did not within `limit`.
    pub fn serve<T>(&mut self, what: &str, limit: Duration, mut done: impl FnMut() -> Option<T>) -> Result<T, Timeout> {
        self.drive(what, limit, |_| done())
    }

    /// Runs `body` with `socket` in the stack, and takes it out again.
    fn with<S, T>(&mut self, socket: S, body: impl FnOnce(&mut Self, SocketHandle) -> T) -> T
    where
        S: AnySocket<'static>,
    {
        let handle = self.sockets.add(socket);
        let result = body(self, handle);
        self.sockets.remove(handle);
        result
    }

    fn drive<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut SocketSet<'static>) -> Option<T>,
    ) -> Result<T, Timeout> {
        self.drive_seeing(what, limit, |sockets, _| done(sockets))
    }

    /// The stack's loop: everything that waits is handled, `done` looks, and it sleeps until a frame or a timer.
    fn drive_seeing<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut done: impl FnMut(&mut SocketSet<'static>, &[Vec<u8>]) -> Option<T>,
    ) -> Result<T, Timeout> {
        let start = std::time::Instant::now();
        loop {
            self.interface.poll(Instant::now(), &mut self.device, &mut self.sockets);
            if let Some(result) = done(&mut self.sockets, &self.device.seen) {
                // What `done` made the stack want to say, such as an acknowledgement.
                self.interface.poll(Instant::now(), &mut self.device, &mut self.sockets);
                return Ok(result);
            }
            let Some(left) = limit.checked_sub(start.elapsed()) else {
                return Err(Timeout { what: what.to_owned(), after: limit });
            };
            let timer = self.interface.poll_delay(Instant::now(), &self.sockets).map_or(TICK, Into::into);
            sys::wait_readable(&[&self.device.socket], left.min(timer).min(TICK));
        }
    }

    fn next_serial(&mut self) -> u16 {
        if self.serial == 0 {
            self.serial = u16::try_from(std::process::id() % 50_000).unwrap_or(0);
        }
        self.serial += 1;
        self.serial
    }
}

fn read_lease(granted: &dhcpv4::Config<'_>) -> Lease {
    Lease {
        address: granted.address.address(),
        prefix: granted.address.prefix_len(),
        router: granted.router,
        dns: granted.dns_servers.to_vec(),
        server: granted.server.identifier,
        seconds: granted.packet.as_ref().and_then(|packet| {
            packet
                .options()
                .find(|option| option.kind == 51)
                .and_then(|option| option.data.try_into().ok().map(u32::from_be_bytes))
        }),
    }
}

/// The frame socket as smoltcp sees a network card.
struct FrameSocket {
    socket: UnixDatagram,
    seen: Vec<Vec<u8>>,
}

impl Device for FrameSocket {
    type RxToken<'a> = Received;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _now: Instant) -> Option<(Received, ToSend<'_>)> {
        let mut frame = vec![0; 65536];
        let length = self.socket.recv(&mut frame).ok()?;
        frame.truncate(length);
        self.seen.push(frame.clone());
        Some((Received(frame), ToSend(&self.socket)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<ToSend<'_>> {
        Some(ToSend(&self.socket))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct Received(Vec<u8>);

impl smoltcp::phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct ToSend<'a>(&'a UnixDatagram);

impl smoltcp::phy::TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        // A socket that stays full loses the frame, as a wire does.
        sys::send_frame_patiently(self.0, &frame);
        result
    }
}
