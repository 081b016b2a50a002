//! To the kernel: the frames of a batch, as few writes as can be.
//!
//! One pass over the batch, a table of the last few flows, no allocation. Checksums are verified when a second frame would
//! join, so that what stands alone costs no look at its payload.

#![forbid(unsafe_code)]

use super::VnetHeader;
use super::frame::{Datagram, ETHERNET, IPV4, Protocol, TRANSPORT, at, flag};

/// Flows whose run may still go on. A guest that sends more at once has shorter runs.
const FLOWS: usize = 8;
/// Bytes of a run with all headers: a device whose limit is the usual 64 KiB wants less than that (gso_max_size).
const MAX_RUN: usize = 65_535;
/// Members of a run: of UDP, the kernels that take the fewest take as many (UDP_MAX_SEGMENTS).
pub const MAX_MEMBERS: usize = 64;
/// TCP segments that carry less are no bulk, and small segments are what kernels distrust in a run.
const MIN_SEGMENT: usize = 64;
/// UDP of the host's own services goes alone: the firewall counts what a guest asks of them, and to it a run is one packet.
const SERVICE_PORTS: [u16; 3] = [53, 67, 68];
/// Evil bit (RFC 3514): whoever sets it has no run.
const RESERVED: u16 = 0x8000;
const DONT_FRAGMENT: u16 = 0x4000;
/// The longest headers of a run: Ethernet, IPv4 without options, TCP with all.
const HEAD: usize = VnetHeader::LEN + ETHERNET + IPV4 + 60;
const NONE: usize = usize::MAX;

/// Whether the kernel takes runs of UDP datagrams (Linux 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UdpRuns {
    /// It does.
    Taken,
    /// It does not.
    Unknown,
}

/// One write of what [`Joiner::join`] made of a batch.
#[derive(Clone, Debug)]
pub enum Write<'j> {
    /// The frame of that number in the batch, as it is.
    Frame(usize),
    /// Several in one.
    Run(Run<'j>),
}

/// Several frames in one write: [`Run::head`], then the payload of each member.
#[derive(Clone, Debug)]
pub struct Run<'j> {
    /// The header for the kernel, and the headers of the whole run.
    pub head: &'j [u8],
    /// Where the payload of each member begins, and ends with its frame.
    pub payload_from: usize,
    next: &'j [usize],
    member: usize,
}

/// The members' numbers in the batch, in order.
impl Iterator for Run<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let following = *self.next.get(self.member)?;
        Some(std::mem::replace(&mut self.member, following))
    }
}

/// What becomes of a batch, in memory that is allocated once.
#[derive(Debug)]
pub struct Joiner {
    udp: UdpRuns,
    /// In the order of their first frames.
    writes: Vec<Planned>,
    /// For each frame the number of the next member of its run.
    next: Vec<usize>,
    heads: Vec<[u8; HEAD]>,
}

#[derive(Clone, Copy, Debug)]
struct Planned {
    first: usize,
    /// Which head, of a run.
    head: Option<usize>,
    headers: usize,
}

/// What a flow is: addresses, ports, protocol.
type Key<'f> = (&'f [u8], u8);

/// How the identifications of a run go on; with one member, nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    Open,
    Counting,
    Same,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Checksums {
    Unseen,
    Right,
}

/// A run that may go on.
#[derive(Clone, Copy, Debug)]
struct Open<'f> {
    first: Datagram<'f>,
    write: usize,
    last: usize,
    members: usize,
    /// Of the run, headers and all.
    bytes: usize,
    identification: u16,
    ids: Ids,
    /// The next sequence number of TCP.
    sequence: u32,
    /// PSH of the last member.
    push: u8,
    checksums: Checksums,
}

impl Joiner {
    /// For batches of up to `capacity` frames.
    #[must_use]
    pub fn new(capacity: usize, udp: UdpRuns) -> Self {
        Joiner {
            udp,
            writes: Vec::with_capacity(capacity),
            next: Vec::with_capacity(capacity),
            heads: Vec::with_capacity(capacity / 2),
        }
    }

    /// Plans the writes for `frames`, all of which the filter has let pass.
    pub fn join<'f>(&mut self, frames: impl Iterator<Item = &'f [u8]>) {
        self.writes.clear();
        self.next.clear();
        self.heads.clear();
        let mut open: [Option<Open<'f>>; FLOWS] = [None; FLOWS];
        let mut oldest = 0;
        for (number, frame) in frames.enumerate() {
            self.next.push(NONE);
            let Some(datagram) = Datagram::read(frame) else {
                open.iter_mut().for_each(|place| self.close(place));
                self.alone(number);
                continue;
            };
            let key = key(datagram);
            let fits = self.may_be_member(datagram);
            let of_flow = open.iter_mut().find(|place| place.is_some_and(|run| self::key(run.first) == key));
            let place = match of_flow {
                Some(place) => {
                    match place.as_mut().filter(|_| fits).map(|run| run.take(datagram)) {
                        Some(Taken::Member) => {
                            self.append(place, number, datagram);
                            continue;
                        }
                        Some(Taken::Damaged) => {
                            self.close(place);
                            self.alone(number);
                            continue;
                        }
                        Some(Taken::No) | None => self.close(place),
                    }
                    place
                }
                None => {
                    let free = open.iter().position(Option::is_none).unwrap_or_else(|| {
                        oldest = (oldest + 1) % FLOWS;
                        oldest
                    });
                    &mut open[free]
                }
            };
            let write = self.alone(number);
            if fits && pushed(datagram) == 0 {
                self.close(place);
                *place = Some(Open::new(datagram, write, number));
            }
        }
        open.iter_mut().for_each(|place| self.close(place));
    }

    /// What is to be written, in this order.
    pub fn writes(&self) -> impl Iterator<Item = Write<'_>> {
        self.writes.iter().map(|planned| match planned.head {
            None => Write::Frame(planned.first),
            Some(head) => Write::Run(Run {
                head: &self.heads[head][..VnetHeader::LEN + planned.headers],
                payload_from: planned.headers,
                next: &self.next,
                member: planned.first,
            }),
        })
    }

    /// Plans a write for one frame, to which others may come.
    fn alone(&mut self, number: usize) -> usize {
        self.writes.push(Planned { first: number, head: None, headers: 0 });
        self.writes.len() - 1
    }

    /// Whether the headers are such that a run could be made of such datagrams.
    fn may_be_member(&self, datagram: Datagram<'_>) -> bool {
        let Some(length) = datagram.transport_length() else { return false };
        if datagram.number(at::FRAGMENT) & RESERVED != 0 {
            return false;
        }
        match datagram.protocol {
            Protocol::Tcp => {
                datagram.payload() >= MIN_SEGMENT
                    && datagram.frame[at::DATA_OFFSET] & 0x0f == 0
                    && datagram.frame[at::FLAGS] | flag::PSH == flag::ACK | flag::PSH
            }
            Protocol::Udp => {
                self.udp == UdpRuns::Taken
                    && datagram.payload() > 0
                    && usize::from(datagram.number(at::UDP_LENGTH)) == length
                    && datagram.checksum() != 0
                    && ![TRANSPORT, TRANSPORT + 2].iter().any(|&port| SERVICE_PORTS.contains(&datagram.number(port)))
            }
        }
    }

    fn append<'f>(&mut self, place: &mut Option<Open<'f>>, number: usize, datagram: Datagram<'f>) {
        let Some(run) = place else { return };
        self.next[run.last] = number;
        run.last = number;
        if datagram.payload() < run.first.payload() || run.push != 0 || run.members == MAX_MEMBERS {
            self.close(place);
        }
    }

    /// Ends the run in that place: its headers are made if it has more members than one.
    fn close(&mut self, place: &mut Option<Open<'_>>) {
        let Some(run) = place.take() else { return };
        if run.members > 1 {
            self.heads.push(run.head());
            let planned = &mut self.writes[run.write];
            planned.head = Some(self.heads.len() - 1);
            planned.headers = run.first.headers;
        }
    }
}

/// What a run says to one more datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// It is a member now.
    Member,
    /// It is none, but could begin another run.
    No,
    /// Its checksum is wrong: it goes alone, as it is.
    Damaged,
}

impl<'f> Open<'f> {
    fn new(first: Datagram<'f>, write: usize, number: usize) -> Self {
        Open {
            first,
            write,
            last: number,
            members: 1,
            bytes: first.frame.len(),
            identification: first.number(at::IDENTIFICATION),
            ids: Ids::Open,
            sequence: first.long(at::SEQUENCE).wrapping_add(first.payload() as u32),
            push: 0,
            checksums: Checksums::Unseen,
        }
    }

    /// Takes a datagram of the same flow as a member if it goes on exactly where the last one ended.
    fn take(&mut self, datagram: Datagram<'f>) -> Taken {
        let Some(ids) = self.continued_by(datagram) else { return Taken::No };
        if self.checksums == Checksums::Unseen {
            if !is_right(self.first) {
                return Taken::No;
            }
            self.checksums = Checksums::Right;
        }
        if !is_right(datagram) {
            return Taken::Damaged;
        }
        self.ids = ids;
        self.identification = datagram.number(at::IDENTIFICATION);
        self.members += 1;
        self.bytes += datagram.payload();
        self.sequence = self.sequence.wrapping_add(datagram.payload() as u32);
        self.push = pushed(datagram);
        Taken::Member
    }

    fn continued_by(&self, datagram: Datagram<'f>) -> Option<Ids> {
        let (first, payload) = (self.first, datagram.payload());
        let same = |from, to| first.frame[from..to] == datagram.frame[from..to];
        // As long headers: what is compared below is there.
        let fits = payload <= first.payload() && self.bytes + payload <= MAX_RUN && first.headers == datagram.headers;
        // MACs, type, version, type of service; DF and the fragment offset, TTL, protocol. The flow is the same.
        if !fits || !same(0, at::TOTAL_LENGTH) || !same(at::FRAGMENT, at::IP_CHECKSUM) {
            return None;
        }
        if first.protocol == Protocol::Tcp {
            let goes_on = datagram.long(at::SEQUENCE) == self.sequence
                && same(at::ACKNOWLEDGED, at::FLAGS)
                && same(at::WINDOW, at::WINDOW + 2)
                && same(at::URGENT, first.headers);
            if !goes_on {
                return None;
            }
        }
        let step = datagram.number(at::IDENTIFICATION).wrapping_sub(self.identification);
        let atomic = first.number(at::FRAGMENT) & DONT_FRAGMENT != 0;
        match (step, self.ids) {
            (1, Ids::Open | Ids::Counting) => Some(Ids::Counting),
            (0, Ids::Open | Ids::Same) if atomic => Some(Ids::Same),
            _ => None,
        }
    }

    /// The headers of the whole run, and the one for the kernel before them.
    fn head(&self) -> [u8; HEAD] {
        let Open { first, bytes, push, .. } = *self;
        let mut head = [0; HEAD];
        let (header, rest) = head.split_at_mut(VnetHeader::LEN);
        let packet = &mut rest[..first.headers];
        packet.copy_from_slice(&first.frame[..first.headers]);

        let put = |packet: &mut [u8], place: usize, value: [u8; 2]| packet[place..place + 2].copy_from_slice(&value);
        let total = (bytes - ETHERNET) as u16;
        let length = total - IPV4 as u16;
        put(packet, at::TOTAL_LENGTH, total.to_be_bytes());
        put(packet, at::IP_CHECKSUM, [0, 0]);
        let checksum = super::checksum::Sum::of(&packet[ETHERNET..TRANSPORT]).checksum();
        put(packet, at::IP_CHECKSUM, checksum);
        match first.protocol {
            Protocol::Tcp => packet[at::FLAGS] |= push,
            Protocol::Udp => put(packet, at::UDP_LENGTH, length.to_be_bytes()),
        }
        let offset = first.protocol.checksum_offset();
        put(packet, TRANSPORT + offset, first.pseudo(length).unfinished());

        let gso_type = match first.protocol {
            Protocol::Tcp => VnetHeader::GSO_TCPV4,
            Protocol::Udp => VnetHeader::GSO_UDP_L4,
        };
        let vnet = VnetHeader {
            flags: VnetHeader::NEEDS_CSUM,
            gso_type,
            hdr_len: first.headers as u16,
            gso_size: first.payload() as u16,
            csum_start: TRANSPORT as u16,
            csum_offset: offset as u16,
        };
        header.copy_from_slice(&vnet.to_bytes());
        head
    }
}

fn key(datagram: Datagram<'_>) -> Key<'_> {
    (&datagram.frame[at::ADDRESSES..TRANSPORT + 4], datagram.protocol.number())
}

fn pushed(datagram: Datagram<'_>) -> u8 {
    match datagram.protocol {
        Protocol::Tcp => datagram.frame[at::FLAGS] & flag::PSH,
        Protocol::Udp => 0,
    }
}

fn is_right(datagram: Datagram<'_>) -> bool {
    datagram.header_is_right() && datagram.payload_is_right()
}
