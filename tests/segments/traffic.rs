//! Streams of several flows with everything that can happen to a frame.

use proptest::bool::weighted;
use proptest::prelude::*;

use super::model::{ACK, CWR, DF, ECE, FIN, PSH, Packet, SYN, TCP, UDP};

const TCP_FLOWS: usize = 4;
const FLOWS: usize = 7;

/// A frame, and whose it is. Some belong to no flow: nothing may overtake them.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) flow: Option<usize>,
    pub(crate) frame: Vec<u8>,
    pub(crate) damaged: bool,
}

/// What is special about one frame.
#[derive(Clone, Debug)]
enum Quirk {
    None,
    Push,
    Flags(u8),
    Short(usize),
    Long(usize),
    Empty,
    Lost,
    Swapped,
    Id(u16),
    SameId,
    Tos(u8),
    Ttl,
    Fragmentable,
    Evil,
    Window,
    Ack,
    Urgent,
    Reserved,
    Options(u8),
    OtherMac,
    Trailing(usize),
    Damaged(u16),
    NoChecksum,
    DamagedHeader,
    Fragment,
    OtherProtocol,
    Arp,
    LyingLength,
}

fn quirk() -> impl Strategy<Value = Quirk> {
    let rare = prop_oneof![
        Just(Quirk::Push),
        prop_oneof![Just(FIN | ACK), Just(SYN), Just(ACK | ECE), Just(ACK | CWR), Just(0), Just(ACK | 0x20)]
            .prop_map(Quirk::Flags),
        (1..700_usize).prop_map(Quirk::Short),
        (1..200_usize).prop_map(Quirk::Long),
        Just(Quirk::Empty),
        Just(Quirk::Lost),
        Just(Quirk::Swapped),
        any::<u16>().prop_map(Quirk::Id),
        Just(Quirk::SameId),
        (1..=255_u8).prop_map(Quirk::Tos),
        Just(Quirk::Ttl),
        Just(Quirk::Fragmentable),
        Just(Quirk::Evil),
        Just(Quirk::Window),
        Just(Quirk::Ack),
        Just(Quirk::Urgent),
        Just(Quirk::Reserved),
        (0..=3_u8).prop_map(Quirk::Options),
        Just(Quirk::OtherMac),
        (1..20_usize).prop_map(Quirk::Trailing),
        any::<u16>().prop_map(Quirk::Damaged),
        Just(Quirk::NoChecksum),
        Just(Quirk::DamagedHeader),
        Just(Quirk::Fragment),
        Just(Quirk::OtherProtocol),
        Just(Quirk::Arp),
        Just(Quirk::LyingLength),
    ];
    (weighted(0.15), rare).prop_map(|(is_rare, quirk)| if is_rare { quirk } else { Quirk::None })
}

/// A stream of up to `most` frames.
pub(crate) fn stream(most: usize) -> impl Strategy<Value = Vec<Sent>> {
    let start = (any::<u32>(), any::<u16>(), 1..1460_usize, weighted(0.5), weighted(0.7), 0..4_u8);
    let flows = proptest::collection::vec(start, FLOWS);
    // Few flows at a time, so that runs are long.
    let step = (0..FLOWS * 3, quirk(), any::<u8>());
    (flows, proptest::collection::vec(step, 1..most), 1..=FLOWS).prop_map(|(flows, steps, used)| {
        let mut flows: Vec<Flow> =
            flows.into_iter().enumerate().map(|(index, start)| Flow::new(index, start)).collect();
        let mut sent = Vec::new();
        let mut swaps = Vec::new();
        for (which, quirk, seed) in steps {
            let index = which % used;
            if matches!(quirk, Quirk::Swapped) {
                swaps.push(sent.len());
            }
            sent.extend(flows[index].step(index, &quirk, seed));
        }
        for place in swaps {
            if place + 1 < sent.len() {
                sent.swap(place, place + 1);
            }
        }
        sent
    })
}

/// What one side of a flow says next.
#[derive(Debug)]
struct Flow {
    packet: Packet,
    size: usize,
    counts: bool,
}

impl Flow {
    fn new(index: usize, (seq, id, size, counts, df, options): (u32, u16, usize, bool, bool, u8)) -> Self {
        let protocol = if index < TCP_FLOWS { TCP } else { UDP };
        // The last one is DHCP: never in a run.
        let to = if index == FLOWS - 1 { 67 } else { 443 };
        let mut packet = Packet::new(protocol, (40_000 + index as u16, to));
        // Near the end of both, so that they wrap.
        (packet.seq, packet.id) = (seq | 0xffff_0000, id | 0xffc0);
        packet.fragment = if df { DF } else { 0 };
        packet.options = vec![options; usize::from(options) * 4];
        Flow { packet, size, counts }
    }

    fn step(&mut self, index: usize, quirk: &Quirk, seed: u8) -> Option<Sent> {
        let mut packet = self.packet.clone();
        let length = match quirk {
            Quirk::Short(by) => self.size.saturating_sub(*by).max(1),
            Quirk::Long(by) => self.size + by,
            Quirk::Empty => 0,
            _ => self.size,
        };
        packet.payload = (0..length).map(|at| (at as u8).wrapping_mul(31).wrapping_add(seed)).collect();
        let mut flow = Some(index);
        match quirk {
            Quirk::Push => packet.flags |= PSH,
            Quirk::Flags(flags) => packet.flags = *flags,
            Quirk::Id(id) => (packet.id, self.packet.id) = (*id, *id),
            Quirk::SameId => self.packet.id = self.packet.id.wrapping_sub(1),
            Quirk::Tos(tos) => packet.tos = *tos,
            Quirk::Ttl => packet.ttl = 63,
            Quirk::Fragmentable => (packet.fragment, self.packet.fragment) = (0, 0),
            Quirk::Evil => packet.fragment |= 0x8000,
            Quirk::Window => (packet.window, self.packet.window) = (501, 501),
            Quirk::Ack => (packet.ack, self.packet.ack) = (packet.ack + 1, packet.ack + 1),
            Quirk::Urgent => packet.urgent = 1,
            Quirk::Reserved => packet.reserved = 1,
            Quirk::Options(words) => packet.options = vec![0x55; usize::from(*words) * 4],
            Quirk::OtherMac => packet.to = [2, 0, 0, 0, 0, 2],
            Quirk::Fragment => (packet.fragment, flow) = (0x2000, None),
            _ => {}
        }
        if packet.protocol == TCP {
            self.packet.seq = self.packet.seq.wrapping_add(packet.payload.len() as u32);
        }
        if self.counts {
            self.packet.id = self.packet.id.wrapping_add(1);
        }
        let mut frame = packet.frame();
        let mut damaged = false;
        match quirk {
            Quirk::Lost => return None,
            Quirk::Trailing(count) => frame.extend(vec![0xee; *count]),
            Quirk::Damaged(by) => {
                // One bit of what TCP or UDP covers, but for the fields that say whose it is and how long.
                let place = 42 + usize::from(by / 8) % (frame.len() - 42).max(1);
                let place = place.min(frame.len() - 1);
                frame[place] ^= 1 << (by % 8);
                damaged = true;
                if packet.protocol == TCP && place == 46 {
                    flow = None; // a data offset that may be none
                    frame[place] = 0x10;
                }
            }
            Quirk::NoChecksum if packet.protocol == UDP => frame[40..42].fill(0),
            Quirk::DamagedHeader => (frame[24], damaged) = (frame[24] ^ 1, true),
            Quirk::OtherProtocol => (frame[23], flow) = (1, None),
            Quirk::Arp => (frame[13], flow) = (6, None),
            Quirk::LyingLength => frame[17] ^= 1,
            _ => {}
        }
        Some(Sent { flow, frame, damaged })
    }
}
