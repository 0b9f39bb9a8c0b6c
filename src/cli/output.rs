//! The two streams: results on standard output, everything else on standard error.
//!
//! A reader that goes away early (`cairn points | head`) is no failure: what is left is not written, and the exit code stays that
//! of the work. Text passes through [`safe`] where it is built from parts, so nothing here escapes twice.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use super::render::{safe, safe_json};

/// When text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// How results are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For a person.
    Text,
    /// One JSON document, laid out for reading.
    Json,
    /// JSON, one line for each event and one for the final document.
    JsonLines,
}

/// Where results, warnings and errors go.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    form: Form,
    color: bool,
    quiet: bool,
    verbose: bool,
}

impl Output {
    /// Resolves the colour by the terminal and the environment.
    pub(crate) fn new(form: Form, color: ColorChoice, quiet: bool, verbose: bool) -> Self {
        let color = match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        };
        Self { form, color, quiet, verbose }
    }

    /// Whether the result is a JSON document.
    pub(crate) fn is_json(&self) -> bool {
        self.form != Form::Text
    }

    /// Whether only warnings, errors and results are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether more than usual is wanted.
    pub(crate) fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Columns of the terminal that results go to; `None` where they go elsewhere.
    pub(crate) fn width(&self) -> Option<u16> {
        if !io::stdout().is_terminal() {
            return None;
        }
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| width.0)
    }

    /// The result of a command: the document with `--json`, else the text, which ends in a line feed. A document of its own
    /// type and a text made only when needed keep the two from drifting.
    pub(crate) fn result<T: Serialize>(&self, document: &T, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        match self.form {
            Form::Text => self.text(&text()),
            Form::Json => self.text(&format!("{}\n", safe_json(&serde_json::to_string_pretty(document)?))),
            Form::JsonLines => self.text(&format!("{}\n", safe_json(&serde_json::to_string(document)?))),
        }
    }

    /// A result of many items that are shown as they are found: a list with `--json`.
    pub(crate) fn list(&self) -> List {
        List { output: self.clone(), items: 0, line: String::new() }
    }

    /// Text as it is, to standard output.
    pub(crate) fn text(&self, text: &str) -> anyhow::Result<()> {
        self.bytes(text.as_bytes())
    }

    /// Bytes as they are, to standard output.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> anyhow::Result<()> {
        write(bytes).map(|_| ())
    }

    /// A remark for a person, to standard error; not with `--quiet`.
    pub(crate) fn note(&self, message: &str) {
        if !self.quiet {
            to_stderr(&format!("{}\n", safe_lines(message)));
        }
    }

    /// A warning, to standard error.
    pub(crate) fn warning(&self, message: &str) {
        to_stderr(&format!("{} {}\n", self.label("warning:", "1;33"), safe_lines(message)));
    }

    /// An error and what caused it, to standard error.
    pub(crate) fn error(&self, messages: &[String]) {
        let Some((first, causes)) = messages.split_first() else { return };
        let mut text = format!("{} {}\n", self.label("error:", "1;31"), safe_lines(first));
        for cause in causes {
            text.push_str(&format!("  because: {}\n", safe_lines(cause)));
        }
        to_stderr(&text);
    }

    fn label(&self, word: &str, style: &str) -> String {
        if self.color { format!("\u{1b}[{style}m{word}\u{1b}[0m") } else { word.to_owned() }
    }
}

/// Writes to standard output; `false` where the reader went away.
fn write(bytes: &[u8]) -> anyhow::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("the result cannot be written to standard output")),
        Ok(()) => Ok(true),
    }
}

/// A list under way. One with JSON lines between progress events is kept until its end, to be one line.
pub(crate) struct List {
    output: Output,
    items: u64,
    line: String,
}

impl List {
    /// Adds an item: the document with `--json`, else the text. `false`: nobody reads any more.
    pub(crate) fn add<T: Serialize>(&mut self, document: impl FnOnce() -> T, text: impl FnOnce() -> Vec<u8>) -> anyhow::Result<bool> {
        self.items += 1;
        let before = if self.items == 1 { "[" } else { "," };
        match self.output.form {
            Form::Text => write(&text()),
            Form::Json => write(format!("{before}\n  {}", safe_json(&serde_json::to_string(&document())?)).as_bytes()),
            Form::JsonLines => {
                self.line.push_str(before);
                self.line.push_str(&safe_json(&serde_json::to_string(&document())?));
                Ok(true)
            }
        }
    }

    /// Nothing follows.
    pub(crate) fn end(self) -> anyhow::Result<()> {
        match (self.output.form, self.items) {
            (Form::Text, _) => Ok(()),
            (_, 0) => self.output.text("[]\n"),
            (Form::Json, _) => self.output.text("\n]\n"),
            (Form::JsonLines, _) => self.output.text(&format!("{}]\n", self.line)),
        }
    }
}

/// Text of several lines, such as an error with a list of candidates. Lines after the first are indented, so that none that comes from
/// outside can pass for a message of its own.
fn safe_lines(text: &str) -> String {
    text.lines().map(safe).collect::<Vec<_>>().join("\n  ")
}

/// Writes to standard error. Where even that fails there is nobody left to tell.
pub(crate) fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_lines_are_indented_and_harmless() {
        assert_eq!(safe_lines("which?\n  a\nerror: fake\u{1b}[2J"), "which?\n    a\n  error: fake\\u{1b}[2J");
    }
}
