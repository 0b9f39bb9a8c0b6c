//! The text form of LVM's metadata: sections in braces, `name = value`, values that are numbers, texts or lists of these.
//!
//! Grammar: lvm.conf(5), "SYNTAX". Bounded: in length, in depth, in the number of values.

use crate::volume::bytes::printable;

/// The longest text that is taken: metadata areas have 1 MiB unless somebody asks for more.
pub(super) const MOST_TEXT_BYTES: usize = 8 << 20;
const MOST_VALUES: usize = 1 << 19;
const MOST_DEPTH: usize = 16;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A whole number. Fractions, which metadata does not have, are cut.
    Number(i64),
    /// A text.
    Text(String),
    /// A list of numbers and texts.
    List(Vec<Value>),
    /// What stands in braces.
    Section(Section),
}

/// Names and values in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Section {
    entries: Vec<(String, Value)>,
}

impl Section {
    fn get(&self, name: &str) -> Option<&Value> {
        self.entries.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// The number under a name, if it is one that is not negative.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        match self.get(name)? {
            Value::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }

    /// The text under a name.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The list under a name; a single value is a list of one.
    pub(super) fn list(&self, name: &str) -> Option<&[Value]> {
        match self.get(name)? {
            Value::List(list) => Some(list),
            Value::Section(_) => None,
            single => Some(std::slice::from_ref(single)),
        }
    }

    /// The section under a name.
    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        match self.get(name)? {
            Value::Section(section) => Some(section),
            _ => None,
        }
    }

    /// All sections in it.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.entries.iter().filter_map(|(name, value)| match value {
            Value::Section(section) => Some((name.as_str(), section)),
            _ => None,
        })
    }
}

/// Takes a text apart.
///
/// # Errors
/// In words: what was expected, and at which byte.
pub(super) fn parse(text: &[u8]) -> Result<Section, String> {
    if text.len() > MOST_TEXT_BYTES {
        return Err(format!("its text has {} bytes, more than {MOST_TEXT_BYTES}", text.len()));
    }
    let mut parser = Parser { text, at: 0, values: 0 };
    // Sections that are open, each with its name; the first is the whole.
    let mut open = vec![(String::new(), Section::default())];
    loop {
        parser.skip();
        match parser.peek() {
            None | Some(0) => break,
            Some(b'}') => {
                parser.bump();
                let (Some((name, section)), Some((_, outer))) = (open.pop(), open.last_mut()) else {
                    return Err(parser.expected("the opening brace"));
                };
                outer.entries.push((name, Value::Section(section)));
            }
            Some(_) => {
                let name = parser.name()?;
                parser.skip();
                match parser.peek() {
                    Some(b'{') if open.len() < MOST_DEPTH => {
                        parser.bump();
                        open.push((name, Section::default()));
                    }
                    Some(b'=') => {
                        parser.bump();
                        let value = parser.value()?;
                        if let Some((_, section)) = open.last_mut() {
                            section.entries.push((name, value));
                        }
                    }
                    _ => return Err(parser.expected("an equals sign, or a brace that is not too deep,")),
                }
            }
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some((_, whole)), true) => Ok(whole),
        _ => Err(parser.expected("a closing brace")),
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn bump(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn expected(&self, what: &str) -> String {
        format!("{what} is missing at byte {} of its text", self.at)
    }

    /// Skips white space and comments.
    fn skip(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'#' {
                while self.peek().is_some_and(|byte| byte != b'\n') {
                    self.bump();
                }
            } else if !byte.is_ascii_whitespace() {
                return;
            } else {
                self.bump();
            }
        }
    }

    fn taken(&self, start: usize) -> String {
        String::from_utf8_lossy(self.text.get(start..self.at).unwrap_or_default()).into_owned()
    }

    fn name(&mut self) -> Result<String, String> {
        self.count()?;
        if matches!(self.peek(), Some(b'"' | b'\'')) {
            return self.quoted();
        }
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_graphic() && !b"{}[]=,\"'#".contains(&byte)) {
            self.bump();
        }
        if self.at == start { Err(self.expected("a name")) } else { Ok(self.taken(start)) }
    }

    fn count(&mut self) -> Result<(), String> {
        self.values = self.values.saturating_add(1);
        if self.values > MOST_VALUES { Err(format!("its text has more than {MOST_VALUES} values")) } else { Ok(()) }
    }

    fn value(&mut self) -> Result<Value, String> {
        self.skip();
        if self.peek() != Some(b'[') {
            return self.single();
        }
        self.bump();
        let mut list = Vec::new();
        loop {
            self.skip();
            match self.peek() {
                Some(b']') => {
                    self.bump();
                    return Ok(Value::List(list));
                }
                Some(b',') => self.bump(),
                Some(_) => list.push(self.single()?),
                None => return Err(self.expected("a closing bracket")),
            }
        }
    }

    fn single(&mut self) -> Result<Value, String> {
        self.count()?;
        match self.peek() {
            Some(b'"' | b'\'') => self.quoted().map(Value::Text),
            Some(b'0'..=b'9' | b'-' | b'+' | b'.') => self.number(),
            Some(byte) if byte.is_ascii_alphabetic() || byte == b'@' => self.name().map(Value::Text),
            _ => Err(self.expected("a value")),
        }
    }

    fn number(&mut self) -> Result<Value, String> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte)) {
            self.bump();
        }
        let digits = self.taken(start);
        let whole = digits.split('.').next().unwrap_or_default();
        whole.parse().map(Value::Number).map_err(|_| format!("a number that fits is missing at byte {start} of its text"))
    }

    /// A text in quotes of either kind; in double ones a backslash takes the next character as it is.
    fn quoted(&mut self) -> Result<String, String> {
        let quote = self.peek();
        self.bump();
        let mut bytes = Vec::new();
        loop {
            let byte = self.peek();
            self.bump();
            match byte {
                None => return Err(self.expected("a closing quote")),
                Some(_) if byte == quote => break,
                Some(b'\\') if quote == Some(b'"') => {
                    bytes.extend(self.peek());
                    self.bump();
                }
                Some(byte) => bytes.push(byte),
            }
        }
        Ok(printable(&String::from_utf8_lossy(&bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_of_values_are_read() {
        let text = br#"
            # a comment with { and "
            vg0 { id = "a\"b\\" # another
                seqno=7
                list = ["x", 3, 'y'] one = 4.5
                empty = []
                inner { deep { n = -1 } }
            }
            "quoted name" = text
        "#;
        let whole = parse(text).expect("sound");
        let group = whole.section("vg0").expect("vg0");
        assert_eq!((group.text("id"), group.number("seqno")), (Some("a\"b\\"), Some(7)));
        let list = [Value::Text("x".into()), Value::Number(3), Value::Text("y".into())];
        assert_eq!((group.list("list"), group.list("empty")), (Some(list.as_slice()), Some([].as_slice())));
        assert_eq!(group.list("one"), Some([Value::Number(4)].as_slice()));
        let deep = group.section("inner").and_then(|inner| inner.section("deep")).expect("deep");
        assert_eq!((deep.number("n"), deep.text("n")), (None, None));
        assert_eq!(whole.text("quoted name"), Some("text"));
        assert_eq!(whole.sections().map(|(name, _)| name).collect::<Vec<_>>(), ["vg0"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, problem) in [
            (&b"a {"[..], "a closing brace is missing at byte 3 of its text"),
            (b"a = [1", "a closing bracket is missing at byte 6 of its text"),
            (b"a = \"b", "a closing quote is missing at byte 7 of its text"),
            (b"}", "the opening brace is missing at byte 1 of its text"),
            (b"a 4", "an equals sign, or a brace that is not too deep, is missing at byte 2 of its text"),
            (b"a = 99999999999999999999", "a number that fits is missing at byte 4 of its text"),
        ] {
            assert_eq!(parse(text).expect_err("wrong"), problem);
        }
        parse("a{".repeat(100_000).as_bytes()).expect_err("too deep");
        parse("a=1 ".repeat(MOST_VALUES).as_bytes()).expect_err("too many");
        parse(&vec![b' '; MOST_TEXT_BYTES + 1]).expect_err("too long");
    }
}
