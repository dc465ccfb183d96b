//! `viaduct watch`: what becomes of frames, as they come.

use std::io::{self, Write};

use clap::Args;
use serde_json::json;

use super::failure::Failure;
use super::{Style, units};
use crate::api::Client;
use crate::model::{Verdict, VerdictKind, WatchEvent, WatchLine, WatchTally};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct watch                             samples of all frames, with what became of them
  viaduct watch --drops                     only frames that are dropped
  viaduct watch --port web1 tcp port 3306   only such packets that enter at or leave by web1
  viaduct watch --json --count 10           ten samples for programs, one a line

A filter may have one of tcp, udp, icmp, icmp6, arp, ip and ip6, `host ADDRESS` and `port NUMBER`.
Where more comes than is looked at, samples are told, of each port some: watching costs the path at
most a hundredth of its time. End it with Ctrl-C.";

/// What is to be watched.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Only frames that enter at this port, or leave by it
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Only frames that are dropped
    #[arg(long)]
    drops: bool,
    /// End after so many samples
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
    /// Only packets for which all of this holds
    filter: Vec<String>,
}

/// Tells samples until the reader goes, the daemon ends, or there are enough.
pub(super) fn watch(client: &Client, arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let Arguments { port, drops, count, filter } = arguments;
    let question = json!({ "port": port, "drops": drops, "filter": filter.join(" ") });
    let (mut left, mut last) = (count.unwrap_or(u64::MAX), WatchTally::default());
    client.watch(question.to_string().into_bytes(), |line| {
        let text = match &line {
            _ if style.json => serde_json::to_string(&line).ok(),
            WatchLine::Sample(event) => Some(event_line(event)),
            WatchLine::Sampling(tally) => tally_line(std::mem::replace(&mut last, *tally), *tally),
        };
        left -= u64::from(matches!(line, WatchLine::Sample(_)));
        // A reader that went away has read what it wanted.
        text.is_none_or(|text| say(&text).is_ok()) && left > 0
    })?;
    Ok(String::new())
}

pub(super) fn say(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// A sample in a line.
fn event_line(event: &WatchEvent) -> String {
    let WatchEvent { at_us, port, packet, .. } = event;
    let network = event.network.as_deref().unwrap_or("-");
    let (seconds, fraction) = (at_us / 1_000_000, at_us % 1_000_000);
    format!("{seconds}.{fraction:06} {port} ({network}) {packet} -> {}", outcome(event))
}

fn outcome(event: &WatchEvent) -> String {
    let Verdict { kind, receivers, reason, .. } = &event.verdict;
    match (kind, event.flooded_to) {
        (VerdictKind::Sent, Some(ports)) => format!("flooded to {ports} ports"),
        (VerdictKind::Sent, None) => {
            let ports = receivers.iter().map(|to| to.port.as_str()).collect::<Vec<_>>().join(", ");
            let lost = event.lost_at.as_ref();
            ports + &lost.map_or_else(String::new, |at| format!("; lost at {} as {}", at.port, at.reason))
        }
        (VerdictKind::Control, _) => "the switch itself".to_owned(),
        (VerdictKind::Dropped, _) => {
            let place = match (&event.lost_at, &event.step) {
                (Some(at), _) => format!(" at {}", at.port),
                (None, Some(step)) => format!(" by {}", step.stage),
                (None, None) => String::new(),
            };
            format!("dropped as {}{place}", reason.as_deref().unwrap_or("?"))
        }
        (VerdictKind::Unknown, _) => {
            "not decided: a fragment that waits for its first one, or refused by a tunnel's end".to_owned()
        }
    }
}

/// How much of all was told, if not all was.
fn tally_line(last: WatchTally, now: WatchTally) -> Option<String> {
    let WatchTally { frames, looked_at, lost } = now;
    if now == last || (looked_at == frames && lost == 0) {
        return None;
    }
    let [frames, looked_at, lost] = [frames, looked_at, lost].map(units::count);
    Some(format!("# looked at {looked_at} of {frames} frames so far; {lost} samples were lost"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LostAt, TraceReceiver, TraceStep};

    fn event(verdict: Verdict) -> WatchEvent {
        WatchEvent {
            at_us: 12_000_345,
            port: "web1".to_owned(),
            network: Some("lab".to_owned()),
            packet: "arp 10.0.0.5 > 10.0.0.9".to_owned(),
            verdict,
            ..WatchEvent::default()
        }
    }

    #[test]
    fn a_sample_is_a_line_with_names() {
        let to = |port: &str| TraceReceiver { port: port.to_owned(), ..TraceReceiver::default() };
        let receivers = vec![to("db1"), to("wan")];
        let sent = Verdict::default;
        let both = Verdict { kind: VerdictKind::Sent, receivers, ..sent() };
        assert_eq!(event_line(&event(both)), "12.000345 web1 (lab) arp 10.0.0.5 > 10.0.0.9 -> db1, wan");
        let reason = Some("spoof-arp".to_owned());
        let verdict = Verdict { kind: VerdictKind::Dropped, reason, ..Verdict::default() };
        let step = TraceStep { stage: "port-security".to_owned(), ..TraceStep::default() };
        let dropped = WatchEvent { step: Some(step), network: None, ..event(verdict) };
        assert!(
            event_line(&dropped)
                .ends_with("web1 (-) arp 10.0.0.5 > 10.0.0.9 -> dropped as spoof-arp by port-security")
        );
        let lost_at = || Some(LostAt { port: "db1".to_owned(), reason: "no-buffer".to_owned() });
        let some = Verdict { kind: VerdictKind::Sent, receivers: vec![to("db1"), to("wan")], ..sent() };
        let some = WatchEvent { lost_at: lost_at(), ..event(some) };
        assert!(event_line(&some).ends_with("-> db1, wan; lost at db1 as no-buffer"));
        let reason = Some("no-buffer".to_owned());
        let all = Verdict { kind: VerdictKind::Dropped, reason, receivers: vec![to("db1")], ..sent() };
        let all = WatchEvent { lost_at: lost_at(), ..event(all) };
        assert!(event_line(&all).ends_with("-> dropped as no-buffer at db1"));
        let flooded = WatchEvent {
            flooded_to: Some(20),
            ..event(Verdict { kind: VerdictKind::Sent, ..Verdict::default() })
        };
        assert!(event_line(&flooded).ends_with("-> flooded to 20 ports"));
    }

    #[test]
    fn sampling_is_told_where_it_left_something_out() {
        let nothing = WatchTally::default();
        let all = WatchTally { frames: 10, looked_at: 10, lost: 0 };
        assert_eq!(tally_line(nothing, all), None);
        let some = WatchTally { frames: 10, looked_at: 4, lost: 1 };
        assert_eq!(tally_line(some, some), None);
        assert_eq!(
            tally_line(nothing, some).unwrap(),
            "# looked at 4 of 10 frames so far; 1 samples were lost"
        );
    }
}
