//! What is written is, once the kernel has cut it, what was to be sent.

use std::collections::BTreeMap;

use proptest::prelude::*;
use softnet::segments::join::{Joiner, MAX_MEMBERS, UdpRuns, Write};

use super::model::{self, DF, PSH, Packet, TCP, UDP};
use super::traffic::{Sent, stream};

/// The writes of one batch: the bytes, and how many frames are in them.
fn writes(joiner: &mut Joiner, frames: &[&[u8]]) -> Vec<(Vec<u8>, usize)> {
    joiner.join(frames.iter().copied());
    let written = joiner.writes().map(|write| match write {
        Write::Frame(number) => ([&[0; 10], frames[number]].concat(), 1),
        Write::Run(run) => {
            let (mut bytes, from, mut count) = (run.head.to_vec(), run.payload_from, 0);
            for number in run {
                bytes.extend(&frames[number][from..]);
                count += 1;
            }
            (bytes, count)
        }
    });
    written.collect()
}

fn plain(protocol: u8, count: u16, size: usize) -> Vec<Vec<u8>> {
    let mut packet = Packet::new(protocol, (40_000, 443));
    packet.payload = vec![7; size];
    (0..count)
        .map(|n| {
            let frame = packet.frame();
            packet.id = n + 2;
            packet.seq += size as u32;
            frame
        })
        .collect()
}

fn counts(udp: UdpRuns, frames: &[Vec<u8>]) -> Vec<usize> {
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    writes(&mut Joiner::new(128, udp), &frames).into_iter().map(|(_, count)| count).collect()
}

/// By section between frames of no flow, by flow: what was sent.
type Sorted = Vec<BTreeMap<usize, Vec<Vec<u8>>>>;

fn sorted(frames: impl Iterator<Item = (Option<usize>, Vec<u8>)>) -> (Sorted, Vec<Vec<u8>>) {
    let (mut sections, mut between) = (vec![BTreeMap::new()], Vec::new());
    for (flow, frame) in frames {
        match flow {
            Some(flow) => sections.last_mut().unwrap().entry(flow).or_insert_with(Vec::new).push(frame),
            None => {
                between.push(frame);
                sections.push(BTreeMap::new());
            }
        }
    }
    (sections, between)
}

/// Whose a frame is that came out: by its ports, where it is a whole datagram.
fn flow_of(frame: &[u8]) -> Option<usize> {
    let fragment = u16::from_be_bytes([frame[20], frame[21]]) & 0x3fff != 0;
    let is_datagram = frame[12..15] == [8, 0, 0x45] && matches!(frame[23], TCP | UDP) && !fragment;
    let is_whole = is_datagram && (frame[23] == UDP || frame[46] >> 4 >= 5);
    is_whole.then(|| usize::from(u16::from_be_bytes([frame[34], frame[35]]) - 40_000))
}

fn without_id(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[18..20].fill(0);
    frame[24..26].fill(0);
    frame
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_kernel_cuts_is_what_was_sent(sent in stream(200), batch in 1..128_usize, uso in any::<bool>()) {
        let udp = if uso { UdpRuns::Taken } else { UdpRuns::Unknown };
        let mut joiner = Joiner::new(128, udp);
        for sent in sent.chunks(batch) {
            check(&mut joiner, sent)?;
        }
    }
}

fn check(joiner: &mut Joiner, sent: &[Sent]) -> Result<(), TestCaseError> {
    let frames: Vec<&[u8]> = sent.iter().map(|sent| sent.frame.as_slice()).collect();
    let written = writes(joiner, &frames);
    prop_assert_eq!(written.iter().map(|(_, count)| count).sum::<usize>(), sent.len());
    let mut out = Vec::new();
    for (bytes, count) in &written {
        let cut = model::kernel(bytes);
        prop_assert_eq!(cut.len(), *count, "the kernel makes as many as there were");
        out.extend(cut.into_iter().map(|frame| (flow_of(&frame), (frame, *count))));
    }
    // A frame that was damaged is as it was, in a write of its own.
    for Sent { frame, .. } in sent.iter().filter(|sent| sent.damaged) {
        prop_assert!(out.iter().any(|(_, (out, count))| out == frame && *count == 1));
    }
    let (expected, between) = sorted(sent.iter().map(|sent| (sent.flow, sent.frame.clone())));
    let (got, got_between) = sorted(out.iter().map(|(flow, (frame, _))| (*flow, frame.clone())));
    prop_assert_eq!(between, got_between);
    prop_assert_eq!(expected.len(), got.len());
    for (expected, got) in expected.iter().zip(&got) {
        prop_assert_eq!(expected.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
        for (flow, expected) in expected {
            let got = &got[flow];
            prop_assert_eq!(expected.len(), got.len());
            let mut last = None;
            for (expected, got) in expected.iter().zip(got) {
                let before = last.replace(model::id_of(expected));
                if expected == got {
                    continue;
                }
                // Only the identification, where nobody may read it, and where all in a row are the same.
                prop_assert_eq!(without_id(expected), without_id(got));
                prop_assert_eq!(expected[20], (DF >> 8) as u8);
                prop_assert_eq!(before, last);
                prop_assert_eq!(model::ones_sum(&got[14..34], 0), 0xffff);
            }
        }
    }
    Ok(())
}

#[test]
fn a_plain_stream_of_tcp_is_as_few_writes_as_64_kib_allow() {
    assert_eq!(counts(UdpRuns::Unknown, &plain(TCP, 128, 1460)), [44, 44, 40]);
    assert_eq!(counts(UdpRuns::Unknown, &plain(TCP, 128, 64)), [MAX_MEMBERS, MAX_MEMBERS]);
    assert_eq!(counts(UdpRuns::Unknown, &plain(TCP, 3, 63)), [1, 1, 1], "no bulk");
}

#[test]
fn a_plain_stream_of_udp_is_joined_where_the_kernel_takes_it() {
    assert_eq!(counts(UdpRuns::Taken, &plain(UDP, 128, 22)), [MAX_MEMBERS, MAX_MEMBERS]);
    assert_eq!(counts(UdpRuns::Taken, &plain(UDP, 88, 1472)), [44, 44]);
    assert_eq!(counts(UdpRuns::Unknown, &plain(UDP, 4, 1472)), [1; 4]);
}

#[test]
fn what_goes_to_the_hosts_own_services_over_udp_goes_alone() {
    for (ports, expected) in [
        ((40_000, 53), vec![1; 4]),
        ((53, 40_000), vec![1; 4]),
        ((40_000, 67), vec![1; 4]),
        ((68, 40_000), vec![1; 4]),
        ((40_000, 54), vec![4]),
    ] {
        let mut packet = Packet::new(UDP, ports);
        packet.payload = vec![7; 100];
        assert_eq!(counts(UdpRuns::Taken, &vec![packet.frame(); 4]), expected, "{ports:?}");
    }
}

#[test]
fn the_evil_bit_keeps_a_frame_alone() {
    for (fragment, expected) in [(DF, vec![4]), (DF | 0x8000, vec![1; 4]), (0x8000, vec![1; 4])] {
        let mut packet = Packet::new(UDP, (40_000, 443));
        (packet.fragment, packet.payload) = (fragment, vec![7; 100]);
        let frames: Vec<Vec<u8>> = (0..4).map(|id| Packet { id, ..packet.clone() }.frame()).collect();
        assert_eq!(counts(UdpRuns::Taken, &frames), expected, "{fragment:#x}");
    }
}

#[test]
fn identifications_that_are_all_the_same_count_up_from_the_first() {
    let mut packet = Packet::new(TCP, (40_000, 443));
    packet.payload = vec![1; 100];
    let frames: Vec<Vec<u8>> = (0..4)
        .map(|n| {
            packet.seq = 1 + n * 100;
            packet.frame()
        })
        .collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let written = writes(&mut Joiner::new(8, UdpRuns::Taken), &frames);
    let ids: Vec<u16> = model::kernel(&written[0].0).iter().map(|frame| model::id_of(frame)).collect();
    assert_eq!(ids, [1, 2, 3, 4]);
}

#[test]
fn the_flows_of_a_batch_are_joined_each_for_itself() {
    let mut frames = Vec::new();
    for n in 0..6 {
        for port in [40_000, 40_001, 40_002] {
            let mut packet = Packet::new(TCP, (port, 443));
            (packet.seq, packet.id, packet.payload) = (n * 1000, n as u16, vec![9; 1000]);
            packet.flags |= if n == 5 { PSH } else { 0 };
            frames.push(packet.frame());
        }
    }
    assert_eq!(counts(UdpRuns::Taken, &frames), [6, 6, 6]);
}

#[test]
fn more_flows_than_the_table_holds_lose_runs_and_no_frame() {
    let frames: Vec<Vec<u8>> = (0..120)
        .map(|n: u32| {
            let mut packet = Packet::new(TCP, (40_000 + (n % 20) as u16, 443));
            (packet.seq, packet.id, packet.payload) = (n / 20 * 1000, (n / 20) as u16, vec![9; 1000]);
            packet.frame()
        })
        .collect();
    assert_eq!(counts(UdpRuns::Taken, &frames).iter().sum::<usize>(), 120);
}
