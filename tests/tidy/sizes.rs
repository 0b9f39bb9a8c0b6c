//! Sizes of files and functions.

use proc_macro2::TokenTree;

use super::source::{Source, braces, is_ident, is_punct, is_test};

/// Most lines of any file.
pub(crate) const HARD_FILE_LINES: usize = 600;
/// Most lines of a file that is not all tests, unless the list of exceptions has it.
pub(crate) const SOFT_FILE_LINES: usize = 400;
/// Most lines of a function, from its `fn` to its last brace.
const FUNCTION_LINES: usize = 70;

/// Functions that do not fit a screen.
pub(crate) fn check_functions(source: &Source) -> Vec<String> {
    let mut problems = Vec::new();
    source.each_level(|level| {
        for (at, tree) in level.trees.iter().enumerate() {
            let Some(TokenTree::Ident(name)) = level.trees.get(at + 1) else { continue };
            if !is_ident(tree, "fn") {
                continue;
            }
            let signature = level.trees.get(at..).unwrap_or_default().iter();
            let end = signature.take_while(|tree| !is_punct(Some(tree), ';')).find_map(braces);
            let lines = end.map_or(0, |body| body.span_close().end().line + 1 - tree.span().start().line);
            if lines > FUNCTION_LINES {
                problems.push(source.problem(tree, &format!("'{name}' has {lines} lines, more than {FUNCTION_LINES}")));
            }
        }
    });
    problems
}

/// Files that are too long, and exceptions that are not what they say.
pub(crate) fn check_files(lengths: &[(String, usize)], exceptions: &[(&str, usize)]) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, lines) in lengths {
        let exception = exceptions.iter().find(|(excepted, _)| excepted == path).map(|(_, lines)| *lines);
        if *lines > HARD_FILE_LINES {
            problems.push(format!("{path} has {lines} lines, more than {HARD_FILE_LINES}"));
        }
        match exception {
            None if *lines > SOFT_FILE_LINES && !is_test(path) => {
                problems.push(format!("{path} has {lines} lines, more than {SOFT_FILE_LINES}: split it"));
            }
            Some(allowed) if *lines > allowed => problems.push(format!("{path} grew from {allowed} to {lines} lines: split it")),
            Some(allowed) if *lines <= SOFT_FILE_LINES || *lines < allowed => {
                problems.push(format!("{path} shrank to {lines} lines: lower its entry {allowed} in LONG_FILES, or remove it"));
            }
            _ => {}
        }
    }
    let gone = exceptions.iter().filter(|(excepted, _)| !lengths.iter().any(|(path, _)| path == excepted));
    problems.extend(gone.map(|(path, _)| format!("{path} is gone: remove it from LONG_FILES")));
    problems
}

#[test]
fn a_long_function_is_found_and_a_short_one_is_not() {
    let function = |lines: usize| format!("fn f() -> u8\nwhere\n    u8: Copy,\n{{{}}}\n", "\n".repeat(lines - 4));
    let check = |text: &str| check_functions(&Source::parse("src/a.rs", text).unwrap());
    assert_eq!(check(&function(70)), [""; 0]);
    assert_eq!(check(&function(71)), ["src/a.rs:1: 'f' has 71 lines, more than 70"]);
    assert_eq!(check(&format!("mod tests {{ impl X {{\n{}}} }}", function(80))), ["src/a.rs:2: 'f' has 80 lines, more than 70"]);
    assert_eq!(check(&format!("type F = fn();\ntrait T {{\n fn f();\n fn g();\n{}}}", "\n".repeat(90))), [""; 0]);
}

#[test]
fn long_files_are_found_and_exceptions_only_shrink() {
    let check = |lines: usize, exceptions: &[(&str, usize)]| check_files(&[("src/a.rs".to_owned(), lines)], exceptions).len();
    assert_eq!((check(400, &[]), check(401, &[])), (0, 1));
    assert_eq!((check(450, &[("src/a.rs", 450)]), check(451, &[("src/a.rs", 450)])), (0, 1));
    assert_eq!((check(449, &[("src/a.rs", 450)]), check(400, &[("src/a.rs", 400)])), (1, 1));
    assert_eq!(check(601, &[("src/a.rs", 601)]), 1, "no exception from the hard limit");
    assert_eq!(check(100, &[("src/b.rs", 450)]), 1, "an exception for a file that is gone");
    assert_eq!(check_files(&[("src/a/tests.rs".to_owned(), 600), ("tests/a.rs".to_owned(), 500)], &[]), [""; 0]);
    assert_eq!(check_files(&[("src/a/tests.rs".to_owned(), 601), ("tests/a.rs".to_owned(), 601)], &[]).len(), 2);
}
