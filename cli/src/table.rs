//! Tables that fit the terminal. For programs there is `--json`; a table that is piped is not cut.

use std::io::IsTerminal;
use std::process::{Command, Stdio};

/// Columns of a terminal that does not say.
const WIDTH_DEFAULT: usize = 100;
/// Texts are cut to this before numbers are cut at all.
const TEXT_MIN: usize = 8;
/// A column is never cut below this.
const COLUMN_MIN: usize = 4;
const GAP: &str = "  ";

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows under headings.
pub(crate) struct Table {
    headings: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[(&'static str, Align)]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// A row, one cell a heading. Control characters are shown as `·`, so that no text from the
    /// wire can move the cursor.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let clean = |cell: String| -> String {
            cell.chars()
                .map(|c| if c.is_control() { '·' } else { c })
                .collect()
        };
        let mut cells: Vec<String> = cells.into_iter().map(clean).collect();
        cells.resize(self.headings.len(), String::new());
        self.rows.push(cells);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As lines for standard output.
    pub(crate) fn for_terminal(&self) -> String {
        self.lines(terminal_width())
    }

    fn lines(&self, width: Option<usize>) -> String {
        let length = |text: &str| text.chars().count();
        let mut widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| length(&row[column]));
                cells
                    .max()
                    .unwrap_or(0)
                    .max(length(self.headings[column].0))
            })
            .collect();
        if let Some(width) = width {
            shrink(&mut widths, &self.headings, width);
        }
        let mut lines = String::new();
        let headings: Vec<String> = self
            .headings
            .iter()
            .map(|(name, _)| (*name).to_owned())
            .collect();
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        for row in [&headings, &rules].into_iter().chain(&self.rows) {
            let cells: Vec<String> = row
                .iter()
                .zip(&widths)
                .zip(&self.headings)
                .map(|((cell, width), (_, align))| pad(cell, *width, *align))
                .collect();
            lines.push_str(cells.join(GAP).trim_end());
            lines.push('\n');
        }
        lines
    }
}

/// Takes from the widest column until the row fits or nothing is left to take: of texts first, since a
/// number without its last digits is another number.
fn shrink(widths: &mut [usize], headings: &[(&'static str, Align)], width: usize) {
    let gaps = GAP.len() * widths.len().saturating_sub(1);
    let rounds = [
        (TEXT_MIN, Some(Align::Left)),
        (COLUMN_MIN, Some(Align::Left)),
        (COLUMN_MIN, None),
    ];
    for (least, only) in rounds {
        while widths.iter().sum::<usize>() + gaps > width {
            let widest = widths
                .iter_mut()
                .zip(headings)
                .filter(|(_, (_, align))| only.is_none_or(|only| *align == only))
                .map(|(width, _)| width)
                .filter(|width| **width > least)
                .max();
            match widest {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
    }
}

fn pad(cell: &str, width: usize, align: Align) -> String {
    let length = cell.chars().count();
    if length > width {
        let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
        return format!("{kept}…");
    }
    let space = " ".repeat(width - length);
    match align {
        Align::Left => format!("{cell}{space}"),
        Align::Right => format!("{space}{cell}"),
    }
}

/// `None` when standard output is no terminal.
fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let columns = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok());
    Some(columns.or_else(stty_columns).unwrap_or(WIDTH_DEFAULT))
}

fn stty_columns() -> Option<usize> {
    let output = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.split_whitespace()
        .nth(1)?
        .parse()
        .ok()
        .filter(|columns| *columns > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&[("TENANT", Align::Left), ("COST USD", Align::Right)]);
        table.row(["acme".to_owned(), "0.5".to_owned()]);
        table.row(["a tenant with a long name".to_owned(), "12".to_owned()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let lines = table().lines(None);
        assert_eq!(
            lines.lines().nth(2),
            Some("acme                            0.5")
        );
    }

    #[test]
    fn the_widest_column_is_cut_to_fit() {
        let lines = table().lines(Some(24));
        assert!(
            lines.lines().all(|line| line.chars().count() <= 24),
            "{lines}"
        );
        assert!(lines.contains("a tenant with…"), "{lines}");
    }

    #[test]
    fn texts_are_cut_before_numbers_and_many_columns_fit() {
        let mut table = Table::new(&[
            ("TENANT", Align::Left),
            ("MODEL", Align::Left),
            ("QUANTITY", Align::Right),
            ("BILLED USD", Align::Right),
        ]);
        let texts = ["a tenant with a long name", "a model with a long name"];
        let numbers = ["12345678901234", "-0.000000000123"];
        table.row(texts.iter().chain(&numbers).map(|cell| (*cell).to_owned()));
        let lines = table.lines(Some(54));
        for number in numbers {
            assert!(lines.contains(number), "{lines}");
        }
        assert!(
            lines.lines().all(|line| line.chars().count() <= 54),
            "{lines}"
        );
        let mut many = Table::new(&[("EIGHTEEN LONG", Align::Left); 12]);
        many.row(vec!["a text of some length".to_owned(); 12]);
        let lines = many.lines(Some(80));
        assert!(
            lines.lines().all(|line| line.chars().count() <= 80),
            "{lines}"
        );
    }

    #[test]
    fn no_text_can_move_the_cursor() {
        let mut table = Table::new(&[("TENANT", Align::Left)]);
        table.row(["\u{1b}[2Jx".to_owned()]);
        assert!(!table.lines(None).contains('\u{1b}'));
    }
}
