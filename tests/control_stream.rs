//! Any bytes, in any pieces, sent to the control channel's session: the fuzz target `control`, on streams that are made of words.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

use proptest::prelude::*;
use softnet_fuzz_targets::control::control;

/// What requests are made of, and what they are nearly made of.
const WORDS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\n",
    "\r\n",
    " ",
    "null",
    "true",
    "-1",
    "0",
    "7",
    "1.0",
    "18446744073709551615",
    "1e999",
    "\"",
    "\"jsonrpc\":\"2.0\"",
    "\"id\":1",
    "\"id\":\"\\u00e9\\ud83d\\ude00\"",
    "\"id\"",
    "\"method\":\"softnet.policy.get\"",
    "\"method\":\"softnet.policy.set\"",
    "\"params\":",
    "\"params\":{}",
    "\"allow\":[",
    "\"block\":[]",
    "\"@host\"",
    "\"in  @host\"",
    "\"10.1.2.3/8\"",
    "\"out 1.2.3.4:22-22\"",
    "\"nonsense\"",
    "\"\\ud800\"",
    "\u{e9}",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"softnet.policy.get\"}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"softnet.policy.set\",\"params\":{\"allow\":[\"10.1.2.3/8\",\"in @host:22\"],\"block\":[\"@host\"]}}\n",
    "{\"jsonrpc\":\"2.0\",\"id\":\"3\",\"method\":\"softnet.policy.set\",\"params\":{\"block\":[],\"allow\":[",
    "]}}\n",
];

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        9 => proptest::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => any::<Vec<u8>>(),
    ];
    (any::<[u8; 4]>(), proptest::collection::vec(word, 0..25))
        .prop_map(|(sizes, words)| [&sizes[..], &words.concat()].concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_stream_is_answered_as_a_second_reader_expects(stream in stream()) {
        control(&stream);
    }
}

#[test]
fn the_check_sees_requests_that_are_answered() {
    control(b"\x00\x05\x02\x09{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"softnet.policy.set\",\"params\":{\"allow\":[\"in @host\"],\"block\":[]}}\n{\n");
}
