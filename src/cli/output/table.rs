//! Tables without borders: a heading, aligned columns, two spaces between.
//!
//! On a terminal one column (a name, a command) gives way so that rows fit its
//! width; into a pipe everything is written whole.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Row, Width, presets::NOTHING};

/// Narrower than this the column that gives way is not made.
const NARROWEST: u16 = 8;

/// A table that grows by rows.
pub(crate) struct Table {
    inner: comfy_table::Table,
    gives_way: usize,
    rows: usize,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    /// Text, aligned to the left.
    Left(&'static str),
    /// Numbers, aligned to the right.
    Right(&'static str),
    /// Text that is cut when the terminal is too narrow.
    GivesWay(&'static str),
}

impl Table {
    /// An empty table with these columns, one of which gives way.
    pub(crate) fn new(columns: &[Column]) -> Self {
        let mut inner = comfy_table::Table::new();
        inner.load_style(NOTHING).set_truncation_indicator("…");
        let titles = columns.iter().map(|column| match column {
            Column::Left(title) | Column::Right(title) | Column::GivesWay(title) => *title,
        });
        inner.set_header(titles.collect::<Vec<_>>());
        for (i, column) in columns.iter().enumerate() {
            if let Some(made) = inner.column_mut(i) {
                made.set_padding((0, 2));
                if matches!(column, Column::Right(_)) {
                    made.set_cell_alignment(CellAlignment::Right);
                }
            }
        }
        let gives_way = columns.iter().position(|column| matches!(column, Column::GivesWay(_))).unwrap_or(0);
        Self { inner, gives_way, rows: 0 }
    }

    /// Adds a row; a cell that could break the line is shown escaped.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row = Row::from(cells.into_iter().map(|cell| super::text::one_line(&cell)).collect::<Vec<_>>());
        row.max_height(1);
        self.inner.add_row(row);
        self.rows += 1;
    }

    /// Whether it has no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Its lines, at most `width` wide when there is a width to keep to.
    pub(crate) fn lines(&mut self, width: Option<u16>) -> Vec<String> {
        let widths: Vec<u16> = self.inner.column_max_content_widths();
        self.inner.set_content_arrangement(ContentArrangement::Disabled);
        if let Some(width) = width {
            let others: u16 = widths.iter().enumerate().filter(|(i, _)| *i != self.gives_way).map(|(_, w)| w + 2).sum();
            let room = width.saturating_sub(others).max(NARROWEST);
            if widths.get(self.gives_way).is_some_and(|wanted| *wanted > room) {
                if let Some(column) = self.inner.column_mut(self.gives_way) {
                    // The padding counts towards a column's width.
                    column.set_constraint(ColumnConstraint::Absolute(Width::Fixed(room + 2)));
                }
                self.inner.set_width(others + room + 2).set_content_arrangement(ContentArrangement::Dynamic);
            }
        }
        self.inner.lines().map(|line| line.trim_end().to_owned()).collect()
    }
}

/// The width of the terminal on stdout, when there is one.
pub(crate) fn terminal_width() -> Option<u16> {
    comfy_table::Table::new().width()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[Column::Right("ID"), Column::GivesWay("NAME"), Column::Left("STATE")]);
        table.row(["7", "short", "running"].map(str::to_owned));
        table.row(["12", "a name that is much too long for a narrow terminal", "ready"].map(str::to_owned));
        table
    }

    #[test]
    fn columns_are_aligned_and_have_no_borders() {
        let lines = sample().lines(None);
        assert_eq!(lines[0], "ID  NAME                                                STATE");
        assert_eq!(lines[1], " 7  short                                               running");
        assert_eq!(lines[2], "12  a name that is much too long for a narrow terminal  ready");
    }

    #[test]
    fn on_a_narrow_terminal_one_column_gives_way() {
        let lines = sample().lines(Some(40));
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:#?}");
        assert_eq!(lines.len(), 3, "a row stays one line: {lines:#?}");
        assert!(lines[2].contains('…') && lines[2].ends_with("ready"), "{lines:#?}");
    }

    #[test]
    fn a_name_with_a_line_break_stays_in_its_row() {
        let mut table = Table::new(&[Column::GivesWay("NAME")]);
        table.row(["a\nb".to_owned()]);
        assert_eq!(table.lines(None), ["NAME", "a\\nb"]);
    }
}
