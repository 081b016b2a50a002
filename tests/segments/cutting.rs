//! What the kernel gives uncut is cut as the kernel would have, whatever the bytes.

use proptest::prelude::*;
use softnet::segments::VnetHeader;
use softnet::segments::cut::{Cut, complete};

use super::model::{self, ACK, CWR, FIN, PSH, Packet, TCP, UDP};

/// A large frame, and how it is to be cut.
fn large() -> impl Strategy<Value = (Vec<u8>, VnetHeader)> {
    let flags = prop_oneof![Just(ACK), Just(ACK | PSH), Just(ACK | FIN | PSH), Just(ACK | CWR), Just(ACK | CWR | PSH)];
    let sizes = (1..=1448_usize, 1..=60_000_usize, 0..=10_usize);
    (any::<bool>(), any::<u32>(), any::<u16>(), flags, sizes, any::<u8>()).prop_map(
        |(is_tcp, seq, id, flags, (size, length, options), seed)| {
            let (protocol, kind) = if is_tcp { (TCP, VnetHeader::GSO_TCPV4) } else { (UDP, VnetHeader::GSO_UDP_L4) };
            let mut packet = Packet::new(protocol, (443, 40_000));
            (packet.seq, packet.id, packet.flags) = (seq, id, flags);
            packet.options = if is_tcp { vec![1; options * 4] } else { Vec::new() };
            packet.payload = (0..length).map(|at| (at / 3) as u8 ^ seed).collect();
            let mut frame = packet.frame();
            // As it comes: with the sum of the pseudo-header alone.
            let (place, sum) = (model::checksum_place(&frame), model::pseudo_sum(&frame, frame.len() - 34));
            frame[place..place + 2].copy_from_slice(&sum.to_be_bytes());
            let header = VnetHeader {
                flags: VnetHeader::NEEDS_CSUM,
                gso_type: kind | if flags & CWR != 0 { VnetHeader::GSO_ECN } else { 0 },
                hdr_len: (frame.len() - length) as u16,
                // Segments that the link carries.
                gso_size: size.min(1514 - (frame.len() - length)) as u16,
                csum_start: 34,
                csum_offset: (place - 34) as u16,
            };
            (frame, header)
        },
    )
}

/// The same frame with so many words of options in its IPv4 header.
fn with_ip_options(frame: &[u8], words: usize) -> Vec<u8> {
    let mut longer = [&frame[..34], &vec![1; words * 4], &frame[34..]].concat();
    longer[14] += words as u8;
    let total = (longer.len() - 14) as u16;
    longer[16..18].copy_from_slice(&total.to_be_bytes());
    longer[24..26].fill(0);
    let sum = !model::ones_sum(&longer[14..34 + words * 4], 0);
    longer[24..26].copy_from_slice(&sum.to_be_bytes());
    longer
}

fn cut_all(header: VnetHeader, frame: &[u8], max_frame: usize) -> Option<Vec<Vec<u8>>> {
    let mut cut = Cut::new(header, frame, max_frame)?;
    let mut slot = vec![0xaa; max_frame];
    let mut segments = Vec::new();
    while let Some(length) = cut.next(frame, &mut slot) {
        segments.push(slot[..length].to_vec());
    }
    Some(segments)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_large_frame_is_cut_as_the_kernel_cuts_it((frame, header) in large()) {
        let headers = usize::from(header.hdr_len);
        prop_assert_eq!(
            cut_all(header, &frame, 1514).unwrap(),
            model::cut(&frame, headers, header.gso_size.into())
        );
    }

    #[test]
    fn options_of_ipv4_stand_in_each_segment((frame, header) in large(), words in 1..=10_usize) {
        let cut = model::cut(&frame, header.hdr_len.into(), header.gso_size.into());
        let expected: Vec<Vec<u8>> = cut.iter().map(|segment| with_ip_options(segment, words)).collect();
        let more = words as u16 * 4;
        let header = VnetHeader { hdr_len: header.hdr_len + more, csum_start: header.csum_start + more, ..header };
        prop_assert_eq!(cut_all(header, &with_ip_options(&frame, words), 1554).unwrap(), expected);
    }

    #[test]
    fn a_checksum_that_is_left_to_us_is_completed((mut frame, header) in large()) {
        let mut expected = frame.clone();
        model::fill_checksums(&mut expected);
        // The kernel's own completion never leaves a zero, for UDP's sake.
        let place = model::checksum_place(&expected);
        if expected[place..place + 2] == [0, 0] {
            expected[place..place + 2].fill(0xff);
        }
        let is_made = complete(VnetHeader { gso_type: 0, ..header }, &mut frame);
        prop_assert!(is_made);
        prop_assert_eq!(frame, expected);
    }

    #[test]
    fn no_bytes_and_no_header_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), header in any::<[u8; 10]>()) {
        let header = VnetHeader::from_bytes(header);
        let mut copy = bytes.clone();
        let _ = complete(header, &mut copy);
        let _ = cut_all(header, &bytes, 100);
    }

    #[test]
    fn a_large_frame_that_lies_panics_nothing_and_gives_no_segment_that_is_too_long(
        (mut frame, header) in large(),
        changes in proptest::collection::vec((0..100_usize, any::<u8>()), 0..4),
        keep in 0..70_000_usize,
        max_frame in 60..1515_usize,
    ) {
        let mut bytes = header.to_bytes();
        for (place, value) in changes {
            match place {
                0..10 => bytes[place] = value,
                _ => if let Some(byte) = frame.get_mut(place - 10) { *byte = value },
            }
        }
        frame.truncate(keep);
        let header = VnetHeader::from_bytes(bytes);
        let payload = frame.len();
        for segment in cut_all(header, &frame, max_frame).unwrap_or_default() {
            prop_assert!(segment.len() <= max_frame && segment.len() <= payload);
        }
        let _ = complete(header, &mut frame);
    }
}

fn example() -> (Vec<u8>, VnetHeader) {
    let mut packet = Packet::new(TCP, (443, 40_000));
    packet.payload = vec![5; 3000];
    let header = VnetHeader { flags: 1, gso_type: 1, hdr_len: 54, gso_size: 1000, csum_start: 34, csum_offset: 16 };
    (packet.frame(), header)
}

#[test]
fn what_does_not_go_together_is_not_cut() {
    let (frame, header) = example();
    assert_eq!(cut_all(header, &frame, 1054).unwrap().len(), 3);
    assert_eq!(cut_all(header, &frame, 1053), None, "segments longer than the link carries");
    for wrong in [
        VnetHeader { gso_type: 0, ..header },
        VnetHeader { gso_type: 3, ..header },
        VnetHeader { gso_type: 4, ..header },
        VnetHeader { gso_type: 5, ..header },
        VnetHeader { gso_size: 0, ..header },
        VnetHeader { csum_start: 36, ..header },
        VnetHeader { csum_offset: 6, ..header },
    ] {
        assert_eq!(cut_all(wrong, &frame, 1514), None, "{wrong:?}");
    }
    for (place, value) in [(12, 0x86), (14, 0x46), (14, 0x65), (17, 0), (20, 0x20), (21, 1), (23, 1), (46, 0x40)] {
        let mut frame = frame.clone();
        frame[place] = value;
        assert_eq!(cut_all(header, &frame, 1514), None, "byte {place}");
    }
}

#[test]
fn a_checksum_beyond_the_frame_is_not_completed() {
    let (mut frame, header) = example();
    for (csum_start, csum_offset) in [(4000, 0), (34, 3030), (3053, 0), (u16::MAX, u16::MAX)] {
        let before = frame.clone();
        assert!(!complete(VnetHeader { csum_start, csum_offset, ..header }, &mut frame));
        assert_eq!(frame, before);
    }
    // One that the kernel has verified, or does not speak of, is as it is.
    for flags in [0, 2] {
        let before = frame.clone();
        assert!(complete(VnetHeader { flags, ..header }, &mut frame));
        assert_eq!(frame, before);
    }
}

#[test]
fn a_run_of_udp_without_checksums_stays_without() {
    let mut packet = Packet::new(UDP, (53, 40_000));
    packet.payload = vec![5; 100];
    let mut frame = packet.frame();
    frame[40..42].fill(0);
    let header = VnetHeader { flags: 0, gso_type: 5, hdr_len: 42, gso_size: 60, ..VnetHeader::default() };
    let segments = cut_all(header, &frame, 1514).unwrap();
    assert!(segments.iter().all(|segment| segment[40..42] == [0, 0]), "{segments:?}");
    assert_eq!(segments.len(), 2);
}
