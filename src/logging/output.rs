//! Whole lines to standard error, and what became of those that nobody took.

use std::io::{self, Write};

use log::Level;

use super::{Format, Object, line};
use crate::sys::stderr::{Patience, Stderr};

/// All that is said goes through it.
pub(super) struct Output<W = Stderr> {
    writer: W,
    format: Format,
    /// Lines that were lost since one was last taken.
    lost: u64,
    /// The last line was taken in part: the next one begins with the end of that.
    is_torn: bool,
}

/// What may be told how long to wait.
pub(super) trait Reader: Write {
    fn set_patience(&mut self, patience: Patience);
}

impl Reader for Stderr {
    fn set_patience(&mut self, patience: Patience) {
        Stderr::set_patience(self, patience);
    }
}

impl Output {
    pub(super) const fn new() -> Self {
        Output { writer: Stderr::new(), format: Format::Text, lost: 0, is_torn: false }
    }
}

impl<W: Reader> Output<W> {
    pub(super) fn set_format(&mut self, format: Format) {
        self.format = format;
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Writes a line, after word of those that were lost. It is whole, or counts as lost.
    pub(super) fn write_line(&mut self, text: &[u8], patience: Patience) -> io::Result<()> {
        self.writer.set_patience(patience);
        let written = self.tell_lost().and_then(|()| self.write_whole(text));
        if written.is_err() {
            self.lost += 1;
        }
        written
    }

    fn tell_lost(&mut self) -> io::Result<()> {
        if self.lost == 0 {
            return Ok(());
        }
        let lost = self.lost;
        let text = match self.format {
            Format::Text => {
                line(self.format, Level::Warn, &format!("nobody read standard error: {lost} lines were lost"))
            }
            Format::Json => {
                Object::message("warn", "nobody read standard error: lines were lost").value("lost", lost).line()
            }
        };
        self.write_whole(text.as_bytes())?;
        self.lost = 0;
        Ok(())
    }

    fn write_whole(&mut self, mut rest: &[u8]) -> io::Result<()> {
        if self.is_torn {
            self.writer.write_all(b"\n")?;
            self.is_torn = false;
        }
        while !rest.is_empty() {
            match self.writer.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    self.is_torn = !rest.is_empty();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes as many bytes as it has room for.
    #[derive(Default)]
    struct Pipe {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(self.room);
            self.taken.extend_from_slice(&bytes[..count]);
            self.room -= count;
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Reader for Pipe {
        fn set_patience(&mut self, _: Patience) {}
    }

    fn output(room: usize, format: Format) -> Output<Pipe> {
        Output { writer: Pipe { room, taken: Vec::new() }, format, lost: 0, is_torn: false }
    }

    #[test]
    fn lines_that_nobody_takes_are_counted_and_told_before_the_next_one() {
        let mut output = output(4, Format::Text);
        assert!(output.write_line(b"one\n", Patience::None).is_ok());
        for _ in 0..3 {
            assert!(output.write_line(b"lost\n", Patience::None).is_err());
        }
        output.writer.room = 1000;
        assert!(output.write_line(b"two\n", Patience::None).is_ok());
        assert!(output.write_line(b"three\n", Patience::None).is_ok());
        let said = String::from_utf8(output.writer.taken).unwrap();
        assert_eq!(said, "one\nsoftnet: nobody read standard error: 3 lines were lost\ntwo\nthree\n");
    }

    #[test]
    fn a_line_that_is_taken_in_part_does_not_spoil_the_next_one() {
        let mut output = output(3, Format::Json);
        assert!(output.write_line(b"{\"broken\":1}\n", Patience::None).is_err());
        output.writer.room = 1000;
        assert!(output.write_line(b"{}\n", Patience::None).is_ok());
        let said = String::from_utf8(output.writer.taken).unwrap();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!((lines[0], lines[2], lines.len()), ("{\"b", "{}", 3));
        let lost: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(lost["lost"], 1);
    }
}
