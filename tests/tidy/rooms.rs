//! One-way doors: what each room names of the crate, against the table of rooms in `docs/architecture.md`.

use std::collections::BTreeMap;

use proc_macro2::{Group, TokenTree};

use super::source::{Level, Source, braces, is_ident, is_punct};

/// The table of rooms.
pub(crate) struct Table {
    /// For each room those that it may import.
    may_import: BTreeMap<String, Vec<String>>,
}

/// The first line of the table.
const HEAD: &str = "| room | its one job | may import |";

impl Table {
    /// Reads the table out of the page. A row may name only rooms above it.
    pub(crate) fn parse(page: &str) -> Result<Self, String> {
        let rows = page.lines().skip_while(|line| *line != HEAD).skip(2).take_while(|line| line.starts_with('|'));
        let mut may_import = BTreeMap::new();
        for row in rows {
            let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
            let [room, job, imports] = cells.as_slice() else { return Err(format!("a row without three cells: {row}")) };
            let (room, imports) = (quoted(room), quoted(imports));
            let [room] = room.as_slice() else { return Err(format!("a row without one room: {row}")) };
            if job.trim().is_empty() {
                return Err(format!("'{room}' has no job"));
            }
            if let Some(below) = imports.iter().find(|import| !may_import.contains_key(*import)) {
                return Err(format!("'{room}' may import '{below}', which is no room above it"));
            }
            if may_import.insert(room.clone(), imports).is_some() {
                return Err(format!("'{room}' has two rows"));
            }
        }
        if may_import.is_empty() { Err(format!("no table that begins with '{HEAD}'")) } else { Ok(Self { may_import }) }
    }

    /// Whether the room has a row.
    pub(crate) fn has(&self, room: &str) -> bool {
        self.may_import.contains_key(room)
    }
}

/// The words in backticks.
fn quoted(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The room of a file; `None` for `src/lib.rs`, which declares them. The binary is one room.
pub(crate) fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("src/")?;
    match inside.split_once('/') {
        Some((room, _)) => Some(room),
        None if inside == "lib.rs" => None,
        None if inside == "main.rs" => Some("cli"),
        None => inside.strip_suffix(".rs"),
    }
}

/// Imports of a file that its room's row does not have.
pub(crate) fn check(source: &Source, table: &Table) -> Vec<String> {
    let Some(room) = room_of(&source.path) else { return Vec::new() };
    let Some(allowed) = table.may_import.get(room) else { return vec![format!("{}: '{room}' has no row", source.path)] };
    let mut problems = Vec::new();
    source.each_level(|level| {
        for (tree, named) in named_at(&level, room, module_depth(&source.path)) {
            if named != room && !allowed.contains(&named) {
                problems.push(source.problem(tree, &format!("'{room}' may not import '{named}'")));
            }
        }
    });
    problems
}

/// How many modules a file is below the crate's root.
fn module_depth(path: &str) -> usize {
    let parts = path.split('/').count() - 1;
    if path.ends_with("/mod.rs") { parts - 1 } else { parts }
}

/// The children of the crate's root that are named on a level, by `crate::`, by enough `super::`, or in the binary by `cairn::`.
fn named_at<'a>(level: &Level<'a>, room: &str, depth: usize) -> Vec<(&'a TokenTree, String)> {
    let mut named = Vec::new();
    let trees = level.trees;
    let mut at = 0;
    while let Some(tree) = trees.get(at) {
        let mut supers = 0;
        let mut next = at;
        while trees.get(next).is_some_and(|tree| is_ident(tree, "super")) && follows_path(trees, next) {
            supers += 1;
            next += 3;
        }
        let is_root = is_ident(tree, if room == "cli" { "cairn" } else { "crate" }) && follows_path(trees, at);
        if is_root || (room != "cli" && supers > 0 && supers >= depth + level.inline_modules) {
            let child = at + 3 * supers.max(1);
            named.extend(trees.get(child).map(first_names).unwrap_or_default().into_iter().map(|name| (tree, name)));
        }
        at = next.max(at + 1);
    }
    named
}

fn follows_path(trees: &[TokenTree], at: usize) -> bool {
    is_punct(trees.get(at + 1), ':') && is_punct(trees.get(at + 2), ':')
}

/// The first name of a path, or of each path in braces.
fn first_names(tree: &TokenTree) -> Vec<String> {
    match (tree, braces(tree)) {
        (_, Some(group)) => names_in(group),
        (TokenTree::Ident(ident), _) => vec![ident.to_string()],
        (other, _) => vec![other.to_string()],
    }
}

fn names_in(group: &Group) -> Vec<String> {
    let trees: Vec<TokenTree> = group.stream().into_iter().collect();
    trees.split(|tree| is_punct(Some(tree), ',')).filter_map(<[TokenTree]>::first).flat_map(first_names).collect()
}

fn problems_of(path: &str, text: &str) -> Vec<String> {
    let page = format!(
        "# Rooms\n\n{HEAD}\n| --- | --- | --- |\n| `units` | words | nothing |\n| `io` | files | `units` |\n| `format` | bytes | `units` |\n| `jobs` | all | `io`, `units` |\n| `cli` | binary | `jobs` |\n\nText.\n"
    );
    check(&Source::parse(path, text).unwrap(), &Table::parse(&page).unwrap())
}

#[test]
fn a_closed_door_is_found_however_it_is_written() {
    let io = "'format' may not import 'io'";
    for text in [
        "use crate::io;",
        "use crate::io::sys::map;",
        "\nuse crate::{units::Id, io::{sys, durable}};",
        "fn f() { crate::io::sync() }",
        "fn f(x: &dyn crate::io::ReadAt) {}",
        "fn f() { vec![crate::io::LIMIT] }",
        "use super::super::io::sys;",
        "mod tests { fn f() { use super::super::super::io; } }",
        "mod tests { use crate::io; }",
    ] {
        let problems = problems_of("src/format/pack.rs", text);
        assert!(problems.len() == 1 && problems[0].ends_with(io), "{text}: {problems:?}");
    }
    assert_eq!(problems_of("src/format/mod.rs", "\n\nuse super::io;"), ["src/format/mod.rs:3: 'format' may not import 'io'"]);
    assert_eq!(problems_of("src/format.rs", "use super::io;").len(), 1);
    assert_eq!(problems_of("src/format.rs", "use crate::*;").len(), 1);
    assert_eq!(problems_of("src/format.rs", "use crate::{{io}, units, io};").len(), 2);
    assert_eq!(problems_of("src/cli/run.rs", "use cairn::io;"), ["src/cli/run.rs:1: 'cli' may not import 'io'"]);
    assert_eq!(problems_of("src/main.rs", "fn main() { cairn::units::f() }").len(), 1);
    assert_eq!(problems_of("src/volume/mod.rs", "").len(), 1, "a room without a row");
}

#[test]
fn open_doors_are_not_reported() {
    for (path, text) in [
        ("src/format/pack.rs", "use crate::units::Id; use super::bytes; use super::super::units; use crate::format::names;"),
        ("src/format/pack.rs", "pub(crate) fn f() {} mod tests { use super::super::io; }"),
        ("src/format/pack.rs", "// use crate::io;\n/// Not [`crate::io`].\nconst S: &str = \"crate::io\";"),
        ("src/jobs/mod.rs", "use crate::io; use crate::units;"),
        ("src/cli/run.rs", "use cairn::jobs; use crate::cli; use super::super::args;"),
        ("src/lib.rs", "pub use crate::io::x;"),
    ] {
        assert_eq!(problems_of(path, text), [""; 0], "{path}: {text}");
    }
}

#[test]
fn a_bad_table_is_refused() {
    let table = |rows: &str| Table::parse(&format!("{HEAD}\n| --- | --- | --- |\n{rows}")).map(|table| table.may_import.len());
    assert_eq!(table("| `a` | x | nothing |\n| `b` | y | `a` |\n"), Ok(2));
    assert_eq!(table("| `a` | x | `b` |\n| `b` | y | nothing |\n"), Err("'a' may import 'b', which is no room above it".to_owned()));
    assert_eq!(table("| `a` | x | `a` |\n"), Err("'a' may import 'a', which is no room above it".to_owned()));
    assert_eq!(table("| `a` | x | nothing |\n| `a` | x | nothing |\n"), Err("'a' has two rows".to_owned()));
    assert_eq!(table("| `a` | | nothing |\n"), Err("'a' has no job".to_owned()));
    assert!(table("| a | x | nothing |\n").is_err());
    assert!(table("| `a` | x |\n").is_err());
    assert!(Table::parse("# Rooms\n").is_err());
}
