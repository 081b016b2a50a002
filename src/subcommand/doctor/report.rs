//! What a check found, for people and for programs.

use std::fmt;

/// How it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It was not looked at.
    Skip,
    /// Guests work, and something is not as it should be.
    Warn,
    /// Guests, or the promises of softnet, do not work.
    Fail,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Skip => "skip",
            Level::Warn => "warn",
            Level::Fail => "FAIL",
        }
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    /// Stable, for programs.
    pub(super) id: &'static str,
    pub(super) level: Level,
    /// What was found, in a line.
    pub(super) what: String,
    /// What to do about it.
    pub(super) mend: Option<String>,
}

impl Finding {
    pub(super) fn ok(id: &'static str, what: impl Into<String>) -> Self {
        Finding { id, level: Level::Ok, what: what.into(), mend: None }
    }

    pub(super) fn skip(id: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { id, level: Level::Skip, what: what.into(), mend: Some(mend.into()) }
    }

    pub(super) fn warn(id: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { id, level: Level::Warn, what: what.into(), mend: Some(mend.into()) }
    }

    pub(super) fn fail(id: &'static str, what: impl Into<String>, mend: impl Into<String>) -> Self {
        Finding { id, level: Level::Fail, what: what.into(), mend: Some(mend.into()) }
    }
}

/// Which softnet on which system.
pub(super) fn version() -> Finding {
    let system = nix::sys::utsname::uname();
    let system = system.map_or_else(
        |_| std::env::consts::OS.to_owned(),
        |name| format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
    );
    Finding::ok("version", format!("softnet {} on {system}, {}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH))
}

/// For people: a line a check.
pub(super) struct Text<'a>(pub(super) &'a [Finding]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { id, level, what, mend } in self.0 {
            write!(f, "{:<4}  {id}: {}", level.name(), Printable(what))?;
            match mend {
                Some(mend) => writeln!(f, " -> {}", Printable(mend))?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

/// A text that may have come from anybody's file names: no character of it moves a terminal's cursor.
struct Printable<'a>(&'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| if c.is_control() { write!(f, "{}", c.escape_debug()) } else { write!(f, "{c}") })
    }
}

/// For programs: an array of objects (RFC 8259), a line each.
pub(super) struct Json<'a>(pub(super) &'a [Finding]);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, Finding { id, level, what, mend }) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(
                f,
                "{comma}\n{{\"id\":\"{id}\",\"level\":\"{}\",\"what\":{}",
                level.name().to_lowercase(),
                Quoted(what)
            )?;
            match mend {
                Some(mend) => write!(f, ",\"mend\":{}}}", Quoted(mend))?,
                None => f.write_str(",\"mend\":null}")?,
            }
        }
        writeln!(f, "\n]")
    }
}

/// A string with the escapes that must be (RFC 8259, section 7), and DEL.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\u{:04x}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_check_with_its_mend_and_nothing_that_moves_a_cursor() {
        let findings = [Finding::ok("a.b", "as it should be"), Finding::fail("c.d", "evil\u{1b}[2J\n", "mend \"it\"")];
        assert_eq!(
            Text(&findings).to_string(),
            "ok    a.b: as it should be\nFAIL  c.d: evil\\u{1b}[2J\\n -> mend \"it\"\n"
        );
    }

    #[test]
    fn the_json_is_what_was_found() {
        let findings = [
            Finding::warn("a.b", "evil\u{1b}[2J \"q\" \\ \u{7f}é", "mend"),
            Finding::skip("c.d", "", "x"),
            Finding::ok("e.f", "y"),
        ];
        let json: serde_json::Value = serde_json::from_str(&Json(&findings).to_string()).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!([
                {"id": "a.b", "level": "warn", "what": "evil\u{1b}[2J \"q\" \\ \u{7f}é", "mend": "mend"},
                {"id": "c.d", "level": "skip", "what": "", "mend": "x"},
                {"id": "e.f", "level": "ok", "what": "y", "mend": null},
            ])
        );
        assert_eq!(Json(&[]).to_string(), "[\n]\n");
    }
}
