//! Holds the sources to the rules of the house: one-way doors between rooms, sizes, words that may not be used, links of the docs.
//!
//! The rules are functions in `tidy/`, each beside samples on which it must fail. Here they are applied to the project itself.

#![cfg(test)]

#[path = "tidy/docs.rs"]
mod docs;
#[path = "tidy/rooms.rs"]
mod rooms;
#[path = "tidy/sizes.rs"]
mod sizes;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/words.rs"]
mod words;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use source::Source;

/// Files above [`sizes::SOFT_FILE_LINES`] with their present length. An entry may shrink and go; it may not grow.
const LONG_FILES: &[(&str, usize)] = &[];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files below `directory` of the project whose names end in `ending`, by their path in the project. What is built or
/// found by fuzzing is left out.
fn files(directory: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![root().join(directory)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        for entry in entries {
            let entry = entry.unwrap();
            let (path, name) = (entry.path(), entry.file_name().into_string().unwrap());
            if entry.file_type().unwrap().is_dir() {
                if !["target", "corpus", "artifacts"].contains(&name.as_str()) && !name.starts_with('.') {
                    directories.push(path);
                }
            } else if name.ends_with(ending) {
                found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn sources(directories: &[&str]) -> Vec<Source> {
    let paths = directories.iter().flat_map(|directory| files(directory, ".rs"));
    let sources: Vec<Source> = paths.map(|path| Source::parse(&path, &read(&path)).unwrap()).collect();
    assert!(!sources.is_empty(), "no source in {directories:?}: the walk over files is broken");
    sources
}

fn report(problems: &[String]) {
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
}

#[test]
fn rooms_import_only_what_their_row_of_the_table_says() {
    let table = rooms::Table::parse(&read("docs/architecture.md")).unwrap();
    let problems: Vec<String> = sources(&["src"]).iter().flat_map(|source| rooms::check(source, &table)).collect();
    report(&problems);
}

#[test]
fn the_table_has_the_rooms_that_exist() {
    let table = rooms::Table::parse(&read("docs/architecture.md")).unwrap();
    let existing: BTreeSet<String> = files("src", ".rs").iter().filter_map(|path| rooms::room_of(path)).map(str::to_owned).collect();
    let missing: Vec<String> = existing.iter().filter(|room| !table.has(room)).map(|room| format!("no row for '{room}'")).collect();
    report(&missing);
}

#[test]
fn words_that_may_not_be_used_are_not() {
    let problems: Vec<String> = sources(&["src"]).iter().flat_map(words::check).collect();
    report(&problems);
}

#[test]
fn files_begin_with_their_job_and_comments_are_ascii() {
    let all = sources(&["src", "tests", "benches", "fuzz"]);
    let problems: Vec<String> = all.iter().flat_map(|source| [words::check_head(source), words::check_ascii(source)]).flatten().collect();
    report(&problems);
}

#[test]
fn functions_fit_a_screen() {
    let all = sources(&["src", "tests", "benches", "fuzz"]);
    let problems: Vec<String> = all.iter().flat_map(sizes::check_functions).collect();
    report(&problems);
}

#[test]
fn files_are_short() {
    let lengths: Vec<(String, usize)> =
        sources(&["src", "tests", "benches", "fuzz"]).iter().map(|source| (source.path.clone(), source.text.lines().count())).collect();
    report(&sizes::check_files(&lengths, LONG_FILES));
}

#[test]
fn links_of_the_docs_lead_somewhere() {
    let pages = files("", ".md");
    assert!(pages.iter().any(|page| page == "docs/architecture.md"), "the walk over pages is broken");
    let exists = |path: &Path| root().join(path).exists();
    let problems: Vec<String> = pages.iter().flat_map(|page| docs::check_links(&PathBuf::from(page), &read(page), exists)).collect();
    report(&problems);
}
