mod names;
mod pieces;

use super::*;
use crate::engine::sample::engine;
use crate::engine::{Entry, PolicyEntries};

/// A client that reads every reply.
struct Client {
    session: Session,
    engine: Engine,
}

impl Client {
    fn new() -> Self {
        let engine = engine();
        Client { session: Session::new(&engine, ChannelNames::Refused), engine }
    }

    fn send(&mut self, mut bytes: &[u8]) -> String {
        let mut replies = Vec::new();
        while !bytes.is_empty() || self.session.is_busy() {
            let read = self.session.advance(bytes, &mut self.engine);
            bytes = &bytes[read..];
            replies.extend_from_slice(self.session.unsent());
            self.session.mark_sent(self.session.unsent().len());
        }
        String::from_utf8(replies).unwrap()
    }

    /// The reply to one request.
    fn ask(&mut self, request: &str) -> String {
        let reply = self.send(format!("{request}\n").as_bytes());
        assert_eq!(reply.matches('\n').count(), 1, "one reply on a line: {reply}");
        reply.trim_end().to_owned()
    }
}

fn ask(request: &str) -> String {
    Client::new().ask(request)
}

/// The code and the id of the error that a request meets.
#[track_caller]
fn error(request: &str) -> (i64, String, String) {
    let reply = ask(request);
    let value: serde_json::Value = serde_json::from_str(&reply).expect("a reply is JSON");
    let error = value["error"].as_object().unwrap_or_else(|| panic!("{request} is answered {reply}"));
    assert_eq!(value.as_object().unwrap().len(), 3, "jsonrpc, id and error: {reply}");
    assert_eq!(error.len(), 2, "code and message alone: {reply}");
    (error["code"].as_i64().unwrap(), value["id"].to_string(), error["message"].as_str().unwrap().to_owned())
}

const GET: &str = r#"{"jsonrpc":"2.0","id":1,"method":"softnet.policy.get"}"#;
const EMPTY: &str = r#"{"jsonrpc":"2.0","id":1,"result":{"allow":[],"block":[],"ruleCount":0}}"#;

fn set(allow: &str, block: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":2,"method":"softnet.policy.set","params":{{"allow":[{allow}],"block":[{block}]}}}}"#
    )
}

#[test]
fn the_examples_of_the_specification_are_answered_to_the_letter() {
    let mut client = Client::new();
    for (request, reply) in [
        (GET, EMPTY),
        (
            r#"{"jsonrpc":"2.0","id":"a","method":"softnet.policy.set","params":{"allow":["@host","10.1.2.3/8"],"block":["0.0.0.0/0"]}}"#,
            r#"{"jsonrpc":"2.0","id":"a","result":{"allow":["10.0.0.0/8","@host"],"block":["0.0.0.0/0"],"ruleCount":3}}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":3,"method":"softnet.policy.set","params":{"allow":["in 10.1.2.3/8","out 10.0.0.0/8"],"block":["in 10.0.0.0/8"]}}"#,
            r#"{"jsonrpc":"2.0","id":3,"result":{"allow":["in 10.0.0.0/8","out 10.0.0.0/8"],"block":["in 10.0.0.0/8"],"ruleCount":2}}"#,
        ),
    ] {
        assert_eq!(client.ask(request), reply);
    }
}

#[test]
fn blanks_and_a_carriage_return_are_white_space() {
    assert_eq!(ask(&format!("{GET}\r")), EMPTY);
    assert_eq!(ask(&format!(" \t{}\t \r", GET.replace(':', " :\t").replace(',', "\r, "))), EMPTY);
}

#[test]
fn members_come_in_any_order_and_in_any_spelling() {
    assert_eq!(ask(r#"{"params":null,"method":"softnet.policy.get","id":1,"jsonrpc":"2.0"}"#), EMPTY);
    assert_eq!(ask(r#"{"\u0069d":1,"jsonrpc":"2\u002e0","method":"softnet\u002epolicy.get"}"#), EMPTY);
}

#[test]
fn what_is_no_json_is_a_parse_error_without_an_id() {
    let deep = format!("{}{}", "[".repeat(128), "]".repeat(128));
    for request in [
        "",
        "\r",
        "  ",
        "{",
        "hello",
        "{\"id\":1",
        "{\"id\":01}",
        "{'id':1}",
        "{}{}",
        "\u{feff}{}",
        r#"{"jsonrpc":"2.0","id":"\ud800","method":"softnet.policy.get"}"#,
        &format!("{GET},"),
        &format!("{GET}{GET}"),
        &deep,
    ] {
        let (code, id, _) = error(request);
        assert_eq!((code, id.as_str()), (-32700, "null"), "{request:?}");
    }
    let reply = Client::new().send(b"{\"jsonrpc\":\"2.0\",\"id\":\"\xff\",\"method\":\"softnet.policy.get\"}\n");
    assert!(reply.contains("\"id\":null,\"error\":{\"code\":-32700,\"message\":\"not UTF-8\"}"), "{reply}");
}

#[test]
fn a_bad_envelope_is_an_invalid_request_with_the_id_if_that_is_valid() {
    for (request, id) in [
        ("1", "null"),
        ("null", "null"),
        ("\"softnet.policy.get\"", "null"),
        ("[]", "null"),
        (&format!("[{GET}]"), "null"),
        ("{}", "null"),
        (r#"{"jsonrpc":"2.0","method":"softnet.policy.get"}"#, "null"),
        (r#"{"jsonrpc":"2.0","id":7}"#, "7"),
        (r#"{"id":7,"method":"softnet.policy.get"}"#, "7"),
        (r#"{"jsonrpc":"1.0","id":7,"method":"softnet.policy.get"}"#, "7"),
        (r#"{"jsonrpc":2.0,"id":7,"method":"softnet.policy.get"}"#, "7"),
        (r#"{"jsonrpc":"2.0","id":7,"method":null}"#, "7"),
        (r#"{"jsonrpc":"2.0","id":7,"method":["softnet.policy.get"]}"#, "7"),
        (r#"{"jsonrpc":"2.0","id":"x","method":"softnet.policy.get","more":{"id":8}}"#, "\"x\""),
        (r#"{"more":1,"jsonrpc":"2.0","method":"softnet.policy.get","id":7}"#, "7"),
        (r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":7,"method":"softnet.policy.get"}"#, "7"),
        (r#"{"jsonrpc":"2.0","id":7,"method":"softnet.policy.get","method":"softnet.policy.get"}"#, "7"),
        (r#"{"jsonrpc":"2.0","id":7,"method":"softnet.policy.get","params":{},"params":{}}"#, "7"),
        (r#"{"jsonrpc":"2.0","id":7,"id":7,"method":"softnet.policy.get"}"#, "null"),
        (r#"{"jsonrpc":"2.0","id":7,"\u0069d":8,"method":"softnet.policy.get"}"#, "null"),
        (r#"{"jsonrpc":"2.0","ID":7,"method":"softnet.policy.get"}"#, "null"),
        // A fault of the envelope comes before all others.
        (r#"{"jsonrpc":"2.0","id":7,"method":"nonsense","params":3,"more":1}"#, "7"),
    ] {
        let (code, told, message) = error(request);
        assert_eq!((code, told.as_str()), (-32600, id), "{request}: {message}");
    }
}

#[test]
fn an_id_is_a_short_string_or_a_whole_number_of_64_bits_and_comes_back_exactly() {
    let asked = |id: &str| ask(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"softnet.policy.get"}}"#));
    let longest = format!("\"{}\"", "x".repeat(256));
    let longest_of_wide = format!("\"{}\"", "\u{e9}".repeat(128));
    for id in [
        "0",
        "1",
        "9007199254740993",
        "18446744073709551615",
        "\"\"",
        "\"1\"",
        "\"a\\\"b\\\\\"",
        &longest,
        &longest_of_wide,
    ] {
        assert!(asked(id).starts_with(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result""#)), "{id}");
    }
    assert!(asked(r#""\u00e9\/\u0001\ud83d\ude00""#).contains("\"id\":\"\u{e9}/\\u0001\u{1f600}\",\"result\""));
    let too_long = format!("\"{}\"", "x".repeat(257));
    let too_wide = format!("\"{}\"", "\u{e9}".repeat(129));
    for id in [
        "null",
        "true",
        "-1",
        "-0",
        "1.0",
        "1e0",
        "0.5",
        "1E2",
        "18446744073709551616",
        "99999999999999999999999",
        "{}",
        "[1]",
        &too_long,
        &too_wide,
    ] {
        let reply = asked(id);
        assert!(reply.starts_with(r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"#), "{id}: {reply}");
    }
}

#[test]
fn a_method_that_there_is_not_is_told_whatever_its_parameters() {
    for name in ["", "softnet.policy", "softnet.policy.GET", "softnet.policy.get ", "rpc.discover"] {
        for params in ["", r#","params":[1,2]"#, r#","params":{"allow":7}"#] {
            let (code, id, _) = error(&format!(r#"{{"jsonrpc":"2.0","id":7,"method":"{name}"{params}}}"#));
            assert_eq!((code, id.as_str()), (-32601, "7"), "{name:?}");
        }
    }
}

#[test]
fn get_takes_no_parameters() {
    let get = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"softnet.policy.get","params":{params}}}"#);
    for params in ["null", "{}", "{ }"] {
        assert_eq!(ask(&get(params)), EMPTY);
    }
    for params in ["[]", "0", "\"\"", "false", r#"{"allow":[]}"#, r#"{"x":1}"#, r#"{"allow":[],"block":[]}"#] {
        assert_eq!(error(&get(params)).0, -32602, "{params}");
    }
}

#[test]
fn set_takes_two_lists_of_entries_and_nothing_else() {
    let set = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"softnet.policy.set","params":{params}}}"#);
    assert!(ask(&set(r#"{"block":[],"allow":[]}"#)).contains("result"));
    assert_eq!(error(r#"{"jsonrpc":"2.0","id":1,"method":"softnet.policy.set"}"#).0, -32602);
    for (params, word) in [
        ("null", "allow"),
        ("{}", "allow"),
        ("[[],[]]", "object"),
        ("\"x\"", "object"),
        (r#"{"allow":[]}"#, "block"),
        (r#"{"block":[]}"#, "allow"),
        (r#"{"allow":null,"block":[]}"#, "allow"),
        (r#"{"allow":[],"block":"10.0.0.0/8"}"#, "block"),
        (r#"{"allow":[],"block":{}}"#, "block"),
        (r#"{"allow":[1],"block":[]}"#, "allow"),
        (r#"{"allow":["@host",null],"block":[]}"#, "allow"),
        (r#"{"allow":[],"block":[["10.0.0.0/8"]]}"#, "block"),
        (r#"{"allow":[],"block":[],"reject":[]}"#, "reject"),
        (r#"{"allow":[],"block":[],"Allow":[]}"#, "Allow"),
        (r#"{"allow":[],"block":[],"allow":[]}"#, "twice"),
        (r#"{"allow":[],"block":[],"\u0062lock":[]}"#, "twice"),
        (r#"{"allow":7,"allow":[],"block":[]}"#, "allow"),
        (r#"{"allow":[],"block":[],"x":{"a":[1,{"b":2}]}}"#, "x"),
        (r#"{"allow":["example.org "],"block":[]}"#, "example.org"),
        (r#"{"allow":[],"block":["@host",""]}"#, "block"),
        (r#"{"allow":[],"block":["10.0.0.0/33"]}"#, "10.0.0.0/33"),
    ] {
        let (code, id, message) = error(&set(params));
        assert_eq!((code, id.as_str()), (-32602, "1"), "{params}");
        assert!(message.contains(word), "{params}: {message}");
    }
}

#[test]
fn a_refused_request_changes_nothing() {
    let mut client = Client::new();
    client.ask(&set("\"10.0.0.0/8\"", ""));
    let before = client.ask(GET);
    for bad in [set("\"1.2.3.4\"", "\"bad\""), set("\"1.2.3.4\",7", ""), "{".into(), format!("[{}]", set("", ""))] {
        assert!(client.ask(&bad).contains("error"));
        assert_eq!(client.ask(GET), before);
    }
    assert!(before.contains(r#""allow":["10.0.0.0/8"]"#));
}

#[test]
fn at_most_4096_entries_together_counted_before_duplicates_go() {
    let hosts = |count: usize| vec!["\"@host\""; count].join(",");
    let reply = ask(&set(&hosts(2096), &hosts(2000)));
    assert!(reply.contains(r#""allow":["@host"],"block":["@host"],"ruleCount":1"#), "{reply}");
    let (code, _, message) = error(&set(&hosts(2096), &hosts(2001)));
    assert!(code == -32602 && message.contains("4096"), "{message}");
    assert_eq!(error(&set(&hosts(90_000), "")).0, -32602);
}

#[test]
fn the_text_of_a_client_in_a_message_is_cut_and_has_no_control_characters() {
    let long = "\\u001b[2J".repeat(10_000);
    for request in [
        set(&format!("\"{long}\""), ""),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{long}"}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"{long}":1}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"softnet.policy.set","params":{{"{long}":1}}}}"#),
    ] {
        let (_, _, message) = error(&request);
        assert!(message.len() < 1000 && !message.contains(char::is_control), "{message:?}");
        assert!(message.contains("..."), "{message}");
    }
}

#[test]
fn a_request_of_a_mebibyte_is_read_and_one_byte_more_is_not() {
    let padded = |length: usize| format!("{GET}{}", " ".repeat(length - GET.len()));
    assert_eq!(ask(&padded(MAX_REQUEST)), EMPTY);
    assert_eq!(ask(&format!("{}\r", padded(MAX_REQUEST - 1))), EMPTY);
    for request in [padded(MAX_REQUEST + 1), format!("{}\r", padded(MAX_REQUEST)), "x".repeat(3 * MAX_REQUEST)] {
        let (code, id, message) = error(&request);
        assert_eq!((code, id.as_str()), (-32700, "null"));
        assert!(message.contains("1048576"), "{message}");
    }
}

#[test]
fn a_request_without_end_is_answered_once_and_the_stream_goes_on_behind_it() {
    let mut client = Client::new();
    let mut replies = client.send(b"{\"id\":");
    for _ in 0..100 {
        replies += &client.send(&[b'1'; 1 << 16]);
    }
    replies += &client.send(format!("\n{GET}\n").as_bytes());
    let lines: Vec<&str> = replies.lines().collect();
    assert!(lines.len() == 2 && lines[0].contains("-32700"), "{replies}");
    assert_eq!(lines[1], EMPTY);
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let mut client = Client::new();
    let requests = [GET.replace('1', "10"), set("\"10.0.0.0/8\"", ""), "nonsense".into(), GET.replace('1', "11")];
    let replies = client.send(format!("{}\n", requests.join("\n")).as_bytes());
    let ids: Vec<&str> = replies.lines().map(|line| line.split(['{', ',']).nth(2).unwrap()).collect();
    assert_eq!(ids, [r#""id":10"#, r#""id":2"#, r#""id":null"#, r#""id":11"#]);
    assert!(replies.lines().nth(3).unwrap().contains("10.0.0.0/8"));
}

#[test]
fn a_caller_that_sends_no_reply_meets_the_end_of_the_session() {
    let mut client = Client::new();
    let many: Vec<String> = (0..4096).map(|n| format!("\"10.{}.{}.0/24\"", n / 256, n % 256)).collect();
    client.ask(&set(&many.join(","), ""));
    let get = format!("{GET}\n");
    let mut asked = 0;
    while client.session.advance(get.as_bytes(), &mut client.engine) > 0 {
        asked += 1;
        assert!(client.session.unsent().len() <= MAX_UNSENT);
    }
    assert!(client.session.is_over() && asked > 10, "{asked}");
    assert_eq!(client.session.unsent().split(|&byte| byte == b'\n').count(), asked + 1, "what was read was answered");
    client.session.mark_sent(client.session.unsent().len());
    assert_eq!(client.session.advance(get.as_bytes(), &mut client.engine), 0, "it is over for good");
}

#[test]
fn the_largest_reply_is_below_its_bound() {
    // More than a request has room for, but not more than a command line has.
    let label = "a".repeat(63);
    let widest = |n: usize| format!("out *.{label}.{label}.{label}.{}{n:04}:{}-65535", &label[..57], 10_000 + n);
    let allow: Vec<Entry> = (0..MAX_ENTRIES).map(|n| widest(n).parse().unwrap()).collect();
    let mut engine = engine();
    engine.set_policy(PolicyEntries { allow, block: Vec::new() });
    let mut client = Client { session: Session::new(&engine, ChannelNames::Taken), engine };
    let id = format!("\"{}\"", "\\u0001".repeat(256));
    let reply = client.ask(&GET.replace("\"id\":1", &format!("\"id\":{id}")));
    assert!(reply.len() < MAX_REPLY && reply.len() > MAX_REPLY - (16 << 10), "{} of {MAX_REPLY}", reply.len());
}
