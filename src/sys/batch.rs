//! A batch of frames in memory that is allocated once and used for the whole life of the relay.

/// Frames in a batch of the relay's: enough to make the cost of a system call small, and for two runs of TCP segments of 64
/// KiB each; few enough to stay in the cache. On a Mac as many as a call of vmnet's takes.
pub const FRAMES: usize = if cfg!(target_os = "macos") { 256 } else { 128 };

/// Zeroes before each slot: a frame can go to a system that wants a header of that length before it, which says nothing,
/// in one piece.
pub const ZEROES: usize = 10;

/// A fixed number of slots of fixed size, of which the first `len` hold a frame, some of them withdrawn by
/// [`Batch::retain`].
///
/// A slot is one byte longer than the largest frame of the link, so that an oversize frame is seen as such (its length is
/// over the limit) instead of being cut and forwarded.
#[derive(Debug)]
pub struct Batch {
    storage: Box<[u8]>,
    slot_len: usize,
    capacity: usize,
    /// How many of the slots may be used until the next [`Batch::clear`].
    usable: usize,
    /// The lengths of the received frames.
    lengths: Vec<usize>,
    /// The indices of the frames that were kept, in order.
    kept: Vec<usize>,
}

impl Batch {
    /// A batch of `capacity` slots for frames of up to `max_frame` bytes.
    #[must_use]
    pub fn new(capacity: usize, max_frame: usize) -> Self {
        let slot_len = max_frame + 1;
        Batch {
            storage: vec![0; capacity * (ZEROES + slot_len)].into_boxed_slice(),
            slot_len,
            capacity,
            usable: capacity,
            lengths: Vec::with_capacity(capacity),
            kept: Vec::with_capacity(capacity),
        }
    }

    /// How many frames fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// How many slots are free.
    #[must_use]
    pub fn room(&self) -> usize {
        self.usable - self.lengths.len()
    }

    /// How many frames are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether no frame is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Forgets all frames.
    pub fn clear(&mut self) {
        self.clear_for(self.capacity);
    }

    /// Forgets all frames, and has room for `count` at most from then on.
    pub fn clear_for(&mut self, count: usize) {
        self.usable = count.min(self.capacity);
        self.lengths.clear();
        self.kept.clear();
    }

    /// The free slots, whole, in the order in which [`Batch::commit`] takes them.
    pub fn free_slots(&mut self) -> impl ExactSizeIterator<Item = &mut [u8]> {
        let places = self.storage.chunks_exact_mut(ZEROES + self.slot_len).take(self.usable).skip(self.lengths.len());
        places.map(|place| &mut place[ZEROES..])
    }

    /// Says that the next free slot now holds a frame of `length` bytes. Nothing happens when no slot is free.
    pub fn commit(&mut self, length: usize) {
        if self.room() > 0 {
            self.kept.push(self.lengths.len());
            self.lengths.push(length.min(self.slot_len));
        }
    }

    /// Adds a frame. Nothing happens when no slot is free, or it is longer than one.
    pub fn push(&mut self, frame: &[u8]) {
        let Some(slot) = self.free_slots().next().and_then(|slot| slot.get_mut(..frame.len())) else { return };
        slot.copy_from_slice(frame);
        self.commit(frame.len());
    }

    /// Keeps the frames for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let mut kept = std::mem::take(&mut self.kept);
        kept.retain(|&index| keep(&self.place(index)[ZEROES..]));
        self.kept = kept;
    }

    /// The kept frames, in the order in which they came.
    pub fn frames(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.kept.iter().map(|&index| &self.place(index)[ZEROES..])
    }

    /// The kept frame of that number, the first being 0.
    #[must_use]
    pub fn frame(&self, number: usize) -> Option<&[u8]> {
        self.frame_behind_zeroes(number).map(|place| &place[ZEROES..])
    }

    /// The same with the [`ZEROES`] before it.
    #[must_use]
    pub fn frame_behind_zeroes(&self, number: usize) -> Option<&[u8]> {
        self.kept.get(number).map(|&index| self.place(index))
    }

    fn place(&self, index: usize) -> &[u8] {
        let start = index * (ZEROES + self.slot_len);
        &self.storage[start..start + ZEROES + self.lengths[index]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_in_order_and_without_the_withdrawn_ones() {
        let mut batch = Batch::new(4, 10);
        for bytes in [&b"one"[..], b"two", b"three"] {
            batch.push(bytes);
        }
        batch.retain(|frame| frame != b"two");
        assert_eq!(batch.frames().collect::<Vec<_>>(), [&b"one"[..], b"three"]);
        assert_eq!(batch.frame_behind_zeroes(1), Some(&b"\0\0\0\0\0\0\0\0\0\0three"[..]));
        assert_eq!((batch.frame(1), batch.frame(2)), (Some(&b"three"[..]), None));
        assert_eq!((batch.len(), batch.room()), (2, 1));
        batch.push(b"four");
        assert_eq!(batch.frames().last(), Some(&b"four"[..]));
        batch.clear();
        assert!(batch.is_empty());
        assert_eq!(batch.room(), 4);
    }

    #[test]
    fn a_full_batch_takes_no_more() {
        let mut batch = Batch::new(1, 10);
        batch.push(b"one");
        assert_eq!(batch.free_slots().len(), 0);
        batch.commit(5);
        assert_eq!(batch.len(), 1);
    }

    #[test]
    fn a_batch_that_is_cleared_for_a_few_takes_no_more_until_it_is_cleared_again() {
        let mut batch = Batch::new(4, 10);
        batch.clear_for(2);
        for _ in 0..3 {
            batch.push(b"one");
        }
        assert_eq!((batch.len(), batch.room(), batch.free_slots().len()), (2, 0, 0));
        batch.clear_for(9);
        assert_eq!((batch.room(), batch.free_slots().len()), (4, 4));
        batch.clear_for(1);
        batch.clear();
        assert_eq!(batch.room(), 4);
    }

    #[test]
    fn an_oversize_frame_is_longer_than_the_limit() {
        let mut batch = Batch::new(1, 10);
        batch.commit(4000);
        assert_eq!(batch.frames().next().map(<[u8]>::len), Some(11));
    }
}
