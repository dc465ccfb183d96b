//! Who is a member until when: a fixed table, under the lock of the table of groups.

use crate::ids::{PORTS_MAX, PortIndex};

/// How many memberships share a bucket: eight fill a cache line.
const BUCKET_MEMBERS: usize = 8;

/// One port in one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Member {
    /// The number of the group's slot.
    pub(super) slot: u16,
    port: u16,
    /// The second in which it ends.
    pub(super) expires_s: u32,
}

impl Member {
    const NONE: Self = Self { slot: u16::MAX, port: 0, expires_s: 0 };

    /// `port` in the group of `slot`, which is below 32,768.
    pub(super) fn new(slot: usize, port: PortIndex, expires_s: u32) -> Self {
        Self { slot: u16::try_from(slot).unwrap_or(u16::MAX), port: port.raw(), expires_s }
    }

    /// The port; `None` only for what [`Member::new`] never makes.
    pub(super) fn port(self) -> Option<PortIndex> {
        PortIndex::new(usize::from(self.port))
    }

    fn is_same(self, other: Self) -> bool {
        (self.slot, self.port) == (other.slot, other.port)
    }
}

/// A place in the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At(usize);

/// The table. A membership stands in one of two buckets that its hash names.
#[derive(Debug)]
pub(super) struct Members {
    places: Box<[Member]>,
    /// How many memberships each port has.
    held: Box<[u32]>,
}

impl Members {
    pub(super) fn new(memberships: usize) -> Self {
        let places = memberships.max(2 * BUCKET_MEMBERS).next_power_of_two();
        Self { places: vec![Member::NONE; places].into(), held: vec![0; PORTS_MAX].into() }
    }

    /// How many there is room for.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// How many memberships `port` has.
    pub(super) fn held(&self, port: PortIndex) -> u32 {
        self.held[port.get()]
    }

    /// What stands in place `number`.
    pub(super) fn at(&self, number: usize) -> Option<(At, Member)> {
        let member = *self.places.get(number)?;
        (member != Member::NONE).then_some((At(number), member))
    }

    fn candidates(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let buckets = self.places.len() / BUCKET_MEMBERS;
        let bucket = |hash: u64| usize::try_from(hash & (buckets as u64 - 1)).unwrap_or(0);
        let both = [bucket(hash), bucket(hash.rotate_right(32))];
        both.into_iter().flat_map(|bucket| bucket * BUCKET_MEMBERS..(bucket + 1) * BUCKET_MEMBERS)
    }

    /// The place of the membership that has slot and port of `member`, whose hash is `hash`.
    pub(super) fn find(&self, hash: u64, member: Member) -> Option<At> {
        self.candidates(hash).find(|&place| self.places[place].is_same(member)).map(At)
    }

    /// Where `member` may stand, and who has to leave for it: nobody, else one whose time is over, else one
    /// of the port that holds most, and of these the next to end. A membership of a port that holds no more
    /// than the asking one never gives way, unless it is the asking one's own; nor does one that must `stay`.
    pub(super) fn room(
        &self,
        hash: u64,
        member: Member,
        limits: &Limits,
        stays: impl Fn(Member) -> bool,
    ) -> Option<(At, Option<Member>)> {
        let own = self.held[usize::from(member.port)];
        let is_full = own >= limits.per_port_max;
        let taken = || self.candidates(hash).map(|place| (At(place), self.places[place]));
        if !is_full && let Some((at, _)) = taken().find(|&(_, other)| other == Member::NONE) {
            return Some((at, None));
        }
        let held = |other: Member| self.held[usize::from(other.port)];
        let may_go = |other: Member| {
            let is_over = other.expires_s <= limits.now_s;
            let is_own = other.port == member.port;
            other != Member::NONE && !stays(other) && (is_own || (!is_full && (is_over || held(other) > own)))
        };
        let victims = taken().filter(|&(_, other)| may_go(other));
        let best = victims.max_by_key(|&(_, other)| {
            (other.expires_s <= limits.now_s, held(other), u32::MAX - other.expires_s)
        });
        best.map(|(at, other)| (at, Some(other)))
    }

    /// Puts a membership into a place that is empty.
    pub(super) fn put(&mut self, at: At, member: Member) {
        self.places[at.0] = member;
        self.held[usize::from(member.port)] += 1;
    }

    /// Takes a membership out.
    pub(super) fn take(&mut self, at: At) {
        let member = std::mem::replace(&mut self.places[at.0], Member::NONE);
        let held = &mut self.held[usize::from(member.port)];
        *held = held.saturating_sub(1);
    }

    /// The membership in a place.
    pub(super) fn get(&self, at: At) -> Member {
        self.places[at.0]
    }

    /// When the membership ends.
    pub(super) fn expires_s(&mut self, at: At) -> &mut u32 {
        &mut self.places[at.0].expires_s
    }
}

/// What bounds a new membership.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) per_port_max: u32,
    pub(super) now_s: u32,
}
