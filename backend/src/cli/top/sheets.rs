//! What each view shows: rows under headings, which can be sorted and filtered.

use std::cmp::Ordering;

use super::figures::{Figures, PortFigures, Rate};
use crate::cli::units::{at_most, bit_rate, bytes, count};
use crate::model::PortState;

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum View {
    #[default]
    Ports,
    Drops,
    Classes,
    Workers,
    Talkers,
}

impl View {
    pub(super) const ALL: [Self; 5] = [Self::Ports, Self::Drops, Self::Classes, Self::Workers, Self::Talkers];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Drops => "drops",
            Self::Classes => "classes",
            Self::Workers => "workers",
            Self::Talkers => "talkers",
        }
    }

    /// The column that it is sorted by at first: what is most comes first.
    pub(super) fn sorted_by(self) -> usize {
        match self {
            Self::Ports => 4,
            Self::Classes | Self::Talkers => 3,
            Self::Drops => 2,
            Self::Workers => 0,
        }
    }

    /// What stands under an empty view.
    pub(super) fn nothing(self) -> &'static str {
        match self {
            Self::Ports => "there are no ports: viaduct apply FILE adds some",
            Self::Drops => "no frame was dropped",
            Self::Classes => "no port has a tree of queues: docs/qos.md",
            Self::Workers => "there are no workers",
            Self::Talkers => "no frame was sampled yet",
        }
    }
}

/// A value of a row.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Word(String),
    /// What it is sorted by, and how it is told.
    Number(u64, String),
}

impl Value {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Number(_, text) => text,
        }
    }

    fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            // The most first.
            (Self::Number(one, _), Self::Number(other, _)) => other.cmp(one),
            _ => self.text().cmp(other.text()),
        }
    }
}

/// Rows under headings.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Sheet {
    pub(super) columns: &'static [&'static str],
    pub(super) rows: Vec<Vec<Value>>,
}

impl Sheet {
    /// Leaves only rows that have this somewhere, in either case.
    pub(super) fn keep(&mut self, filter: &str) {
        let filter = filter.to_lowercase();
        self.rows.retain(|row| row.iter().any(|value| value.text().to_lowercase().contains(&filter)));
    }

    /// Sorts by a column, and by the first one where that is the same.
    pub(super) fn sort(&mut self, column: usize, is_reversed: bool) {
        self.rows.sort_by(|one, other| {
            let order = one.get(column).zip(other.get(column)).map(|(one, other)| one.order(other));
            let order = order.unwrap_or(Ordering::Equal);
            let order = if is_reversed { order.reverse() } else { order };
            order.then_with(|| one.first().zip(other.first()).map_or(Ordering::Equal, |(a, b)| a.order(b)))
        });
    }
}

fn word(text: impl Into<String>) -> Value {
    Value::Word(text.into())
}

fn number(number: u64) -> Value {
    Value::Number(number, count(number))
}

fn bits(rate: Rate) -> Value {
    Value::Number(rate.bits_per_second, bit_rate(rate.bits_per_second))
}

fn frames(rate: Rate) -> Value {
    number(rate.frames_per_second)
}

pub(super) fn state(state: PortState) -> String {
    let name = serde_json::to_value(state).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// What a view shows; talkers are another's business.
pub(super) fn sheet(figures: &Figures, view: View) -> Sheet {
    match view {
        View::Ports => ports(figures),
        View::Drops => drops(figures),
        View::Classes => classes(figures),
        View::Workers => workers(figures),
        View::Talkers => talkers(&[]),
    }
}

fn ports(figures: &Figures) -> Sheet {
    let row = |port: &PortFigures| {
        let reason = port.drops.first().filter(|drop| drop.per_second > 0);
        vec![
            word(&port.name),
            word(state(port.state)),
            word(&port.network),
            frames(port.received),
            bits(port.received),
            frames(port.sent),
            bits(port.sent),
            number(port.drops_per_second),
            word(reason.map_or("", |drop| drop.reason.as_str())),
        ]
    };
    Sheet {
        columns: &["port", "state", "network", "in/s", "in", "out/s", "out", "drops/s", "reason"],
        rows: figures.ports.iter().map(row).collect(),
    }
}

fn drops(figures: &Figures) -> Sheet {
    let of = |port: &PortFigures| {
        let name = port.name.clone();
        let rows = port.drops.iter().map(move |drop| {
            vec![
                word(&name),
                word(&drop.reason),
                number(drop.per_second),
                number(drop.frames),
                word(&drop.meaning),
            ]
        });
        rows.collect::<Vec<_>>()
    };
    Sheet {
        columns: &["port", "reason", "drops/s", "drops", "meaning"],
        rows: figures.ports.iter().flat_map(of).collect(),
    }
}

fn classes(figures: &Figures) -> Sheet {
    let rows = figures.classes.iter().map(|class| {
        vec![
            word(&class.qos),
            word(&class.class),
            word(class.ports.join(",")),
            bits(class.sent),
            Value::Number(class.ceil_bits.unwrap_or(0), class.ceil_bits.map_or("-".to_owned(), bit_rate)),
            bar(class.sent.bits_per_second, class.ceil_bits),
            number(class.backlog_frames),
            Value::Number(class.backlog_bytes, bytes(class.backlog_bytes)),
            number(class.drops_per_second),
        ]
    });
    Sheet {
        columns: &["qos", "class", "ports", "sends", "may send", "of that", "waiting", "bytes", "drops/s"],
        rows: rows.collect(),
    }
}

/// Cells of a bar.
const BAR: usize = 10;

/// How much of what it may send a class sends, as a bar and in percent.
pub(super) fn bar(sends: u64, may_send: Option<u64>) -> Value {
    let Some(may_send) = may_send.filter(|bits| *bits > 0) else {
        return Value::Number(0, "-".to_owned());
    };
    let percent = sends.saturating_mul(100) / may_send;
    let full = usize::try_from((percent + 5) / 10).unwrap_or(BAR).min(BAR);
    Value::Number(percent, format!("{}{} {percent:>3} %", "█".repeat(full), "░".repeat(BAR - full)))
}

fn workers(figures: &Figures) -> Sheet {
    let rows = figures.workers.iter().map(|worker| {
        let per_burst = worker.frames_per_second * 10 / worker.bursts_per_second.max(1);
        vec![
            word(format!("cpu {}", worker.cpu)),
            number(worker.rings),
            number(worker.frames_per_second),
            number(worker.bursts_per_second),
            Value::Number(per_burst, format!("{}.{}", per_burst / 10, per_burst % 10)),
            Value::Number(worker.cached_percent, format!("{} %", worker.cached_percent)),
            number(worker.sleeps_per_second),
            number(worker.contended_per_second),
            Value::Number(worker.p99_us.unwrap_or(u64::MAX), at_most(worker.p99_us)),
        ]
    });
    Sheet {
        columns: &[
            "worker", "rings", "frames/s", "bursts/s", "a burst", "cached", "sleeps/s", "waits/s", "p99",
        ],
        rows: rows.collect(),
    }
}

/// Who speaks to whom, of the frames that were sampled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Talker {
    pub(super) port: String,
    pub(super) flow: String,
    pub(super) outcome: String,
    /// Sampled frames, and their bytes.
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

pub(super) fn talkers(talkers: &[Talker]) -> Sheet {
    let rows = talkers.iter().map(|talker| {
        vec![
            word(&talker.port),
            word(&talker.flow),
            number(talker.frames),
            Value::Number(talker.bytes, bytes(talker.bytes)),
            word(&talker.outcome),
        ]
    });
    Sheet { columns: &["port", "flow", "samples", "sampled", "goes to"], rows: rows.collect() }
}

/// All about one port.
pub(super) fn detail(figures: &Figures, name: &str) -> Option<Sheet> {
    let port = figures.ports.iter().find(|port| port.name == name)?;
    let rate = |rate: Rate| {
        format!("{} frames/s, {}", count(rate.frames_per_second), bit_rate(rate.bits_per_second))
    };
    let row = |what: &str, value: String| vec![word(what), word(value)];
    let mut rows = vec![
        row("port", format!("{} ({})", port.name, port.kind)),
        row("state", state(port.state)),
        row("network", port.network.clone()),
        row("in", rate(port.received)),
        row("out", rate(port.sent)),
    ];
    rows.extend(port.detail.as_ref().map(|detail| row("detail", detail.clone())));
    for drop in &port.drops {
        let (per_second, all) = (count(drop.per_second), count(drop.frames));
        rows.push(row("dropped", format!("{}: {per_second}/s, {all} so far. {}", drop.reason, drop.meaning)));
    }
    for class in figures.classes.iter().filter(|class| class.ports.iter().any(|port| port == name)) {
        let waiting = count(class.backlog_frames);
        rows.push(row(
            "class",
            format!("{} of {}: {}, {waiting} wait", class.class, class.qos, rate(class.sent)),
        ));
    }
    Some(Sheet { columns: &["what", "now"], rows })
}
