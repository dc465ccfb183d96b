//! Addresses that move again and again between VTEPs, or between a VTEP and a port: two stations have one address, or there is a loop
//! (RFC 7432, 15.1).
//!
//! A table of fixed size, kept by the writer of the fdb alone: a move is noted where it happens. Who moves often keeps his place before who
//! moves seldom, so that many addresses that move once hide none that moves all the time.

use super::entry::Key;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;

/// So many moves within [`WINDOW_S`] are too many: RFC 7432, 15.1.
const MOVES_MAX: u32 = 5;

/// For how many seconds moves are counted, and who moved too often is told of.
const WINDOW_S: u32 = 180;

/// Groups of places, and places in each.
const SETS: usize = 64;
const WAYS: usize = 4;

/// An address that moves again and again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Duplicate {
    /// Its network.
    pub network: NetworkIndex,
    /// The address.
    pub mac: MacAddress,
    /// Where it was last, and where before.
    pub ports: [PortIndex; 2],
    /// How often it moved since it was first too often.
    pub moves: u32,
    /// How many seconds ago it moved last.
    pub age_s: u32,
}

/// What is known of one address.
#[derive(Clone, Copy, Debug)]
struct Watched {
    key: Key,
    /// When the moves began that are counted.
    since_s: u32,
    last_s: u32,
    moves: u32,
    ports: [PortIndex; 2],
    /// It moved too often.
    is_duplicate: bool,
    /// That was not told yet.
    is_news: bool,
}

/// The addresses that moved lately.
#[derive(Debug)]
pub(super) struct Moves {
    watched: Box<[Option<Watched>]>,
}

impl Default for Moves {
    fn default() -> Self {
        Self { watched: vec![None; SETS * WAYS].into() }
    }
}

impl Watched {
    fn is_over(&self, now_s: u32) -> bool {
        now_s.saturating_sub(self.last_s) > WINDOW_S
    }

    fn duplicate(&self, now_s: u32) -> Option<Duplicate> {
        let counts = self.is_duplicate && !self.is_over(now_s);
        let (network, mac) = (self.key.network()?, self.key.mac());
        let age_s = now_s.saturating_sub(self.last_s);
        counts.then_some(Duplicate { network, mac, ports: self.ports, moves: self.moves, age_s })
    }
}

impl Moves {
    /// Takes note of a move from the second port to the first; says whether that is one too many for the first time. `hash` is the
    /// address's, seeded.
    pub(super) fn note(&mut self, key: Key, hash: usize, ports: [PortIndex; 2], now_s: u32) -> bool {
        let first = hash % SETS * WAYS;
        let Some(set) = self.watched.get_mut(first..first + WAYS) else { return false };
        let is_same = |place: &Option<Watched>| place.is_some_and(|watched| watched.key == key);
        let Some(at) = set.iter().position(is_same) else {
            let fresh = Watched {
                key,
                since_s: now_s,
                last_s: now_s,
                moves: 1,
                ports,
                is_duplicate: false,
                is_news: false,
            };
            let rank = |place: &Option<Watched>| {
                place
                    .filter(|watched| !watched.is_over(now_s))
                    .map_or((0, 0), |watched| (watched.moves, watched.last_s))
            };
            if let Some(place) = set.iter_mut().min_by_key(|place| rank(place)) {
                *place = Some(fresh);
            }
            return false;
        };
        let Some(Some(watched)) = set.get_mut(at) else { return false };
        watched.again(ports, now_s)
    }

    /// All that move again and again.
    pub(super) fn duplicates(&self, now_s: u32) -> Vec<Duplicate> {
        self.watched.iter().flatten().filter_map(|watched| watched.duplicate(now_s)).collect()
    }

    /// At most `limit` of them that were not given yet.
    pub(super) fn take_news(&mut self, now_s: u32, limit: usize) -> Vec<Duplicate> {
        let news = self.watched.iter_mut().flatten().filter(|watched| watched.is_news);
        let told = news.filter_map(|watched| {
            watched.is_news = false;
            watched.duplicate(now_s)
        });
        // Those that are over are no news any more and count for nothing, so that fewer than the limit means that there are no others.
        told.take(limit).collect()
    }
}

impl Watched {
    fn again(&mut self, ports: [PortIndex; 2], now_s: u32) -> bool {
        let is_long_ago = now_s.saturating_sub(self.since_s) > WINDOW_S;
        if self.is_over(now_s) || (is_long_ago && !self.is_duplicate) {
            // What was counted is too old; who still moves is counted anew.
            (self.since_s, self.moves) = (now_s, 0);
            (self.is_duplicate, self.is_news) = (false, false);
        }
        self.moves = self.moves.saturating_add(1);
        (self.last_s, self.ports) = (now_s, ports);
        let is_first = self.moves >= MOVES_MAX && !self.is_duplicate;
        self.is_duplicate |= is_first;
        self.is_news |= is_first;
        is_first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key::new(NetworkIndex::new(3).unwrap(), MacAddress::from_u64(0x0200_0000_0000 | u64::from(number)))
    }

    fn ports() -> [PortIndex; 2] {
        [1, 2].map(|index| PortIndex::new(index).unwrap())
    }

    #[test]
    fn five_moves_within_three_minutes_are_told_once_and_end_three_minutes_after_the_last_one() {
        let mut moves = Moves::default();
        let found: Vec<bool> = [0, 10, 20, 170, 180, 181].map(|at| moves.note(key(1), 9, ports(), at)).into();
        assert_eq!(found, [false, false, false, false, true, false]);
        let news = moves.take_news(181, 9);
        assert_eq!((news.len(), news[0].mac, news[0].moves), (1, MacAddress([2, 0, 0, 0, 0, 1]), 6));
        assert_eq!(moves.take_news(181, 9), []);
        assert_eq!(moves.duplicates(181 + WINDOW_S).len(), 1);
        assert_eq!(moves.duplicates(182 + WINDOW_S), []);
        assert!(!moves.note(key(1), 9, ports(), 182 + WINDOW_S), "it is counted anew");
        assert_eq!(moves.duplicates(182 + WINDOW_S), []);
    }

    #[test]
    fn what_is_over_before_it_was_told_takes_nobodys_place_among_the_news() {
        let mut moves = Moves::default();
        let mut often = |number: u32, at: u32| {
            (0..MOVES_MAX).for_each(|_| _ = moves.note(key(number), number as usize, ports(), at))
        };
        (1..=3).for_each(|number| often(number, 0));
        (4..=6).for_each(|number| often(number, WINDOW_S + 1));
        let told = |news: Vec<Duplicate>| news.len();
        let now_s = WINDOW_S + 1;
        assert_eq!([2, 2, 2].map(|limit| told(moves.take_news(now_s, limit))), [2, 1, 0]);
    }

    #[test]
    fn moves_that_are_far_apart_are_mobility() {
        let mut moves = Moves::default();
        assert!((0..100).all(|round| !moves.note(key(1), 9, ports(), round * 50)));
    }

    #[test]
    fn many_that_move_once_hide_none_that_moves_all_the_time() {
        let mut moves = Moves::default();
        let mut found = 0;
        for round in 0..40_u32 {
            found += u32::from(moves.note(key(1), 9, ports(), round));
            for other in 2..=150 {
                assert!(!moves.note(key(round * 1000 + other), other as usize, ports(), round));
            }
        }
        assert_eq!(found, 1);
        assert!(moves.watched.len() == SETS * WAYS);
    }
}
