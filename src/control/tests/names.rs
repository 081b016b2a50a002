//! Entries about names, from clients that know them and from others.

use super::*;

#[test]
fn names_are_taken_from_a_client_that_knows_them_and_from_no_other() {
    let request = set(r#""*.Example.org:443","out a.org""#, r#""a.org.""#);
    let (code, _, message) = error(&request);
    assert_eq!(code, -32602);
    assert!(message.contains("`*.Example.org:443`") && message.contains("--policy-names"), "{message}");
    let engine = engine();
    let mut client = Client { session: Session::new(&engine, ChannelNames::Taken), engine };
    let reply = client.ask(&request);
    let result = r#""result":{"allow":["*.example.org:443","out a.org"],"block":["a.org"],"ruleCount":4}}"#;
    assert!(reply.ends_with(result), "{reply}");
    assert_eq!(client.engine.rule_count(), 4);
    assert!(client.ask(&set(r#""in a.org""#, "")).contains("-32602"));
    assert!(client.ask(&set("", "")).ends_with(r#""ruleCount":0}}"#), "and may go again");
}
