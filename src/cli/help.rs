//! How clap's texts are told: help on a terminal of a usual width, and a usage error in one line.

use std::fmt::Write as _;

/// The width of a terminal, unless somebody made it another one. Asking would take another crate into a process that may be root.
const WIDTH: usize = 80;

/// `--help`, in lines of at most `WIDTH` columns. What is folded goes on under the text that it belongs to.
#[must_use]
pub fn folded(help: &str) -> String {
    help.lines().fold(String::new(), |mut text, line| {
        let mut column = 0;
        let indent = hanging_indent(line);
        for piece in line.trim_end().split_inclusive(' ') {
            let length = piece.trim_end().chars().count();
            if column > indent && column + length > WIDTH {
                text.truncate(text.trim_end().len());
                let _ = write!(text, "\n{:indent$}", "");
                column = indent;
            }
            text.push_str(piece);
            column += piece.chars().count();
        }
        text.push('\n');
        text
    })
}

/// Where the text of a line begins: behind `    --option <VALUE>  `, or `Usage: `, or where the line does.
fn hanging_indent(line: &str) -> usize {
    let begins = line.len() - line.trim_start().len();
    match line[begins..].find("  ") {
        Some(gap) if line[begins..].starts_with('-') || begins == 2 => {
            let rest = &line[begins + gap..];
            begins + gap + rest.len() - rest.trim_start().len()
        }
        _ if line[begins..].starts_with("Usage: ") => begins + "Usage: ".len(),
        _ => begins,
    }
}

/// A usage error in one line: what is wrong, with flag and value, what was meant perhaps, and where to look.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let mut line = String::new();
    let parts = text.lines().map(str::trim).filter(|part| !part.is_empty());
    for part in parts.take_while(|part| !part.starts_with("Usage:") && !part.starts_with("For more information")) {
        let between = match part {
            _ if line.is_empty() => "",
            _ if part.starts_with("tip: ") => "; ",
            _ => " ",
        };
        let _ = write!(line, "{between}{part}");
    }
    format!("{} (try 'softnet --help')", line.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_line_goes_on_under_its_text() {
        let words = "word ".repeat(20);
        let text = folded(&format!("  -h, --help  {words}\n          {words}\n{words}\nUsage: {words}"));
        for (line, begins) in text.lines().zip([2, 14, 10, 10, 0, 0, 0, 7]) {
            assert_eq!(line.len() - line.trim_start().len(), begins, "{text}");
            assert!(line.len() <= WIDTH && !line.ends_with(' '), "{text}");
        }
        assert_eq!(text.lines().count(), 8, "{text}");
        assert_eq!(text.split_whitespace().filter(|word| *word == "word").count(), 80, "no word is lost");
    }

    #[test]
    fn a_word_that_fits_nowhere_is_left_whole() {
        let word = "x".repeat(100);
        assert_eq!(folded(&format!("    {word}")), format!("    {word}\n"));
        assert_eq!(folded(""), "");
    }
}
