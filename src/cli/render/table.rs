//! Tables and lists of details. Every cell is made harmless here, so that no caller can forget it.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Width, presets};

use super::safe;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Words that may be wrapped where the terminal is too narrow: free text and lists.
    Wrap,
    /// Numbers.
    Right,
}

/// Rows under a header line.
#[derive(Debug)]
pub(crate) struct Table {
    table: comfy_table::Table,
    columns: Vec<Align>,
}

/// Spaces between columns, and between those that are crowded.
const SPACES: u16 = 2;
const CROWDED: u16 = 1;
/// Narrowest column of free text.
const LEAST_WRAPPED: u16 = 12;

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(columns.iter().map(|(title, _)| *title));
        for (column, (_, align)) in table.column_iter_mut().zip(columns) {
            column.set_cell_alignment(match align {
                Align::Left | Align::Wrap => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self { table, columns: columns.iter().map(|(_, align)| *align).collect() }
    }

    /// Adds a row, one cell a column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells.iter().map(|cell| safe(cell)));
    }

    /// The lines, each with a line feed. With a width, columns are crowded and free text is wrapped as far as it is needed; words
    /// and numbers are never broken, so a very narrow terminal breaks the lines itself. Without (output to a file or a pipe)
    /// each row is one line.
    pub(crate) fn render(mut self, width: Option<u16>) -> String {
        let widths = self.table.column_max_content_widths();
        let needed =
            |spaces: u16| widths.iter().map(|width| width.saturating_add(spaces)).fold(0, u16::saturating_add).saturating_sub(spaces);
        let (spaces, excess) = match width {
            Some(width) if needed(SPACES) > width => (CROWDED, needed(CROWDED).saturating_sub(width)),
            _ => (SPACES, 0),
        };
        let limits = wrapped(&self.columns, &widths, excess);
        for ((column, limit), content) in self.table.column_iter_mut().zip(limits).zip(&widths) {
            column.set_padding((0, spaces));
            // The library counts the padding as a part of the column.
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(limit.min(*content).saturating_add(spaces))));
        }
        self.table.set_content_arrangement(ContentArrangement::Disabled);
        let mut text = self.table.trim_fmt();
        text.push('\n');
        text
    }
}

/// Widths of the contents after so much was taken from the columns of free text, from the widest first.
fn wrapped(columns: &[Align], widths: &[u16], mut excess: u16) -> Vec<u16> {
    let mut limits = widths.to_vec();
    let mut free: Vec<usize> = (0..limits.len().min(columns.len())).filter(|&column| columns[column] == Align::Wrap).collect();
    free.sort_by_key(|&column| std::cmp::Reverse(limits[column]));
    for column in free {
        let taken = excess.min(limits[column].saturating_sub(LEAST_WRAPPED));
        limits[column] -= taken;
        excess -= taken;
    }
    limits
}

/// "Name: value" lines with the values in one column, in sections.
#[derive(Debug, Default)]
pub(crate) struct Details {
    sections: Vec<Section>,
}

#[derive(Debug, Default)]
struct Section {
    title: Option<String>,
    lines: Vec<(String, String)>,
}

impl Details {
    /// Nothing yet.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Begins a section with a title; its lines are indented.
    pub(crate) fn section(&mut self, title: &str) -> &mut Self {
        self.sections.push(Section { title: Some(safe(title).into_owned()), lines: Vec::new() });
        self
    }

    /// Adds a line.
    pub(crate) fn line(&mut self, name: &str, value: impl AsRef<str>) -> &mut Self {
        if self.sections.is_empty() {
            self.sections.push(Section::default());
        }
        if let Some(section) = self.sections.last_mut() {
            section.lines.push((safe(name).into_owned(), safe(value.as_ref()).into_owned()));
        }
        self
    }

    /// The lines, each with a line feed.
    pub(crate) fn render(&self) -> String {
        let names = self.sections.iter().flat_map(|section| &section.lines).map(|(name, _)| name.chars().count());
        let width = names.max().unwrap_or(0) + 1;
        let mut text = String::new();
        for (index, section) in self.sections.iter().enumerate() {
            if let Some(title) = &section.title {
                text.push_str(if index == 0 { "" } else { "\n" });
                text.push_str(title);
                text.push('\n');
            }
            let indent = if section.title.is_some() { "  " } else { "" };
            for (name, value) in &section.lines {
                let line = format!("{indent}{:<width$}  {value}", format!("{name}:"));
                text.push_str(line.trim_end());
                text.push('\n');
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right), ("NOTE", Align::Wrap)]);
        table.row(["vda".into(), "1.0 GiB".into(), "a note that is rather long for a narrow terminal".into()]);
        table.row(["evil\u{1b}[2J\nname".into(), "12 B".into(), String::new()]);
        table
    }

    #[test]
    fn a_row_is_one_line_where_there_is_no_terminal() {
        let expected = "\
NAME                    SIZE  NOTE
vda                  1.0 GiB  a note that is rather long for a narrow terminal
evil\\u{1b}[2J\\nname     12 B
";
        assert_eq!(table().render(None), expected);
        assert_eq!(table().render(Some(78)), expected);
    }

    #[test]
    fn a_table_is_crowded_then_free_text_is_wrapped() {
        let crowded = "\
NAME                   SIZE NOTE
vda                 1.0 GiB a note that is rather long for a narrow terminal
evil\\u{1b}[2J\\nname    12 B
";
        assert_eq!(table().render(Some(76)), crowded);
        let wrapped = "\
NAME                   SIZE NOTE
vda                 1.0 GiB a note that is
                            rather long for a
                            narrow terminal
evil\\u{1b}[2J\\nname    12 B
";
        assert_eq!(table().render(Some(48)), wrapped);
        // Narrower than words can be: the terminal breaks the lines.
        assert!(table().render(Some(10)).lines().nth(1).is_some_and(|line| line.starts_with("vda                 1.0 GiB a note that")));
    }

    #[test]
    fn details_stand_in_one_column() {
        let mut details = Details::new();
        details.line("Vault", "/tmp/v").line("Id", "00\u{7}");
        details.section("Disk vda").line("Size", "1.0 GiB");
        assert_eq!(details.render(), "Vault:  /tmp/v\nId:     00\\u{7}\n\nDisk vda\n  Size:   1.0 GiB\n");
    }
}
