//! The table: a row a measure, a column a contender, numbers in fixed columns, which scripts/bench-table.py reads.

use std::fmt::Write;

const NAME: usize = 44;
const COLUMN: usize = 12;

/// Which numbers of a row are good.
#[derive(Clone, Copy)]
pub(crate) enum Better {
    Less,
    More,
}

/// One measure of every contender; each value is a median.
struct Row {
    name: String,
    better: Better,
    values: Vec<Option<f64>>,
}

/// Rows, in order.
pub(crate) struct Table {
    title: String,
    columns: Vec<String>,
    rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Table { title: title.to_owned(), columns: columns.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; `None` where a contender has no such thing.
    pub(crate) fn row(&mut self, name: &str, better: Better, values: Vec<Option<f64>>) {
        assert_eq!(values.len(), self.columns.len(), "{name}: a value for each contender");
        self.rows.push(Row { name: name.to_owned(), better, values });
    }

    /// As text. The last column says how many times better the second contender is than the first.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:NAME$}", self.title);
        for column in &self.columns {
            let _ = write!(text, "{column:>COLUMN$}");
        }
        if self.columns.len() > 1 {
            let _ = write!(text, "{:>COLUMN$}", "times better");
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{:NAME$}", row.name);
            for value in &row.values {
                let _ = write!(text, "{:>COLUMN$}", value.map_or("-".to_owned(), number));
            }
            if self.columns.len() > 1 {
                let _ = write!(text, "{:>COLUMN$}", row.gain().map_or("-".to_owned(), |gain| format!("{gain:.2}")));
            }
            text.push('\n');
        }
        text
    }
}

impl Row {
    fn gain(&self) -> Option<f64> {
        let (reference, ours) = (self.values.first().copied()??, self.values.get(1).copied()??);
        Some(match self.better {
            Better::Less => reference / ours,
            Better::More => ours / reference,
        })
    }
}

/// The middle of `values`; `None` of none.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Three digits are all that these measurements are worth.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
