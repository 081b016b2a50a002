//! "Answers": which dropped frames get one, and what is in it.

use softnet::engine::Direction;

use super::{Claim, Datagram, Oracle, address, claim, mac, word};
use crate::frames::{ALL, GATEWAY, GUEST_MAC, Mac, checksum};

/// What the policy refuses, as claims that do not hold.
const REFUSALS: [&str; 3] = ["closed by the administrator", "blocked", "not reachable"];

/// One answer a millisecond, in microseconds.
const PACE: i128 = 1000;

impl Oracle {
    /// Whether a frame, judged before, has the answer that it should: `answer` is empty if it has none.
    ///
    /// # Errors
    /// What of the document does not hold.
    pub fn check_answer(&mut self, direction: Direction, frame: &[u8], judged: Claim, answer: &[u8]) -> Claim {
        let is_refused = judged.is_err_and(|what| REFUSALS.contains(&what));
        let is_due = is_refused && self.deserves(direction, frame).is_some() && self.is_in_time(direction);
        claim(is_due != answer.is_empty(), if is_due { "an answer" } else { "no answer" })?;
        if is_due { self.check_content(direction, frame, answer) } else { Ok(()) }
    }

    /// 64 at once, then one a millisecond: in no stretch of time more than that.
    fn is_in_time(&mut self, direction: Direction) -> bool {
        let now = i128::from(self.now);
        let before = &mut self.answered[direction as usize];
        let is_in_time =
            before.iter().rev().zip(2..).all(|(then, count)| (count - 64) * PACE <= now - i128::from(*then));
        if is_in_time {
            before.push(self.now);
        }
        is_in_time
    }

    /// Nothing for what nobody should answer.
    fn deserves(&self, direction: Direction, frame: &[u8]) -> Option<()> {
        let datagram = Datagram::locate(frame).ok()?;
        let (source, destination) = (address(frame, 26), address(frame, 30));
        let holds = |condition: bool| condition.then_some(());
        for each in [source, destination] {
            let is_of_many = each.is_multicast() || each == ALL || each.octets()[0] >= 240;
            holds(!is_of_many && !each.is_loopback() && each.octets()[0] != 0)?;
            holds(!self.facts.is_network_or_broadcast(each))?;
        }
        holds(!datagram.is_fragment)?;
        let bytes = &frame[datagram.start..datagram.end];
        let flags = if frame[23] == 6 { bytes[13] & 0b1_0111 } else { 0 };
        match frame[23] {
            6 => holds(flags & 4 == 0)?,
            17 => holds([0, 2].iter().all(|&at| ![67, 68].contains(&word(bytes, at))))?,
            // Echo, timestamp, information, mask: the requests and their answers.
            1 => holds(matches!(bytes.first(), Some(0 | 8 | 13 | 14 | 15 | 16 | 17 | 18)))?,
            _ => {}
        }
        match direction {
            Direction::FromGuest if frame[23] == 6 => Some(()),
            Direction::FromGuest => self.gateway_mac().map(drop),
            Direction::FromHost => {
                holds(frame[14] == 0x45 && checksum(&frame[14..34]) == 0)?;
                holds(mac(frame, 0) == GUEST_MAC && self.is_right_unicast(mac(frame, 6)))?;
                holds(self.is_leased(destination) && source != destination)?;
                match frame[23] {
                    6 => holds(flags == 2),
                    1 => holds(matches!(bytes[0], 8 | 13 | 15 | 17)),
                    _ => Some(()),
                }
            }
        }
    }

    fn check_content(&self, direction: Direction, frame: &[u8], answer: &[u8]) -> Claim {
        let is_tcp = frame[23] == 6;
        let (speaker, by): (_, Mac) = match direction {
            Direction::FromGuest if is_tcp => (address(frame, 30), mac(frame, 0)),
            Direction::FromGuest => (GATEWAY, self.gateway_mac().unwrap_or_default()),
            Direction::FromHost => (address(frame, 30), GUEST_MAC),
        };
        claim(answer.len() >= 42 && answer[12..15] == [8, 0, 0x45], "the answer is a plain datagram")?;
        claim(mac(answer, 0) == mac(frame, 6) && mac(answer, 6) == by, "the answer's MACs")?;
        claim(word(answer, 16) == answer.len() - 14 && word(answer, 20) & 0x3fff == 0, "the answer is whole")?;
        claim(answer[22] >= 32 && checksum(&answer[14..34]) == 0, "the answer's header")?;
        claim(address(answer, 26) == speaker && address(answer, 30) == address(frame, 26), "the answer's addresses")?;
        let datagram = Datagram::locate(frame)?;
        let bytes = &frame[datagram.start..datagram.end];
        if is_tcp { check_reset(bytes, answer) } else { check_prohibition(frame, bytes, answer) }
    }
}

/// RFC 9293, section 3.10.7.1: `<SEQ=SEG.ACK><CTL=RST>`, or `<SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>`.
fn check_reset(segment: &[u8], answer: &[u8]) -> Claim {
    claim(answer[23] == 6 && answer.len() == 54, "the answer is TCP")?;
    let reset = &answer[34..];
    claim(reset[..2] == segment[2..4] && reset[2..4] == segment[..2], "the reset's ports")?;
    let number = |bytes: &[u8], at| (word(bytes, at) << 16) + word(bytes, at + 2);
    let flags = segment[13];
    let expected = if flags & 16 != 0 {
        (number(segment, 8), 0, 4)
    } else {
        let data = segment.len() - usize::from(segment[12] >> 4) * 4;
        let length = data + usize::from(flags >> 1 & 1) + usize::from(flags & 1);
        (0, (number(segment, 4) + length) % (1 << 32), 4 | 16)
    };
    claim((number(reset, 4), number(reset, 8), reset[13]) == expected, "the reset's numbers and flags")?;
    claim(reset[12] == 0x50 && word(reset, 18) == 0, "the reset's header")?;
    let summed = [&answer[26..34], &[0, 6, 0, 20], reset].concat();
    claim(checksum(&summed) == 0, "the reset's checksum")
}

/// Type 3, code 13, and the quote: header and 8 bytes, or what there is of them.
fn check_prohibition(frame: &[u8], bytes: &[u8], answer: &[u8]) -> Claim {
    let message = &answer[34..];
    claim(answer[23] == 1 && message[..2] == [3, 13] && message[4..8] == [0; 4], "the answer is ICMP 3/13")?;
    claim(checksum(message) == 0, "ICMP's checksum")?;
    let quote = [&frame[14..34], &bytes[..bytes.len().min(8)]].concat();
    claim(message[8..] == quote, "the quote")
}
