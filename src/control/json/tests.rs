use proptest::prelude::*;

use super::*;

/// What the tokens say, as one would write them without blanks.
#[derive(Default)]
struct Written(String);

impl TokenSink for Written {
    fn token(&mut self, token: Token<'_>) {
        let written = match token {
            Token::ObjectStart => "{".into(),
            Token::ObjectEnd => "}".into(),
            Token::ArrayStart => "[".into(),
            Token::ArrayEnd => "]".into(),
            Token::Key(text) => format!("{:?}:", text.kept()),
            Token::String(text) => format!("{:?}", text.kept()),
            Token::Number(letters) => letters.kept().to_owned(),
            Token::Null => "null".into(),
            Token::Bool => "bool".into(),
        };
        self.0.push_str(&written);
        self.0.push(' ');
    }
}

fn read_in(pieces: &[&[u8]]) -> Result<String, Malformed> {
    let (mut reader, mut written) = (Reader::new(), Written::default());
    for piece in pieces {
        reader.read(piece, &mut written)?;
    }
    reader.end(&mut written)?;
    Ok(written.0.trim_end().to_owned())
}

fn read(text: impl AsRef<[u8]>) -> Result<String, Malformed> {
    read_in(&[text.as_ref()])
}

#[test]
fn tokens_come_in_their_order() {
    let text = " {\"a\" : [1, -0.5e+3 ,\t\"x\\n\\u00e9\", null, true,false, {}, []] , \"b\":{\"c\":0}}\r";
    assert_eq!(read(text).unwrap(), "{ \"a\": [ 1 -0.5e+3 \"x\\né\" null bool bool { } [ ] ] \"b\": { \"c\": 0 } }");
    for (text, written) in [("1", "1"), (" \"\" ", "\"\""), ("null", "null"), ("[]", "[ ]"), ("-0", "-0")] {
        assert_eq!(read(text).unwrap(), written);
    }
}

#[test]
fn what_is_not_json_is_told_apart() {
    use Malformed::*;
    for (text, malformed) in [
        ("", Blank),
        (" \t\r", Blank),
        ("{", Cut),
        ("[1", Cut),
        ("\"a", Cut),
        ("nul", Cut),
        ("{\"a\"", Cut),
        ("{\"a\":", Cut),
        ("-", Syntax),
        ("1.", Syntax),
        ("1e", Syntax),
        ("01", Syntax),
        ("+1", Syntax),
        (".5", Syntax),
        ("1.e3", Syntax),
        ("0x10", Syntax),
        ("NaN", Syntax),
        ("Infinity", Syntax),
        ("nullx", Syntax),
        ("nulx", Syntax),
        ("True", Syntax),
        ("'a'", Syntax),
        ("{} {}", Syntax),
        ("{},", Syntax),
        ("[1,]", Syntax),
        ("[,1]", Syntax),
        ("[1 2]", Syntax),
        ("[1}", Syntax),
        ("{\"a\":1]", Syntax),
        ("{\"a\":1,}", Syntax),
        ("{\"a\" 1}", Syntax),
        ("{a:1}", Syntax),
        ("{1:1}", Syntax),
        ("{\"a\",\"b\"}", Syntax),
        ("]", Syntax),
        ("}", Syntax),
        ("// x\n1", Syntax),
        ("\"\\x\"", Syntax),
        ("\"\\u12g4\"", Syntax),
        ("\"\t\"", Syntax),
        ("\"\0\"", Syntax),
        ("\u{feff}{}", Encoding),
        ("\u{e9}", Encoding),
        ("\"\\ud800\"", Surrogate),
        ("\"\\ud800x\"", Surrogate),
        ("\"\\ud800\\n\"", Surrogate),
        ("\"\\ud800\\u0041\"", Surrogate),
        ("\"\\udc00\"", Surrogate),
    ] {
        assert_eq!(read(text), Err(malformed), "{text:?}");
    }
}

#[test]
fn strings_are_well_formed_utf_8() {
    let quoted = |bytes: &[u8]| read([b"\"", bytes, b"\""].concat());
    for good in ["\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}", "\u{ffff}", "\u{10000}", "\u{10ffff}"] {
        assert!(quoted(good.as_bytes()).is_ok(), "{good:?}");
    }
    for bad in [
        &[0x80][..],
        &[0xc0, 0xaf],
        &[0xc1, 0xbf],
        &[0xc3, 0x28],
        &[0xe0, 0x80, 0xaf],
        &[0xe0, 0x9f, 0xbf],
        &[0xed, 0xa0, 0x80],
        &[0xf0, 0x8f, 0xbf, 0xbf],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xf5, 0x80, 0x80, 0x80],
        &[0xe2, 0x82],
        &[0xff],
    ] {
        assert_eq!(quoted(bad), Err(Malformed::Encoding), "{bad:x?}");
    }
}

#[test]
fn escapes_are_decoded() {
    assert_eq!(
        read(r#""\"\\\/\b\f\n\r\t\u0000\u00e9\uD83D\ude00""#).unwrap(),
        format!("{:?}", "\"\\/\u{8}\u{c}\n\r\t\0é😀")
    );
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth: usize| [vec![b'['; depth], vec![b']'; depth]].concat();
    assert!(read(nested(127)).is_ok());
    assert_eq!(read(nested(128)), Err(Malformed::Depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":[".repeat(depth / 2), "]}".repeat(depth / 2));
    assert!(read(objects(126)).is_ok());
    assert_eq!(read(objects(128)), Err(Malformed::Depth));
    assert_eq!(read("[".repeat(1 << 20)), Err(Malformed::Depth));
}

struct Last(String, bool);

impl TokenSink for Last {
    fn token(&mut self, token: Token<'_>) {
        if let Token::String(text) | Token::Number(text) = token {
            (self.0, self.1) = (text.kept().to_owned(), text.is_cut());
        }
    }
}

fn kept(text: &str) -> (String, bool) {
    let (mut reader, mut last) = (Reader::new(), Last(String::new(), false));
    reader.read(text.as_bytes(), &mut last).unwrap();
    reader.end(&mut last).unwrap();
    (last.0, last.1)
}

#[test]
fn of_a_long_text_the_start_is_kept_up_to_a_whole_character() {
    let (text, is_cut) = kept(&format!("\"{}\"", "\u{20ac}".repeat(1000)));
    assert_eq!((text.as_str(), is_cut), ("\u{20ac}".repeat(KEPT / 3).as_str(), true));
    assert_eq!(kept(&format!("\"{}\"", "x".repeat(KEPT))), ("x".repeat(KEPT), false));
    assert_eq!(kept(&format!("\"{}\"", "x".repeat(KEPT + 1))), ("x".repeat(KEPT), true));
    assert_eq!(kept(&"7".repeat(5000)), ("7".repeat(KEPT), true));
}

#[test]
fn any_number_of_spaces_in_a_row_leaves_room_for_what_follows() {
    let (text, is_cut) = kept(&format!("\"in{}10.0.0.0/8\"", " ".repeat(1_000_000)));
    assert!(!is_cut && text.len() < 300);
    assert_eq!(text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>(), ["in", "10.0.0.0/8"]);
    // But none is lost of a text that may be an id.
    let id = format!("a{}b", " ".repeat(254));
    assert_eq!(kept(&format!("\"{id}\"")), (id, false));
    let longer = format!("\"{}  \"", "x".repeat(255));
    assert_eq!(kept(&longer).0.len(), 257, "nor of one that is too long for it by a space");
}

/// Texts that are nearly JSON.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: &[&str] = &[
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\":",
        "null",
        "true",
        "false",
        "nul",
        "0",
        "-",
        "1",
        "12.5",
        "e",
        "E+7",
        ".",
        " ",
        "\r",
        "\t",
        "\\",
        "\\n",
        "\\u",
        "00e9",
        "\\ud83d",
        "\\ude00",
        "\\u0041",
        "\u{e9}",
        "\u{20ac}",
        "\u{1f600}",
        "\0",
        "{\"a\":1}",
        "[1,2]",
        "[[",
        "]]",
    ];
    let word = prop_oneof![
        8 => proptest::sample::select(WORDS).prop_map(|word| word.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

/// Values, written by serde_json, with one byte changed or none.
fn changed_json() -> impl Strategy<Value = Vec<u8>> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9..1e9).prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::vec((".{0,4}", inner), 0..6)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    });
    (value, proptest::option::of((any::<proptest::sample::Index>(), any::<u8>()))).prop_map(|(value, change)| {
        let mut text = value.to_string().into_bytes();
        if let Some((index, byte)) = change {
            let at = index.index(text.len());
            text[at] = byte;
        }
        text
    })
}

/// Whether serde_json takes it for JSON, if it says: a number too large for a double ends its look.
fn is_json(text: &[u8]) -> Option<bool> {
    match serde_json::from_slice::<serde_json::Value>(text) {
        Ok(_) => Some(true),
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(_) => Some(false),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_takes_what_serde_json_takes(text in prop_oneof![nearly_json(), changed_json(), any::<Vec<u8>>()]) {
        let expected = is_json(&text);
        prop_assume!(expected.is_some());
        prop_assert_eq!(Some(read(&text).is_ok()), expected, "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn pieces_of_any_size_say_the_same(text in prop_oneof![nearly_json(), changed_json()], size in 1_usize..9) {
        let pieces: Vec<&[u8]> = text.chunks(size).collect();
        prop_assert_eq!(read_in(&pieces), read(&text));
    }

    #[test]
    fn strings_are_what_serde_json_says(text in ".{0,40}") {
        let written = serde_json::to_string(&text).unwrap();
        prop_assert_eq!(kept(&written), (text, false));
    }
}
