//! All that shows what a switch did with frames, one by one or in bursts, and what it knows afterwards.

use std::fmt::Debug;
use std::ops::Range;

use proptest::prelude::*;
use viaduct_switch::conntrack::{self, Connection, CountersSnapshot};
use viaduct_switch::counters::PortSnapshot;
use viaduct_switch::fragments::{self, DatagramId};
use viaduct_switch::nat::{Mapping, NatSnapshot};
use viaduct_switch::router::Why;
use viaduct_switch::{
    Carried, DropReason, Egress, FdbSnapshot, Frame, Metadata, Nanos, NetworkIndex, PortIndex, Switch,
    WorkerState,
};

/// What became of a frame: its head as it was then, and all that is known about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Happening {
    Sent { to: usize, head: Vec<u8>, meta: Metadata },
    Flooded { network: usize, receivers: Vec<usize>, head: Vec<u8>, meta: Metadata },
    Offered { network: usize, head: Vec<u8>, meta: Metadata, why: Option<Why> },
    Dropped { head: Vec<u8>, meta: Metadata, reason: DropReason },
    Held,
}

/// Notes what happens to which of the frames that a station sends. Fragments that have to wait are kept.
#[derive(Default)]
pub(crate) struct Witness {
    /// By the frame's number among those that were sent.
    pub(crate) seen: Vec<(usize, Happening)>,
    /// The number of the burst's first frame.
    first: usize,
    held: Vec<(DatagramId, Frame<()>)>,
    released: Vec<(Frame<()>, Carried)>,
}

impl Witness {
    fn note(&mut self, slot: usize, happening: Happening) {
        self.seen.push((self.first + slot, happening));
    }
}

impl Egress<()> for Witness {
    fn send(&mut self, to: PortIndex, slot: usize, frame: &Frame<()>) {
        let head = frame.head.bytes().to_vec();
        self.note(slot, Happening::Sent { to: to.get(), head, meta: frame.meta });
    }

    fn flood(&mut self, network: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<()>) {
        let receivers = receivers.iter().map(|to| to.get()).collect();
        let (network, head) = (network.get(), frame.head.bytes().to_vec());
        self.note(slot, Happening::Flooded { network, receivers, head, meta: frame.meta });
    }

    fn offer(&mut self, network: NetworkIndex, slot: usize, frame: &Frame<()>, why: Option<Why>) -> bool {
        let (network, head) = (network.get(), frame.head.bytes().to_vec());
        self.note(slot, Happening::Offered { network, head, meta: frame.meta, why });
        true
    }

    fn dropped(&mut self, slot: usize, frame: &Frame<()>, reason: DropReason) {
        let head = frame.head.bytes().to_vec();
        self.note(slot, Happening::Dropped { head, meta: frame.meta, reason });
    }

    fn hold(&mut self, datagram: DatagramId, slot: usize, frame: &Frame<()>) -> bool {
        self.note(slot, Happening::Held);
        self.held.push((datagram, frame.clone()));
        true
    }

    fn release(&mut self, datagram: DatagramId, decided: Option<Carried>) {
        let (meant, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|(of, _)| *of == datagram);
        self.held = others;
        self.released.extend(meant.into_iter().filter_map(|(_, frame)| Some((frame, decided?))));
    }
}

/// Has the same happen to all `runs`, of which the others have to show and to know after each event what the first one does.
pub(crate) fn all_agree<R, E, H: PartialEq + Debug>(
    runs: &mut [R],
    events: &[E],
    happens: impl Fn(&mut R, &E) -> H,
    state: impl Fn(&R) -> State,
) -> Result<(), TestCaseError> {
    for (number, event) in events.iter().enumerate() {
        let (first, others) = runs.split_first_mut().unwrap();
        let (expected, known) = (happens(first, event), state(first));
        for (other, run) in others.iter_mut().enumerate() {
            prop_assert_eq!(&happens(run, event), &expected, "event {} in way {}", number, other + 1);
            prop_assert_eq!(&state(run), &known, "event {} in way {}", number, other + 1);
        }
    }
    Ok(())
}

/// Whether frames come at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Pace {
    OneByOne,
    InBursts,
}

/// Has all frames of a port enter, and what waited for some of them afterwards; says what became of each, by its number.
pub(crate) fn enter(
    (switch, worker, now): (&Switch, &mut WorkerState, Nanos),
    witness: &mut Witness,
    pace: Pace,
    mut frames: Vec<Frame<()>>,
) -> Vec<(usize, Happening)> {
    let length = if pace == Pace::InBursts { frames.len().max(1) } else { 1 };
    for (number, burst) in frames.chunks_mut(length).enumerate() {
        witness.first = number * length;
        switch.process(worker, now, burst, witness);
    }
    witness.first = frames.len();
    for (frame, decided) in std::mem::take(&mut witness.released) {
        switch.process_decided(worker, now, &mut [frame], witness, decided);
    }
    std::mem::take(&mut witness.seen)
}

/// What a switch knows and has counted.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct State {
    ports: Vec<PortSnapshot>,
    addresses: FdbSnapshot,
    connections: Option<(CountersSnapshot, Vec<Connection>)>,
    mappings: Option<(NatSnapshot, Vec<Mapping>)>,
    fragments: Option<fragments::Snapshot>,
}

impl State {
    /// With what was counted at these ports.
    pub(crate) fn of(switch: &Switch, ports: Range<usize>, now: Nanos) -> Self {
        let table = switch.conntrack();
        let list = |table: &conntrack::Conntrack| {
            table.list(&conntrack::Filter::default(), 0, usize::MAX, now).connections
        };
        let mappings = table.and_then(conntrack::Conntrack::mappings);
        Self {
            ports: ports
                .filter_map(PortIndex::new)
                .map(|port| switch.counters().port(port).snapshot())
                .collect(),
            addresses: switch.fdb_counters(),
            connections: table.map(|table| (table.counters(), list(table))),
            mappings: mappings.map(|table| (table.snapshot(), table.list(0, usize::MAX, now).0)),
            fragments: switch.fragments(),
        }
    }
}

/// That nothing which the worker remembered was found to be wrong.
pub(crate) fn assert_no_mismatch(switch: &Switch, worker: &WorkerState) {
    assert!(switch.flow_mismatch().is_none(), "{:?}", switch.flow_mismatch());
    let mismatched = worker.flow_counters().snapshot().mismatched;
    assert_eq!(mismatched, 0, "an earlier packet's way was not this one's");
}
