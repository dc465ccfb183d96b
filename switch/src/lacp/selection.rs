//! Selection: which links form the group that carries traffic (IEEE 802.1AX-2020, 6.4.10).
//!
//! Links may be together if their keys, their partner and its key are the same (6.3.6). Of several such groups one is
//! taken: rather one whose partner speaks the protocol, rather the faster one, rather that with the first link. A group
//! in service stays as long as it has a link, so that no cable that comes back makes traffic move to another system;
//! but any group with a partner takes the place of a link that stands alone for want of one.

use super::link::Link;
use super::pdu::{Flag, PortInfo, SystemId};

/// What links of one group have in common (IEEE 802.1AX-2020, 6.3.6: the LAG ID), from our point of view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct GroupId {
    key: u16,
    partner: SystemId,
    partner_key: u16,
    /// Our port's number, where an end says that the link is to stand alone.
    alone: Option<u16>,
}

impl GroupId {
    pub(super) fn of(actor: &PortInfo, partner: &PortInfo) -> Self {
        let together = actor.state.has(Flag::Aggregation) && partner.state.has(Flag::Aggregation);
        Self {
            key: actor.key,
            partner: partner.system,
            partner_key: partner.key,
            alone: (!together).then_some(actor.port),
        }
    }
}

/// The group in service.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Group {
    id: GroupId,
    has_partner: bool,
}

/// Puts links into the group and out of it; says whether anything changed. A link is put in when its Mux machine has
/// let go of what was before (6.4.10.1).
pub(super) fn select(group: &mut Option<Group>, links: &mut [Link], system: SystemId) -> bool {
    let chosen = choose(*group, links, system);
    let mut changed = *group != chosen;
    *group = chosen;
    for link in links {
        let belongs = chosen.is_some_and(|chosen| link.group(system) == Some(chosen.id));
        let selected = belongs && (link.selected || link.is_detached());
        changed |= selected != link.selected;
        link.selected = selected;
    }
    changed
}

fn choose(current: Option<Group>, links: &[Link], system: SystemId) -> Option<Group> {
    let candidates = || {
        links.iter().filter_map(|link| {
            let id = link.group(system)?;
            Some((Group { id, has_partner: link.has_partner() }, link))
        })
    };
    let kept = current.filter(|current| candidates().any(|(group, _)| group == *current));
    let best = || {
        let links_of = |id: GroupId| candidates().filter(move |(group, _)| group.id == id).count();
        let rank = |group: &Group| (group.has_partner, group.id.key >> 12, links_of(group.id));
        // Of equals the last one counts: so from the last link to the first.
        let mut last_first: Vec<_> = candidates().map(|(group, _)| group).collect();
        last_first.reverse();
        last_first.into_iter().max_by_key(rank)
    };
    match kept {
        Some(kept) if kept.has_partner => Some(kept),
        kept => {
            let best = best();
            if best.is_some_and(|best| best.has_partner) { best } else { kept.or(best) }
        }
    }
}

impl Link {
    /// Its Mux machine holds on to nothing.
    fn is_detached(&self) -> bool {
        self.mux == super::mux::MuxState::Detached
    }
}
