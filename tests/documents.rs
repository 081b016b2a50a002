//! The documents name files and steps of the code: what they name is there. Tests that they name: `threat_model.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

#[test]
fn the_steps_of_the_setup_are_the_same_in_code_and_document() {
    let numbers = |text: &str| -> Vec<u32> {
        let lines = text.lines().map(|line| line.trim_start_matches("//! ").trim_start_matches("## "));
        lines.filter_map(|line| line.split_once(". ")?.0.parse().ok()).collect()
    };
    let code = read("src/setup.rs");
    let head: String = code.lines().take_while(|line| line.starts_with("//!")).collect::<Vec<_>>().join("\n");
    let steps = numbers(&head);
    assert!(steps.len() >= 9 && steps.iter().copied().eq(1..=steps.len() as u32), "{steps:?}");
    let body: Vec<u32> =
        code.lines().filter_map(|line| line.trim().strip_prefix("// ")?.split_once(". ")?.0.parse().ok()).collect();
    assert_eq!(body, steps[1..], "the comments in `run` number the steps from 2 on, as its head does");
    let document = numbers(&read("docs/privileges.md"));
    assert!(document.starts_with(&steps), "docs/privileges.md has the steps {document:?}, and src/setup.rs {steps:?}");
}

#[test]
fn every_file_that_the_documents_link_to_is_there() {
    let documents = fs::read_dir(root().join("docs")).expect("docs").flatten().map(|entry| entry.path());
    let documents = documents.chain(["README.md", "SECURITY.md", "CHANGELOG.md"].map(|name| root().join(name)));
    for document in documents.filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(&document).expect("a document");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let path = document.parent().expect("a document is in a folder").join(file);
            assert!(path.exists(), "{} links to {target}, which is not there", document.display());
        }
    }
}

#[test]
fn every_document_has_its_place_in_the_book() {
    let summary = read("docs/SUMMARY.md");
    let listed: BTreeSet<&str> = summary.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let files = fs::read_dir(root().join("docs")).expect("docs").flatten();
    let names: Vec<String> = files.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let missing: Vec<_> = names
        .iter()
        .filter(|name| name.ends_with(".md") && *name != "SUMMARY.md" && !listed.contains(name.as_str()))
        .collect();
    assert!(names.len() > 10 && missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
}

/// The names of softnet's own dependencies: not those of its tests.
fn direct_dependencies() -> Vec<String> {
    let manifest = read("Cargo.toml");
    let mut names = Vec::new();
    let mut is_normal = false;
    for line in manifest.lines() {
        if let Some(section) = line.strip_prefix('[') {
            is_normal = section.ends_with("dependencies]") && !section.contains("dev-dependencies");
        } else if let (true, Some((name, _))) = (is_normal, line.split_once(" = ")) {
            names.push(name.to_owned());
        }
    }
    names
}

/// All that Cargo.lock has those depend on, for whichever system and feature.
fn locked_dependencies() -> BTreeSet<String> {
    let lock = read("Cargo.lock");
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package.split('"').nth(1).expect("a name");
        let list = package.split_once("dependencies = [").map_or("", |(_, list)| list);
        // ` "bitflags 1.3.2",` where there are two versions.
        let names = list.split('"').skip(1).step_by(2).filter_map(|text| text.split(' ').next());
        needs.entry(name).or_default().extend(names);
    }
    let direct = direct_dependencies();
    let mut waiting: Vec<&str> = direct.iter().map(String::as_str).collect();
    let mut found = BTreeSet::new();
    while let Some(name) = waiting.pop() {
        if found.insert(name.to_owned()) {
            waiting.extend(needs.get(name).unwrap_or_else(|| panic!("Cargo.lock has no {name}")));
        }
    }
    found
}

#[test]
fn every_crate_in_the_root_process_has_a_row_in_the_document_and_every_row_a_crate() {
    let document = read("docs/dependencies.md");
    let rows = document
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| crate ") && !line.starts_with("| ---"));
    let names: Vec<&str> =
        rows.filter_map(|row| row.split('|').nth(1)).flat_map(|cell| cell.split(',')).map(str::trim).collect();
    let described: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(described.len(), names.len(), "each crate has one row");
    let locked = locked_dependencies();
    assert!(locked.len() > 50 && direct_dependencies().contains(&"vmnet".to_owned()), "the dependencies are found");
    let undescribed: Vec<_> = locked.difference(&described).collect();
    assert!(undescribed.is_empty(), "docs/dependencies.md does not say why these are there: {undescribed:?}");
    let gone: Vec<_> = described.difference(&locked).collect();
    assert!(gone.is_empty(), "docs/dependencies.md describes what is not there any more: {gone:?}");
}
