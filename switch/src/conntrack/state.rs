//! What is known of a connection's life: one word, changed by compare-and-swap.

use super::Direction;

/// The word: how often the entry was given to a connection or taken from one in the upper half, so that who refers to an
/// earlier connection finds out; flags in the lower. Odd lives are connections, even ones are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Word(pub(super) u64);

/// The peer of this direction's sender has answered, or for TCP: both sides have opened. Never evicted from now on.
const ASSURED: u64 = 1 << 0;
/// A TCP reset was believed.
const RESET: u64 = 1 << 1;
/// The windows cannot be known: the connection was taken up in its midst, or fragmented.
const LIBERAL: u64 = 1 << 2;
/// It is TCP, and so the flags below count.
const TCP: u64 = 1 << 3;
/// A flag of the original direction; the one of the reply direction is the next bit.
const SYN: u64 = 1 << 4;
const ACK: u64 = 1 << 6;
const FIN: u64 = 1 << 8;
const FIN_ACKED: u64 = 1 << 10;
/// Both sides sent a window scale; until then, what the original side sent stands in its bits.
const SCALING: u64 = 1 << 12;
/// It was restored, and what its sides say since is taken for where they stand: always together with [`LIBERAL`].
const LEARNING: u64 = 1 << 13;
/// That this side sent a window scale.
const SCALE_SENT: u64 = 1 << 14;
/// Four bits for each direction.
const SCALE_SHIFT: u32 = 16;
/// It is a request of ICMP.
const QUERY: u64 = 1 << 24;
/// It is UDP or another transport with ports.
const DATAGRAM: u64 = Word::DATAGRAM_FLAG as u64;

/// The opener has sent another SYN since, of which its peer may know more than we.
const ASKING: u64 = 1 << 26;
/// That SYN's window scale: whether it had one, and which, in four bits.
const ASKED_SCALE_SENT: u64 = 1 << 27;
const ASKED_SCALE_SHIFT: u32 = 28;

/// Which timeouts a connection has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    Tcp,
    Datagram,
    Query,
    Other,
}

/// In which state a connection is, for people and for timeouts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// A TCP SYN was seen in one direction.
    SynSent,
    /// A TCP SYN was seen in both, and not all are acknowledged.
    SynReceived,
    /// TCP: both SYNs are acknowledged.
    Established,
    /// TCP: one side has no more to say.
    FinWait,
    /// TCP: both sides have no more to say, and not all of it is acknowledged.
    LastAck,
    /// TCP: all is said and acknowledged; late segments may come.
    TimeWait,
    /// TCP: one side has reset the connection.
    Reset,
    /// Nothing came back yet.
    Unreplied,
    /// Packets went both ways.
    Replied,
}

impl State {
    /// The state's name in tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn-sent",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::FinWait => "fin-wait",
            Self::LastAck => "last-ack",
            Self::TimeWait => "time-wait",
            Self::Reset => "reset",
            Self::Unreplied => "unreplied",
            Self::Replied => "replied",
        }
    }
}

impl Word {
    /// In a record's flags: it is UDP or another transport with ports.
    pub(super) const DATAGRAM_FLAG: u32 = 1 << 25;

    /// The first word of a connection in the entry whose last word this is.
    pub(super) fn born(self, class: Class, is_liberal: bool) -> Self {
        let class = match class {
            Class::Tcp => TCP,
            Class::Datagram => DATAGRAM,
            Class::Query => QUERY,
            Class::Other => 0,
        };
        Self(self.next_life() | class | if is_liberal { LIBERAL | ASSURED } else { 0 })
    }

    /// The word of the entry after this connection.
    pub(super) fn dead(self) -> Self {
        Self(self.next_life())
    }

    fn next_life(self) -> u64 {
        (self.0 >> 32).wrapping_add(1) << 32
    }

    #[inline]
    pub(super) fn life(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(0)
    }

    #[inline]
    pub(super) fn is_live(self) -> bool {
        self.0 & 1 << 32 != 0
    }

    #[inline]
    pub(super) fn is_tcp(self) -> bool {
        self.0 & TCP != 0
    }

    pub(super) fn class(self) -> Class {
        match self.0 & (TCP | DATAGRAM | QUERY) {
            TCP => Class::Tcp,
            DATAGRAM => Class::Datagram,
            QUERY => Class::Query,
            _ => Class::Other,
        }
    }

    #[inline]
    fn has(self, flag: u64, direction: Direction) -> bool {
        self.0 & flag << direction as u32 != 0
    }

    #[inline]
    fn with(self, flag: u64, direction: Direction) -> Self {
        Self(self.0 | flag << direction as u32)
    }

    #[inline]
    pub(super) fn is_assured(self) -> bool {
        self.0 & ASSURED != 0
    }

    #[inline]
    pub(super) fn is_liberal(self) -> bool {
        self.0 & LIBERAL != 0
    }

    pub(super) fn assured(self) -> Self {
        Self(self.0 | ASSURED)
    }

    pub(super) fn liberal(self) -> Self {
        Self(self.0 | LIBERAL)
    }

    pub(super) fn reset(self) -> Self {
        Self(self.0 | RESET)
    }

    /// Whether this side's sequence numbers are known.
    #[inline]
    pub(super) fn has_syn(self, side: Direction) -> bool {
        self.has(SYN, side)
    }

    /// Whether this side has acknowledged something of the other's.
    #[inline]
    pub(super) fn has_ack(self, side: Direction) -> bool {
        self.has(ACK, side)
    }

    #[inline]
    pub(super) fn has_fin(self, side: Direction) -> bool {
        self.has(FIN, side)
    }

    pub(super) fn with_syn(self, side: Direction, scale: Option<u8>) -> Self {
        let shift = SCALE_SHIFT + 4 * side as u32;
        let cleared = Self(self.0 & !(15 << shift) & !(SCALE_SENT << side as u32));
        let known = cleared.with(SYN, side);
        let scaled = match scale {
            Some(scale) => Self(known.0 | u64::from(scale & 15) << shift).with(SCALE_SENT, side),
            None => known,
        };
        let both = scaled.has(SCALE_SENT, Direction::Original) && scaled.has(SCALE_SENT, Direction::Reply);
        Self(if both { scaled.0 | SCALING } else { scaled.0 & !SCALING })
    }

    #[inline]
    pub(super) fn with_ack(self, side: Direction) -> Self {
        self.with(ACK, side).settled()
    }

    /// Assured, if both sides have acknowledged each other's SYN.
    #[inline]
    pub(super) fn settled(self) -> Self {
        let is_open = self.0 & (3 * (SYN | ACK)) == 3 * (SYN | ACK);
        if is_open { self.assured() } else { self }
    }

    /// The opener has sent another SYN.
    pub(super) fn asking(self, scale: Option<u8>) -> Self {
        let cleared = self.0 & !(ASKED_SCALE_SENT | 15 << ASKED_SCALE_SHIFT);
        let scale = scale.map_or(0, |scale| u64::from(scale & 15) << ASKED_SCALE_SHIFT | ASKED_SCALE_SENT);
        Self(cleared | scale | ASKING)
    }

    #[inline]
    pub(super) fn is_asking(self) -> bool {
        self.0 & ASKING != 0
    }

    /// The peer has answered that SYN: both begin anew.
    pub(super) fn reopened(self, scale: Option<u8>) -> Self {
        let kept = Self(self.0 & (u64::MAX << 32 | ASSURED | TCP));
        let asked =
            u8::try_from(self.0 >> ASKED_SCALE_SHIFT & 15).ok().filter(|_| self.0 & ASKED_SCALE_SENT != 0);
        kept.with_syn(Direction::Original, asked).with_syn(Direction::Reply, scale).with_ack(Direction::Reply)
    }

    pub(super) fn with_fin(self, side: Direction) -> Self {
        self.with(FIN, side)
    }

    pub(super) fn with_fin_acked(self, side: Direction) -> Self {
        self.with(FIN_ACKED, side)
    }

    /// By how many bits this side's windows are shifted.
    #[inline]
    pub(super) fn scale(self, side: Direction) -> u32 {
        let scale = self.0 >> (SCALE_SHIFT + 4 * side as u32) & 15;
        if self.0 & SCALING != 0 { u32::try_from(scale).unwrap_or(0) } else { 0 }
    }

    /// What a record keeps of it: all but the life.
    pub(super) fn flags(self) -> u32 {
        u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or(0)
    }

    /// The first word of a connection in the entry whose last word this is, which was kept with these flags; `None`: no connection of
    /// this class has such.
    pub(super) fn restored(self, flags: u32, class: Class) -> Option<Self> {
        let word = Self(self.next_life() | u64::from(flags));
        let of_class = match class {
            Class::Tcp => TCP,
            Class::Datagram => DATAGRAM,
            Class::Query => QUERY,
            Class::Other => 0,
        };
        let allowed = if class == Class::Tcp { !(DATAGRAM | QUERY) } else { ASSURED | of_class };
        let is_sound = u64::from(flags) & !allowed == 0 && u64::from(flags) & of_class == of_class;
        let learns_alone = word.is_learning() && !word.is_liberal();
        (is_sound && !learns_alone).then_some(word)
    }

    /// For one that was restored while its sides went on: where they stand is learned from what they say next. One whose windows
    /// are not known anyway, or that is not open, stays as it is.
    pub(super) fn learning(self) -> Self {
        let is_meant = self.is_tcp() && self.is_assured() && (self.is_learning() || !self.is_liberal());
        if is_meant { Self(self.0 & !(3 * ACK) | LIBERAL | LEARNING) } else { self }
    }

    #[inline]
    pub(super) fn is_learning(self) -> bool {
        self.0 & LEARNING != 0
    }

    /// Both sides were heard: their windows are known again.
    pub(super) fn learned(self) -> Self {
        Self(self.0 & !(LIBERAL | LEARNING))
    }

    /// Whether it is over: a successor may take its place, and so may others.
    #[inline]
    pub(super) fn is_spent(self) -> bool {
        self.0 & RESET != 0 || self.0 & (3 * FIN_ACKED) == 3 * FIN_ACKED
    }

    /// Whether another connection may take its place when there is no room: nothing of worth is lost.
    #[inline]
    pub(super) fn may_give_way(self) -> bool {
        !self.is_assured() || self.is_spent()
    }

    pub(super) fn state(self) -> State {
        let both = |flag: u64| self.0 & (3 * flag) == 3 * flag;
        let any = |flag: u64| self.0 & (3 * flag) != 0;
        match self.is_tcp() {
            false if self.is_assured() => State::Replied,
            false => State::Unreplied,
            true if self.0 & RESET != 0 => State::Reset,
            true if both(FIN_ACKED) => State::TimeWait,
            true if both(FIN) => State::LastAck,
            true if any(FIN) => State::FinWait,
            true if self.is_assured() => State::Established,
            true if both(SYN) => State::SynReceived,
            true => State::SynSent,
        }
    }

    /// After how many seconds without a packet it ends.
    pub(super) fn timeout_s(self) -> u32 {
        use super::timeouts::*;
        match self.state() {
            State::Established => TCP_ESTABLISHED_S,
            State::Unreplied | State::Replied => match self.class() {
                Class::Datagram if self.is_assured() => DATAGRAM_REPLIED_S,
                Class::Datagram => DATAGRAM_UNREPLIED_S,
                Class::Query => QUERY_S,
                _ => OTHER_S,
            },
            _ => TCP_TRANSITORY_S,
        }
    }
}
