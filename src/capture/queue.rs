//! Blocks that wait to be written, in memory that is made once.
#![forbid(unsafe_code)]

use super::pcapng::{self, Packet};

/// Whole blocks, up to a number of bytes.
#[derive(Debug)]
pub struct Queue {
    blocks: Vec<u8>,
    capacity: usize,
    /// How much of `blocks` has been written already.
    written: usize,
    /// Where the first block begins of which nothing has been written.
    untouched: usize,
    /// Left out since the latest packet.
    untold: u64,
    left_out: u64,
}

/// There is no room for a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl Queue {
    /// A queue of `capacity` bytes that begins with `first`, which are whole blocks and less than that.
    #[must_use]
    pub fn new(capacity: usize, first: &[u8]) -> Self {
        let mut blocks = Vec::with_capacity(capacity);
        blocks.extend_from_slice(first);
        Queue { blocks, capacity, written: 0, untouched: 0, untold: 0, left_out: 0 }
    }

    /// How long the block of a frame would be.
    #[must_use]
    pub fn length_of(&self, frame: &[u8], comment: &str) -> usize {
        pcapng::packet_length(frame, comment, self.untold)
    }

    /// Whether a block of this length fits.
    #[must_use]
    pub fn has_room_for(&self, length: usize) -> bool {
        length <= self.capacity.saturating_sub(self.blocks.len())
    }

    /// Appends a packet; its `left_out` is what this queue has counted.
    ///
    /// # Errors
    /// It has no room: what is waiting must be written first, or it is to be [left out](Queue::leave_out).
    pub fn push(&mut self, packet: &Packet<'_>) -> Result<(), NoRoom> {
        if !self.has_room_for(self.length_of(packet.frame, packet.comment)) {
            return Err(NoRoom);
        }
        pcapng::packet(&mut self.blocks, &Packet { left_out: self.untold, ..*packet });
        self.untold = 0;
        Ok(())
    }

    /// Counts a packet that is not in the capture.
    pub fn leave_out(&mut self) {
        self.untold += 1;
        self.left_out += 1;
    }

    /// How many packets were left out so far.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.len() == self.written
    }

    /// What waits.
    #[cfg(test)]
    fn waiting(&self) -> &[u8] {
        self.blocks.get(self.written..).unwrap_or_default()
    }

    /// The first of what waits, up to the end of a block: the rest of one of which a part is written, else as many whole ones as
    /// fit into `at_most` bytes, but one at least.
    #[must_use]
    pub fn whole_blocks(&self, at_most: usize) -> &[u8] {
        let mut end = self.untouched;
        while let Some(length) = self.blocks.get(end..).and_then(block_length) {
            if end > self.written && end + length - self.written > at_most {
                break;
            }
            end += length;
        }
        self.blocks.get(self.written..end).unwrap_or_default()
    }

    /// Says that the first `count` bytes of what waits are written.
    pub fn wrote(&mut self, count: usize) {
        self.written = (self.written + count).min(self.blocks.len());
        while self.untouched < self.written
            && let Some(length) = self.blocks.get(self.untouched..).and_then(block_length)
        {
            self.untouched += length;
        }
        if self.is_empty() {
            self.blocks.clear();
            (self.written, self.untouched) = (0, 0);
        }
    }

    /// Makes room of what is written, if that is `worth` so many bytes: moves what waits to the front.
    pub fn settle(&mut self, worth: usize) {
        if self.written >= worth {
            self.blocks.drain(..self.written);
            self.untouched -= self.written;
            self.written = 0;
        }
    }
}

/// The length of the block that `bytes` begin with.
fn block_length(bytes: &[u8]) -> Option<usize> {
    let (_, rest) = bytes.split_first_chunk::<4>()?;
    usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok().filter(|&length| length > 0)
}

#[cfg(test)]
mod tests {
    use super::super::Way;
    use super::*;

    const FRAME: [u8; 60] = [7; 60];
    const PACKET: Packet<'_> = Packet { nanos: 1, way: Way::In, frame: &FRAME, comment: "forwarded", left_out: 0 };
    /// Its block.
    const LENGTH: usize = 32 + 60 + 4 + 12 + 8 + 4;

    #[test]
    fn packets_are_appended_while_there_is_room_and_memory_does_not_grow() {
        let first = pcapng::beginning("softnet", "guest", 1514);
        let mut queue = Queue::new(first.len() + 2 * LENGTH, &first);
        let before = queue.blocks.capacity();
        assert_eq!(queue.push(&PACKET), Ok(()));
        assert_eq!(queue.push(&PACKET), Ok(()));
        assert_eq!(queue.push(&PACKET), Err(NoRoom));
        assert_eq!(queue.blocks.capacity(), before);
        assert_eq!(queue.waiting().len(), first.len() + 2 * LENGTH);
        queue.wrote(first.len());
        assert_eq!(queue.push(&PACKET), Err(NoRoom), "not before it is settled");
        queue.settle(first.len() + 1);
        assert_eq!(queue.push(&PACKET), Err(NoRoom), "it was not worth it");
        queue.settle(first.len());
        assert_eq!(queue.waiting().len(), 2 * LENGTH);
        queue.wrote(2 * LENGTH);
        assert!(queue.is_empty());
        assert_eq!(queue.push(&PACKET), Ok(()));
        assert_eq!(queue.blocks.capacity(), before);
    }

    #[test]
    fn the_next_packet_tells_how_many_were_left_out() {
        let mut queue = Queue::new(4096, &[]);
        queue.leave_out();
        queue.leave_out();
        assert_eq!(queue.push(&PACKET), Ok(()));
        let expected = {
            let mut out = Vec::new();
            pcapng::packet(&mut out, &Packet { left_out: 2, ..PACKET });
            out
        };
        assert_eq!(queue.waiting(), expected);
        queue.push(&PACKET).unwrap();
        assert_eq!(queue.waiting().len(), 2 * LENGTH + 12, "and they are told once");
        assert_eq!(queue.left_out(), 2);
    }

    #[test]
    fn whole_blocks_are_cut_between_blocks() {
        let mut queue = Queue::new(4096, &[]);
        for _ in 0..3 {
            queue.push(&PACKET).unwrap();
        }
        for (at_most, blocks) in [(0, 1), (LENGTH, 1), (2 * LENGTH - 1, 1), (2 * LENGTH, 2), (4096, 3)] {
            assert_eq!(queue.whole_blocks(at_most).len(), blocks * LENGTH, "{at_most}");
        }
        queue.wrote(LENGTH);
        assert_eq!(queue.whole_blocks(4096).len(), 2 * LENGTH);
        queue.wrote(1);
        assert_eq!(queue.whole_blocks(LENGTH - 1).len(), LENGTH - 1, "the rest of one that has begun");
        assert_eq!(queue.whole_blocks(2 * LENGTH - 1).len(), 2 * LENGTH - 1);
        queue.settle(1);
        assert_eq!(queue.whole_blocks(LENGTH).len(), LENGTH - 1);
        queue.wrote(LENGTH - 1);
        assert_eq!(queue.whole_blocks(4096).len(), LENGTH);
        queue.wrote(LENGTH);
        assert!(queue.whole_blocks(4096).is_empty());
    }
}
