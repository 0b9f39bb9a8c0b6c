//! Names of directories that are made from what a guest says: labels, partition names.

use std::collections::HashSet;

/// Bytes of a name at most, so that a suffix still fits.
const LONGEST: usize = 200;

/// A name that can be a directory's: what is no letter, digit or one of `-_.+@` becomes `_`; never empty, never starting with a dot.
pub(super) fn plain(text: &str) -> String {
    let mut name = String::new();
    for letter in text.trim().chars() {
        let letter = if letter.is_alphanumeric() || "-_.+@ ".contains(letter) { letter } else { '_' };
        if name.len() + letter.len_utf8() > LONGEST {
            break;
        }
        name.push(letter);
    }
    if name.starts_with('.') {
        name.replace_range(..1, "_");
    }
    name
}

/// Names that were given out.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    /// The first of `wishes` that is not empty, with a number behind it if somebody else has it: `data`, `data-2`, `data-3`.
    pub(super) fn give<'a>(&mut self, wishes: impl IntoIterator<Item = &'a str>) -> String {
        let wish = wishes.into_iter().map(plain).find(|name| !name.is_empty()).unwrap_or_else(|| "volume".to_owned());
        let mut name = wish.clone();
        let mut number = 2;
        while !self.0.insert(name.to_lowercase()) {
            name = format!("{wish}-{number}");
            number += 1;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_harmless() {
        for (given, expected) in [
            ("data", "data"),
            ("../etc", "_._etc"),
            ("a/b\0c", "a_b_c"),
            ("\u{1b}[2Jx", "_[2Jx"),
            ("  ", ""),
            ("Größe 1", "Größe 1"),
            ("..", "_."),
        ] {
            let expected = expected.replace('[', "_");
            assert_eq!(plain(given), expected, "{given:?}");
        }
        assert!(plain(&"ä".repeat(300)).len() <= LONGEST);
    }

    #[test]
    fn equal_wishes_get_numbers() {
        let mut names = Names::default();
        assert_eq!(names.give(["data"]), "data");
        assert_eq!(names.give(["", "data"]), "data-2");
        assert_eq!(names.give(["Data"]), "Data-3", "also where case does not count");
        assert_eq!(names.give([""]), "volume");
    }
}
