//! Patterns as a shell has them, matched on bytes: `*`, `?`, `[a-z]`, `[!a-z]`, and a backslash before what shall mean itself.
//!
//! A letter is a character of UTF-8; a byte that belongs to none is a letter by itself, so that every name can be matched.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Letter(u32),
    Any,
    Star,
    Class { negated: bool, ranges: Vec<(u32, u32)> },
}

/// What a byte outside of UTF-8 counts as: above all characters.
const FOREIGN: u32 = 0x11_0000;

/// The letters of some bytes.
fn letters(bytes: &[u8]) -> Vec<u32> {
    let mut letters = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        letters.extend(chunk.valid().chars().map(u32::from));
        letters.extend(chunk.invalid().iter().map(|&byte| FOREIGN + u32::from(byte)));
    }
    letters
}

fn is(letter: u32, character: char) -> bool {
    letter == u32::from(character)
}

impl Glob {
    /// The pattern that is written so. A `[` without its `]` means itself, as in a shell.
    #[must_use]
    pub fn new(pattern: &[u8]) -> Self {
        let letters = letters(pattern);
        let mut tokens = Vec::new();
        let mut rest = letters.as_slice();
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            let token = if is(first, '*') {
                Token::Star
            } else if is(first, '?') {
                Token::Any
            } else if is(first, '\\') {
                let (&letter, after) = after.split_first().unwrap_or((&first, after));
                rest = after;
                Token::Letter(letter)
            } else if let Some((class, after)) = class(after).filter(|_| is(first, '[')) {
                rest = after;
                class
            } else {
                Token::Letter(first)
            };
            if token != Token::Star || tokens.last() != Some(&Token::Star) {
                tokens.push(token);
            }
        }
        Self(tokens)
    }

    /// Whether all of `text` is of this pattern. A star takes slashes too.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let letters = letters(text);
        let (mut token, mut letter) = (0, 0);
        // The star met last, and how far it reaches by now: only that one ever has to take more.
        let mut star: Option<(usize, usize)> = None;
        while letter < letters.len() || token < self.0.len() {
            match (self.0.get(token), letters.get(letter)) {
                (Some(Token::Star), _) => {
                    star = Some((token, letter));
                    token += 1;
                }
                (Some(wanted), Some(&found)) if wanted.takes(found) => {
                    token += 1;
                    letter += 1;
                }
                _ => match star {
                    Some((at, taken)) if taken < letters.len() => {
                        star = Some((at, taken + 1));
                        token = at + 1;
                        letter = taken + 1;
                    }
                    _ => return false,
                },
            }
        }
        true
    }
}

impl Token {
    fn takes(&self, found: u32) -> bool {
        match self {
            Self::Letter(wanted) => *wanted == found,
            Self::Any => true,
            Self::Class { negated, ranges } => ranges.iter().any(|(first, last)| (*first..=*last).contains(&found)) != *negated,
            Self::Star => false,
        }
    }
}

/// The class whose `[` has been read, and what follows its `]`.
fn class(text: &[u32]) -> Option<(Token, &[u32])> {
    let (negated, mut rest) = match text.split_first() {
        Some((&first, after)) if is(first, '!') || is(first, '^') => (true, after),
        _ => (false, text),
    };
    let mut ranges = Vec::new();
    loop {
        let (&first, after) = rest.split_first()?;
        if is(first, ']') && !ranges.is_empty() {
            return Some((Token::Class { negated, ranges }, after));
        }
        let (first, after) = if is(first, '\\') { after.split_first().map(|(first, after)| (*first, after))? } else { (first, after) };
        match after {
            [dash, last, more @ ..] if is(*dash, '-') && !is(*last, ']') => {
                ranges.push((first, *last));
                rest = more;
            }
            _ => {
                ranges.push((first, first));
                rest = after;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_what_a_shell_would() {
        for (pattern, text, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf.bak", false),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "a1b2b3", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("**", "x/y", true),
            ("?", "\u{fc}", true),
            ("?", "", false),
            ("gr?n", "gr\u{fc}n", true),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[!a-c]x", "dx", true),
            ("[^a-c]x", "ax", false),
            ("[]a]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("[\\]]", "]", true),
            ("/etc/*", "/etc/ssh/sshd_config", true),
            ("Readme", "README", false),
        ] {
            assert_eq!(Glob::new(pattern.as_bytes()).matches(text.as_bytes()), expected, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn bytes_outside_of_utf8_are_letters() {
        assert!(Glob::new(b"a?b").matches(b"a\xffb"));
        assert!(Glob::new(b"a\xffb").matches(b"a\xffb"));
        assert!(!Glob::new(b"a\xffb").matches(b"a\xfeb"));
    }

    #[test]
    fn many_stars_take_no_time_without_end() {
        let pattern = "a*".repeat(100) + "b";
        assert!(!Glob::new(pattern.as_bytes()).matches("a".repeat(4000).as_bytes()));
    }
}
