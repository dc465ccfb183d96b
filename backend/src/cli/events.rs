//! `viaduct events`: what happens, as it happens.

use clap::Args;

use super::Style;
use super::failure::Failure;
use super::watch::say;
use crate::api::Client;
use crate::bench::utc;
use crate::model::{Event, EventLine};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct events                            who connects, which link goes, what is applied, from now on
  viaduct events --from 1 --count 20        the last ones that are kept, too
  viaduct events --json                     for programs, one a line

End it with Ctrl-C.";

/// Which events are wanted.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Begin with the event of this number; with those from now on unless said
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,
    /// End after so many events
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,
}

/// Tells events until the reader goes, the daemon ends, or there are enough.
pub(super) fn events(client: &Client, arguments: &Arguments, style: Style) -> Result<String, Failure> {
    let mut left = arguments.count.unwrap_or(u64::MAX);
    client.events(arguments.from, |line| {
        let text = match &line {
            _ if style.json => serde_json::to_string(&line).ok(),
            EventLine::Event(event) => Some(event_line(event)),
            EventLine::Lost(lost) => Some(match lost.events {
                Some(events) => format!("# {events} events before these are not kept any more"),
                None => "# the daemon was started anew".to_owned(),
            }),
            EventLine::Place(_) => None,
        };
        left -= u64::from(matches!(line, EventLine::Event(_)));
        // A reader that went away has read what it wanted.
        text.is_none_or(|text| say(&text).is_ok()) && left > 0
    })?;
    Ok(String::new())
}

/// An event in a line.
fn event_line(event: &Event) -> String {
    let Event { id, unix_ms, kind, object, detail } = event;
    let colon = if detail.is_empty() { "" } else { ": " };
    format!("{} {id} {object} {}{colon}{detail}", utc(unix_ms / 1000), kind.name())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventKind;

    #[test]
    fn an_event_is_a_line_with_its_time_and_number() {
        let event = Event {
            id: 7,
            unix_ms: 1_767_225_600_250,
            kind: EventKind::LinkDown,
            object: "port wan".to_owned(),
            detail: "eth1 is gone".to_owned(),
        };
        assert_eq!(event_line(&event), "2026-01-01T00:00:00Z 7 port wan link-down: eth1 is gone");
    }
}
