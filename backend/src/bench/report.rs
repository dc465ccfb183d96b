//! What was measured, in one shape for the table, the file and the plot.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};
use serde::{Deserialize, Serialize};

use super::VIADUCT;
use super::error::BenchError;
use super::machine::{self, Machine};
use super::stats::median;

/// Above it the machine has something else to do, in percent.
const BUSY_MAX: f64 = 10.0;

/// A run: everything in it was measured on one machine, in turn.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Different for every run.
    pub(super) run: String,
    /// When it began (RFC 3339, UTC).
    pub(super) date: String,
    /// How it was called.
    pub(super) command: String,
    /// Where.
    pub(super) machine: Machine,
    /// Tasks that wanted a processor when it began, averaged over a minute.
    pub(super) load_at_start: f64,
    /// Percent of all processors' time that something else took in the half second before it began.
    pub(super) busy_at_start: f64,
    /// What makes the figures doubtful.
    pub(super) warnings: Vec<String>,
    /// The figures.
    pub(super) rows: Vec<Row>,
}

impl Report {
    /// A report without figures, about this machine, now.
    pub(super) fn begin(command: &str) -> Result<Self, BenchError> {
        let mut id = [0_u8; 8];
        getrandom(&mut id, GetRandomFlags::empty()).map_err(BenchError::system("get random bytes"))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (machine, load_at_start, busy_at_start) = (Machine::this(), machine::load(), machine::busy()?);
        let mut warnings = Vec::new();
        if busy_at_start > BUSY_MAX {
            warnings.push(format!(
                "other work took {busy_at_start:.0} % of the processors just before; the figures are worth little, \
                 measure again when the machine is idle"
            ));
        }
        Ok(Self {
            run: id.map(|byte| format!("{byte:02x}")).concat(),
            date: utc(since.as_secs()),
            command: command.to_owned(),
            machine,
            load_at_start,
            busy_at_start,
            warnings,
            rows: Vec::new(),
        })
    }

    /// Which run it is, of which machine, and what makes it doubtful.
    pub(crate) fn heading(&self) -> String {
        let mut text = format!("run {} of {}: {}\n", self.run, self.date, self.command);
        text.push_str(&format!("on {}\n", self.machine.line()));
        let (load, busy) = (self.load_at_start, self.busy_at_start);
        text.push_str(&format!("at its start: load {load:.2}, {busy:.0} % of the processors busy\n"));
        for warning in &self.warnings {
            text.push_str(&format!("warning: {warning}\n"));
        }
        text
    }

    /// The parts that have figures, in their order.
    pub(crate) fn parts(&self) -> Vec<&str> {
        let mut parts: Vec<&str> = self.rows.iter().map(|row| row.part.as_str()).collect();
        parts.dedup();
        parts
    }

    /// A line of a table for each row of `part`: work, measure, path, median, unit, how many times as much Viaduct has,
    /// all rounds.
    pub(crate) fn lines(&self, part: &str) -> impl Iterator<Item = [String; 7]> {
        self.rows.iter().filter(move |row| row.part == part).map(|row| {
            let rounds: Vec<String> = row.rounds.iter().map(|round| figure(*round)).collect();
            let ratio = self.viaduct_to(row).map(|ratio| format!("{} x", figure(ratio))).unwrap_or_default();
            let Row { work, measure, path, unit, .. } = row.clone();
            [work, measure, path, figure(row.median()), unit, ratio, rounds.join(" ")]
        })
    }

    /// Viaduct's median divided by that of `row`, of the same work on another path.
    fn viaduct_to(&self, row: &Row) -> Option<f64> {
        let ours = self.rows.iter().find(|ours| ours.path == VIADUCT && ours.is_comparable(row))?;
        (row.path != VIADUCT && row.median() > 0.0).then(|| ours.median() / row.median())
    }
}

/// A time since 1970 as RFC 3339 writes it.
pub(crate) fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 0;
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, day + 1)
}

/// Which direction is the good one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Better {
    /// Throughput.
    More,
    /// Times, losses, costs.
    Less,
}

impl Better {
    /// Its name in the plot.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::More => "more",
            Self::Less => "less",
        }
    }
}

/// One figure of one path, measured in several rounds.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct Row {
    /// The part of the benchmark: `guests`, `generator`, `latency`, `idle`.
    pub(super) part: String,
    /// What was done.
    pub(super) work: String,
    /// What was measured of it.
    pub(super) measure: String,
    /// What carried the frames.
    pub(super) path: String,
    /// The unit.
    pub(super) unit: String,
    /// Which direction is the good one.
    pub(super) better: Better,
    /// The figure of each round.
    pub(super) rounds: Vec<f64>,
}

impl Row {
    /// A row with one round.
    pub(super) fn new(
        part: &str,
        work: &str,
        measure: &str,
        path: &str,
        (unit, better): (&str, Better),
        value: f64,
    ) -> Self {
        let [part, work, measure, path, unit] = [part, work, measure, path, unit].map(str::to_owned);
        Self { part, work, measure, path, unit, better, rounds: vec![value] }
    }

    /// The median of the rounds.
    pub(super) fn median(&self) -> f64 {
        median(&self.rounds)
    }

    /// Whether both are figures of the same work, whoever did it.
    pub(super) fn is_comparable(&self, other: &Self) -> bool {
        self.is_of(&other.part, &other.work, &other.measure)
    }

    fn is_of(&self, part: &str, work: &str, measure: &str) -> bool {
        self.part == part && self.work == work && self.measure == measure
    }
}

/// Adds the figures of another round; what can be compared stands together.
pub(super) fn merge(rows: &mut Vec<Row>, round: Vec<Row>) {
    for new in round {
        match rows.iter_mut().find(|row| row.is_comparable(&new) && row.path == new.path) {
            Some(row) => row.rounds.extend(new.rounds),
            None => {
                let place = rows.iter().rposition(|row| row.is_comparable(&new));
                rows.insert(place.map_or(rows.len(), |place| place + 1), new);
            }
        }
    }
}

/// A figure with three significant digits.
pub(super) fn figure(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(path: &str, value: f64) -> Row {
        Row::new("generator", "64 B", "delivered", path, ("Mframes/s", Better::More), value)
    }

    #[test]
    fn rounds_of_the_same_row_come_together() {
        let mut rows = vec![row("viaduct", 1.0)];
        merge(&mut rows, vec![row("viaduct", 3.0), row("TAP", 2.0)]);
        merge(&mut rows, vec![row("viaduct", 2.0)]);
        assert_eq!((rows.len(), rows[0].rounds.as_slice(), rows[0].median()), (2, &[1.0, 3.0, 2.0][..], 2.0));
        assert!(rows[0].is_comparable(&rows[1]));
    }

    #[test]
    fn viaduct_is_compared_with_others_of_the_same_run_and_work() {
        let mut report = Report::begin("viaduct bench").unwrap();
        report.rows = vec![row("viaduct", 3.0), row("TAP", 2.0)];
        let ratios: Vec<String> = report.lines("generator").map(|line| line[5].clone()).collect();
        assert_eq!((report.parts(), ratios), (vec!["generator"], vec![String::new(), "1.50 x".to_owned()]));
    }

    #[test]
    fn figures_have_three_digits_where_they_matter() {
        assert_eq!([0.0, 1234.5, 45.67, 1.234, 0.01234].map(figure), ["0", "1234", "45.7", "1.23", "0.0123"]);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_795_258_800), "2026-11-21T11:00:00Z");
    }
}
