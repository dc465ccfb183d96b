//! To which network a frame belongs where it enters (IEEE 802.1Q-2018, 6.9 and 8.6.2).

use super::membership::Compiled;
use super::{NetworkIndex, Policy, PortIndex, VlanId};
use crate::drops::DropReason;
use crate::vlan::{
    CUSTOMER, LEGACY, Priority, SERVICE, TAG_LEN, TYPE_FIELD, Tag, TagTypes, TagVlan, is_tag_at, type_at,
};

/// Bits for the types that announce tags.
const CUSTOMER_BIT: u8 = 1;
const SERVICE_BIT: u8 = 2;
const LEGACY_BIT: u8 = 4;

/// The types that announce a network's tag, a bit each.
pub(super) fn customer_types(accepted: TagTypes) -> u8 {
    let service = if accepted.service { SERVICE_BIT } else { 0 };
    CUSTOMER_BIT | service | legacy(accepted)
}

/// The types that announce a service provider's tag, a bit each.
pub(super) fn service_types(accepted: TagTypes) -> u8 {
    SERVICE_BIT | legacy(accepted)
}

fn legacy(accepted: TagTypes) -> u8 {
    if accepted.legacy { LEGACY_BIT } else { 0 }
}

/// Whether one of the types in `types` stands at `at`.
fn has_type(head: &[u8], at: usize, types: u8) -> bool {
    let bit = match type_at(head, at) {
        Some(CUSTOMER) => CUSTOMER_BIT,
        Some(SERVICE) => SERVICE_BIT,
        Some(LEGACY) => LEGACY_BIT,
        _ => 0,
    };
    types & bit != 0
}

/// A network, or none, in 16 bits: bit 15 says that there is one, bit 14 that its stations may use tags of their own,
/// bits 0 to 11 which one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Slot(u16);

impl Slot {
    const TAKEN: u16 = 1 << 15;
    const INNER_TAGS: u16 = 1 << 14;

    pub(super) fn of(network: NetworkIndex, inner_tags: bool) -> Self {
        Self(Self::TAKEN | if inner_tags { Self::INNER_TAGS } else { 0 } | network.raw())
    }

    #[inline]
    pub(super) fn network(self) -> Option<NetworkIndex> {
        if self.0 & Self::TAKEN == 0 { None } else { NetworkIndex::new((self.0 & 0xfff).into()) }
    }

    pub(super) fn allows_inner_tags(self) -> bool {
        self.0 & Self::INNER_TAGS != 0
    }
}

/// A trunk's networks by their VLAN ids: 8 KiB.
#[derive(Clone, Debug)]
pub(super) struct VlanTable(Box<[Slot; 4096]>);

impl VlanTable {
    #[inline]
    pub(super) fn get(&self, vlan: VlanId) -> Slot {
        self.0[usize::from(vlan.get() & 0xfff)]
    }

    pub(super) fn networks(&self) -> impl Iterator<Item = NetworkIndex> + '_ {
        self.0.iter().filter_map(|slot| slot.network())
    }
}

impl FromIterator<(VlanId, Slot)> for VlanTable {
    fn from_iter<T: IntoIterator<Item = (VlanId, Slot)>>(slots: T) -> Self {
        let mut table = Box::new([Slot::default(); 4096]);
        for (vlan, slot) in slots {
            table[usize::from(vlan.get() & 0xfff)] = slot;
        }
        Self(table)
    }
}

/// A frame that belongs to no network of its port.
pub(crate) type Refused = DropReason;

/// What a frame's tags said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Classified {
    pub(crate) network: NetworkIndex,
    /// `None`: the port's own.
    pub(crate) priority: Option<Priority>,
    /// Bytes of tags that told it and are to be taken off.
    pub(crate) tags: usize,
}

/// What becomes of frames that enter at a port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ingress<'a>(Option<&'a Compiled>);

impl Policy {
    /// What becomes of frames that enter at `port`.
    #[inline]
    pub(crate) fn ingress(&self, port: PortIndex) -> Ingress<'_> {
        Ingress(self.compiled(port))
    }
}

impl Ingress<'_> {
    /// The network of frames without any tag.
    #[inline]
    pub(crate) fn untagged(self) -> Result<NetworkIndex, Refused> {
        let compiled = self.0.ok_or(DropReason::NoNetwork)?;
        // All frames of a trunk with a service provider's tag have one.
        let bare = compiled.trunk.as_ref().is_none_or(|trunk| trunk.service.is_none());
        compiled.untagged.network().filter(|_| bare).ok_or(DropReason::VlanUntagged)
    }

    /// The network of a frame that begins with `head`, which has an Ethernet header.
    pub(crate) fn classify(self, head: &[u8]) -> Result<Classified, Refused> {
        let port = self.0.ok_or(DropReason::NoNetwork)?;
        let outer = port.take_service_tag(head)?;
        let inner = port.take_network_tag(head, outer.end)?;
        let slot = inner.slot.unwrap_or(port.untagged);
        let is_tagged = is_tag_at(head, inner.end);
        let tags = inner.end - TYPE_FIELD;
        let Some(network) = slot.network() else {
            return Err(if is_tagged { DropReason::VlanNotAllowed } else { DropReason::VlanUntagged });
        };
        // What stands there now would be taken for a network's tag wherever this frame goes.
        if is_tagged && !slot.allows_inner_tags() {
            return Err(match (tags, &port.trunk) {
                (0, None) => DropReason::VlanOnAccess,
                (0, Some(_)) => DropReason::VlanNotAllowed,
                _ => DropReason::VlanInnerTag,
            });
        }
        Ok(Classified { network, priority: inner.priority.or(outer.priority), tags })
    }
}

/// How far a frame's tags were read.
struct Taken {
    /// Where the next type field stands.
    end: usize,
    priority: Option<Priority>,
    /// The network that the tag names; `None`: that of untagged frames.
    slot: Option<Slot>,
}

impl Taken {
    /// No tag was taken.
    fn none(end: usize) -> Self {
        Self { end, priority: None, slot: None }
    }
}

impl Compiled {
    /// Passes over the service provider's tag, where all frames must have it.
    fn take_service_tag(&self, head: &[u8]) -> Result<Taken, Refused> {
        let Some((service, types)) =
            self.trunk.as_ref().and_then(|trunk| Some((trunk.service?, trunk.service_types)))
        else {
            return Ok(Taken::none(TYPE_FIELD));
        };
        if !has_type(head, TYPE_FIELD, types) {
            let is_tagged = is_tag_at(head, TYPE_FIELD);
            return Err(if is_tagged { DropReason::VlanNotAllowed } else { DropReason::VlanUntagged });
        }
        let tag = Tag::at(head, TYPE_FIELD).ok_or(DropReason::VlanTruncated)?;
        match tag.vlan {
            TagVlan::Id(id) if id == service => {
                Ok(Taken { end: TYPE_FIELD + TAG_LEN, priority: Some(tag.priority), slot: None })
            }
            TagVlan::Reserved => Err(DropReason::VlanReserved),
            TagVlan::Id(_) | TagVlan::None => Err(DropReason::VlanNotAllowed),
        }
    }

    /// Passes over a tag at `at` that names a network, or nothing but a priority. One that the port's own network uses
    /// within itself stays.
    fn take_network_tag(&self, head: &[u8], at: usize) -> Result<Taken, Refused> {
        if !has_type(head, at, self.customer_types) {
            return Ok(Taken::none(at));
        }
        let tag = Tag::at(head, at).ok_or(DropReason::VlanTruncated)?;
        let slot = match (tag.vlan, &self.trunk) {
            (TagVlan::Reserved, _) => return Err(DropReason::VlanReserved),
            (TagVlan::None, _) => None,
            (TagVlan::Id(_), None) => return Ok(Taken::none(at)),
            (TagVlan::Id(id), Some(trunk)) => Some(trunk.vlans.get(id)),
        };
        if slot == Some(Slot::default()) {
            let stays = self.untagged.allows_inner_tags();
            return if stays { Ok(Taken::none(at)) } else { Err(DropReason::VlanNotAllowed) };
        }
        Ok(Taken { end: at + TAG_LEN, priority: Some(tag.priority), slot })
    }
}
