//! Relative links of Markdown pages.

use std::path::{Component, Path, PathBuf};

/// Relative links of a page that lead nowhere. `exists` is asked with paths in the project.
pub(crate) fn check_links(page: &Path, text: &str, exists: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut problems = Vec::new();
    let mut in_code = false;
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for target in targets(line) {
            let path = target.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:") || target.contains("::");
            if is_elsewhere || path.is_empty() {
                continue;
            }
            let found = resolve(page, path).is_some_and(|path| exists(&path));
            if !found {
                problems.push(format!("{}:{}: '{target}' leads nowhere", page.display(), number + 1));
            }
        }
    }
    problems
}

/// What the links of a line lead to, without those in backticks.
fn targets(line: &str) -> Vec<&str> {
    let prose = line.split('`').step_by(2);
    // A link's text may be in backticks; its target then begins the next part of the prose.
    let inline = prose.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    let reference = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")).map(|(_, target)| target);
    inline.chain(reference).filter_map(|target| target.split_whitespace().next()).collect()
}

/// The path in the project that a link on a page means; `None` outside the project.
fn resolve(page: &Path, link: &str) -> Option<PathBuf> {
    let mut path = page.parent()?.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::CurDir => {}
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

#[test]
fn broken_links_are_found_and_good_ones_are_not() {
    let exists = |path: &Path| [Path::new("docs/a.md"), Path::new("src/format/FORMAT.md"), Path::new("docs")].contains(&path);
    let check = |text: &str| check_links(Path::new("docs/page.md"), text, exists);
    for good in [
        "See [a](a.md), [the format](../src/format/FORMAT.md#packs) and [`a`](./a.md \"title\").",
        "[site](https://example.org/x.md) [mail](mailto:a@example.org) [below](#below) [`Vault`](crate::store::Vault)",
        "[a]: a.md",
        "```text\n[x](missing.md)\n```\n",
        "`[x](missing.md)`",
        "[docs](../docs/)",
    ] {
        assert_eq!(check(good), [""; 0], "{good}");
    }
    assert_eq!(check("a\n[a](b.md)"), ["docs/page.md:2: 'b.md' leads nowhere"]);
    for bad in ["[`a`](b.md)", "[a](a.md) and [b](b.md#x)", "[a]: b.md", "[a](../../a.md)", "[a](/docs/a.md)", "```\n```\n[a](b.md)"] {
        assert_eq!(check(bad).len(), 1, "{bad}");
    }
}
