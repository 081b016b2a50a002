//! Replies, as JSON (RFC 8259) on a line.
#![forbid(unsafe_code)]

use super::json::Text;
use crate::engine::Texts;

/// The id that a reply bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Id {
    /// None that is valid was given.
    Null,
    /// A number.
    Number(u64),
    /// A string.
    Text(String),
}

/// What kind of error (JSON-RPC 2.0, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Parse = -32700,
    InvalidRequest = -32600,
    MethodNotFound = -32601,
    InvalidParams = -32602,
}

/// Why a request is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    code: Code,
    message: String,
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Fault { code, message: message.into() }
    }
}

/// A policy's lists as a reply has them: all of the result but the count.
pub(super) fn lists(texts: &Texts) -> Vec<u8> {
    let length = |list: &[String]| list.iter().map(|text| text.len() + 3).sum::<usize>();
    let mut out = Vec::with_capacity(length(&texts.allow) + length(&texts.block) + 32);
    out.extend_from_slice(b"\"allow\":");
    write_list(&mut out, &texts.allow);
    out.extend_from_slice(b",\"block\":");
    write_list(&mut out, &texts.block);
    out
}

/// Appends the reply that says what the policy is.
pub(super) fn write_policy(out: &mut Vec<u8>, id: &Id, lists: &[u8], rule_count: usize) {
    start(out, id);
    out.extend_from_slice(b"\"result\":{");
    out.extend_from_slice(lists);
    out.extend_from_slice(format!(",\"ruleCount\":{rule_count}}}}}\n").as_bytes());
}

/// Appends the reply that says why nothing was done.
pub(super) fn write_fault(out: &mut Vec<u8>, id: &Id, fault: &Fault) {
    start(out, id);
    out.extend_from_slice(format!("\"error\":{{\"code\":{},\"message\":", fault.code as i32).as_bytes());
    write_string(out, &fault.message);
    out.extend_from_slice(b"}}\n");
}

fn start(out: &mut Vec<u8>, id: &Id) {
    out.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    match id {
        Id::Null => out.extend_from_slice(b"null"),
        Id::Number(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Id::Text(text) => write_string(out, text),
    }
    out.push(b',');
}

fn write_list(out: &mut Vec<u8>, entries: &[String]) {
    out.push(b'[');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(out, entry);
    }
    out.push(b']');
}

/// A string, with the escapes that must be (RFC 8259, section 7): for quotes, backslashes and control characters.
fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A client's text for a message: between backquotes, without control characters, and not at any length.
pub(super) fn quote(text: Text<'_>) -> String {
    const ECHO: usize = 64;
    let kept = text.kept();
    let shown: String = kept.chars().take(ECHO).flat_map(char::escape_debug).collect();
    let is_longer = text.is_cut() || kept.chars().nth(ECHO).is_some();
    format!("`{shown}{}`", if is_longer { "..." } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_is_written_with_the_escapes_that_must_be() {
        let text = "a\"b\\c/\u{0}\u{1f}\n\u{7f}\u{e9}\u{1f600}\u{2028}";
        let mut out = Vec::new();
        write_string(&mut out, text);
        let written = String::from_utf8(out).unwrap();
        assert_eq!(written, "\"a\\\"b\\\\c/\\u0000\\u001f\\u000a\u{7f}\u{e9}\u{1f600}\u{2028}\"");
        assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
    }

    #[test]
    fn an_empty_policy_has_arrays_and_the_keys_are_in_the_order_of_the_specification() {
        let mut out = Vec::new();
        write_policy(&mut out, &Id::Number(1), &lists(&Texts::default()), 0);
        assert_eq!(out, b"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"allow\":[],\"block\":[],\"ruleCount\":0}}\n");
    }
}
