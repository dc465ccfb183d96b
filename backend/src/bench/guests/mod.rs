//! Two guests over Viaduct, and the same two over TAP devices and a Linux bridge.
//!
//! All four run all the time; those that are not measured sit idle. Each round measures one pair and then the other.

mod console;
mod exchange;
mod guest;
mod initramfs;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) use exchange::{Exchanges, request, respond};

use super::error::BenchError;
use super::namespace::Bridge;
use super::report::{Better, Row};
use super::stats::percentile;
use super::switch::Switch;
use super::{VIADUCT, tap};
use guest::{Guest, Kit, Wire};

/// What this part is called in tables.
const PART: &str = "guests";
/// What a command in a guest may take beyond the time that it measures.
const SLACK: Duration = Duration::from_secs(40);
/// UDP datagrams that fill an MTU of 1500: 20 bytes of IPv4 and 8 of UDP are the rest.
const DATAGRAM_BYTES: u16 = 1472;
/// What is offered in turn until less arrives than before.
const UDP_OFFERED_MBIT_S: [u32; 8] = [50, 100, 200, 400, 800, 1600, 3200, 6400];
/// How long each of these, at most.
const UDP_TIME: Duration = Duration::from_secs(2);

/// Four guests.
#[derive(Debug)]
pub(super) struct Lab {
    pairs: [Pair; 2],
    /// How a guest calls this program.
    program: String,
    /// How guests run, and on what: for the report.
    pub(super) facts: [String; 2],
    /// Ends after the guests.
    switch: Switch,
}

#[derive(Debug)]
struct Pair {
    path: &'static str,
    guests: [Guest; 2],
}

impl Lab {
    /// Boots them; to be called within a namespace. `switch` has two ports; `image` holds the test guest.
    pub(super) fn boot(image: &Path, folder: &Path, switch: Switch) -> Result<Self, BenchError> {
        let kit = Kit::new(image, folder)?;
        let [over_viaduct, over_tap] = wires(&switch.sockets())?;
        let mut pairs = [pair(&kit, VIADUCT, "v", over_viaduct)?, pair(&kit, tap::PATH, "t", over_tap)?];
        for guest in pairs.iter_mut().flat_map(|pair| &mut pair.guests) {
            guest.await_shell()?;
        }
        let program = kit.program.words().to_owned();
        for Pair { guests: [_, server], .. } in &mut pairs {
            server.console.run(&format!("iperf3 -s -D; ({program} bench respond &) && sleep 1"), SLACK)?;
        }
        let facts = [
            kit.version()?,
            format!("guests with 1 processor each under {}", kit.accelerator.to_uppercase()),
        ];
        Ok(Self { pairs, program, facts, switch })
    }

    /// Measures a pair after the other, everything for `time`; `say` tells which.
    pub(super) fn round(&mut self, time: Duration, say: impl Fn(&str)) -> Result<Vec<Row>, BenchError> {
        let mut rows = Vec::new();
        for pair in &mut self.pairs {
            say(pair.path);
            rows.extend(pair.measure(&self.program, time)?);
            self.switch.process().check()?;
        }
        Ok(rows)
    }
}

fn wires(sockets: &[PathBuf]) -> Result<[Vec<Wire>; 2], BenchError> {
    let (bridge, names) = (Bridge::new()?, ["tap0", "tap1"]);
    for name in names {
        bridge.add_tap(name)?;
    }
    let over_tap = names.map(|name| Wire::Tap(name.to_owned())).into();
    Ok([sockets.iter().cloned().map(Wire::Viaduct).collect(), over_tap])
}

fn pair(kit: &Kit, path: &'static str, prefix: &str, wires: Vec<Wire>) -> Result<Pair, BenchError> {
    let guests: Result<Vec<Guest>, BenchError> =
        (1..).zip(&wires).map(|(host, wire)| kit.power_on(&format!("{prefix}{host}"), host, wire)).collect();
    let guests =
        guests?.try_into().map_err(|guests: Vec<Guest>| BenchError::NotTwo { found: guests.len() })?;
    Ok(Pair { path, guests })
}

impl Pair {
    fn measure(&mut self, program: &str, time: Duration) -> Result<Vec<Row>, BenchError> {
        let mut rows = self.ping(time)?;
        rows.extend(self.exchange(program, time)?);
        for (work, options) in [
            ("TCP, 1 stream, a > b", ""),
            ("TCP, 1 stream, b > a", "-R"),
            ("TCP, 8 streams, a > b", "-P 8"),
            ("TCP, 8 streams, b > a", "-P 8 -R"),
        ] {
            let flow = self.iperf(time, options)?;
            rows.push(self.row(work, "throughput", ("Mbit/s", Better::More), flow.mbit_s));
        }
        let flow = self.udp(time)?;
        rows.push(self.row("UDP, 1472 B, a > b", "throughput", ("Mbit/s", Better::More), flow.mbit_s));
        rows.push(self.row("UDP, 1472 B, a > b", "lost", ("%", Better::Less), flow.lost));
        Ok(rows)
    }

    fn row(&self, work: &str, measure: &str, unit: (&str, Better), value: f64) -> Row {
        Row::new(PART, work, measure, self.path, unit, value)
    }

    /// Twenty pings a second, after two that find out the address.
    fn ping(&mut self, time: Duration) -> Result<Vec<Row>, BenchError> {
        let [a, b] = &mut self.guests;
        let count = time.as_secs().max(1) * 20;
        let command = format!("ping -q -c 2 -W 5 {0} >/dev/null && ping -c {count} -i 0.05 {0}", b.address);
        let output = a.console.run(&command, time + SLACK)?;
        let mut times_us = ping_times_us(&output);
        times_us.sort_unstable();
        let average_us = times_us.iter().sum::<u64>() as f64 / times_us.len().max(1) as f64;
        let row =
            |measure: &str, value_us: f64| self.row("ping", measure, ("ms", Better::Less), value_us / 1000.0);
        Ok(vec![
            row("min", percentile(&times_us, 0) as f64),
            row("average", average_us),
            row("p50", percentile(&times_us, 500) as f64),
            row("p99", percentile(&times_us, 990) as f64),
            self.row("ping", "lost", ("pings", Better::Less), count as f64 - times_us.len() as f64),
        ])
    }

    /// Requests and responses of one byte over TCP.
    fn exchange(&mut self, program: &str, time: Duration) -> Result<Vec<Row>, BenchError> {
        let [a, b] = &mut self.guests;
        let command = format!("{program} bench request {} {}", b.address, time.as_secs());
        let output = a.console.run(&command, time + SLACK)?;
        let exchanges: Exchanges =
            serde_json::from_str(&output).map_err(|_| unreadable("the times of requests", &output))?;
        let row = |measure: &str, value_ns: u64| {
            self.row("TCP_RR, 1 B", measure, ("ms", Better::Less), value_ns as f64 / 1e6)
        };
        Ok(vec![row("p50", exchanges.p50_ns), row("p99", exchanges.p99_ns)])
    }

    /// The best of several rates: a guest that is offered much more than it can take is busy throwing frames away.
    fn udp(&mut self, time: Duration) -> Result<Flow, BenchError> {
        let (time, mut best) = (time.min(UDP_TIME), Flow { mbit_s: 0.0, lost: 0.0 });
        for offered_mbit_s in UDP_OFFERED_MBIT_S {
            let flow = self.iperf(time, &format!("-u -b {offered_mbit_s}M -l {DATAGRAM_BYTES}"))?;
            if flow.mbit_s < best.mbit_s {
                break;
            }
            best = flow;
        }
        Ok(best)
    }

    fn iperf(&mut self, time: Duration, options: &str) -> Result<Flow, BenchError> {
        let [a, b] = &mut self.guests;
        // The last line of the side that received: of one stream, or of the sum of all.
        let command = format!(
            "iperf3 -c {} -t {} -f m {options} >/tmp/iperf 2>&1 && grep receiver /tmp/iperf | tail -n 1 || {{ cat /tmp/iperf; false; }}",
            b.address,
            time.as_secs()
        );
        let output = a.console.run(&command, time + SLACK)?;
        Flow::read(&output).ok_or_else(|| unreadable("iperf3's report", &output))
    }
}

fn unreadable(what: &str, output: &str) -> BenchError {
    BenchError::Refused {
        what: format!("read {what}"),
        error: format!("the guest printed {output:?}"),
        remedy: "make the test guest again with images/build --force".to_owned(),
    }
}

/// The times of busybox' or iputils' ping, in microseconds.
fn ping_times_us(output: &str) -> Vec<u64> {
    let times = output.lines().filter_map(|line| {
        let time_ms: f64 = line.split_once("time=")?.1.split(' ').next()?.parse().ok()?;
        Duration::try_from_secs_f64(time_ms / 1000.0).ok()
    });
    times.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)).collect()
}

/// What iperf3 says about what arrived.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Flow {
    mbit_s: f64,
    /// Percent of the datagrams; 0 for TCP.
    lost: f64,
}

impl Flow {
    fn read(line: &str) -> Option<Self> {
        let rate = line.split("Mbits/sec").next()?.split_whitespace().last()?;
        let lost = line.split_once('(').and_then(|(_, rest)| rest.split('%').next()?.parse().ok());
        line.contains("Mbits/sec").then_some(())?;
        Some(Self { mbit_s: rate.parse().ok()?, lost: lost.unwrap_or(0.0) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iperf_lines_are_read() {
        let tcp = "[SUM]   0.00-1.03   sec   222 MBytes  1803 Mbits/sec                  receiver\n";
        assert_eq!(Flow::read(tcp), Some(Flow { mbit_s: 1803.0, lost: 0.0 }));
        let udp =
            "[  5]   0.00-1.00   sec  9.52 MBytes  79.8 Mbits/sec  0.114 ms  52/6946 (0.75%)  receiver\n";
        assert_eq!(Flow::read(udp), Some(Flow { mbit_s: 79.8, lost: 0.75 }));
        assert_eq!(Flow::read("iperf3: error - unable to connect"), None);
    }

    #[test]
    fn ping_lines_are_read() {
        let output =
            "64 bytes from 198.18.0.2: seq=0 ttl=64 time=1.014 ms\n64 bytes: time=0.9 ms\n2 packets\n";
        assert_eq!(ping_times_us(output), [1014, 900]);
    }
}
