//! What random answers teach is what another reading of them says: see `tests/fuzz-targets/src/dns.rs`.

use proptest::prelude::*;
use softnet_fuzz_targets::dns::dns;

proptest! {
    #![proptest_config(super::without_files(300))]

    #[test]
    fn an_answer_teaches_what_a_naive_reader_takes_from_it(program in prop::collection::vec(any::<u8>(), 0..600)) {
        dns(&program);
    }
}

#[test]
fn such_answers_teach_something() {
    let mut state = 1u64;
    let program: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(100_000)
    .collect();
    let reached = dns(&program);
    assert!(reached > 100, "{reached}");
}
