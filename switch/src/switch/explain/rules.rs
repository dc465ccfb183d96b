//! What security groups would say about a frame: the pure half of `Commit::judge` and `Commit::flood`.

use super::Explainer;
use crate::conntrack::Hint;
use crate::drops::DropReason;
use crate::explain::{Fate, Observer, Outcome, Place};
use crate::filter::{Carried, Crossing, Denied, Filter, First, Parcel, Passage};
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Contents, Packet};
use crate::storm::JudgeLimits;
use crate::switch::judge::is_gateways_error;

/// Where a frame goes if rules allow it.
#[derive(Clone, Copy)]
pub(super) enum Aim<'a> {
    /// To one port.
    Port(PortIndex),
    /// To those of these that may get it.
    Ports(&'a [PortIndex]),
}

impl Explainer<'_> {
    /// A flood to all ports of the network, or to `wanted` alone.
    pub(super) fn flood_judged(
        &self,
        network: NetworkIndex,
        wanted: Option<&[PortIndex]>,
        frame: &Frame<&[u8]>,
    ) -> Fate {
        let members = self.scene.policy.network(network).map_or(&[][..], |network| network.members());
        let ports = wanted.unwrap_or(members);
        if self.scene.policy.has_filtered(network) {
            return self.judge(Some(within(network)), Aim::Ports(ports), frame, None);
        }
        Fate::Leaves(self.departures(ports, &frame.meta))
    }

    /// The frame came in the first of `networks` and leaves in the second; `None`: it belongs to none. `seen` is what it is when it
    /// leaves, if that is something else.
    pub(super) fn judge(
        &self,
        networks: Option<[NetworkIndex; 2]>,
        aim: Aim<'_>,
        frame: &Frame<&[u8]>,
        seen: Option<&Packet>,
    ) -> Fate {
        let Some(networks) = networks else { return Fate::Dropped(DropReason::NoNetwork) };
        self.notes.enter(Place::SecurityGroups);
        let fate = self.judged(networks, aim, frame, seen);
        match &fate {
            Fate::Dropped(reason) => self.notes.outcome(|| Outcome::Dropped(*reason)),
            Fate::Unknown => self.notes.outcome(|| Outcome::Unread),
            _ => {}
        }
        fate
    }

    fn judged(
        &self,
        [network, to]: [NetworkIndex; 2],
        aim: Aim<'_>,
        frame: &Frame<&[u8]>,
        seen: Option<&Packet>,
    ) -> Fate {
        let scene = &self.scene;
        let Some(security) = scene.policy.security() else { return Fate::Unknown };
        let (filter, limits) =
            (self.switch.filter(), scene.port.map_or(JudgeLimits::UNLIMITED, |port| port.judging));
        let (from, now) = (scene.source, self.now);
        let judges = self.switch.storm.may_judge(from, &limits, now);
        let crossing = Crossing { security, network, to, from, now, judges };
        let contents = match Contents::of(frame) {
            Ok(contents) => contents,
            Err(reason) => return Fate::Dropped(reason),
        };
        self.notes.contents(&contents);
        let first = match would_arrive(filter, &crossing, &contents) {
            Ok(first) => first,
            Err(fate) => return fate,
        };
        let parcel = Parcel { contents: &contents, seen, first, hint: Hint::default() };
        let mut allowed = Vec::new();
        let assessed = match aim {
            Aim::Port(to) => {
                allowed.push(to);
                filter.assess_observed(&crossing, parcel, to, &self.notes)
            }
            Aim::Ports(ports) => {
                filter.assess_flood_observed(&crossing, parcel, ports, &mut allowed, &self.notes)
            }
        };
        let opens = matches!(assessed, Ok(Passage::Opens(_)));
        if opens && !self.switch.storm.would_admit_connection(from, &limits, now) {
            return Fate::Dropped(Denied::TooFast.into());
        }
        match assessed {
            Ok(_) => Fate::Leaves(self.departures(&allowed, &frame.meta)),
            Err(_) if matches!(aim, Aim::Port(_)) && is_gateways_error(scene, network, &contents) => {
                Fate::Leaves(self.departures(&allowed, &frame.meta))
            }
            Err(denied) => Fate::Dropped(denied.into()),
        }
    }
}

/// The networks of a frame that stays in its own.
pub(super) fn within(network: NetworkIndex) -> [NetworkIndex; 2] {
    [network; 2]
}

/// What is known of a fragment by its first one; an error says what becomes of it, as far as that is known.
fn would_arrive(
    filter: &Filter,
    crossing: &Crossing<'_>,
    contents: &Contents,
) -> Result<Option<First>, Fate> {
    let Contents::Ip(packet) = contents else { return Ok(None) };
    if !packet.is_later_fragment() {
        return Ok(None);
    }
    match filter.fragments.decided(crossing.network, crossing.from, packet, crossing.now) {
        Some(Carried(Ok(first))) => Ok(Some(first)),
        Some(Carried(Err(reason))) => Err(Fate::Dropped(reason)),
        // It waits for the first one.
        None => Err(Fate::Unknown),
    }
}
