//! Which link a flow takes: a table from the flow's hash to a link, in which as little moves as can be.

use crate::lacp::LINKS_MAX;
use crate::time::Nanos;

/// Places in the table; the flows that share one go the same way.
pub const BUCKETS: usize = 256;

/// Nanoseconds for which a bucket has been silent before it may move from a link that works to another one: more than
/// what two ways through the network beyond differ by.
pub const GAP_NS: u64 = 50_000_000;

/// A set of links by their numbers, below [`LINKS_MAX`].
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LinkSet(pub u16);

impl LinkSet {
    /// Whether the link is in the set.
    #[must_use]
    pub fn has(self, link: usize) -> bool {
        link < LINKS_MAX && self.0 >> link & 1 != 0
    }

    /// Puts the link into the set.
    pub fn insert(&mut self, link: usize) {
        self.0 |= if link < LINKS_MAX { 1 << link } else { 0 };
    }

    /// The links in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> + Clone {
        (0..LINKS_MAX).filter(move |link| self.has(*link))
    }

    /// How many there are.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<usize> for LinkSet {
    fn from_iter<I: IntoIterator<Item = usize>>(links: I) -> Self {
        let mut set = Self::default();
        links.into_iter().for_each(|link| set.insert(link));
        set
    }
}

/// One place of the table.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Where its flows go.
    link: u8,
    /// Where they are to go when they have been silent.
    wanted: u8,
    /// When the last of its frames went.
    last: Nanos,
}

/// The table of one bond.
#[derive(Clone, Debug)]
pub struct Steering {
    buckets: [Bucket; BUCKETS],
    usable: LinkSet,
}

impl Default for Steering {
    fn default() -> Self {
        let bucket = Bucket { link: 0, wanted: 0, last: Nanos(0) };
        Self { buckets: [bucket; BUCKETS], usable: LinkSet::default() }
    }
}

impl Steering {
    /// These links send from now on. Flows of others go to them at once, evenly; flows of links that stay are moved only
    /// to make it even, and when they are silent.
    pub fn set_usable(&mut self, usable: LinkSet) {
        let fresh = self.usable.is_empty();
        self.usable = usable;
        if usable.is_empty() {
            return;
        }
        let mut load = Load::new(usable);
        let mut homeless = Vec::new();
        for (at, bucket) in self.buckets.iter_mut().enumerate() {
            // What has begun is not undone, unless there is no such link any more.
            if !usable.has(usize::from(bucket.wanted)) {
                bucket.wanted = bucket.link;
            }
            match usize::from(bucket.wanted) {
                wanted if usable.has(wanted) && !fresh => load.add(wanted),
                _ => homeless.push(at),
            }
        }
        for at in homeless {
            let link = load.lightest();
            load.add(usize::from(link));
            self.buckets[at].wanted = link;
        }
        self.even_out(&mut load);
        for bucket in &mut self.buckets {
            if !usable.has(usize::from(bucket.link)) || fresh {
                bucket.link = bucket.wanted;
            }
        }
    }

    /// Moves buckets from the links with most of them to those with fewest, until none has more than one too many.
    fn even_out(&mut self, load: &mut Load) {
        for _ in 0..BUCKETS {
            let (heaviest, lightest) = (load.heaviest(), load.lightest());
            if load.of(heaviest) <= load.of(lightest) + 1 {
                return;
            }
            let Some(bucket) = self.buckets.iter_mut().find(|bucket| bucket.wanted == heaviest) else {
                return;
            };
            bucket.wanted = lightest;
            load.move_one(heaviest, lightest);
        }
    }

    /// The link for a frame with this hash; `None`: no link sends. `is_drained` says whether nothing waits any more at a
    /// link of what it was given.
    #[inline]
    pub fn choose(&mut self, hash: u32, now: Nanos, is_drained: impl FnOnce(usize) -> bool) -> Option<usize> {
        if self.usable.is_empty() {
            return None;
        }
        let bucket = &mut self.buckets[hash as usize >> 24];
        let link = usize::from(bucket.link);
        if bucket.wanted != bucket.link && now.0.saturating_sub(bucket.last.0) >= GAP_NS && is_drained(link) {
            bucket.link = bucket.wanted;
        }
        bucket.last = now;
        Some(usize::from(bucket.link))
    }

    /// How many buckets go by each link.
    #[must_use]
    pub fn shares(&self) -> [u16; LINKS_MAX] {
        let mut shares = [0; LINKS_MAX];
        if !self.usable.is_empty() {
            self.buckets.iter().for_each(|bucket| shares[usize::from(bucket.link)] += 1);
        }
        shares
    }
}

/// How many buckets each link has.
struct Load {
    counts: [u16; LINKS_MAX],
    links: LinkSet,
}

impl Load {
    fn new(links: LinkSet) -> Self {
        Self { counts: [0; LINKS_MAX], links }
    }

    fn add(&mut self, link: usize) {
        self.counts[link] += 1;
    }

    fn of(&self, link: u8) -> u16 {
        self.counts[usize::from(link)]
    }

    fn move_one(&mut self, from: u8, to: u8) {
        self.counts[usize::from(from)] -= 1;
        self.counts[usize::from(to)] += 1;
    }

    fn numbers(&self) -> impl Iterator<Item = u8> {
        // All are below LINKS_MAX.
        self.links.iter().filter_map(|link| u8::try_from(link).ok())
    }

    /// The first link with fewest.
    fn lightest(&self) -> u8 {
        self.numbers().min_by_key(|link| self.of(*link)).unwrap_or(0)
    }

    /// The last link with most.
    fn heaviest(&self) -> u8 {
        self.numbers().max_by_key(|link| self.of(*link)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(links: &[usize]) -> LinkSet {
        links.iter().copied().collect()
    }

    /// Where each bucket goes now; time is one at which none has been silent.
    fn ways(steering: &mut Steering, now: u64) -> Vec<Option<usize>> {
        (0..256u32).map(|bucket| steering.choose(bucket << 24, Nanos(now), |_| true)).collect()
    }

    fn is_even(ways: &[Option<usize>], links: &[usize]) -> bool {
        let count = |link: &usize| ways.iter().filter(|way| **way == Some(*link)).count();
        let counts: Vec<_> = links.iter().map(count).collect();
        counts.iter().sum::<usize>() == 256
            && counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1
    }

    #[test]
    fn without_links_nothing_goes_and_the_first_links_get_even_shares() {
        let mut steering = Steering::default();
        assert_eq!(ways(&mut steering, 0), vec![None; 256]);
        assert_eq!(steering.shares(), [0; 16]);
        steering.set_usable(set(&[1, 2, 5]));
        assert!(is_even(&ways(&mut steering, 0), &[1, 2, 5]));
        assert_eq!(steering.shares()[..6], [0, 86, 85, 0, 0, 85]);
        steering.set_usable(LinkSet::default());
        assert_eq!(ways(&mut steering, 0), vec![None; 256]);
        // All were gone: who comes first gets all, with nothing under way that could be overtaken.
        steering.set_usable(set(&[0, 3]));
        assert!(is_even(&ways(&mut steering, 0), &[0, 3]));
    }

    #[test]
    fn a_link_that_dies_moves_its_own_flows_alone_and_at_once() {
        let mut steering = Steering::default();
        steering.set_usable(set(&[0, 1, 2]));
        let before = ways(&mut steering, 100);
        steering.set_usable(set(&[0, 2]));
        let after = ways(&mut steering, 101);
        assert!(is_even(&after, &[0, 2]));
        for (before, after) in before.iter().zip(&after) {
            assert!(before == after || *before == Some(1));
        }
    }

    #[test]
    fn a_link_that_comes_back_gets_flows_when_they_are_silent_and_their_way_is_empty() {
        let mut steering = Steering::default();
        steering.set_usable(set(&[0]));
        let now = 10 * GAP_NS;
        ways(&mut steering, now);
        steering.set_usable(set(&[0, 1]));
        for step in 1..10 {
            let ways = ways(&mut steering, now + step * (GAP_NS - 1));
            assert!(ways.iter().all(|way| *way == Some(0)), "a flow that goes on stays");
        }
        let now = now + 9 * (GAP_NS - 1) + GAP_NS;
        assert_eq!(steering.choose(0, Nanos(now), |link| link != 0), Some(0), "something waits there still");
        assert_eq!(steering.choose(0, Nanos(now + GAP_NS), |link| link == 0), Some(1));
        let ways = ways(&mut steering, now);
        assert!(is_even(&ways, &[0, 1]));
    }

    #[test]
    fn a_move_that_has_begun_ends_when_its_goal_or_its_origin_dies() {
        let mut steering = Steering::default();
        steering.set_usable(set(&[0]));
        ways(&mut steering, 1);
        steering.set_usable(set(&[0, 1]));
        steering.set_usable(set(&[0]));
        assert!(ways(&mut steering, 2).iter().all(|way| *way == Some(0)));
        assert!(ways(&mut steering, 2 + GAP_NS).iter().all(|way| *way == Some(0)));
        steering.set_usable(set(&[0, 1]));
        steering.set_usable(set(&[1]));
        assert!(ways(&mut steering, 3).iter().all(|way| *way == Some(1)), "at once");
    }

    #[test]
    fn sets_have_the_links_that_were_put_in() {
        let mut links = set(&[0, 15]);
        links.insert(16);
        links.insert(99);
        assert_eq!(links, LinkSet(0x8001));
        assert_eq!(links.iter().collect::<Vec<_>>(), [0, 15]);
        assert_eq!((links.len(), links.is_empty()), (2, false));
        assert!(!links.has(16) && !links.has(1) && links.has(15));
    }

    proptest! {
        #[test]
        fn whatever_comes_and_goes_frames_take_links_that_send_and_live_flows_stay(
            changes in prop::collection::vec(any::<u16>(), 1..30),
        ) {
            let mut steering = Steering::default();
            let mut now = 0;
            let mut before: Vec<Option<usize>> = vec![None; 256];
            for usable in changes.into_iter().map(LinkSet) {
                steering.set_usable(usable);
                now += 1;
                let after = ways(&mut steering, now);
                for (before, after) in before.iter().zip(&after) {
                    prop_assert_eq!(after.is_none(), usable.is_empty());
                    prop_assert!(after.is_none_or(|link| usable.has(link)));
                    let alive = before.is_some_and(|link| usable.has(link));
                    prop_assert!(!alive || before == after, "a flow of a live link was moved");
                }
                before = after;
            }
            now += GAP_NS;
            let links: Vec<_> = steering.usable.iter().collect();
            prop_assert!(links.is_empty() || is_even(&ways(&mut steering, now), &links));
        }
    }
}
