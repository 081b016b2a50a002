//! The target `control`: what must hold of the control channel's session for any bytes in any pieces.
//!
//! serde_json is what the requests and replies are read with a second time.

use serde_json::{Map, Value};
use softnet::control::{ChannelNames, MAX_REQUEST, Session};
use softnet::engine::{Engine, PolicyEntries};

use crate::engine::engine;

/// All replies to `stream`, which comes in pieces of these sizes, over and over; and the engine after it.
fn replies(stream: &[u8], sizes: &[u8]) -> (Vec<u8>, Engine) {
    let mut engine = engine();
    let mut session = Session::new(&engine, ChannelNames::Refused);
    let (mut replies, mut rest) = (Vec::new(), stream);
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() || session.is_busy() {
        let size = sizes.next().map_or(rest.len(), |&size| usize::from(size) + 1);
        let read = session.advance(&rest[..size.min(rest.len())], &mut engine);
        rest = &rest[read..];
        let count = session.unsent().len().min(size * 8);
        replies.extend_from_slice(&session.unsent()[..count]);
        session.mark_sent(count);
        assert!(!session.is_over(), "a client that reads is never cut off");
    }
    replies.extend_from_slice(session.unsent());
    (replies, engine)
}

/// The target `control`: one stream. The first bytes say in what pieces it comes.
///
/// # Panics
/// If the session does not answer as it should.
pub fn control(data: &[u8]) {
    let (sizes, stream) = data.split_at(data.len().min(4));
    let (answered, engine) = replies(stream, sizes);
    let (at_once, other) = replies(stream, &[]);
    assert_eq!(String::from_utf8_lossy(&answered), String::from_utf8_lossy(&at_once), "pieces do not matter");
    assert_eq!(engine.policy(), other.policy());

    let text = String::from_utf8(answered).expect("replies are UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'));
    let mut lines: Vec<&[u8]> = stream.split(|&byte| byte == b'\n').collect();
    // The last has no line feed: it has an answer only if it is too long.
    if lines.last().is_some_and(|last| last.len() <= MAX_REQUEST) {
        lines.pop();
    }
    assert_eq!(text.lines().count(), lines.len(), "one reply a request");
    let mut policy = PolicyEntries::default();
    for (line, reply) in lines.iter().zip(text.lines()) {
        check_reply(line, reply, &mut policy);
    }
    assert_eq!(*engine.policy(), policy, "the last policy that was confirmed is in force");
}

fn check_reply(request: &[u8], reply: &str, policy: &mut PolicyEntries) {
    let reply: Map<String, Value> = serde_json::from_str(reply).expect("a reply is JSON");
    assert_eq!(reply["jsonrpc"], "2.0");
    assert_eq!(reply.len(), 3);
    let code = reply.get("error").map(|error| {
        let error = error.as_object().expect("an object");
        assert!(
            error.len() == 2 && error["message"].as_str().is_some_and(|text| !text.is_empty() && text.len() < 1500)
        );
        error["code"].as_i64().expect("a number")
    });
    let Ok(read) = serde_json::from_slice::<Value>(request) else {
        // A number that is too large for a double is JSON all the same, and no more than an id that is none.
        let is_number = serde_json::from_slice::<Value>(request).unwrap_err().to_string().contains("out of range");
        assert!(code == Some(-32700) && reply["id"].is_null() || is_number, "{code:?}");
        return;
    };
    if request.len() > MAX_REQUEST {
        assert_eq!(code, Some(-32700));
        return;
    }
    assert_ne!(code, Some(-32700), "it is JSON");
    if !reply["id"].is_null() {
        assert_eq!(reply["id"], read["id"], "the id comes back");
    }
    if let Some(result) = reply.get("result") {
        // serde_json keeps the last of doubled members, and so cannot say that there is none: that much is taken on trust.
        let request = read.as_object().expect("a request is an object");
        assert!(request.keys().all(|key| ["jsonrpc", "id", "method", "params"].contains(&key.as_str())));
        assert!(request["jsonrpc"] == "2.0" && (request["id"].is_u64() || request["id"].is_string()));
        let told = ["allow", "block"].map(|name| strings(&result[name]));
        if request["method"] == "softnet.policy.set" {
            let params = request["params"].as_object().expect("an object");
            assert_eq!(params.len(), 2);
            let [allow, block] = ["allow", "block"].map(|name| strings(&params[name]));
            let asked = PolicyEntries::parse(allow.iter().map(String::as_str), block.iter().map(String::as_str));
            *policy = asked.expect("entries that were taken").normalised();
        } else {
            assert_eq!(request["method"], "softnet.policy.get");
        }
        let texts = policy.texts();
        assert_eq!(told, [texts.allow, texts.block]);
        assert_eq!(result["ruleCount"], policy.rule_count([192, 168, 64, 1].into()));
    }
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().expect("a list");
    list.iter().map(|text| text.as_str().expect("a string").to_owned()).collect()
}
