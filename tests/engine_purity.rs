//! The table of places in the design, enforced on the source: what each folder may name and what it must not.
#![allow(clippy::unwrap_used)] // Clippy allows it in test functions by itself, and these helpers are theirs.

use std::fs;
use std::path::{Path, PathBuf};

/// All Rust files under a place of `src`, which may be a file itself, or not exist yet. A file of tests is none.
fn sources(place: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut waiting = vec![root.join(place)];
    while let Some(path) = waiting.pop() {
        if path.ends_with("tests.rs") || path.ends_with("tests") {
            // The tests of a module, in a file or a folder of their own.
            continue;
        } else if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") && path.exists() {
            let text = fs::read_to_string(&path).unwrap();
            found.push((path, text));
        }
    }
    found.sort();
    found
}

/// The lines of code: comments, and the tests at the end of a file, left out.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let end = text.find("#[cfg(test)]").unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or_default()))
        .filter(|(_, line)| !line.trim().is_empty())
}

/// Whether `line` names `word`, not as a part of a longer name.
fn names(line: &str, word: &str) -> bool {
    let is_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_of_name) && (word.ends_with([':', '!', '(', '<']) || !after.is_some_and(is_of_name))
    })
}

fn offences(place: &str, forbidden: &[&str]) -> Vec<String> {
    let mut offences = Vec::new();
    for (path, text) in sources(place) {
        for (number, line) in code(&text) {
            for word in forbidden.iter().filter(|word| names(line, word)) {
                offences.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    offences
}

/// What makes code impure: the system, time, threads, logs, output, other crates that have them, platforms.
const IMPURE: &[&str] = &[
    "unsafe",
    "libc",
    "nix",
    "signal_hook",
    "log::",
    "env_logger",
    "anyhow",
    "clap",
    "std::fs",
    "std::env",
    "std::io",
    "std::os",
    "std::process",
    "std::time",
    "std::thread",
    "std::sync",
    "std::net::TcpStream",
    "std::net::TcpListener",
    "std::net::UdpSocket",
    "SystemTime",
    "Instant::now(",
    "TcpStream",
    "UdpSocket",
    "println!",
    "print!",
    "eprintln!",
    "eprint!",
    "dbg!",
    "todo!",
    "unimplemented!",
    "target_os",
    "cfg(unix)",
    "extern",
    "static mut",
    "thread_local!",
];

/// What is made of bytes and numbers alone.
const PURE: [&str; 4] = ["engine", "control", "segments", "capture"];

#[test]
fn what_is_of_bytes_alone_is_pure() {
    assert!(sources("engine").len() > 10, "the engine is where this test looks");
    for place in PURE {
        assert_eq!(offences(place, IMPURE), [""; 0]);
    }
}

#[test]
fn every_pure_file_forbids_unsafe_code() {
    for place in PURE {
        for (path, text) in sources(place) {
            assert!(text.lines().any(|line| line == "#![forbid(unsafe_code)]"), "{}", path.display());
        }
    }
}

#[test]
fn the_engine_does_not_panic_on_purpose() {
    assert_eq!(
        offences("engine", &["unwrap()", "expect(", "panic!", "unreachable!", "assert!(", "assert_eq!("])
            .iter()
            .filter(|offence| !offence.contains("transactions.rs"))
            .collect::<Vec<_>>(),
        [""; 0],
        "transactions.rs has one, at compile time"
    );
}

#[test]
fn the_engine_knows_no_other_part_of_softnet() {
    let others = [
        "crate::host",
        "crate::sys",
        "crate::relay",
        "crate::cli",
        "crate::setup",
        "crate::privilege",
        "crate::control",
    ];
    assert_eq!(offences("engine", &others), [""; 0]);
}

#[test]
fn the_control_session_knows_the_policy_and_no_other_part_of_softnet() {
    let others = ["crate::host", "crate::sys", "crate::relay", "crate::channel", "crate::cli", "crate::setup"];
    let of_the_engine = ["Direction", "Verdict", "DropReason", "Counters", "Lease", "Instant", "smoltcp", "ipnet"];
    let panics = ["unwrap()", "expect(", "panic!", "unreachable!", "assert!(", "assert_eq!("];
    assert_eq!(offences("control", &[&others[..], &of_the_engine, &panics].concat()), [""; 0]);
}

#[test]
fn the_segments_know_no_other_part_of_softnet_and_do_not_panic_on_purpose() {
    let others = ["crate::engine", "crate::host", "crate::sys", "crate::relay", "crate::cli", "crate::setup"];
    assert_eq!(offences("segments", &others), [""; 0]);
    assert_eq!(offences("segments", &["unwrap()", "expect(", "panic!", "unreachable!", "assert!("]), [""; 0]);
}

#[test]
fn the_relay_does_not_read_frames_nor_do_what_needs_root() {
    for place in ["relay.rs", "relay", "channel.rs", "lifeline.rs"] {
        assert_eq!(
            offences(place, &["unsafe", "smoltcp", "std::fs", "std::process", "crate::cli", "crate::setup"]),
            [""; 0]
        );
    }
}

#[test]
fn what_looks_at_verdicts_and_counters_makes_no_system_calls() {
    assert!(sources("watch").len() >= 2 && sources("stats").len() >= 2, "they are where this test looks");
    let forbidden = [
        "unsafe",
        "libc",
        "nix",
        "smoltcp",
        "std::fs",
        "std::env",
        "std::process::Command",
        "crate::sys",
        "crate::host",
    ];
    for place in ["watch.rs", "watch/drops.rs", "watch/limiter.rs", "stats.rs", "stats"] {
        assert_eq!(offences(place, &forbidden), [""; 0]);
    }
}

#[test]
fn what_has_to_do_with_companions_sees_no_frame() {
    let places = ["companion.rs", "companion", "metrics.rs", "metrics", "forwards", "listener/remover.rs"];
    let of_frames = ["smoltcp", "Batch", "DatagramIo", "Verdict", "Engine", "on_guest_frame", "crate::segments"];
    for place in places {
        assert!(!sources(place).is_empty(), "{place} is where this test looks");
        assert_eq!(offences(place, &of_frames), [""; 0]);
        assert_eq!(offences(place, &["unsafe", "std::process::Command", "crate::setup"]), [""; 0]);
    }
}

#[test]
fn what_is_written_for_others_is_opened_by_somebody_else() {
    let names_a_path = ["std::fs::OpenOptions", "OpenOptions", "File::open", "File::create", "fcntl::open", "openat("];
    for place in ["record.rs", "watch/capture.rs"] {
        assert!(!sources(place).is_empty(), "{place} is where this test looks");
        assert_eq!(
            offences(place, &[&names_a_path[..], &["unsafe", "libc", "smoltcp", "std::process"]].concat()),
            [""; 0]
        );
    }
}

#[test]
fn what_is_the_callers_program_has_no_right() {
    assert!(!sources("run").is_empty(), "it is where this test looks");
    let rights =
        ["unsafe", "crate::privilege::Identity", "crate::setup", "crate::host", "crate::engine::Engine", "smoltcp"];
    assert_eq!(offences("run", &rights), [""; 0]);
}

#[test]
fn every_module_has_its_line_in_the_documentation_and_its_place_in_the_map() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let library = fs::read_to_string(root.join("src/lib.rs")).unwrap();
    let document = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let modules: Vec<&str> =
        library.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert!(modules.len() > 20, "{modules:?}");
    for module in modules {
        let is_laid_out = document.lines().any(|line| {
            let place = line.trim_start().split(' ').next().unwrap_or_default();
            [format!("{module}.rs"), format!("{module}/"), format!("{module}/mod.rs")].iter().any(|name| name == place)
        });
        assert!(is_laid_out, "docs/architecture.md does not say where {module} is");
        let row = format!("`{module}`");
        assert!(
            library.lines().any(|line| line.starts_with("//! | ") && line.contains(&row)),
            "src/lib.rs does not say what {module} may"
        );
    }
}

#[test]
fn the_host_and_sys_do_not_look_inside_frames_and_do_not_know_the_policy() {
    for place in ["host", "sys", "sandbox"] {
        assert_eq!(offences(place, &["smoltcp", "PolicyEntries", "Verdict", "DropReason", "Engine"]), [""; 0]);
    }
}

#[test]
fn the_command_line_makes_no_system_calls() {
    for place in ["cli.rs", "cli"] {
        assert_eq!(offences(place, &["unsafe", "libc", "nix", "std::fs", "std::env", "std::process"]), [""; 0]);
    }
}

#[test]
fn unsafe_code_is_where_the_design_has_it() {
    for (path, text) in sources("") {
        let place = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        if ["host", "sys", "sandbox"].iter().any(|allowed| place.starts_with(allowed)) {
            continue;
        }
        for (number, line) in code(&text) {
            assert!(!names(line, "unsafe"), "{}:{number}", path.display());
        }
    }
}

#[test]
fn the_reader_of_sources_sees_names_and_not_parts_of_them() {
    assert!(names("use std::fs;", "std::fs") && names("unsafe { x }", "unsafe") && names("log::info!()", "log::"));
    assert!(!names("forbid(unsafe_code)", "unsafe") && !names("catalog::x", "log::") && !names("phoenix", "nix"));
    let text = "a\n// unsafe\nb // unsafe\n#[cfg(test)]\nunsafe";
    assert_eq!(code(text).map(|(number, line)| (number, line.trim())).collect::<Vec<_>>(), [(1, "a"), (3, "b")]);
}
