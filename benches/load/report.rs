//! Figures gathered, and printed as the table of `benches/README.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::measure::{Figure, median, percentile};

/// What is gathered for one row and one subject.
#[derive(Default)]
struct Cell {
    values: Vec<f64>,
    rates: Vec<f64>,
    samples: u64,
}

/// One row: what, in which unit, what is wanted, and what was found by subject.
struct Row {
    title: String,
    unit: &'static str,
    goal: &'static str,
    cells: BTreeMap<&'static str, Cell>,
}

/// All rows, in the order of their first figure.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

impl Report {
    fn cell(
        &mut self,
        title: &str,
        unit: &'static str,
        goal: &'static str,
        subject: &'static str,
    ) -> Option<&mut Cell> {
        let index = self.rows.iter().position(|row| row.title == title).unwrap_or_else(|| {
            self.rows.push(Row { title: title.to_owned(), unit, goal, cells: BTreeMap::new() });
            self.rows.len() - 1
        });
        self.rows.get_mut(index).map(|row| row.cells.entry(subject).or_default())
    }

    /// Adds one turn's cost per operation.
    pub(crate) fn add_turn(&mut self, title: &str, goal: &'static str, subject: &'static str, figure: Figure) {
        eprintln_row(title, subject, &format!("{:.0} µs CPU, {:.0}/s", figure.cpu_us, figure.per_second));
        if let Some(cell) = self.cell(title, "µs CPU", goal, subject) {
            cell.values.push(figure.cpu_us);
            cell.rates.push(figure.per_second);
            cell.samples += figure.operations;
        }
    }

    /// Adds values of any unit.
    pub(crate) fn add(
        &mut self,
        title: &str,
        unit: &'static str,
        goal: &'static str,
        subject: &'static str,
        values: &[f64],
    ) {
        eprintln_row(title, subject, &format!("{:.2} {unit}", median(values)));
        if let Some(cell) = self.cell(title, unit, goal, subject) {
            cell.values.extend_from_slice(values);
            cell.samples += values.len() as u64;
        }
    }

    /// The table in Markdown: medians, 99th percentiles where single operations were timed, ratios to SPIRE where it
    /// ran beside.
    pub(crate) fn markdown(&self, subjects: &[&'static str]) -> String {
        let beside = subjects.contains(&crate::SPIRE);
        let mut text = String::from("| row | ours | samples |");
        text.push_str(if beside {
            " SPIRE | samples | ratio | goal |\n|---|---|---|---|---|---|---|\n"
        } else {
            " goal |\n|---|---|---|---|\n"
        });
        for row in &self.rows {
            let show = |subject| {
                row.cells.get(subject).map_or(("not run".to_owned(), 0), |cell| (shown(row, cell), cell.samples))
            };
            let (ours, samples) = show(crate::OURS);
            let _ = write!(text, "| {} | {ours} | {samples} |", row.title);
            if beside {
                let (theirs, samples) = show(crate::SPIRE);
                let ratio = match (row.cells.get(crate::OURS), row.cells.get(crate::SPIRE)) {
                    (Some(ours), Some(theirs)) if center(row, ours) > 0.0 => {
                        format!("{:.1}×", center(row, theirs) / center(row, ours))
                    }
                    _ => String::new(),
                };
                let _ = write!(text, " {theirs} | {samples} | {ratio} |");
            }
            let _ = writeln!(text, " {} |", row.goal);
        }
        text
    }
}

/// What ratios compare: the median, and for latencies the 99th percentile, which the goals speak of.
fn center(row: &Row, cell: &Cell) -> f64 {
    if row.unit == "ms p99" { percentile(&cell.values, 99) } else { median(&cell.values) }
}

fn shown(row: &Row, cell: &Cell) -> String {
    match row.unit {
        "ms p99" => format!("p50 {:.1}, p99 {:.1} ms", median(&cell.values), percentile(&cell.values, 99)),
        "µs CPU" => format!("{:.0} µs, {:.0}/s", median(&cell.values), median(&cell.rates)),
        unit => format!("{:.2} {unit}", median(&cell.values)),
    }
}

#[expect(clippy::print_stderr, reason = "progress of a tool for developers")]
fn eprintln_row(title: &str, subject: &str, figure: &str) {
    eprintln!("{subject:>6}  {title}: {figure}");
}
