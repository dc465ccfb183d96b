//! Tables for people: aligned, plain, at most 100 columns wide.

use std::borrow::Cow;

/// Widest table, in characters.
const WIDTH_MAX: usize = 100;
/// No column is made narrower than this.
const COLUMN_MIN: usize = 8;
/// Between two columns.
const GAP: &str = "  ";

/// Which side of its column a text keeps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    /// Words.
    Left,
    /// Numbers.
    Right,
}

/// A colour of the terminal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Colour {
    /// Good.
    Green,
    /// Not there yet.
    Yellow,
    /// Broken.
    Red,
}

/// One text of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: None }
    }
}

impl Cell {
    /// A text in a colour.
    pub(super) fn coloured(text: impl Into<String>, colour: Colour) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }
}

/// Rows under headings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    /// An empty table.
    pub(super) fn new(columns: &[(&'static str, Align)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row, which has as many cells as the table has columns.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The table as text, one line for the headings and one a row.
    pub(super) fn render(&self, colour: bool) -> String {
        let widths = self.widths();
        let headings: Vec<Cell> = self.columns.iter().map(|(heading, _)| Cell::from(*heading)).collect();
        let mut text = String::new();
        for row in std::iter::once(&headings).chain(&self.rows) {
            text.push_str(&self.line(row, &widths, colour));
            text.push('\n');
        }
        text
    }

    /// Each column is as wide as its longest text; the widest are cut until the line fits.
    fn widths(&self) -> Vec<usize> {
        let length = |column: usize| {
            self.rows.iter().filter_map(move |row| row.get(column)).map(|cell| width(&cell.text))
        };
        let columns = self.columns.iter().enumerate();
        let mut widths: Vec<usize> = columns
            .map(|(index, (heading, _))| length(index).max().unwrap_or(0).max(width(heading)))
            .collect();
        let gaps = GAP.len() * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > WIDTH_MAX {
            let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > COLUMN_MIN) else { break };
            *widest -= 1;
        }
        widths
    }

    fn line(&self, row: &[Cell], widths: &[usize], colour: bool) -> String {
        let cells = row.iter().zip(widths).zip(&self.columns);
        let padded: Vec<String> =
            cells.map(|((cell, width), (_, align))| padded(cell, *width, *align, colour)).collect();
        padded.join(GAP).trim_end().to_owned()
    }
}

fn padded(cell: &Cell, column: usize, align: Align, colour: bool) -> String {
    let text = cut(&cell.text, column);
    let space = " ".repeat(column - width(&text));
    let text = if colour { painted(&text, cell.colour) } else { text.into_owned() };
    match align {
        Align::Left => text + &space,
        Align::Right => space + &text,
    }
}

fn painted(text: &str, colour: Option<Colour>) -> String {
    let code = match colour {
        None => return text.to_owned(),
        Some(Colour::Green) => 32,
        Some(Colour::Yellow) => 33,
        Some(Colour::Red) => 31,
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str, column: usize) -> Cow<'_, str> {
    if width(text) <= column {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(column.saturating_sub(1)).chain(['…']).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(&str, &str)]) -> Table {
        let mut table = Table::new(&[("NAME", Align::Left), ("COUNT", Align::Right)]);
        for (name, count) in rows {
            table.row([Cell::from(*name), Cell::coloured(*count, Colour::Red)]);
        }
        table
    }

    #[test]
    fn words_keep_left_and_numbers_right() {
        let text = table(&[("a", "1"), ("longer-name", "12345678")]).render(false);
        assert_eq!(text, "NAME            COUNT\na                   1\nlonger-name  12345678\n");
    }

    #[test]
    fn a_table_fits_a_hundred_columns_whatever_is_in_it() {
        let text = table(&[(&"n".repeat(150), &"9".repeat(70)), ("ä", "1")]).render(false);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        assert!(text.contains('…'));
    }

    #[test]
    fn colours_do_not_move_columns() {
        let table = table(&[("a", "1")]);
        let plain = table.render(true).replace("\x1b[31m", "").replace("\x1b[0m", "");
        assert_eq!(plain, table.render(false));
    }
}
