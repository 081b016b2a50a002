//! One line an attempt: a mark, what was tried, what happened.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Instant;

/// The column at which "what happened" begins.
const COLUMN: usize = 55;

/// What stays behind.
const AFTERWARDS: &str = if cfg!(target_os = "linux") {
    "It all happened in namespaces of its own, and is gone with them.\n"
} else {
    "It happened on this Mac's own vmnet. What stays: its DHCP server gives short leases, as softnet set it.\n"
};

/// What is told, and whether all of it was as it must be.
pub(crate) struct Report {
    color: bool,
    tried: usize,
    wrong: usize,
    unshown: usize,
    began: Instant,
}

/// What the reader should make of an outcome that is as it must be.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    /// Good news.
    Good,
    /// What must be, and is bad: the attack that succeeds without softnet.
    #[cfg_attr(target_os = "macos", expect(dead_code, reason = "the act without softnet is on Linux alone"))]
    Alarming,
}

impl Report {
    /// A report in colour, or without.
    pub(crate) fn new(color: bool) -> Self {
        Report { color, tried: 0, wrong: 0, unshown: 0, began: Instant::now() }
    }

    /// Text as it is.
    pub(crate) fn raw(&self, text: &str) {
        let mut out = io::stdout().lock();
        // Who reads may be gone; the exit code still tells.
        let _ = out.write_all(text.as_bytes());
        let _ = out.flush();
    }

    /// The beginning of a group, and a line about it.
    pub(crate) fn heading(&self, title: &str, about: &str) {
        self.raw(&format!("\n{}\n  {}\n", self.paint("1", title), self.paint("2", about)));
    }

    /// An attempt that must succeed.
    pub(crate) fn must<E: ToString>(&mut self, tried: &str, outcome: Result<String, E>) {
        match outcome {
            Ok(happened) => self.line(tried, &happened, Some(Tone::Good)),
            Err(error) => self.line(tried, &error.to_string(), None),
        }
    }

    /// An attempt of a hostile guest's, that must fail; `otherwise` says what it would mean.
    pub(crate) fn must_not<T, E>(&mut self, tried: &str, outcome: Result<T, E>, held: &str, otherwise: &str) {
        match outcome {
            Err(_) => self.line(tried, held, Some(Tone::Good)),
            Ok(_) => self.line(tried, otherwise, None),
        }
    }

    /// Something that cannot be shown on this machine.
    pub(crate) fn note(&mut self, tried: &str, why: &str) {
        self.unshown += 1;
        self.row(&self.paint("33", "-"), tried, &self.paint("33", &format!("cannot be shown here: {why}")));
    }

    /// An attempt whose outcome is `right` or not.
    pub(crate) fn line_if(&mut self, right: bool, tone: Tone, tried: &str, yes: &str, no: &str) {
        self.line(tried, if right { yes } else { no }, right.then_some(tone));
    }

    fn line(&mut self, tried: &str, happened: &str, tone: Option<Tone>) {
        self.tried += 1;
        self.wrong += usize::from(tone.is_none());
        let (mark, code) = match tone {
            Some(Tone::Good) => (self.paint("32", "✓"), "0"),
            Some(Tone::Alarming) => (self.paint("32", "✓"), "33"),
            None => (self.paint("1;31", "✗"), "31"),
        };
        self.row(&mark, tried, &self.paint(code, happened));
    }

    fn row(&self, mark: &str, tried: &str, happened: &str) {
        let gap = COLUMN.saturating_sub(tried.chars().count());
        let dots = self.paint("2", &".".repeat(gap.max(3)));
        self.raw(&format!("  {mark} {tried} {dots} {happened}\n"));
    }

    /// The sum of it all.
    pub(crate) fn finish(&self) -> ExitCode {
        let seconds = self.began.elapsed().as_secs_f32();
        let right = self.tried - self.wrong;
        if self.wrong == 0 {
            let text = format!("All {right} attempts went as they must, in {seconds:.1} s.");
            self.raw(&format!("\n{}\n", self.paint("1;32", &text)));
            if self.unshown > 0 {
                self.raw(&format!("{} could not be shown on this machine: see the lines with a dash.\n", self.unshown));
            }
            self.raw(AFTERWARDS);
            return ExitCode::SUCCESS;
        }
        let text =
            format!("{} of {} attempts went otherwise than they must, in {seconds:.1} s.", self.wrong, self.tried);
        self.raw(&format!("\n{}\n", self.paint("1;31", &text)));
        ExitCode::FAILURE
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
