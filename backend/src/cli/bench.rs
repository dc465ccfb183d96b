//! `viaduct bench`: measures, and tells what came of it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::{Style, json};
use crate::bench::{self, BYTES_MAX, BYTES_MIN, LatencyWork, Options, Other, Part, QUICK, Report, Side};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct bench latency                                 round trips through a switch of its own
  viaduct bench latency --sockets a.sock b.sock         through any vhost-user switch that listens there

The switch gets one processor and the generator another. Only figures of one run can be compared: virtual
machines jump between states in which everything is two or three times as fast.";

/// What to measure, and how.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,

    /// How often to measure everything, one switch after the other [default: 3]
    #[arg(long, global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,

    /// One round of a second each: only to see that everything works
    #[arg(long, global = true, conflicts_with = "rounds")]
    quick: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Frames per second from one vhost-user port to another, and the processor time that they cost
    #[command(after_help = "Example:\n  viaduct bench generator --sizes 64 1518")]
    Generator(Generator),

    /// The round trip of a frame at low load: from one vhost-user port to another, and at once back
    #[command(after_help = "\
Examples:
  viaduct bench latency                                 Viaduct, busy and adaptive
  viaduct bench latency --sockets a.sock b.sock --name peer
  viaduct bench latency --sockets a.sock b.sock --listen
                                                        the switch connects (Open vSwitch's dpdkvhostuserclient)

With --train 10 each frame that comes back is sent again nine times: the first frame of a train finds an
idle switch, the following ones a switch that is awake.")]
    Latency(Latency),
}

#[derive(Debug, Args)]
struct Generator {
    /// Bytes of the frames, without FCS
    #[arg(long, num_args = 1.., default_values_t = [64, 512, 1518], value_name = "BYTES", value_parser = frame_bytes)]
    sizes: Vec<usize>,

    /// How long to measure each [default: 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
}

#[derive(Debug, Args)]
struct Latency {
    /// The two sockets of another switch; one of Viaduct is started unless said
    #[arg(long, num_args = 2, value_names = ["A", "B"])]
    sockets: Option<Vec<PathBuf>>,

    /// Listen at the sockets, for a switch that connects
    #[arg(long, requires = "sockets")]
    listen: bool,

    /// What to call the other switch
    #[arg(long, requires = "sockets", default_value = "the switch")]
    name: String,

    /// Trains of frames a second
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: u32,

    /// Frames of a train; each is sent when the one before it is back
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    train: u32,

    /// Bytes of a frame, without FCS
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = frame_bytes)]
    size: usize,

    /// How long to measure each [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
}

fn frame_bytes(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (BYTES_MIN..=BYTES_MAX).contains(number));
    number.ok_or_else(|| format!("a number from {BYTES_MIN} to {BYTES_MAX} is expected"))
}

/// Measures and tells.
pub(super) fn bench(arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let (quick_rounds, _) = QUICK;
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { quick_rounds } else { 3 });
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let parts = parts(arguments);
    let report = bench::run(&parts, &Options { rounds, command }).map_err(Failure::new)?;
    if style.json { json(&report) } else { Ok(text(&report, style)) }
}

fn parts(arguments: &Arguments) -> Vec<Part> {
    let time = |seconds: Option<u64>, usual: Duration| match seconds {
        Some(seconds) => Duration::from_secs(seconds),
        None if arguments.quick => QUICK.1,
        None => usual,
    };
    match &arguments.what {
        What::Generator(generator) => vec![Part::Generator {
            sizes: generator.sizes.clone(),
            time: time(generator.seconds, Duration::from_secs(3)),
        }],
        What::Latency(latency) => vec![Part::Latency {
            work: LatencyWork {
                bytes: latency.size,
                rate: latency.rate,
                train: latency.train,
                time: time(latency.seconds, Duration::from_secs(5)),
            },
            other: other(latency),
        }],
    }
}

fn other(latency: &Latency) -> Option<Other> {
    let [a, b] = latency.sockets.as_deref()? else { return None };
    let side = if latency.listen { Side::Listen } else { Side::Connect };
    Some(Other { sockets: [a.clone(), b.clone()], side, name: latency.name.clone() })
}

fn text(report: &Report, style: Style) -> String {
    let mut table = Table::new(&[
        ("WORK", Align::Left),
        ("MEASURE", Align::Left),
        ("PATH", Align::Left),
        ("MEDIAN", Align::Right),
        ("UNIT", Align::Left),
        ("ROUNDS", Align::Left),
    ]);
    for line in report.lines() {
        table.row(line.map(Cell::from));
    }
    format!("{}\n{}", report.heading(), table.render(style.colour))
}
