//! VLAN tags (IEEE 802.1Q-2018, 9): what they say, and the ones that are put before a frame that leaves.
//!
//! Inside of the switch a frame has a network and no tag. The tag that told its network is taken off the private
//! head where the frame enters (`policy/ingress.rs`), its priority is kept beside the bytes, and whoever renders a
//! copy for a receiver puts the receiver's tags before it ([`TagStack`], `policy/egress.rs`).

/// The type of a customer's tag (IEEE 802.1Q-2018, table 9-1).
pub(crate) const CUSTOMER: [u8; 2] = [0x81, 0x00];

/// The type of a service provider's tag (IEEE 802.1Q-2018, table 9-1).
pub(crate) const SERVICE: [u8; 2] = [0x88, 0xa8];

/// The type of an outer tag before there was a standard, which some devices still use.
pub(crate) const LEGACY: [u8; 2] = [0x91, 0x00];

/// The length of a tag in bytes: its type, and the tag control information.
pub const TAG_LEN: usize = 4;

/// The most tags that are put before a frame, or taken off it: a service provider's and a network's.
pub const TAGS_MAX: usize = 2;

/// Where an Ethernet header's type field stands, and so the first tag.
pub(crate) const TYPE_FIELD: usize = 12;

/// The VLAN id of a frame that belongs to no VLAN: its tag says a priority only (IEEE 802.1Q-2018, table 9-2).
const PRIORITY_TAGGED: u16 = 0;

/// The VLAN id that no frame may have (IEEE 802.1Q-2018, table 9-2).
const RESERVED: u16 = 0xfff;

/// Whether this type field announces a VLAN tag, whoever uses such tags.
#[must_use]
#[inline]
pub(crate) fn is_tag_type(kind: [u8; 2]) -> bool {
    matches!(kind, CUSTOMER | SERVICE | LEGACY)
}

/// Whether a tag's type stands at `at`.
#[inline]
pub(crate) fn is_tag_at(head: &[u8], at: usize) -> bool {
    type_at(head, at).is_some_and(is_tag_type)
}

/// The type field at `at`.
#[inline]
pub(crate) fn type_at(head: &[u8], at: usize) -> Option<[u8; 2]> {
    head.get(at..)?.first_chunk().copied()
}

/// The id of a VLAN: 1 to 4094 (IEEE 802.1Q-2018, table 9-2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct VlanId(u16);

impl VlanId {
    /// The highest id.
    pub const MAX: u16 = 4094;

    /// The id `value`; `None` for 0 and above 4094.
    #[must_use]
    pub const fn new(value: u16) -> Option<Self> {
        if value != 0 && value <= Self::MAX { Some(Self(value)) } else { None }
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for VlanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A frame's priority as a tag says it: the priority code point, 0 to 7, and whether the frame is to be dropped
/// before others (IEEE 802.1Q-2018, 9.6: PCP and DEI). The default is best effort.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Priority {
    code_point: u8,
    drop_eligible: bool,
}

impl Priority {
    /// The highest code point.
    pub const CODE_POINT_MAX: u8 = 7;

    /// The priority with this code point, not to be dropped before others; `None` above 7.
    #[must_use]
    pub const fn new(code_point: u8) -> Option<Self> {
        if code_point <= Self::CODE_POINT_MAX {
            Some(Self { code_point, drop_eligible: false })
        } else {
            None
        }
    }

    /// The code point, 0 to 7.
    #[must_use]
    pub const fn code_point(self) -> u8 {
        self.code_point
    }

    /// Whether the frame is to be dropped before others.
    #[must_use]
    pub const fn is_drop_eligible(self) -> bool {
        self.drop_eligible
    }

    /// What the upper four bits of tag control information say.
    const fn of_control(control: u16) -> Self {
        let [high, _] = control.to_be_bytes();
        Self { code_point: high >> 5, drop_eligible: high & 0x10 != 0 }
    }

    /// The upper four bits of tag control information.
    fn to_control(self) -> u16 {
        u16::from(self.code_point) << 13 | u16::from(self.drop_eligible) << 12
    }
}

/// Which types a trunk takes for those of tags beside the standard one: 0x8100 for networks' tags, 0x88a8 for a
/// service provider's. What leaves has the standard's types always.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TagTypes {
    /// 0x88a8 where a network's tag is due.
    pub service: bool,
    /// 0x9100, wherever a tag is due.
    pub legacy: bool,
}

/// The tag at some place of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tag {
    pub(crate) vlan: TagVlan,
    pub(crate) priority: Priority,
}

/// What a tag's VLAN id says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum TagVlan {
    /// Nothing: only the priority counts.
    None,
    /// The VLAN.
    Id(VlanId),
    /// A value that no frame may have.
    Reserved,
}

impl Tag {
    /// The tag whose type stands at `at`; `None` if the frame ends within it, or before the type field behind it.
    pub(crate) fn at(head: &[u8], at: usize) -> Option<Self> {
        let &[_, _, high, low, _, _] = head.get(at..)?.first_chunk()?;
        let control = u16::from_be_bytes([high, low]);
        let vlan = match control & 0xfff {
            PRIORITY_TAGGED => TagVlan::None,
            RESERVED => TagVlan::Reserved,
            id => TagVlan::Id(VlanId(id)),
        };
        Some(Self { vlan, priority: Priority::of_control(control) })
    }
}

/// The tags that a receiver wants before a frame: none, its network's, a service provider's, or the latter before
/// the former.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TagStack {
    bytes: [u8; TAGS_MAX * TAG_LEN],
    len: u8,
}

impl TagStack {
    /// A stack of these tags, each of which says `priority`.
    #[must_use]
    pub fn new(service: Option<VlanId>, network: Option<VlanId>, priority: Priority) -> Self {
        let mut stack = Self::default();
        let tags = [(SERVICE, service), (CUSTOMER, network)];
        for (kind, vlan) in tags.into_iter().filter_map(|(kind, vlan)| Some((kind, vlan?))) {
            let [high, low] = (priority.to_control() | vlan.0).to_be_bytes();
            let at = usize::from(stack.len);
            stack.bytes[at..at + TAG_LEN].copy_from_slice(&[kind[0], kind[1], high, low]);
            stack.len += 4;
        }
        stack
    }

    /// The tags as they stand in a frame, behind its addresses.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// A copy of `frame` with the tags behind its addresses.
    #[must_use]
    pub fn put_before(&self, frame: &[u8]) -> Vec<u8> {
        let (addresses, rest) = frame.split_at(frame.len().min(TYPE_FIELD));
        [addresses, self.bytes(), rest].concat()
    }

    /// How many bytes they take: 0, 4 or 8.
    #[must_use]
    #[inline]
    pub fn len(&self) -> u16 {
        self.len.into()
    }

    /// Whether there is no tag.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_the_standard() {
        assert_eq!([0, 4095, 4096, u16::MAX].map(VlanId::new), [None; 4]);
        assert_eq!([1, 4094].map(|id| VlanId::new(id).map(VlanId::get)), [Some(1), Some(4094)]);
        assert_eq!(VlanId::new(4094).map(|id| id.to_string()).as_deref(), Some("4094"));
        assert_eq!(Priority::new(8), None);
        assert_eq!(Priority::new(7).map(Priority::code_point), Some(7));
    }

    #[test]
    fn a_tag_is_read_as_it_was_written_whatever_it_says() {
        for control in 0..=u16::MAX {
            let [high, low] = control.to_be_bytes();
            let tag = Tag::at(&[0x81, 0, high, low, 8, 0], 0).unwrap();
            assert_eq!(u16::from(tag.priority.code_point()), control >> 13);
            assert_eq!(tag.priority.is_drop_eligible(), control & 0x1000 != 0);
            let expected = match control & 0xfff {
                0 => TagVlan::None,
                4095 => TagVlan::Reserved,
                id => TagVlan::Id(VlanId::new(id).unwrap()),
            };
            assert_eq!(tag.vlan, expected);
            if let TagVlan::Id(id) = tag.vlan {
                assert_eq!(TagStack::new(None, Some(id), tag.priority).bytes(), [0x81, 0, high, low]);
            }
        }
    }

    #[test]
    fn a_tag_without_a_type_field_behind_it_is_cut() {
        let whole = [0, 0x81, 0, 0, 7, 8, 0];
        assert!(Tag::at(&whole, 1).is_some());
        for end in 0..whole.len() {
            assert_eq!(Tag::at(&whole[..end], 1), None);
        }
    }

    #[test]
    fn the_service_providers_tag_stands_before_the_networks() {
        let (service, network) = (VlanId::new(0xabc), VlanId::new(5));
        let priority = Priority { code_point: 5, drop_eligible: true };
        let both = TagStack::new(service, network, priority);
        assert_eq!((both.bytes(), both.len()), (&[0x88, 0xa8, 0xba, 0xbc, 0x81, 0, 0xb0, 5][..], 8));
        let one = TagStack::new(service, None, Priority::default());
        assert_eq!((one.bytes(), one.len()), (&[0x88, 0xa8, 0x0a, 0xbc][..], 4));
        assert!(TagStack::new(None, None, priority).is_empty() && !one.is_empty());
    }

    #[test]
    fn three_types_announce_tags() {
        for kind in 0..=u16::MAX {
            let is_tag = [0x8100, 0x88a8, 0x9100].contains(&kind);
            assert_eq!(is_tag_at(&[&[0][..], &kind.to_be_bytes()].concat(), 1), is_tag, "{kind:x}");
        }
        assert!(!is_tag_at(&[0x81], 0) && !is_tag_at(&[], 3));
    }
}
