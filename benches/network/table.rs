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

/// One measure of every contender: what each round gave; nothing where a contender has no such thing.
struct Row {
    name: String,
    better: Better,
    samples: Vec<Vec<f64>>,
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

    /// Adds a row.
    pub(crate) fn row(&mut self, name: &str, better: Better, samples: Vec<Vec<f64>>) {
        assert_eq!(samples.len(), self.columns.len(), "{name}: samples of each contender");
        self.rows.push(Row { name: name.to_owned(), better, samples });
    }

    /// As text, with the medians. The last column says how many times better the second contender is than the first.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{:NAME$}", self.title);
        for column in &self.columns {
            let _ = write!(text, "{column:>COLUMN$}");
        }
        if self.columns.len() > 1 {
            let _ = write!(text, "{:>14}", "times better");
        }
        text.push('\n');
        for row in &self.rows {
            let _ = write!(text, "{:NAME$}", row.name);
            for samples in &row.samples {
                let _ = write!(text, "{:>COLUMN$}", median(samples.clone()).map_or("-".to_owned(), number));
            }
            if self.columns.len() > 1 {
                let _ = write!(text, "{:>14}", row.gain().map_or("-".to_owned(), |gain| format!("{gain:.2}")));
            }
            text.push('\n');
        }
        text
    }
}

impl Row {
    /// The median over the rounds, in each of which both had the same of what else the machine did.
    fn gain(&self) -> Option<f64> {
        let rounds = self.samples[0].iter().zip(&self.samples[1]);
        median(match self.better {
            Better::Less => rounds.map(|(reference, ours)| reference / ours).collect(),
            Better::More => rounds.map(|(reference, ours)| ours / reference).collect(),
        })
    }
}

/// The middle of `values`; `None` of none.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Three digits are all that these measurements are worth.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        _ if value.fract() == 0.0 => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
