//! The manual has what `--help` has, and no formatter finds a fault in it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory as _;
use softnet::cli::Cli;

fn pages() -> Vec<(String, String)> {
    softnet_manual::pages("2026-11-24").expect("pages are made")
}

/// Gives `text` to a program, which has to be there: scripts/setup.sh installs it.
fn given_to(program: &str, arguments: &[&str], text: &str) -> Output {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("{program}: {error}: 'scripts/setup.sh test' installs it"));
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads its input");
    child.wait_with_output().expect("it ends")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// As a reader sees it, without bold and the like.
fn formatted(page: &str) -> String {
    let mut text = String::new();
    for letter in said(&given_to("mandoc", &["-T", "utf8"], page)).chars() {
        // Bold is a letter, a backspace and the letter.
        match letter {
            '\u{8}' => _ = text.pop(),
            letter => text.push(letter),
        }
    }
    text
}

#[test]
fn no_formatter_finds_a_fault_in_a_page() {
    let pages = pages();
    assert!(pages.iter().any(|(name, _)| name == "softnet.1"));
    for (name, page) in &pages {
        let lint = given_to("mandoc", &["-T", "lint", "-W", "warning"], page);
        assert!(lint.status.success() && said(&lint).is_empty(), "{name}: {}", said(&lint));
        if cfg!(target_os = "linux") {
            let groff = given_to("groff", &["-man", "-ww", "-z", "-Tutf8"], page);
            assert!(groff.status.success() && said(&groff).is_empty(), "{name}: {}", said(&groff));
        }
    }
    let bad = given_to("mandoc", &["-T", "lint", "-W", "warning"], &(pages[0].1.clone() + ".RE\n"));
    assert!(!said(&bad).is_empty(), "the lint sees faults");
}

#[test]
fn every_option_of_the_help_is_in_its_page_with_what_it_is_for() {
    let pages = pages();
    let mut seen = 0;
    let mut waiting = vec![("softnet".to_owned(), Cli::command())];
    while let Some((name, command)) = waiting.pop() {
        let (_, page) =
            pages.iter().find(|(file, _)| *file == format!("{name}.1")).unwrap_or_else(|| panic!("no {name}.1"));
        let text = formatted(page).split_whitespace().collect::<Vec<_>>().join(" ");
        for option in command.get_arguments().filter(|option| !option.is_hide_set()) {
            let said =
                option.get_help().unwrap_or_else(|| panic!("{name}: {} has no help", option.get_id())).to_string();
            let option_name = option.get_long().map_or_else(String::new, |long| format!("--{long}"));
            let at = text.find(&said).unwrap_or_else(|| panic!("{name}.1 does not say what {option_name} is: {said}"));
            assert!(text[..at].contains(&option_name), "{name}.1: {option_name}");
            seen += 1;
        }
        let below = command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set());
        for subcommand in below {
            let full = format!("{name}-{}", subcommand.get_name());
            assert!(text.contains(&format!("{full}(1)")), "{name}.1 names {full}(1)");
            waiting.push((full, subcommand.clone()));
        }
    }
    assert!(seen > 10, "options are found: {seen}");
}

#[test]
fn the_page_says_what_no_option_can() {
    let text = formatted(&pages()[0].1);
    for heading in ["POLICY", "EXIT STATUS", "SIGNALS", "FILES", "ENVIRONMENT", "SECURITY", "EXAMPLES", "SEE ALSO"] {
        assert!(text.contains(&format!("\n{heading}\n")), "{heading} in\n{text}");
    }
    assert!(
        text.contains("2026-11-24") && text.contains(concat!("softnet ", env!("CARGO_PKG_VERSION_MAJOR"))),
        "{text}"
    );
}

#[test]
fn completions_know_every_option() {
    let directory = std::env::temp_dir().join(format!("softnet-manual.{}", std::process::id()));
    softnet_manual::write(&directory, "2026-11-24").expect("files are written");
    let read = |name| std::fs::read_to_string(directory.join(name)).expect("a completion");
    let completions = ["softnet.bash", "_softnet", "softnet.fish"].map(read);
    // bash itself is asked: what comes after `softnet --`?
    let asked = format!(
        "{}\nCOMP_WORDS=(softnet --); COMP_CWORD=1; _softnet softnet -- softnet; printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        completions[0]
    );
    let answer = said(&given_to("bash", &["--norc"], &asked));
    std::fs::remove_dir_all(&directory).expect("they are removed");
    for option in Cli::command().get_arguments().filter(|option| !option.is_hide_set()) {
        let name = option.get_long().expect("a long name");
        assert!(completions.iter().all(|text| text.contains(name)), "{name}");
        assert!(answer.lines().any(|line| line == format!("--{name}")), "--{name} in\n{answer}");
    }
}
