//! The documents name files and steps of the code: what they name is there. Tests that they name: `threat_model.rs`.

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
