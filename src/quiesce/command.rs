//! A command as a list of arguments, with places for what is known only when it runs. No shell ever sees it.

use serde::{Deserialize, Serialize};

use super::QuiesceError;

/// A command and its arguments. `{disk}`, `{path}`, `{machine}` and `{id}` stand for the disk's name, what it is read from, the machine's
/// name, and a text that no other backup has; in a removal also `{snapshot}`, the path that the snapshot command printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CommandLine(Vec<String>);

/// What a command is run for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) machine: &'a str,
    pub(super) disk: &'a str,
    pub(super) path: &'a str,
    pub(super) id: &'a str,
}

/// Where the path that the snapshot command printed goes.
pub(super) const SNAPSHOT: &str = "{snapshot}";

impl CommandLine {
    /// A command as it is typed: a JSON array of texts, or words with quotes (`'...'`, `"..."`) and backslashes as a shell reads
    /// them, of which nothing else is done: no variables, no patterns, no pipes.
    ///
    /// # Errors
    /// A text for a person.
    pub fn parse(text: &str) -> Result<Self, String> {
        let words = if text.trim_start().starts_with('[') {
            serde_json::from_str(text).map_err(|error| format!("'{text}' is no JSON array of texts: {error}"))?
        } else {
            split(text)?
        };
        Ok(Self(words))
    }

    /// Checks that there is a program and that all places are known.
    pub(super) fn check(&self, removes: bool) -> Result<(), QuiesceError> {
        if self.0.first().is_none_or(String::is_empty) {
            return Err(QuiesceError::Refused("a snapshot command is empty: name a program".to_owned()));
        }
        let known = ["{disk}", "{path}", "{machine}", "{id}"];
        for place in self.0.iter().flat_map(|word| places(word)) {
            if !(known.contains(&place) || removes && place == SNAPSHOT) {
                let list = if removes { "{disk}, {path}, {machine}, {id}, {snapshot}" } else { "{disk}, {path}, {machine}, {id}" };
                return Err(QuiesceError::Refused(format!("'{place}' stands for nothing in this snapshot command; {list} do")));
            }
        }
        Ok(())
    }

    /// The arguments with everything filled in but the snapshot's path.
    pub(super) fn fill(&self, values: Values<'_>) -> Vec<String> {
        self.0.iter().map(|word| fill(word, values)).collect()
    }
}

/// Fills in one word from left to right, so that a value with braces in it is not filled in again.
fn fill(word: &str, values: Values<'_>) -> String {
    let mut filled = String::new();
    let mut rest = word;
    while let Some(place) = places(rest).next() {
        let Some((before, after)) = rest.split_once(place) else { break };
        filled.push_str(before);
        filled.push_str(match place {
            "{disk}" => values.disk,
            "{path}" => values.path,
            "{machine}" => values.machine,
            "{id}" => values.id,
            other => other,
        });
        rest = after;
    }
    filled.push_str(rest);
    filled
}

/// The `{words}` of a text: lower-case letters in braces.
fn places(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('{').filter_map(|(at, _)| {
        let inside = text.get(at + 1..)?;
        let end = inside.find('}')?;
        let is_word = end > 0 && inside.get(..end)?.bytes().all(|byte| byte.is_ascii_lowercase());
        if is_word { text.get(at..at + end + 2) } else { None }
    })
}

/// Splits into words.
fn split(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match (quote, char) {
            (Some(open), _) if char == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(char);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                let escaped = chars.next().ok_or_else(|| format!("'{text}' ends in a backslash"))?;
                word.get_or_insert_default().push(escaped);
            }
            (None, _) if char.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(char),
        }
    }
    if let Some(open) = quote {
        return Err(format!("'{text}' has a {open} without its other"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_split_without_a_shell() {
        let split = |text: &str| CommandLine::parse(text).map(|command| command.0);
        assert_eq!(
            split(r#" lvcreate -s  'a b' "c \"d\" $HOME" e\ f "" "#).unwrap(),
            ["lvcreate", "-s", "a b", "c \"d\" $HOME", "e f", ""]
        );
        assert_eq!(split(r#"["a b", "{path}"]"#).unwrap(), ["a b", "{path}"]);
        for wrong in ["'a", "a\"", "a\\", "[1]", "[\"a\""] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
        assert_eq!(split("").unwrap(), [""; 0]);
    }

    #[test]
    fn places_are_filled_once() {
        let command = CommandLine::parse("snap {disk}-{id} {path} {machine} {snapshot} {} {A} {print").unwrap();
        let values = Values { machine: "web01", disk: "vda", path: "/a{id}b", id: "77" };
        assert_eq!(command.fill(values), ["snap", "vda-77", "/a{id}b", "web01", "{snapshot}", "{}", "{A}", "{print"]);
        assert!(command.check(true).is_ok());
        assert!(command.check(false).unwrap_err().to_string().contains("'{snapshot}' stands for nothing"));
        assert!(CommandLine::parse("x {disks}").unwrap().check(true).is_err());
    }
}
