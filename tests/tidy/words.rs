//! Words that may not be used, and how a file begins.

use proc_macro2::TokenTree;

use super::source::{Source, is_ident, is_punct, is_test};

/// The one file that may be unsafe.
const UNSAFE_FILE: &str = "src/io/sys.rs";
/// Macros that stand for work that was not done.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];
/// Macros that only the binary and tests may use.
const PRINTING: [&str; 4] = ["print", "println", "eprint", "eprintln"];

/// Uses of `unsafe`, of unfinished work, and of printing where the file may not.
pub(crate) fn check(source: &Source) -> Vec<String> {
    let may_print = is_test(&source.path) || source.path == "src/main.rs" || source.path.starts_with("src/cli/");
    let mut problems = Vec::new();
    source.each_level(|level| {
        for (at, tree) in level.trees.iter().enumerate() {
            let TokenTree::Ident(word) = tree else { continue };
            let is_macro = is_punct(level.trees.get(at + 1), '!') && matches!(level.trees.get(at + 2), Some(TokenTree::Group(_)));
            if is_ident(tree, "unsafe") && source.path != UNSAFE_FILE {
                problems.push(source.problem(tree, &format!("unsafe code outside {UNSAFE_FILE}")));
            }
            if is_macro && UNFINISHED.iter().any(|name| word == name) {
                problems.push(source.problem(tree, &format!("{word}! may not stay")));
            }
            if is_macro && !may_print && PRINTING.iter().any(|name| word == name) {
                problems.push(source.problem(tree, &format!("{word}!: the library never prints")));
            }
        }
    });
    problems
}

/// The problem of a file that does not begin with its job.
pub(crate) fn check_head(source: &Source) -> Vec<String> {
    let job = source.text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default();
    if job.len() >= 10 { Vec::new() } else { vec![format!("{}:1: begins without '//! ' and its job", source.path)] }
}

/// Lines with characters outside ASCII that are not in a literal.
pub(crate) fn check_ascii(source: &Source) -> Vec<String> {
    let literals = source.literals();
    let stray = source.text.char_indices().filter(|(at, char)| !char.is_ascii() && !literals.iter().any(|range| range.contains(at)));
    let line = |at: usize| source.text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    stray.map(|(at, char)| format!("{}:{}: '{char}' is not ASCII", source.path, line(at))).collect()
}

#[cfg(test)]
fn problems_of(path: &str, text: &str) -> usize {
    check(&Source::parse(path, text).unwrap()).len()
}

#[test]
fn forbidden_words_are_found() {
    for text in ["fn f() { unsafe { g() } }", "unsafe impl Send for X {}", "mod a { unsafe fn f() {} }", "m!(unsafe { g() });"] {
        assert_eq!(problems_of("src/io/file.rs", text), 1, "{text}");
        assert_eq!(problems_of(UNSAFE_FILE, text), 0, "{text}");
    }
    for text in ["fn f() { todo!() }", "fn f() { unimplemented!(\"later\") }", "fn f() { dbg!(1) + 1 }", "fn f() { std::todo![] }"] {
        assert_eq!(problems_of("src/main.rs", text), 1, "{text}");
    }
    for text in ["fn f() { println!() }", "fn f() { eprintln!(\"x\") }", "fn f() { if x { print!(\"x\") } }", "fn f() { eprint!(\"x\") }"] {
        assert_eq!(problems_of("src/store/mod.rs", text), 1, "{text}");
        assert_eq!(["src/cli/args.rs", "src/main.rs", "src/store/tests.rs"].map(|path| problems_of(path, text)), [0; 3], "{text}");
    }
}

#[test]
fn words_in_prose_and_texts_are_not_code() {
    let text = "//! unsafe, todo!(), println!(\"x\")\n// dbg!(x)\nconst S: &str = \"unsafe { todo!() }\";\nfn todo() { print(); deny!(unsafe_code) }";
    assert_eq!(problems_of("src/store/mod.rs", text), 0);
}

#[test]
fn heads_are_checked() {
    let check = |text: &str| check_head(&Source::parse("src/a.rs", text).unwrap()).len();
    assert_eq!(check("//! Numbers on disk.\nfn f() {}"), 0);
    assert_eq!((check("fn f() {}"), check(""), check("//!\n//! Numbers on disk."), check("/// Numbers on disk.\nfn f() {}")), (1, 1, 1, 1));
}

#[test]
fn characters_outside_ascii_are_found_in_comments_only() {
    let check = |text: &str| check_ascii(&Source::parse("src/a.rs", text).unwrap());
    assert_eq!(check("// a\n// caf\u{e9}\nfn f() {}"), ["src/a.rs:2: '\u{e9}' is not ASCII"]);
    assert_eq!(check("/// 4 \u{2192} 5\nfn f() {}").len(), 1);
    assert_eq!(check("//! \u{2013}\n/* \u{e9} */ fn f() { /* \u{e9} */ }").len(), 3);
    assert_eq!(check("const S: [&str; 2] = [\"\u{e9}\", r#\"\u{e9}\"#]; // e"), [""; 0]);
}
