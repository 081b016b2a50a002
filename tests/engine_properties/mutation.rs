//! What may be done to a frame on its way to the engine.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::engine_world::frames::checksum;

#[derive(Clone, Debug)]
pub(crate) enum Mutation {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, u8),
    Append(Vec<u8>),
    /// So that what is wrong behind the header is seen at all.
    MendChecksum,
}

pub(crate) fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Mutation::Set(at, value)),
        3 => (any::<Index>(), 0..8u8).prop_map(|(at, bit)| Mutation::Flip(at, bit)),
        1 => any::<Index>().prop_map(Mutation::Cut),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Mutation::Insert(at, value)),
        1 => vec(any::<u8>(), 0..40).prop_map(Mutation::Append),
        3 => Just(Mutation::MendChecksum),
    ]
}

pub(crate) fn mutate(frame: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        match mutation {
            Mutation::Append(bytes) => frame.extend_from_slice(bytes),
            _ if frame.is_empty() => {}
            Mutation::Set(at, value) => *at.get_mut(frame) = *value,
            Mutation::Flip(at, bit) => *at.get_mut(frame) ^= 1 << bit,
            Mutation::Cut(at) => frame.truncate(at.index(frame.len())),
            Mutation::Insert(at, value) => frame.insert(at.index(frame.len()), *value),
            Mutation::MendChecksum if frame.len() >= 34 => {
                frame[24..26].fill(0);
                let sum = checksum(&frame[14..34]);
                frame[24..26].copy_from_slice(&sum.to_be_bytes());
            }
            Mutation::MendChecksum => {}
        }
    }
}
