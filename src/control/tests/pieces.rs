//! In whatever pieces a stream comes, it is answered as the whole.

use proptest::prelude::*;

use super::super::*;
use super::{Client, GET, set};

/// Requests, whole ones and broken ones, and bytes that are none.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        3 => Just(GET.as_bytes().to_vec()),
        3 => "(|\"@host\"|\"10.0.0.0/8\",\"1.2.3.4\"|\"1.2.3.4\",7|\"bad\")".prop_map(|allow| set(&allow, "").into_bytes()),
        1 => "[{}\\[\\]\",:a0 \\\\]{0,20}".prop_map(String::into_bytes),
        1 => any::<Vec<u8>>(),
        1 => (MAX_REQUEST - 2..MAX_REQUEST + 3).prop_map(|length| vec![b' '; length]),
        1 => "\\PC{0,30}".prop_map(|id| format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"softnet.policy.get"}}"#).into_bytes()),
    ];
    proptest::collection::vec(line, 0..6).prop_map(|lines| lines.join(&b'\n'))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn pieces_of_any_size_are_answered_as_the_whole(stream in stream(), size in 1_usize..5000) {
        let whole = Client::new().send(&stream);
        let mut client = Client::new();
        let replies: String = stream.chunks(size).map(|piece| client.send(piece)).collect();
        prop_assert_eq!(&replies, &whole);
        let ends = stream.iter().filter(|&&byte| byte == b'\n').count();
        let last = stream.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
        let expected = ends + usize::from(last.len() > MAX_REQUEST);
        prop_assert_eq!(replies.lines().count(), expected, "one reply a line");
    }
}
