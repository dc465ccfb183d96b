//! Where a connection stands in memory: 104 bytes of atomics, in two parts that are written by different workers.
//!
//! The tests compile this very file a second time over loom's types (`tests/interleavings.rs`).

use super::Direction;
use super::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::atomic::{AtomicU32, AtomicU64, fence};
use super::state::Word;
use super::timeouts::SHORTEST_S;
use super::tuple::Tuple;
use crate::ids::{NetworkIndex, PortIndex};
use crate::packet::{Address, Plain};

/// What one side of a TCP connection said. Written by whoever carries its segments: each number only ever moves on.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// The sequence number behind the last byte that it sent.
    pub(super) end: AtomicU32,
    /// The last that it acknowledged.
    pub(super) ack: AtomicU32,
    /// The sequence number behind the last byte that it allows the other to send.
    pub(super) limit: AtomicU32,
    /// The widest window that it offered.
    pub(super) window: AtomicU32,
}

/// What tells a connection's packets, never changed while it lives, and what its original side said: one cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Front {
    /// IPv4: source and destination of the original direction, then of the reply direction; then the names of the mappings that
    /// translate its source and its destination, or 0.
    /// IPv6: source and destination of the original direction; the reply direction's are the same turned round.
    addresses: [AtomicU64; 4],
    /// Both ports of both directions.
    ports: AtomicU64,
    /// Protocol in bits 0 to 7, zones in 8 to 19 and 20 to 31, port in 32 to 43, version in 44. Whose rules vouch for the
    /// connection: the opener's in 45, and behind it the responder's index and one, or 0. Only these and the port may
    /// change while it lives, by who holds the shard's lock.
    identity: AtomicU64,
    side: Side,
}

/// What changes in a connection's life, and what its reply side said.
#[derive(Debug, Default)]
pub(super) struct Back {
    pub(super) word: AtomicU64,
    /// For the caller: by which policy the connection was judged last.
    pub(super) generation: AtomicU32,
    /// When each side was heard last, in seconds.
    pub(super) heard_s: [AtomicU32; 2],
    side: Side,
    /// What an answer to the opener's last SYN acknowledges, if that was sent to an open connection.
    pub(super) asked: AtomicU32,
}

const PROTOCOL: u64 = 0xff;
const IS_V4: u64 = 1 << 44;
const OPENER_VOUCHES: u64 = 1 << 45;
const RESPONDER_SHIFT: u32 = 46;
const PORT_SHIFT: u32 = 32;

/// What [`Front::set_vouchers`] changes.
const VOUCHERS: u64 = OPENER_VOUCHES | 0x1fff << RESPONDER_SHIFT;

/// What an entry has to say of itself so that all vouch for a packet who are asked: parts of its identity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    bits: u64,
    /// Which bits count.
    mask: u64,
}

impl Expected {
    /// Of packets of network `zone` that go in this direction. The rules of these ports have to vouch, as those of the side that opened the
    /// connection, and of the other one; `None` need not.
    pub(super) fn new(
        direction: Direction,
        zone: NetworkIndex,
        [opener, responder]: [Option<PortIndex>; 2],
    ) -> Self {
        let shift = zone_shift(direction);
        let mut expected = Self { bits: u64::from(zone.raw()) << shift, mask: 0xfff << shift };
        if let Some(port) = opener {
            expected.bits |= OPENER_VOUCHES | u64::from(port.raw()) << PORT_SHIFT;
            expected.mask |= OPENER_VOUCHES | 0xfff << PORT_SHIFT;
        }
        if let Some(port) = responder {
            expected.bits |= (u64::from(port.raw()) + 1) << RESPONDER_SHIFT;
            expected.mask |= 0x1fff << RESPONDER_SHIFT;
        }
        expected
    }
}

/// Where the network stands to which the packets of this direction belong.
#[inline]
fn zone_shift(direction: Direction) -> u32 {
    8 + 12 * (direction as u32)
}

impl Side {
    /// All of it, as a record has it.
    pub(super) fn numbers(&self) -> [u32; 4] {
        [&self.end, &self.ack, &self.limit, &self.window].map(|number| number.load(Relaxed))
    }

    /// What [`Side::numbers`] gave.
    pub(super) fn restore(&self, numbers: [u32; 4]) {
        for (own, number) in [&self.end, &self.ack, &self.limit, &self.window].into_iter().zip(numbers) {
            own.store(number, Relaxed);
        }
    }

    /// What a side has that has said nothing.
    pub(super) fn clear(&self) {
        for number in [&self.end, &self.ack, &self.limit, &self.window] {
            number.store(0, Relaxed);
        }
    }
}

impl Front {
    /// Gives the entry to a connection; only by who took it out of the free list.
    pub(super) fn fill(&self, original: &Tuple, reply: &Tuple, port: PortIndex, mappings: [u64; 2]) {
        // Who sees any of what follows sees that the earlier connection is gone.
        fence(Release);
        let is_v4 = original.source.is_v4();
        let tuples = [original, reply];
        let low = |address: Address| address.to_bits() & u128::from(u64::MAX);
        let words: [u128; 4] = if is_v4 {
            let [one, other] = tuples
                .map(|tuple| (low(tuple.source) & 0xffff_ffff) << 32 | low(tuple.destination) & 0xffff_ffff);
            [one, other, mappings[0].into(), mappings[1].into()]
        } else {
            let [source, destination] = [original.source, original.destination];
            [source.to_bits() >> 64, low(source), destination.to_bits() >> 64, low(destination)]
        };
        for (own, word) in self.addresses.iter().zip(words) {
            own.store(u64::try_from(word).unwrap_or(0), Relaxed);
        }
        self.ports.store(original.ports() | reply.ports() << 32, Relaxed);
        let zones = u64::from(original.zone.raw()) << 8 | u64::from(reply.zone.raw()) << 20;
        let version = if is_v4 { IS_V4 } else { 0 };
        let identity = u64::from(original.protocol) | zones | u64::from(port.raw()) << PORT_SHIFT | version;
        self.identity.store(identity, Relaxed);
        self.side.clear();
    }

    /// Whether packets of `tuple` go in this direction.
    #[inline]
    pub(super) fn is(&self, direction: Direction, tuple: &Tuple) -> bool {
        let identity = self.identity.load(Relaxed);
        let number = direction as u32;
        let ports = self.ports.load(Relaxed) >> (32 * number) & 0xffff_ffff;
        let zone = identity >> zone_shift(direction) & 0xfff;
        ports == tuple.ports()
            && identity & PROTOCOL == u64::from(tuple.protocol)
            && zone == u64::from(tuple.zone.raw())
            && self.addresses(direction, identity) == (tuple.source, tuple.destination)
    }

    #[inline]
    fn addresses(&self, direction: Direction, identity: u64) -> (Address, Address) {
        let word = |at: usize| u128::from(self.addresses[at].load(Relaxed));
        if identity & IS_V4 != 0 {
            let both = word(direction as usize);
            let mapped = |bits: u128| Address::from_bits(0xffff << 32 | bits & 0xffff_ffff);
            return (mapped(both >> 32), mapped(both));
        }
        let [source, destination] = [0, 2].map(|at| Address::from_bits(word(at) << 64 | word(at + 1)));
        match direction {
            Direction::Original => (source, destination),
            Direction::Reply => (destination, source),
        }
    }

    /// The packets that go in this direction; `None` only for bits that [`Front::fill`] never makes.
    pub(super) fn tuple(&self, direction: Direction) -> Option<Tuple> {
        let identity = self.identity.load(Relaxed);
        let number = direction as u32;
        let ports = self.ports.load(Relaxed) >> (32 * number);
        let (source, destination) = self.addresses(direction, identity);
        let part = |bits: u64| u16::try_from(bits & 0xffff).unwrap_or(0);
        Some(Tuple {
            zone: NetworkIndex::new(usize::from(part(identity >> zone_shift(direction) & 0xfff)))?,
            source,
            destination,
            protocol: u8::try_from(identity & PROTOCOL).unwrap_or(0),
            source_port: part(ports >> 16),
            destination_port: part(ports),
        })
    }

    /// The names of the mappings that translate its source and its destination; 0: none does.
    pub(super) fn mappings(&self) -> [u64; 2] {
        let is_v4 = self.identity.load(Relaxed) & IS_V4 != 0;
        [2, 3].map(|at| if is_v4 { self.addresses[at].load(Relaxed) } else { 0 })
    }

    /// Loads the entry's front.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.identity.load(Relaxed)
    }

    /// The port that holds the connection: where its original direction enters.
    pub(super) fn port(&self) -> Option<PortIndex> {
        port_at(self.identity.load(Relaxed), PORT_SHIFT)
    }

    /// The ports of both sides whose rules vouch for the connection.
    #[inline]
    pub(super) fn vouchers(&self) -> [Option<PortIndex>; 2] {
        let identity = self.identity.load(Relaxed);
        let opener = (identity & OPENER_VOUCHES != 0).then(|| port_at(identity, PORT_SHIFT)).flatten();
        let responder = (identity >> RESPONDER_SHIFT & 0x1fff).checked_sub(1);
        [opener, responder.and_then(|port| PortIndex::new(usize::try_from(port).ok()?))]
    }

    /// Whether the entry says of itself what is expected.
    #[inline]
    fn is_as(&self, expected: Expected) -> bool {
        self.identity.load(Relaxed) & expected.mask == expected.bits
    }

    /// Whether plain packets like this one go in this direction, and the entry says of itself what is expected.
    #[inline]
    fn is_plain(&self, direction: Direction, plain: &Plain, expected: Expected) -> bool {
        let mask = expected.mask | PROTOCOL | IS_V4;
        let bits = expected.bits | u64::from(plain.protocol) | IS_V4;
        let identity = self.identity.load(Relaxed) & mask ^ bits;
        let addresses = self.addresses[direction as usize].load(Relaxed) ^ plain.addresses;
        let ports = self.ports.load(Relaxed) >> (32 * (direction as u32)) & 0xffff_ffff;
        identity | addresses | ports ^ u64::from(plain.ports) == 0
    }

    /// Notes whose rules vouch for the connection; an opener that does holds it from now on. Only by who holds the lock.
    pub(super) fn set_vouchers(&self, [opener, responder]: [Option<PortIndex>; 2]) {
        let mut identity = self.identity.load(Relaxed) & !VOUCHERS;
        if let Some(port) = opener {
            identity =
                identity & !(0xfff << PORT_SHIFT) | u64::from(port.raw()) << PORT_SHIFT | OPENER_VOUCHES;
        }
        let responder = responder.map_or(0, |port| u64::from(port.raw()) + 1);
        self.identity.store(identity | responder << RESPONDER_SHIFT, Relaxed);
    }
}

fn port_at(identity: u64, shift: u32) -> Option<PortIndex> {
    usize::try_from(identity >> shift & 0xfff).ok().and_then(PortIndex::new)
}

impl Back {
    /// Loads the entry's back, both ends of it, since it may stand on two cache lines.
    #[inline]
    pub(super) fn touch(&self) -> u64 {
        self.word.load(Relaxed) ^ u64::from(self.asked.load(Relaxed))
    }

    #[inline]
    pub(super) fn word(&self) -> Word {
        Word(self.word.load(Acquire))
    }

    /// Whether the entry is still what it was when `word` was read: all that was read between belongs together.
    #[inline]
    pub(super) fn is_still(&self, word: Word) -> bool {
        fence(Acquire);
        self.word.load(Relaxed) >> 32 == word.0 >> 32
    }

    /// Ends the connection that lives here, and gives its last state; only by who holds the shard's lock.
    pub(super) fn end(&self) -> Word {
        let mut word = self.word();
        // Each attempt that fails is a change of state by another worker, of which a connection has few.
        while !self.exchange(word, word.dead()) {
            word = self.word();
        }
        word
    }

    /// Puts `new` in the place of `old`, if that stands there still.
    fn exchange(&self, old: Word, new: Word) -> bool {
        self.word.compare_exchange(old.0, new.0, AcqRel, Relaxed).is_ok()
    }

    /// Gives the entry to a connection; only by who took it out of the free list.
    pub(super) fn fill(&self, generation: u32, now_s: u32) {
        self.generation.store(generation, Relaxed);
        for heard in &self.heard_s {
            heard.store(now_s, Relaxed);
        }
        self.side.clear();
    }

    /// Lets others see what was filled in.
    pub(super) fn publish(&self, word: Word) {
        self.word.store(word.0, Release);
    }

    /// When something was heard of the connection last.
    #[inline]
    pub(super) fn heard_s(&self) -> u32 {
        let [original, reply] = self.heard_s.each_ref().map(|heard| heard.load(Relaxed));
        original.max(reply)
    }

    /// Notes that something was heard; does not touch the cache line for nothing.
    #[inline]
    pub(super) fn hear(&self, direction: Direction, now_s: u32) {
        let heard = &self.heard_s[direction as usize];
        if heard.load(Relaxed) < now_s {
            heard.store(now_s, Relaxed);
        }
    }

    /// Whether nothing was heard for longer than its state allows.
    #[inline]
    pub(super) fn is_over(&self, word: Word, now_s: u32) -> bool {
        let idle_s = now_s.saturating_sub(self.heard_s());
        // Of nearly all that is asked about somebody was heard a moment ago.
        idle_s > SHORTEST_S && idle_s > word.timeout_s()
    }
}

/// An entry, both parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) front: &'a Front,
    pub(super) back: &'a Back,
}

/// The connection has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ended;

impl<'a> Entry<'a> {
    /// The state of the connection that lives here, if packets of `tuple` go in this direction of it.
    #[inline]
    pub(super) fn holding(&self, direction: Direction, tuple: &Tuple) -> Option<Word> {
        let word = self.back.word();
        let is_it = word.is_live() && self.front.is(direction, tuple) && self.back.is_still(word);
        is_it.then_some(word)
    }

    /// Puts the state after a segment in the place of that before it, in the life that had that. If another worker changed it
    /// meanwhile, what this segment adds to it is added to that: flags are only ever set, but for the scale, which only an
    /// opening changes, and for what says that windows are not known, which ends when they are. Gives the port whose connection is no longer embryonic by this.
    pub(super) fn change(&self, before: Word, after: Word) -> Result<Option<PortIndex>, Ended> {
        let mut word = before;
        let (mut set, cleared) = (after.0 & !word.0, word.0 & !after.0);
        loop {
            let next = Word((word.0 & !cleared) | set);
            // Whoever is not assured keeps his port; so this one is right if the exchange succeeds.
            let holder = self.front.port();
            if self.back.exchange(word, next) {
                return Ok(holder.filter(|_| next.is_assured() && !word.is_assured()));
            }
            word = self.back.word();
            if word.life() != before.life() {
                return Err(Ended);
            }
            // Two workers may have added the acknowledgements that open it.
            set = (Word(word.0 | set).settled().0) & !word.0;
        }
    }

    /// Notes whose rules vouch for the connection, and by which generation. Only by who holds the lock, or before it is published.
    #[inline]
    pub(super) fn set_judged(&self, vouchers: [Option<PortIndex>; 2], generation: u32) {
        self.front.set_vouchers(vouchers);
        // Behind the vouchers, so that who sees it sees them, too.
        self.back.generation.store(generation, Release);
    }

    /// Whose rules vouch for the connection, and by which generation at least: never by a later one than they did.
    #[inline]
    pub(super) fn judged(&self) -> ([Option<PortIndex>; 2], u32) {
        let generation = self.back.generation.load(Acquire);
        (self.front.vouchers(), generation)
    }

    /// The state of the connection that lives here, and the generation by which it is vouched for, as `judged` finds it out without a lock.
    /// `None`: nobody vouches, nothing lives here, or it is another connection by now. The state is loaded first, by `Acquire`, so that all that is
    /// read after it is at least as new as that life; and looked at once more behind a fence, which sees a later life if anything that was read is
    /// of that one. So the tuple, the vouchers and the generation are of one and the same life.
    #[inline(always)]
    pub(super) fn look_once(self, judged: impl FnOnce(Self) -> Option<u32>) -> Option<(Word, u32)> {
        let word = self.back.word();
        let generation = judged(self).filter(|_| word.is_live())?;
        self.back.is_still(word).then_some((word, generation))
    }

    /// The generation by which the rules of those ports vouch for the connection at least of which that is expected; `None`: not all of
    /// them do, or its packets are of another network.
    #[inline]
    pub(super) fn vouched_by(&self, expected: Expected) -> Option<u32> {
        let generation = self.back.generation.load(Acquire);
        self.front.is_as(expected).then_some(generation)
    }

    /// The same if plain packets like this one go in this direction of it.
    #[inline]
    pub(super) fn vouched_for_plain(
        &self,
        direction: Direction,
        plain: &Plain,
        expected: Expected,
    ) -> Option<u32> {
        let generation = self.back.generation.load(Acquire);
        self.front.is_plain(direction, plain, expected).then_some(generation)
    }

    #[inline]
    pub(super) fn side(&self, direction: Direction) -> &'a Side {
        match direction {
            Direction::Original => &self.front.side,
            Direction::Reply => &self.back.side,
        }
    }
}
