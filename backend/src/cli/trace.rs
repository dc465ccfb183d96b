//! `viaduct trace`: what would become of a packet, stage by stage.

use clap::Args;

use super::check::counted;
use super::failure::Failure;
use super::{Style, json};
use crate::api::Client;
use crate::model::{Trace, TraceQueue, TraceReceiver, TraceRequest, TraceStep, Verdict, VerdictKind};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct trace web1 'tcp 10.0.0.5:4000 > 10.0.0.9:3306'
  viaduct trace web1 'udp [fd00::5]:53 > [fd00::9]:53 vlan 10 priority 5 length 200'
  viaduct trace web1 'icmp 10.0.0.5 > 10.0.0.9 from 52:54:00:00:00:05 to 52:54:00:00:00:09'
  viaduct trace web1 'arp 10.0.0.5 > 10.0.0.9'
  viaduct trace web1 --next 'tcp port 3306'       the next real one that enters there
  viaduct trace web1 ffffffffffff52540000000588b50102030405060708      a frame as it is, in hex

A packet begins with tcp, udp, icmp, icmp6, arp, ip or ethernet, and may end with from, to, vlan,
service-vlan, priority and length, and with flags, ttl, type, code, id, protocol and reply where they
mean something. MAC addresses that are left out are the port's, and those of the ports with the
addresses. Nothing is sent, learned or counted.";

/// What is to be traced.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The port where the packet enters
    port: String,
    /// The packet in words, or its bytes in hex
    #[arg(required_unless_present = "next")]
    packet: Option<String>,
    /// The next real packet that enters there, of those that a filter means
    #[arg(long, value_name = "FILTER", num_args = 0..=1, default_missing_value = "", conflicts_with = "packet")]
    next: Option<String>,
    /// How many seconds to wait for it, at most 15
    #[arg(long, value_name = "SECONDS", requires = "next")]
    timeout: Option<u64>,
}

/// Asks the daemon and tells the packet's way.
pub(super) fn trace(client: &Client, arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let Arguments { port, packet, next, timeout } = arguments;
    let (port, packet, next, timeout_s) = (port.clone(), packet.clone(), next.clone(), *timeout);
    let traced = client.trace(&TraceRequest { port, packet, next, timeout_s })?;
    if style.json { json(&traced) } else { Ok(text(&traced)) }
}

/// The way in lines: for each step what was looked at, and what came of it.
fn text(traced: &Trace) -> String {
    let mut text = format!("{} enters at {}\n", traced.packet, traced.port);
    let width = traced.steps.iter().map(|step| step.stage.len()).max().unwrap_or(0);
    traced.steps.iter().for_each(|step| text.push_str(&step_lines(step, width)));
    text.push_str(&verdict(&traced.verdict));
    if let Some(happened) = &traced.happened {
        text.push_str(&verdict(happened).replacen("verdict", "what really became of it", 1));
    }
    text
}

fn step_lines(step: &TraceStep, width: usize) -> String {
    let fields: Vec<String> =
        step.looked_at.iter().map(|looked| format!("{} {}", looked.field, looked.value)).collect();
    let mut lines = wrapped(&fields);
    lines.push(format!("-> {}", step.outcome));
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let stage = if number == 0 { step.stage.as_str() } else { "" };
        text.push_str(&format!("  {stage:width$}  {line}\n"));
    }
    text
}

/// Fields in lines that are not too wide.
fn wrapped(fields: &[String]) -> Vec<String> {
    /// Widest line, in characters.
    const WIDTH_MAX: usize = 78;
    let mut lines: Vec<String> = Vec::new();
    for field in fields {
        match lines.last_mut() {
            Some(line) if line.len() + field.len() + 2 <= WIDTH_MAX => {
                line.push_str(", ");
                line.push_str(field);
            }
            _ => lines.push(field.clone()),
        }
    }
    lines
}

/// The end of the way in a sentence or some.
fn verdict(verdict: &Verdict) -> String {
    let (reason, meaning) = (verdict.reason.as_deref(), verdict.meaning.as_deref());
    match verdict.kind {
        VerdictKind::Sent => sent(&verdict.receivers),
        VerdictKind::Control => "verdict: the switch itself takes it\n".to_owned(),
        VerdictKind::Dropped => {
            format!("verdict: dropped as {}: {}\n", reason.unwrap_or("?"), meaning.unwrap_or(""))
        }
        VerdictKind::Unknown => "verdict: not known\n".to_owned(),
    }
}

fn sent(receivers: &[TraceReceiver]) -> String {
    let copies = receivers.iter().map(receiver).collect::<Vec<_>>().join(", ");
    let mut text = format!("verdict: leaves by {copies}\n");
    let stopped: Vec<&str> = receivers.iter().filter(|to| !to.running).map(|to| to.port.as_str()).collect();
    let reason = if receivers.len() > 1 { "gets no copy" } else { "is dropped there as receiver-down" };
    if !stopped.is_empty() {
        text.push_str(&format!(
            "         nobody is there to take it now at {}: it {reason}\n",
            stopped.join(", ")
        ));
    }
    receivers.iter().for_each(|to| text.push_str(&queue(to)));
    text
}

/// Where it would wait before a port.
fn queue(to: &TraceReceiver) -> String {
    let Some(TraceQueue { qos, class, filter, waiting_frames, waiting_bytes }) = &to.queue else {
        return String::new();
    };
    let place = match (class.as_str(), filter) {
        ("", _) => format!("the queue of qos {qos}"),
        (class, Some(filter)) => format!("class {class} of qos {qos}, by filter[{filter}]"),
        (class, None) => format!("class {class} of qos {qos}, which no filter says, by default"),
    };
    let frames = counted(*waiting_frames, "frame");
    format!("         before {} by {place}, where {frames} ({waiting_bytes} bytes) wait now\n", to.port)
}

fn receiver(to: &TraceReceiver) -> String {
    let tags = if to.tags.is_empty() { "no tag".to_owned() } else { to.tags.join(", ") };
    format!("{} ({tags})", to.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::TraceField;

    fn traced(verdict: Verdict) -> Trace {
        let fields = ["tag none", "source 02:00:00:00:00:01"].map(|text| {
            let (field, value) = text.split_once(' ').unwrap_or_default();
            TraceField { field: field.to_owned(), value: value.to_owned() }
        });
        let step = |stage: &str, outcome: &str| TraceStep {
            stage: stage.to_owned(),
            looked_at: fields.to_vec(),
            outcome: outcome.to_owned(),
            dropped: None,
        };
        Trace {
            port: "vm1".to_owned(),
            packet: "arp 10.0.0.1 > 10.0.0.2".to_owned(),
            steps: vec![step("admit", "passes"), step("port-security", "passes")],
            verdict,
            ..Trace::default()
        }
    }

    #[test]
    fn a_way_is_told_step_by_step_and_ends_with_the_verdict() {
        let receivers = [("vm2", true, vec![]), ("wan", false, vec!["vlan 10 priority 0".to_owned()])];
        let receivers = receivers.map(|(port, running, tags)| TraceReceiver {
            port: port.to_owned(),
            tags,
            running,
            queue: None,
        });
        let verdict =
            Verdict { kind: VerdictKind::Sent, receivers: receivers.to_vec(), ..Verdict::default() };
        assert_eq!(
            text(&traced(verdict)),
            "\
arp 10.0.0.1 > 10.0.0.2 enters at vm1
  admit          tag none, source 02:00:00:00:00:01
                 -> passes
  port-security  tag none, source 02:00:00:00:00:01
                 -> passes
verdict: leaves by vm2 (no tag), wan (vlan 10 priority 0)
         nobody is there to take it now at wan: it gets no copy
"
        );
    }

    #[test]
    fn where_it_would_wait_is_told_of_each_receiver() {
        let queue = |class: &str, filter| TraceQueue {
            qos: "shared".to_owned(),
            class: class.to_owned(),
            filter,
            waiting_frames: 1,
            waiting_bytes: 60,
        };
        let told = [("", None), ("web", Some(2)), ("rest", None)].map(|(class, filter)| {
            let queue = Some(queue(class, filter));
            super::queue(&TraceReceiver { port: "vm2".to_owned(), queue, ..TraceReceiver::default() })
        });
        let lines = [
            "the queue of qos shared",
            "class web of qos shared, by filter[2]",
            "class rest of qos shared, which no filter says, by default",
        ]
        .map(|place| format!("         before vm2 by {place}, where 1 frame (60 bytes) wait now\n"));
        assert_eq!(told, lines);
    }

    #[test]
    fn a_dropped_packet_ends_with_the_reason_and_its_sentence() {
        let verdict = Verdict {
            kind: VerdictKind::Dropped,
            reason: Some("spoof-arp".to_owned()),
            meaning: Some("The ARP message lies.".to_owned()),
            ..Verdict::default()
        };
        let told = text(&traced(verdict));
        assert!(told.ends_with("verdict: dropped as spoof-arp: The ARP message lies.\n"), "{told}");
    }

    #[test]
    fn many_fields_are_put_into_lines_of_their_own() {
        let fields = vec!["0123456789 0123456789 0123456789".to_owned(); 5];
        let lines = wrapped(&fields);
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.len() <= 78));
    }
}
