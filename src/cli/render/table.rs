//! Tables and lists of details. Every cell is made harmless here, so that no caller can forget it.

use comfy_table::{CellAlignment, ContentArrangement, presets};

use super::safe;

/// How a column stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// Rows under a header line.
#[derive(Debug)]
pub(crate) struct Table {
    table: comfy_table::Table,
}

/// Narrowest terminal that a table is fitted to.
const MIN_WIDTH: u16 = 20;

impl Table {
    /// A table with these columns.
    pub(crate) fn new(columns: &[(&str, Align)]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(columns.iter().map(|(title, _)| *title));
        for (column, (_, align)) in table.column_iter_mut().zip(columns) {
            column.set_padding((0, 2));
            column.set_cell_alignment(match align {
                Align::Left => CellAlignment::Left,
                Align::Right => CellAlignment::Right,
            });
        }
        Self { table }
    }

    /// Adds a row, one cell a column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.table.add_row(cells.iter().map(|cell| safe(cell)));
    }

    /// The lines, each with a line feed. With a width, cells that do not fit are wrapped; without (output to a file or a pipe)
    /// each row is one line.
    pub(crate) fn render(mut self, width: Option<u16>) -> String {
        match width {
            Some(width) => self.table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width.max(MIN_WIDTH)),
            None => self.table.set_content_arrangement(ContentArrangement::Disabled),
        };
        let mut text = self.table.trim_fmt();
        text.push('\n');
        text
    }
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
        let mut table = Table::new(&[("NAME", Align::Left), ("SIZE", Align::Right), ("NOTE", Align::Left)]);
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
    }

    #[test]
    fn a_table_fits_the_terminal() {
        for width in [40, 60, 80] {
            let text = table().render(Some(width));
            assert!(text.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{text}");
        }
    }

    #[test]
    fn details_stand_in_one_column() {
        let mut details = Details::new();
        details.line("Vault", "/tmp/v").line("Id", "00\u{7}");
        details.section("Disk vda").line("Size", "1.0 GiB");
        assert_eq!(details.render(), "Vault:  /tmp/v\nId:     00\\u{7}\n\nDisk vda\n  Size:   1.0 GiB\n");
    }
}
