//! Text from outside made harmless for a terminal.
//!
//! Names in an image, tags, paths and messages of the system may hold escape sequences, line breaks, or characters that turn the
//! reading direction. Whatever is printed goes through here.

use std::borrow::Cow;
use std::fmt::Write;

/// Characters that act on a terminal or on the text around them instead of being seen.
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'                        // soft hyphen
            | '\u{61c}'                     // Arabic letter mark
            | '\u{115f}' | '\u{1160}'       // Hangul fillers
            | '\u{17b4}' | '\u{17b5}'       // Khmer inherent vowels
            | '\u{180e}'                    // Mongolian vowel separator
            | '\u{200b}'..='\u{200f}'       // zero width, direction marks
            | '\u{2028}'..='\u{202e}'       // line and paragraph separators, embeddings, overrides
            | '\u{2060}'..='\u{206f}'       // joiners, isolates, deprecated format characters
            | '\u{3164}' | '\u{ffa0}'       // Hangul fillers
            | '\u{fe00}'..='\u{fe0f}'       // variation selectors
            | '\u{feff}'                    // byte order mark
            | '\u{fff0}'..='\u{fffb}'       // interlinear annotation
            | '\u{1bca0}'..='\u{1bca3}'     // shorthand format controls
            | '\u{1d173}'..='\u{1d17a}'     // musical format controls
            | '\u{e0000}'..='\u{e0fff}'     // tags, more variation selectors
        )
}

/// The text on one line, with every character that would act instead of being seen written as an escape (`\n`, `\u{1b}`).
pub(crate) fn safe(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match character {
            '\n' => plain.push_str("\\n"),
            '\r' => plain.push_str("\\r"),
            '\t' => plain.push_str("\\t"),
            other if acts(other) => plain.extend(other.escape_unicode()),
            other => plain.push(other),
        }
    }
    Cow::Owned(plain)
}

/// A JSON document with the same characters as `\uXXXX`: the same values for a parser, harmless on a terminal. Such characters
/// stand only inside strings, but for the line feeds of the layout, which stay.
pub(crate) fn safe_json(document: &str) -> Cow<'_, str> {
    let acts_here = |character: char| character != '\n' && acts(character);
    if !document.chars().any(acts_here) {
        return Cow::Borrowed(document);
    }
    let mut plain = String::with_capacity(document.len() + 16);
    for character in document.chars() {
        if acts_here(character) {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(plain, "\\u{unit:04x}");
            }
        } else {
            plain.push(character);
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_on_a_terminal_is_escaped() {
        assert_eq!(safe("\u{1b}[2Jgone\r\nfake\u{7}"), "\\u{1b}[2Jgone\\r\\nfake\\u{7}");
        assert_eq!(safe("abc\u{202e}fdp.exe"), "abc\\u{202e}fdp.exe");
        assert_eq!(safe("c1 \u{9b}31m"), "c1 \\u{9b}31m");
        assert_eq!(safe("\u{e0041}\u{200b}\u{feff}"), "\\u{e0041}\\u{200b}\\u{feff}");
    }

    #[test]
    fn what_is_seen_stays() {
        for text in ["web01", "Grüße, Welt", "日本語", "a\\b", "ñ 🙂"] {
            assert_eq!(safe(text), text);
        }
    }

    #[test]
    fn json_keeps_its_values() {
        let value = serde_json::json!({ "name": "a\u{1b}\u{9b}\u{202e}\u{e0041}\n", "list": [1, 2] });
        let document = serde_json::to_string_pretty(&value).unwrap();
        let plain = safe_json(&document);
        assert!(!plain.chars().any(|character| character != '\n' && acts(character)), "{plain}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&plain).unwrap(), value);
    }
}
