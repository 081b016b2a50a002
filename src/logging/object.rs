//! An object of JSON (RFC 8259) on one line.
#![forbid(unsafe_code)]

use std::fmt::{self, Display, Write as _};

/// An object that is written as it grows.
#[derive(Clone, Debug, Default)]
pub struct Object {
    text: String,
}

impl Object {
    /// One that begins with what every line of softnet's has.
    #[must_use]
    pub fn message(level: &str, message: &str) -> Self {
        Object::default().text("level", level).text("message", message)
    }

    /// With a string.
    #[must_use]
    pub fn text(self, key: &str, value: &str) -> Self {
        self.value(key, Quoted(value))
    }

    /// With a value that is JSON as it displays itself: a number, another object.
    #[must_use]
    pub fn value(mut self, key: &str, value: impl Display) -> Self {
        let comma = if self.text.is_empty() { "" } else { "," };
        let _ = write!(self.text, "{comma}{}:{value}", Quoted(key));
        self
    }

    /// It, and a line feed.
    #[must_use]
    pub fn line(&self) -> String {
        format!("{self}\n")
    }
}

impl Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.text)
    }
}

/// A string in quotes, with the escapes that must be (RFC 8259, section 7) and those that keep every control character
/// from a terminal (U+007F to U+009F).
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
                _ => f.write_char(letter)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_has_no_control_character() {
        let hostile = "a\"b\\c\u{0}\u{1b}[2J\r\n\u{7f}\u{9b}31m\u{e9}\u{1f600}";
        let line = Object::message("info", hostile).value("number", 7).value("inner", Object::default()).line();
        assert!(line.strip_suffix('\n').is_some_and(|line| !line.contains(char::is_control)), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["message"], hostile);
        assert_eq!((&read["number"], read["inner"].as_object().unwrap().len()), (&7.into(), 0));
    }
}
