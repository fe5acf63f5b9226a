//! Aligned columns.

use crate::screen::{Paint, Style};

/// Text and how to paint it; columns are measured without the paint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Cell {
    text: String,
    style: Option<Style>,
}

impl Cell {
    /// Plain text; an empty one is shown as `-`.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), style: None }
    }

    /// Painted text.
    pub(crate) fn styled(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style: Some(style) }
    }
}

impl<T: Into<String>> From<Option<T>> for Cell {
    fn from(text: Option<T>) -> Self {
        Self::new(text.map_or_else(|| "-".to_owned(), Into::into))
    }
}

/// Rows below a heading. The last column is as wide as it needs to be.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Appends a row; missing cells at its end stay empty.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The text, with a line feed after each row.
    pub(crate) fn render(&self, paint: Paint) -> String {
        let headings: Vec<Cell> =
            self.headings.iter().map(|heading| Cell::styled(Style::Dim, *heading)).collect();
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().chain([&headings]).filter_map(|row| row.get(column));
                cells.map(|cell| cell.text.chars().count()).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in [&headings].into_iter().chain(&self.rows) {
            render_row(&mut out, row, &widths, paint);
        }
        out
    }
}

fn render_row(out: &mut String, row: &[Cell], widths: &[usize], paint: Paint) {
    let mut padding = 0;
    for (cell, width) in row.iter().zip(widths) {
        if !cell.text.is_empty() {
            out.extend(std::iter::repeat_n(' ', padding));
            padding = 0;
            match cell.style {
                Some(style) => out.push_str(&paint.with(style, &cell.text)),
                None => out.push_str(&cell.text),
            }
        }
        padding += width.saturating_sub(cell.text.chars().count()) + GAP;
    }
    out.push('\n');
}

/// Spaces between columns.
const GAP: usize = 2;

/// A label and what it labels, aligned with others of its kind:
/// `  peer      203.0.113.7`. Further lines of the value are indented to the same column.
pub(crate) fn fact(paint: Paint, label: &str, value: &str) -> String {
    fact_in(paint, LABEL_COLUMNS, label, value)
}

/// The same where labels are longer: `columns` of one and the space behind it.
pub(crate) fn fact_in(paint: Paint, columns: usize, label: &str, value: &str) -> String {
    let padding = columns.saturating_sub(label.chars().count()).max(1);
    let mut out = format!("  {}", paint.with(Style::Label, label));
    out.extend(std::iter::repeat_n(' ', padding));
    for (index, line) in value.split('\n').enumerate() {
        if index > 0 {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', columns + 2));
        }
        out.push_str(line);
    }
    out
}

/// Columns of a label and the space behind it.
pub(crate) const LABEL_COLUMNS: usize = 11;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_end_without_spaces() {
        let mut table = Table::new(&["NAME", "STATE", ""]);
        table.row(vec![Cell::new("berlin"), Cell::styled(Style::Good, "UP"), Cell::new("")]);
        table.row(vec![Cell::new("x"), Cell::new("CONNECTING"), Cell::new("why")]);
        insta::assert_snapshot!(table.render(Paint::PLAIN), @r"
        NAME    STATE
        berlin  UP
        x       CONNECTING  why
        ");
    }

    #[test]
    fn paint_does_not_disturb_the_columns() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![Cell::styled(Style::Bad, "xx"), Cell::new("y")]);
        let painted = table.render(Paint { colour: true });
        assert!(painted.ends_with("\x1b[1;31mxx\x1b[0m  y\n"), "{painted:?}");
    }

    #[test]
    fn facts_share_a_column() {
        insta::assert_snapshot!(fact(Paint::PLAIN, "peer", "a\nb"), @r"
          peer       a
                     b
        ");
    }
}
