//! Storm control: how many frames a second a port may send to many receivers at once.
//!
//! One frame that is flooded costs every port of its network one, so each port has a token bucket for each
//! [`StormClass`], which all workers share without a lock (`meter/bucket.rs`).

use std::num::NonZeroU32;

use crate::control::CONTROL_RATE;
use crate::drops::DropReason;
use crate::ids::{PORTS_MAX, PortIndex};
use crate::meter::bucket::{self, Terms};
use crate::time::Nanos;

/// A bucket that is further ahead than its rate explains by this much was filled at an earlier, slower
/// rate. Workers read the clock apart from each other by far less.
const STALE_NS: u64 = 1_000_000_000;

/// The fewest frames that may come at once, at any rate: one burst of a ring.
const BURST_MIN: u32 = 64;

/// How many IGMP and MLD messages a port may send: far more than hosts do, which say each thing twice and
/// answer once in two minutes, and so few that reading them costs next to nothing.
pub(crate) const MESSAGES: FrameRate = match FrameRate::new(500) {
    Some(rate) => rate,
    None => unreachable!(),
};

/// The most frames that may come at once, at any rate: about half of what waits for a receiver whose ring is full. With
/// more, the first moment of a flood would cost neighbours frames of their own.
const BURST_MAX: u32 = 512;

/// Why a frame reaches many ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum StormClass {
    /// It is for all stations.
    Broadcast,
    /// It is for a group of stations.
    Multicast,
    /// It is for one station, and nobody knows where that is.
    UnknownUnicast,
}

impl StormClass {
    /// How many classes there are.
    const COUNT: usize = 3;

    /// Why a frame of this class is dropped above the port's rate.
    #[must_use]
    pub fn drop_reason(self) -> DropReason {
        match self {
            Self::Broadcast => DropReason::StormBroadcast,
            Self::Multicast => DropReason::StormMulticast,
            Self::UnknownUnicast => DropReason::StormUnknownUnicast,
        }
    }
}

/// A number of frames a second. Up to a quarter of a second's frames, 64 at least and 512 at most, may come at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FrameRate(NonZeroU32);

impl FrameRate {
    /// The highest rate: the distance of two frames is counted in whole nanoseconds.
    pub const PER_SECOND_MAX: u32 = 10_000_000;

    /// `per_second` frames, from 1 to [`FrameRate::PER_SECOND_MAX`].
    #[must_use]
    pub const fn new(per_second: u32) -> Option<Self> {
        match NonZeroU32::new(per_second) {
            Some(rate) if per_second <= Self::PER_SECOND_MAX => Some(Self(rate)),
            _ => None,
        }
    }

    /// Frames a second.
    #[must_use]
    pub fn per_second(self) -> u32 {
        self.0.get()
    }

    /// The time between two frames that come evenly, in nanoseconds.
    fn interval_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.0.get())
    }

    /// How much a bucket of this rate holds.
    fn terms(self) -> Terms {
        Terms { depth: self.interval_ns() * u64::from(self.burst()), slack: STALE_NS }
    }

    /// How many frames may come at once.
    #[must_use]
    pub fn burst(self) -> u32 {
        (self.0.get() / 4).clamp(BURST_MIN, BURST_MAX)
    }
}

/// What one port may send to many; `None` is any number.
///
/// The default is what no honest guest comes near, and low enough that the flood of one guest leaves its
/// neighbours time for their own frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StormLimits {
    /// Frames to all stations.
    pub broadcast: Option<FrameRate>,
    /// Frames to groups of stations.
    pub multicast: Option<FrameRate>,
    /// Frames to stations that nobody knows.
    pub unknown_unicast: Option<FrameRate>,
}

impl Default for StormLimits {
    fn default() -> Self {
        Self {
            broadcast: FrameRate::new(10_000),
            multicast: FrameRate::new(100_000),
            unknown_unicast: FrameRate::new(100_000),
        }
    }
}

/// How many packets of one port its gateway looks at itself in a second: ARP, pings and errors of a busy server are some dozens,
/// and each takes a few microseconds.
pub(crate) const GATEWAY_RATE: FrameRate = match FrameRate::new(1000) {
    Some(rate) => rate,
    None => unreachable!(),
};

impl StormLimits {
    /// Any number of frames of every class.
    pub const UNLIMITED: Self = Self { broadcast: None, multicast: None, unknown_unicast: None };

    /// The rate for frames of `class`.
    #[must_use]
    #[inline]
    pub fn of(&self, class: StormClass) -> Option<FrameRate> {
        match class {
            StormClass::Broadcast => self.broadcast,
            StormClass::Multicast => self.multicast,
            StormClass::UnknownUnicast => self.unknown_unicast,
        }
    }
}

/// What of one port may cost more than a look at what is known; `None` is any number. It is its own packets that a port that
/// is over its limits loses, and only those that open something: what is known goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JudgeLimits {
    /// Connections that the port opens.
    pub new_connections: Option<FrameRate>,
    /// Packets from the port that are of no known connection, and about which rules are asked.
    pub judged_packets: Option<FrameRate>,
}

impl Default for JudgeLimits {
    /// What takes a worker about a fiftieth of its time, and is more than servers of large sites open.
    fn default() -> Self {
        Self { new_connections: FrameRate::new(50_000), judged_packets: FrameRate::new(100_000) }
    }
}

impl JudgeLimits {
    /// Any number.
    pub const UNLIMITED: Self = Self { new_connections: None, judged_packets: None };
}

/// All ports' buckets.
#[derive(Debug)]
pub(crate) struct StormMeters(Box<[PortMeters]>);

/// One port's buckets, apart from other ports' which other workers may write.
#[derive(Debug, Default)]
#[repr(align(64))]
struct PortMeters {
    storm: [Bucket; StormClass::COUNT],
    messages: Bucket,
    control: Bucket,
    gateway: Bucket,
    claims: Bucket,
    connections: Bucket,
    judged: Bucket,
}

impl Default for StormMeters {
    fn default() -> Self {
        Self(std::iter::repeat_with(PortMeters::default).take(PORTS_MAX).collect())
    }
}

impl StormMeters {
    /// Whether a frame of `class` that comes from `port` now is within `limits`; counts it if so.
    #[inline]
    pub(crate) fn admits(
        &self,
        port: PortIndex,
        class: StormClass,
        limits: &StormLimits,
        now: Nanos,
    ) -> bool {
        limits.of(class).is_none_or(|rate| self.0[port.get()].storm[class as usize].admits(rate, now.0))
    }
}

impl StormMeters {
    /// Whether an IGMP or MLD message that comes from `port` now is not one too many; counts it if so.
    pub(crate) fn admits_message(&self, port: PortIndex, now: Nanos) -> bool {
        self.0[port.get()].messages.admits(MESSAGES, now.0)
    }

    /// Whether a frame of `class` would be admitted that came from `port` now; counts nothing.
    pub(crate) fn would_admit(
        &self,
        port: PortIndex,
        class: StormClass,
        limits: &StormLimits,
        now: Nanos,
    ) -> bool {
        let bucket = &self.0[port.get()].storm[class as usize];
        limits.of(class).is_none_or(|rate| bucket.would_admit(rate, now.0))
    }

    /// Whether an IGMP or MLD message would be admitted that came from `port` now; counts nothing.
    pub(crate) fn would_admit_message(&self, port: PortIndex, now: Nanos) -> bool {
        self.0[port.get()].messages.would_admit(MESSAGES, now.0)
    }

    /// Whether a control frame would be admitted that came from `port` now; counts nothing.
    pub(crate) fn would_admit_control(&self, port: PortIndex, now: Nanos) -> bool {
        self.0[port.get()].control.would_admit(CONTROL_RATE, now.0)
    }

    /// Whether a control frame that comes from `port` now is not one too many; counts it if so.
    pub(crate) fn admits_control(&self, port: PortIndex, now: Nanos) -> bool {
        self.0[port.get()].control.admits(CONTROL_RATE, now.0)
    }
}

impl StormMeters {
    /// Whether a packet that comes from `port` now is not one too many for the gateway; counts it if so. What says who has an
    /// address (ARP, neighbour discovery) has a meter of its own: whoever floods the gateway from behind a port, as anybody
    /// outside may, keeps nobody there from being found.
    pub(crate) fn admits_to_gateway(&self, port: PortIndex, is_claim: bool, now: Nanos) -> bool {
        self.gateway_meter(port, is_claim).admits(GATEWAY_RATE, now.0)
    }

    /// The same, but counts nothing.
    pub(crate) fn would_admit_to_gateway(&self, port: PortIndex, is_claim: bool, now: Nanos) -> bool {
        self.gateway_meter(port, is_claim).would_admit(GATEWAY_RATE, now.0)
    }

    fn gateway_meter(&self, port: PortIndex, is_claim: bool) -> &Bucket {
        let meters = &self.0[port.get()];
        if is_claim { &meters.claims } else { &meters.gateway }
    }
}

impl StormMeters {
    /// Whether `port` may have rules asked about packets of no known connection now; counts nothing.
    pub(crate) fn may_judge(&self, port: PortIndex, limits: &JudgeLimits, now: Nanos) -> bool {
        limits.judged_packets.is_none_or(|rate| self.0[port.get()].judged.would_admit(rate, now.0))
    }

    /// Counts a packet of `port` about which rules were asked.
    pub(crate) fn count_judged(&self, port: PortIndex, limits: &JudgeLimits, now: Nanos) {
        if let Some(rate) = limits.judged_packets {
            self.0[port.get()].judged.admits(rate, now.0);
        }
    }

    /// Whether `port` may open one more connection now; counts nothing.
    pub(crate) fn would_admit_connection(&self, port: PortIndex, limits: &JudgeLimits, now: Nanos) -> bool {
        limits.new_connections.is_none_or(|rate| self.0[port.get()].connections.would_admit(rate, now.0))
    }

    /// Whether `port` may open one more connection now; counts it if so.
    pub(crate) fn admits_connection(&self, port: PortIndex, limits: &JudgeLimits, now: Nanos) -> bool {
        limits.new_connections.is_none_or(|rate| self.0[port.get()].connections.admits(rate, now.0))
    }
}

/// One bucket, in frames and nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Bucket(bucket::Bucket);

impl Bucket {
    /// Whether a frame may come now; counts it if so.
    pub(crate) fn admits(&self, rate: FrameRate, now_ns: u64) -> bool {
        self.0.take(rate.interval_ns(), rate.terms(), now_ns).is_some()
    }

    /// Whether a frame would be admitted that came now.
    fn would_admit(&self, rate: FrameRate, now_ns: u64) -> bool {
        self.0.has(rate.interval_ns(), rate.terms(), now_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn rate(per_second: u32) -> FrameRate {
        FrameRate::new(per_second).unwrap()
    }

    /// How many of `frames` that come at once are admitted.
    fn admitted(bucket: &Bucket, rate: FrameRate, now_ns: u64, frames: u32) -> u32 {
        (0..frames).map(|_| u32::from(bucket.admits(rate, now_ns))).sum()
    }

    #[test]
    fn a_rate_has_bounds() {
        assert_eq!(FrameRate::new(0), None);
        assert_eq!(FrameRate::new(FrameRate::PER_SECOND_MAX + 1), None);
        assert_eq!(rate(FrameRate::PER_SECOND_MAX).interval_ns(), 100);
        assert_eq!((rate(1).burst(), rate(1000).burst(), rate(100_000).burst()), (64, 250, 512));
    }

    #[test]
    fn a_full_bucket_admits_one_burst_and_then_the_rate() {
        let bucket = Bucket::default();
        assert_eq!(admitted(&bucket, rate(1000), 5 * SECOND, 1000), 250);
        assert_eq!(admitted(&bucket, rate(1000), 5 * SECOND + 999_999, 10), 0);
        assert_eq!(admitted(&bucket, rate(1000), 5 * SECOND + 1_000_000, 10), 1);
        assert_eq!(admitted(&bucket, rate(1000), 5 * SECOND + 11_000_000, 100), 10);
        assert_eq!(admitted(&bucket, rate(1000), 4000 * SECOND, 1000), 250, "idle time fills one burst only");
    }

    #[test]
    fn the_end_of_time_stops_nothing() {
        let bucket = Bucket::default();
        assert!(bucket.admits(rate(1), u64::MAX));
        assert!(bucket.admits(rate(1), u64::MAX));
        assert!(Bucket::default().admits(rate(1), 0));
    }

    #[test]
    fn a_higher_rate_holds_at_once() {
        let bucket = Bucket::default();
        assert_eq!(admitted(&bucket, rate(1), SECOND, 100), 64);
        assert_eq!(admitted(&bucket, rate(1000), SECOND, 100), 1);
        assert_eq!(admitted(&bucket, rate(1000), SECOND + SECOND / 100, 100), 10);
    }

    #[test]
    fn workers_share_a_bucket_and_lose_no_frame_of_it() {
        let bucket = Bucket::default();
        let total: u32 = std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..4).map(|_| scope.spawn(|| admitted(&bucket, rate(4000), SECOND, 5000))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(total, rate(4000).burst());
    }

    #[test]
    fn asking_beforehand_counts_nothing_and_foretells_the_answer() {
        let bucket = Bucket::default();
        for number in 0..300 {
            let foretold = bucket.would_admit(rate(1000), SECOND);
            assert_eq!(foretold, bucket.would_admit(rate(1000), SECOND));
            assert_eq!(foretold, bucket.admits(rate(1000), SECOND), "frame {number}");
        }
    }

    #[test]
    fn ports_and_classes_have_their_own() {
        let meters = StormMeters::default();
        let limits = StormLimits { broadcast: FrameRate::new(1), ..StormLimits::UNLIMITED };
        let ask = |port, class| {
            let port = PortIndex::new(port).unwrap();
            (0..100).filter(|_| meters.admits(port, class, &limits, Nanos(0))).count()
        };
        assert_eq!(ask(0, StormClass::Broadcast), 64);
        assert_eq!(ask(0, StormClass::Multicast), 100);
        assert_eq!(ask(4095, StormClass::Broadcast), 64);
    }

    proptest! {
        /// Whatever comes whenever: in any span of time no more passes than one burst and the rate, and no
        /// frame is refused while fewer passed.
        #[test]
        fn no_more_than_a_burst_and_the_rate_ever_passes(
            per_second in 1_u32..100_000,
            gaps_ns in prop::collection::vec((0_u64..50_000_000, 1_u32..200), 1..100),
        ) {
            let (bucket, rate) = (Bucket::default(), rate(per_second));
            let (mut now_ns, mut passed, mut tokens_ns) = (SECOND, 0, None::<u64>);
            let full = u64::from(rate.burst()) * rate.interval_ns();
            for (gap_ns, frames) in gaps_ns {
                now_ns += gap_ns;
                // The plain token bucket, counted in nanoseconds.
                let mut held = tokens_ns.map_or(full, |held| (held + gap_ns).min(full));
                for _ in 0..frames {
                    let admits = held >= rate.interval_ns();
                    held -= if admits { rate.interval_ns() } else { 0 };
                    prop_assert_eq!(bucket.admits(rate, now_ns), admits);
                    passed += u64::from(admits);
                }
                tokens_ns = Some(held);
            }
            let span_ns = now_ns - SECOND;
            prop_assert!(passed <= u64::from(rate.burst()) + span_ns / rate.interval_ns() + 1);
        }
    }
}
