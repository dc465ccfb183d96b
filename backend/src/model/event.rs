//! What happened, as the API tells it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of thing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventKind {
    /// Another configuration runs.
    Configuration,
    /// A frontend connected.
    Connected,
    /// A frontend went.
    Disconnected,
    /// The guest's driver came up, or goes on with other features or rings.
    DriverUp,
    /// The guest's driver went down.
    DriverDown,
    /// The guest broke a ring.
    Broken,
    /// The interface is attached.
    Attached,
    /// The interface has a link.
    LinkUp,
    /// The interface has no link, or is gone.
    LinkDown,
    /// Other links of a bond carry its frames.
    BondLinks,
    /// A spanning tree opened or closed an uplink.
    TreeState,
    /// An address was lent.
    LeaseGranted,
    /// A lease ended before its time.
    LeaseReleased,
    /// A lease was not renewed.
    LeaseExpired,
    /// An address that is to be lent is used by somebody else.
    LeaseConflict,
}

impl EventKind {
    /// The kind in a word, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Connected => "connected",
            Self::Disconnected => "disconnected",
            Self::DriverUp => "driver-up",
            Self::DriverDown => "driver-down",
            Self::Broken => "broken",
            Self::Attached => "attached",
            Self::LinkUp => "link-up",
            Self::LinkDown => "link-down",
            Self::BondLinks => "bond-links",
            Self::TreeState => "tree-state",
            Self::LeaseGranted => "lease-granted",
            Self::LeaseReleased => "lease-released",
            Self::LeaseExpired => "lease-expired",
            Self::LeaseConflict => "lease-conflict",
        }
    }
}

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Its number, from 1 at the daemon's start, without gaps.
    pub id: u64,
    /// When, in milliseconds since 1970.
    pub unix_ms: u64,
    /// What kind of thing.
    pub kind: EventKind,
    /// To what: `port vm1`, `configuration 4`.
    pub object: String,
    /// More about it, for people.
    pub detail: String,
}

/// Where a list of events stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventPlace {
    /// The process, by the moment of its start: numbers of another one mean nothing.
    pub run: u64,
    /// The event that comes next.
    pub next: u64,
}

/// Events that were asked for and are not kept any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct EventsLost {
    /// How many; none: nobody knows, since another process counted them.
    pub events: Option<u64>,
}

/// A line of `GET /v1/events`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EventLine {
    /// Comes first, and whenever nothing happened for ten seconds.
    Place(EventPlace),
    /// Something happened.
    Event(Event),
    /// Events were lost here.
    Lost(EventsLost),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_called_the_same_everywhere() {
        for kind in
            [EventKind::Configuration, EventKind::DriverUp, EventKind::BondLinks, EventKind::TreeState]
        {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
    }
}
