//! docs/threat-model.md names the test that covers each attack: those tests are there.

use std::fs;
use std::path::Path;

const TABLES: &str = include_str!("../docs/threat-model.md");

/// The rows of both tables of attacks: what stands between their bars.
fn rows() -> Vec<Vec<&'static str>> {
    let tables = TABLES.split("\n### ").skip(1).flat_map(|section| section.split("\n## ").next());
    let rows = tables.flat_map(str::lines).filter(|line| line.starts_with("| "));
    let cells = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells.filter(|cells| cells[0] != "attack" && cells[0] != "---").collect()
}

/// The words in backquotes that name a test.
fn tests(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2).filter(|word| word.contains("::"))
}

/// The text of the files in which a test of `file::module::...::name` may be declared.
fn declaration(path: &str) -> Option<String> {
    let words: Vec<&str> = path.split("::").collect();
    let (file, modules) = (words[0], &words[1..words.len() - 1]);
    let candidates = match file {
        "lib" => {
            let module = modules[..modules.len() - 1].join("/");
            // The tests of a module may have a file of their own.
            vec![format!("src/{module}/tests.rs"), format!("src/{module}.rs"), format!("src/{module}/mod.rs")]
        }
        "e2e_scenarios" => vec!["tests/testbed/src/scenarios.rs".to_owned()],
        _ if modules.is_empty() => vec![format!("tests/{file}.rs")],
        _ => vec![format!("tests/{file}/{}.rs", modules.join("/"))],
    };
    let read = |path: &String| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).ok();
    candidates.iter().filter_map(read).reduce(|text, more| text + &more)
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let named: Vec<&str> = rows().into_iter().flat_map(|cells| tests(cells[2]).collect::<Vec<_>>()).collect();
    assert!(named.len() > 50, "the tables are found: {named:?}");
    for path in named {
        let text = declaration(path).unwrap_or_else(|| panic!("{path}: there is no such file"));
        let name = path.rsplit("::").next().expect("a path has a last word");
        // The last is a line of the table of calls that tests/sandbox/forbidden.rs makes tests of.
        let ways = [format!("fn {name}("), format!("fn {name}<"), format!("    {name}: SYS_")];
        let is_declared = ways.iter().any(|way| text.contains(way));
        assert!(is_declared, "{path}: there is no such test in that file");
    }
}

#[test]
fn every_attack_has_a_test_or_says_that_it_has_none_yet() {
    for cells in rows() {
        assert_eq!(cells.len(), 3, "{cells:?}");
        assert!(tests(cells[2]).next().is_some() || cells[2].contains("not yet"), "{}", cells[0]);
    }
}
