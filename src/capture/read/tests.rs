use super::super::pcapng::{self, Packet};
use super::*;

/// All frames of `bytes`, given in pieces of `step`, and how it ends.
fn frames(bytes: &[u8], step: usize) -> (Vec<Captured>, Option<String>) {
    let mut left = bytes;
    let next = |buffer: &mut [u8]| {
        let length = buffer.len().min(left.len()).min(step);
        let (now, rest) = left.split_at(length);
        buffer[..length].copy_from_slice(now);
        left = rest;
        Ok(length)
    };
    let mut reader = match Reader::new(next) {
        Ok(reader) => reader,
        Err(error) => return (Vec::new(), Some(error.to_string())),
    };
    let mut read = Vec::new();
    loop {
        match reader.next_frame() {
            Ok(Some(frame)) => read.push(frame),
            Ok(None) => return (read, None),
            Err(error) => return (read, Some(error.to_string())),
        }
    }
}

fn word(order: Order, value: u32) -> [u8; 4] {
    if order == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }
}

fn half(order: Order, value: u16) -> [u8; 2] {
    if order == Order::Little { value.to_le_bytes() } else { value.to_be_bytes() }
}

fn pcap(order: Order, magic: u32, link_type: u32, records: &[(u32, u32, u32, &[u8])]) -> Vec<u8> {
    let mut out: Vec<u8> = [magic, 0x0004_0002, 0, 0, 65_535, link_type].map(|field| word(order, field)).concat();
    for (seconds, part, original, frame) in records {
        let length = u32::try_from(frame.len()).unwrap();
        out.extend([*seconds, *part, length, *original].map(|field| word(order, field)).concat());
        out.extend_from_slice(frame);
    }
    out
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let length = word(order, u32::try_from(body.len() + 12).unwrap());
    [&word(order, kind)[..], &length, body, &length].concat()
}

fn section(order: Order) -> Vec<u8> {
    block(
        order,
        SECTION_HEADER,
        &[&word(order, BYTE_ORDER_MAGIC)[..], &half(order, 1), &half(order, 0), &[0xff; 8]].concat(),
    )
}

fn interface_block(order: Order, link_type: u16, options: &[u8]) -> Vec<u8> {
    block(order, INTERFACE_DESCRIPTION, &[&half(order, link_type)[..], &[0; 6], options].concat())
}

fn packet_block(order: Order, interface: u32, time: u64, frame: &[u8; 4], options: &[u8]) -> Vec<u8> {
    let (high, low) = ((time >> 32) as u32, time as u32);
    let fields = [interface, high, low, 4, 4].map(|field| word(order, field)).concat();
    block(order, ENHANCED_PACKET, &[&fields, &frame[..], options].concat())
}

#[test]
fn pcap_is_read_in_either_order_and_precision() {
    for order in [Order::Little, Order::Big] {
        for (magic, part) in [(MICROSECONDS, 5), (NANOSECONDS, 5_999)] {
            let bytes = pcap(order, magic, 1, &[(3, part, 2, &[1, 2]), (4, 0, 9, &[])]);
            for step in [1, 7, 4096] {
                let (read, end) = frames(&bytes, step);
                assert_eq!(end, None);
                let whole =
                    Captured { micros: 3_000_005, way: None, frame: vec![1, 2], is_whole: true, comment: "".into() };
                let cut = Captured { micros: 4_000_000, frame: vec![], is_whole: false, ..whole.clone() };
                assert_eq!(read, [whole, cut]);
            }
        }
    }
}

#[test]
fn pcapng_is_read_in_either_order_also_in_one_file() {
    let mut bytes = Vec::new();
    for order in [Order::Little, Order::Big] {
        let resolution = [&half(order, IF_TSRESOL)[..], &half(order, 1), &[0x8a, 0, 0, 0]].concat();
        let flags = [&half(order, EPB_FLAGS)[..], &half(order, 4), &word(order, 2)].concat();
        bytes.extend(section(order));
        bytes.extend(interface_block(order, 1, &[]));
        bytes.extend(interface_block(order, 1, &resolution));
        bytes.extend(block(order, 0x0bad, &[9; 8]));
        bytes.extend(block(order, SIMPLE_PACKET, &[0; 8]));
        bytes.extend(packet_block(order, 0, 1 << 33, &[1, 2, 3, 4], &[]));
        bytes.extend(packet_block(order, 1, 1024, &[5, 6, 7, 8], &flags));
    }
    let (read, end) = frames(&bytes, 5);
    assert_eq!(end, None);
    let seen: Vec<_> = read.iter().map(|packet| (packet.micros, packet.way, packet.frame[0])).collect();
    let once = [(1i64 << 33, None, 1), (1_000_000, Some(Way::Out), 5)];
    assert_eq!(seen, [once, once].concat());
}

#[test]
fn what_softnet_writes_it_reads() {
    let mut bytes = pcapng::beginning("softnet", "guest x", 1514);
    for (way, comment) in [(Way::In, "forwarded"), (Way::Out, "dropped: blocked"), (Way::In, "")] {
        pcapng::packet(&mut bytes, &Packet { nanos: 1_999, way, frame: &[1; 61], comment, left_out: 3 });
    }
    let (read, end) = frames(&bytes, 4096);
    assert_eq!(end, None);
    let seen: Vec<_> = read.iter().map(|packet| (packet.way.unwrap(), packet.comment.as_str())).collect();
    assert_eq!(seen, [(Way::In, "forwarded"), (Way::Out, "dropped: blocked"), (Way::In, "")]);
    assert!(read.iter().all(|packet| packet.micros == 1 && packet.frame == [1; 61] && packet.is_whole));
}

#[test]
fn each_place_where_it_is_cut_short_is_told() {
    let mut ng = pcapng::beginning("softnet", "guest x", 1514);
    let start = ng.len();
    pcapng::packet(&mut ng, &Packet { nanos: 0, way: Way::In, frame: &[1; 61], comment: "", left_out: 0 });
    let old = pcap(Order::Big, MICROSECONDS, 1, &[(0, 0, 61, &[1; 61])]);
    for (bytes, start) in [(ng, start), (old, 24)] {
        for length in start + 1..bytes.len() {
            let (read, end) = frames(&bytes[..length], 4096);
            assert_eq!(read, []);
            assert_eq!(end.unwrap(), format!("the file is cut short: what begins at byte {start} is not whole"));
        }
        assert_eq!(frames(&bytes[..start], 4096), (vec![], None), "a file may end between two");
    }
}

#[test]
fn lengths_that_lie_and_what_is_no_capture_are_refused_by_name() {
    let order = Order::Little;
    let head = [section(order), interface_block(order, 1, &[])].concat();
    let raw =
        |kind: u32, length: u32, rest: &[u8]| [&head[..], &word(order, kind), &word(order, length), rest].concat();
    let mut frame_too_long = packet_block(order, 0, 0, &[0; 4], &[]);
    frame_too_long[20] = 5;
    let mut endless = packet_block(order, 0, 0, &[0; 4], &[]);
    endless[20..24].copy_from_slice(&[0xff; 4]);
    let mut record = pcap(order, MICROSECONDS, 1, &[(0, 0, 0, &[])]);
    record[32..36].copy_from_slice(&word(order, LONGEST + 1));
    let power = [&half(order, IF_TSRESOL)[..], &half(order, 1), &[0x7f, 0, 0, 0]].concat();
    for (bytes, words) in [
        (vec![], "neither pcap nor pcapng"),
        (b"GIF89a, say".to_vec(), "neither pcap nor pcapng"),
        (pcap(order, MICROSECONDS, 101, &[]), "link type 101"),
        (pcap(order, MICROSECONDS, 1 | 1 << 28, &[]), "check sequence"),
        (record, "262145 bytes, and the most that is read is 262144"),
        (raw(7, LONGEST + 4, &[]), "262148 bytes"),
        (raw(7, u32::MAX, &[]), "4294967295 bytes"),
        (raw(7, 0, &[0; 8]), "an impossible length"),
        (raw(7, 8, &[0; 8]), "an impossible length"),
        (raw(7, 13, &[0; 8]), "an impossible length"),
        (raw(7, 12, &word(order, 16)), "its two lengths differ"),
        (raw(7, LONGEST, &[]), "cut short"),
        ([&head[..], &frame_too_long].concat(), "longer than its block"),
        ([&head[..], &endless].concat(), "longer than its block"),
        ([&head[..], &packet_block(order, 1, 0, &[0; 4], &[])].concat(), "no interface"),
        ([section(order), packet_block(order, 0, 0, &[0; 4], &[])].concat(), "no interface"),
        ([&head[..], &section(order), &packet_block(order, 0, 0, &[0; 4], &[])].concat(), "no interface"),
        ([section(order), interface_block(order, 113, &[])].concat(), "link type 113"),
        ([section(order), interface_block(order, 1, &power)].concat(), "an interface without its fields"),
        ([&section(order)[..], &interface_block(order, 1, &[]).repeat(INTERFACES + 1)].concat(), "more interfaces"),
    ] {
        let (read, end) = frames(&bytes, 4096);
        assert_eq!(read, []);
        let end = end.expect(words);
        assert!(end.contains(words), "{words}: {end}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, magic in 0..5usize, step in 1..100usize) {
        let magic = [&[][..], &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a, 1, 0], &[0xd4, 0xc3, 0xb2, 0xa1],
            &[0xa1, 0xb2, 0x3c, 0x4d], &[0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28]][magic];
        frames(&[magic, &bytes].concat(), step);
    }

    #[test]
    fn no_change_of_a_file_panics_or_makes_more_of_it(
        changes in proptest::collection::vec((0..1000usize, proptest::num::u8::ANY), 1..8),
        is_ng: bool,
    ) {
        let mut bytes = if is_ng {
            let order = Order::Big;
            let options = [&half(order, OPT_COMMENT)[..], &half(order, 2), b"ok\0\0"].concat();
            let packet = packet_block(order, 0, 7, &[1; 4], &options);
            [section(order), interface_block(order, 1, &options), packet.repeat(9)].concat()
        } else {
            pcap(Order::Little, NANOSECONDS, 1, &[(1, 2, 9, &[3u8; 9][..]); 20])
        };
        let length = bytes.len();
        for (at, value) in changes {
            bytes[at % length] = value;
        }
        let (read, _) = frames(&bytes, 4096);
        proptest::prop_assert!(read.iter().map(|packet| packet.frame.len() + packet.comment.len()).sum::<usize>() <= 3 * length);
    }
}
