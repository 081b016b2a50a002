//! The targets `policy_entries` and `command_line`: what an operator, or a hostile caller, types.
//!
//! They know entries by `FromStr` and `Display` alone, and the command line by clap's own interface: the grammars may grow.

use clap::{Parser as _, error::ErrorKind};
use softnet::cli::{Cli, LEASE_SECONDS, one_line};
use softnet::engine::Entry;

use crate::input::Input;

/// No error is longer, in bytes, however long what it is about: it goes to a terminal or a log.
const LONGEST_ERROR: usize = 1024;

/// The target `policy_entries`: an entry that is read is written in a normal form, which reads back as itself.
///
/// # Panics
/// If not.
pub fn policy_entries(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    check_entry(&text);
    // What takes time that grows faster than the text does shows in the long: libFuzzer's -timeout is the bound.
    if !text.is_empty() && text.len() < 64 {
        check_entry(&text.repeat(1 << 10));
    }
    match Entry::parse_list(&text) {
        Ok(entries) => {
            assert_eq!(entries.len(), if text.is_empty() { 0 } else { text.split(',').count() }, "{text:?}");
            let normal = entries.iter().map(Entry::to_string).collect::<Vec<_>>().join(",");
            assert_eq!(Entry::parse_list(&normal).as_ref(), Ok(&entries), "{text:?} as {normal:?}");
            assert!(text.split(',').all(|entry| text.is_empty() || entry.parse::<Entry>().is_ok()), "{text:?}");
        }
        Err(error) => {
            check_error(&error.to_string());
            let is_bad = |entry: &str| entry.parse::<Entry>().is_err();
            let is_long = text.split(',').count() > softnet::engine::MAX_ENTRIES;
            assert!(is_long || text.split(',').any(is_bad), "{text:?} is refused and each of its entries is not");
        }
    }
}

fn check_entry(text: &str) {
    match text.parse::<Entry>() {
        Ok(entry) => {
            let normal = entry.to_string();
            let again: Entry = normal.parse().unwrap_or_else(|error| panic!("{text:?} as {normal:?}: {error}"));
            assert_eq!(again, entry, "{text:?} as {normal:?}");
            assert_eq!(again.to_string(), normal, "{text:?}");
            assert!(normal.is_ascii() && !normal.contains(|c: char| c.is_control() || c == ','), "{normal:?}");
        }
        Err(error) => check_error(&error.to_string()),
    }
    check_plain(text);
}

/// Digits, dots and a slash: an address or a prefix by the standard library, or nothing.
fn check_plain(text: &str) {
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.' || byte == b'/') {
        return;
    }
    let (address, length) = text.split_once('/').unwrap_or((text, "32"));
    let is_length = length.parse::<u32>().is_ok_and(|bits| bits <= 32 && bits.to_string() == length);
    // The standard library refuses leading zeros as well.
    let expected = address.parse::<std::net::Ipv4Addr>().ok().filter(|_| is_length).map(|address| {
        let bits: u32 = length.parse().expect("a length");
        let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
        format!("{}/{bits}", std::net::Ipv4Addr::from(u32::from(address) & mask))
    });
    assert_eq!(text.parse::<Entry>().ok().map(|entry| entry.to_string()), expected, "{text:?}");
}

fn check_error(error: &str) {
    assert!(error.len() <= LONGEST_ERROR && !error.contains(char::is_control), "{error:?}");
}

/// Words of the command line, to be joined to sensible ones.
const WORDS: [&str; 44] = [
    "--vm-fd",
    "0",
    "--vm-mac-address",
    "5a:94:ef:e4:0c:ee",
    "--vm-fd=3",
    "--vm-mac-address=2:0:0:a:b:C",
    "--vm-net-type",
    "nat",
    "host",
    "--vm-net-type=host",
    "--bootpd-lease-time",
    "600",
    "60",
    "86400",
    "86401",
    "--bootpd-lease-time=-1",
    "--allow",
    "--block",
    "--allow=",
    "@host",
    "10.0.0.0/8,@host",
    "0.0.0.0/0",
    "--allow=10.0.0.0/8:22",
    "in 10.0.0.0/8",
    "--user",
    "--group",
    "root",
    "nobody",
    "--bridge",
    "--bridge=br0",
    "--subnet",
    "192.168.70.0/24",
    "--expose",
    "2222:22",
    "--control-fd",
    "1",
    "--sudo-escalation-probing",
    "--sudo-escalation-done",
    "network",
    "status",
    "down",
    "--force",
    "--",
    "--help",
];

/// The target `command_line`: words of the above, and the fuzzer's own, until a word that is none.
///
/// # Panics
/// If a property does not hold.
pub fn command_line(data: &[u8]) {
    let mut input = Input::new(data);
    let mut words = vec!["softnet".to_owned()];
    while !input.is_empty() {
        let code = usize::from(input.byte());
        match WORDS.get(code) {
            Some(word) => words.push((*word).to_owned()),
            None if code < 64 => {
                // A word, with something in it that is the fuzzer's.
                let word = input.choose(&WORDS);
                let length = usize::from(input.byte() % 16);
                words.push(format!("{word}{}", String::from_utf8_lossy(input.take(length))));
            }
            None => {
                let length = code - 64;
                words.push(String::from_utf8_lossy(input.take(length)).into_owned());
            }
        }
    }
    match Cli::try_parse_from(&words) {
        Ok(cli) => check_command_line(&cli, &words),
        Err(error) => {
            let is_question = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            assert_eq!(error.exit_code(), if is_question { 0 } else { 2 }, "{words:?}");
            assert!(!one_line(&error).contains('\n'), "{words:?}");
        }
    }
}

fn check_command_line(cli: &Cli, words: &[String]) {
    let Some(serve) = &cli.serve else {
        assert!(cli.command.is_some(), "{words:?}: neither a guest nor a subcommand");
        return;
    };
    let mac = serve.vm_mac_address.0;
    assert!(mac[0] & 1 == 0 && mac != [0; 6], "{words:?}: a guest's MAC is unicast");
    assert_eq!(serve.vm_fd.is_some(), serve.socket.is_none(), "{words:?}: the guest's side is one");
    assert!(serve.vm_fd.is_none_or(|fd| fd >= 0), "{words:?}");
    assert!(LEASE_SECONDS.contains(&serve.bootpd_lease_time.into()), "{words:?}");
    for entry in serve.allow.iter().chain(&serve.block).flat_map(|list| &list.0) {
        assert_eq!(entry.to_string().parse::<Entry>().as_ref(), Ok(entry), "{words:?}");
    }
}
