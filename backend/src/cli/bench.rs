//! `viaduct bench`: measures, and tells what came of it.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use super::failure::Failure;
use super::table::{Align, Cell, Table};
use super::{Style, json};
use crate::bench::{
    self, BYTES_MAX, BYTES_MIN, BenchError, Ends, FLOWS_MAX, FlowsWork, LatencyWork, Options, Other, Part,
    QUICK, Report, Side,
};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct bench --svg bench.svg                         everything: some minutes, as root
  viaduct bench --quick                                 only to see that everything works here
  viaduct bench generator                               frames per second
  viaduct bench latency                                 round trips through a switch of its own
  viaduct bench latency --sockets a.sock b.sock         through any vhost-user switch that listens there

The switch gets one processor and the generator another. Only figures of one run can be compared: virtual
machines jump between states in which everything is two or three times as fast.";

/// What to measure, and how.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,

    /// How often to measure everything, one switch after the other [default: 3]
    #[arg(long, global = true, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,

    /// One round of a second each: only to see that everything works
    #[arg(long, global = true, conflicts_with = "rounds")]
    quick: bool,

    /// The folder with the test guest [default: $VIADUCT_IMAGE_DIR, else images/cache]
    #[arg(long, global = true, value_name = "DIR")]
    image: Option<PathBuf>,

    /// Write all figures to a file, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    save: Option<PathBuf>,

    /// Write a plot to a file
    #[arg(long, global = true, value_name = "FILE")]
    svg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Two guests over Viaduct and the same over TAP and a Linux bridge: TCP, UDP, ping, requests and responses
    #[command(after_help = "\
Example:
  viaduct bench guests

Needs root, QEMU and the test guest that images/build makes.")]
    Guests(Guests),

    /// In a guest: respond to requests
    #[command(hide = true)]
    Respond,

    /// In a guest: send requests
    #[command(hide = true)]
    Request {
        /// Of the guest that responds
        address: String,
        /// How long
        seconds: u64,
    },

    /// Compare what two files of `--save` hold: refused unless they are of one run
    #[command(after_help = "Example:\n  viaduct bench compare run.json run.json")]
    Compare {
        /// A file that --save wrote
        a: PathBuf,
        /// Another one
        b: PathBuf,
    },

    /// Frames per second over vhost-user ports and over TAP devices, and the processor time that they cost
    #[command(after_help = "Example:\n  viaduct bench generator --sizes 64 1518")]
    Generator(Generator),

    /// The processor time of a switch with many ports that nobody uses
    #[command(after_help = "Example:\n  viaduct bench idle --ports 1000")]
    Idle(Idle),

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

    /// Frames of many flows, or new flows a second, through a switch that somebody else runs and that tracks connections
    #[command(after_help = "\
Examples:
  viaduct bench flows --sockets a.sock b.sock --flows 1000000
  viaduct bench flows --sockets a.sock b.sock --new
  viaduct bench flows --sockets a.sock b.sock --addresses 10.0.0.10 192.0.2.2 --gateway 10.0.0.1
                                                        through a router, which may translate addresses

Both ends send at once, from 192.0.2.1 at 02:76:64:00:00:00 and 192.0.2.2 at 02:76:64:00:00:01, frames of UDP flows
that look chosen at random, after each flow was opened and answered. With --new the first end alone sends.
With --gateway the first end sends to that router, and the second one answers to whom it sees.")]
    Flows(Flows),
}

#[derive(Debug, Args)]
struct Guests {
    /// How long to measure each [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
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
struct Idle {
    /// Ports, with a card that polls on each
    #[arg(long, default_value_t = 100, value_parser = ports)]
    ports: usize,

    /// How long to measure [default: 5]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
}

fn ports(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=1000).contains(number));
    number.ok_or_else(|| "a number from 1 to 1000 is expected".to_owned())
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

#[derive(Debug, Args)]
struct Flows {
    /// The two sockets of the switch
    #[arg(long, num_args = 2, value_names = ["A", "B"], required = true)]
    sockets: Vec<PathBuf>,

    /// Listen at the sockets, for a switch that connects
    #[arg(long)]
    listen: bool,

    /// What to call the switch
    #[arg(long, default_value = "the switch")]
    name: String,

    /// How many flows
    #[arg(long, default_value_t = 10_000, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(FLOWS_MAX)))]
    flows: u32,

    /// Each frame opens another flow
    #[arg(long, conflicts_with = "flows")]
    new: bool,

    /// The addresses of the two ends
    #[arg(long, num_args = 2, value_names = ["A", "B"], default_values = ["192.0.2.1", "192.0.2.2"])]
    addresses: Vec<Ipv4Addr>,

    /// The router by which the first end reaches the other one
    #[arg(long, value_name = "ADDRESS")]
    gateway: Option<Ipv4Addr>,

    /// So many addresses from A on are the first end's, which take turns in new flows
    #[arg(long, requires = "new", default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    stations: u32,

    /// Bytes of a frame, without FCS
    #[arg(long, default_value_t = 64, value_name = "BYTES", value_parser = frame_bytes)]
    size: usize,

    /// How long to measure each [default: 3]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: Option<u64>,
}

fn frame_bytes(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (BYTES_MIN..=BYTES_MAX).contains(number));
    number.ok_or_else(|| format!("a number from {BYTES_MIN} to {BYTES_MAX} is expected"))
}

/// Measures and tells, or tells what was measured.
pub(super) fn bench(arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let report = match &arguments.what {
        Some(What::Respond) => return bench::respond().map(|()| String::new()).map_err(Failure::new),
        Some(What::Request { address, seconds }) => {
            return json(&bench::request(address, Duration::from_secs(*seconds)).map_err(Failure::new)?);
        }
        Some(What::Compare { a, b }) => compare(a, b),
        Some(what) => bench::run(&part(what, arguments), &options(arguments)),
        None => bench::run(&all_parts(arguments), &options(arguments)),
    };
    let report = report.map_err(Failure::new)?;
    if let Some(file) = &arguments.save {
        bench::save(&report, file).map_err(Failure::new)?;
    }
    if let Some(file) = &arguments.svg {
        let written = std::fs::write(file, bench::svg(&report));
        written.map_err(|error| Failure::new(format!("cannot write {}: {error}", file.display())))?;
    }
    if style.json { json(&report) } else { Ok(text(&report, style)) }
}

fn compare(a: &Path, b: &Path) -> Result<Report, BenchError> {
    bench::same_run(bench::read(a)?, &bench::read(b)?)
}

fn options(arguments: &Arguments) -> Options {
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { QUICK.0 } else { 3 });
    Options { rounds, command: std::env::args().collect::<Vec<_>>().join(" ") }
}

/// How long each measurement takes.
fn time(said_s: Option<u64>, usual_s: u64, quick: bool) -> Duration {
    match said_s {
        Some(seconds) => Duration::from_secs(seconds),
        None if quick => QUICK.1,
        None => Duration::from_secs(usual_s),
    }
}

fn image(arguments: &Arguments) -> PathBuf {
    let variable = || std::env::var_os("VIADUCT_IMAGE_DIR").map(PathBuf::from);
    arguments.image.clone().or_else(variable).unwrap_or_else(|| PathBuf::from("images/cache"))
}

/// The part that was named, with its options.
fn part(what: &What, arguments: &Arguments) -> Vec<Part> {
    let quick = arguments.quick;
    match what {
        What::Guests(guests) => {
            vec![Part::Guests { image: image(arguments), time: time(guests.seconds, 5, quick) }]
        }
        What::Generator(generator) => {
            vec![Part::Generator { sizes: generator.sizes.clone(), time: time(generator.seconds, 3, quick) }]
        }
        What::Latency(latency) => vec![Part::Latency {
            work: LatencyWork {
                bytes: latency.size,
                rate: latency.rate,
                train: latency.train,
                time: time(latency.seconds, 5, quick),
            },
            other: latency
                .sockets
                .as_deref()
                .and_then(|sockets| other(sockets, latency.listen, &latency.name)),
        }],
        What::Flows(flows) => {
            let work = FlowsWork {
                bytes: flows.size,
                flows: (!flows.new).then_some(flows.flows),
                time: time(flows.seconds, 3, quick),
                ends: ends(flows),
            };
            let through = other(&flows.sockets, flows.listen, &flows.name);
            through.map(|through| Part::Flows { work, through }).into_iter().collect()
        }
        What::Idle(idle) => vec![Part::Idle { ports: idle.ports, time: time(idle.seconds, 5, quick) }],
        What::Compare { .. } | What::Respond | What::Request { .. } => Vec::new(),
    }
}

fn ends(flows: &Flows) -> Ends {
    let address = |index| flows.addresses.get(index).copied().unwrap_or(Ipv4Addr::UNSPECIFIED);
    Ends { addresses: [0, 1].map(address), stations: flows.stations, gateway: flows.gateway }
}

/// Every part as it is without options of its own.
fn all_parts(arguments: &Arguments) -> Vec<Part> {
    ["guests", "generator", "latency", "idle"]
        .iter()
        .filter_map(|name| Named::try_parse_from(["bench", name]).ok())
        .flat_map(|named| part(&named.what, arguments))
        .collect()
}

/// A part alone: for the defaults of its options.
#[derive(Debug, Parser)]
struct Named {
    #[command(subcommand)]
    what: What,
}

fn other(sockets: &[PathBuf], listen: bool, name: &str) -> Option<Other> {
    let [a, b] = sockets else { return None };
    let side = if listen { Side::Listen } else { Side::Connect };
    Some(Other { sockets: [a.clone(), b.clone()], side, name: name.to_owned() })
}

fn text(report: &Report, style: Style) -> String {
    let mut text = report.heading();
    for part in report.parts() {
        let mut table = Table::new(&[
            ("WORK", Align::Left),
            ("MEASURE", Align::Left),
            ("PATH", Align::Left),
            ("MEDIAN", Align::Right),
            ("UNIT", Align::Left),
            ("VIADUCT IS", Align::Right),
            ("ROUNDS", Align::Left),
        ]);
        for line in report.lines(part) {
            table.row(line.map(Cell::from));
        }
        text.push_str(&format!("\n{part}\n{}", table.render(style.colour)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_part_all_of_them_are_measured() {
        let quick = Arguments { what: None, rounds: None, quick: true, image: None, save: None, svg: None };
        let parts = all_parts(&quick);
        assert_eq!(parts.len(), 4);
        assert!(
            matches!(&parts[1], Part::Generator { sizes, time } if *sizes == [64, 512, 1518] && *time == QUICK.1)
        );
    }
}
