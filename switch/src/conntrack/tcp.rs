//! TCP: which segments belong to a connection, and what they change (RFC 9293, RFC 7323, RFC 5961).
//!
//! Windows are followed as Guido van Rooij describes it ("Real Stateful TCP Packet Filtering in IP Filter", 2000): each
//! side's segments must lie within what the other allowed, with bounds that hold although we see segments that are lost
//! afterwards, and do not see them when they arrive. For a segment from side `s` to side `r`:
//!
//! * it begins at most where `r`'s offer ends,
//! * it ends at least a window of `r` before what `s` sent already,
//! * it acknowledges at most what `r` sent,
//! * and at least that less a window of `s`.
//!
//! What the two sides said stands in numbers of their own, each written by whoever carries that side's segments. Workers
//! may see the other side's a moment late, as if the segments had passed each other: the bounds allow for that. What all
//! depends on, the state, is one word.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::entry::{Entry, Side};
use super::state::Word;
use super::{Direction, Invalid};
use crate::packet::{Tcp, TcpFlags};

/// The least that counts as a window for old acknowledgements, so that a small window does not make late ones invalid; what
/// van Rooij and Linux take: the widest window without scaling, and a segment.
const ACK_WINDOW_MIN: u32 = 66_000;

/// The widest window there is (RFC 7323, 2.3).
const WINDOW_MAX: u32 = 1 << 30;

/// How often a number is tried to be moved on while others move it.
const ATTEMPTS: usize = 4;

/// What a valid segment makes of its connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// It is let through and believed nothing.
    Nothing,
    /// What it says counts: its sender's numbers move on, and this is the new state.
    Counts(Word),
    /// The same, and its sender begins anew with the sequence number.
    Begins(Word),
    /// It asks to open a connection that is open, and may be answered.
    Asks(Word),
    /// It answers such a question: both sides begin anew.
    Reopens(Word),
    /// It tells where its sender stands, of a connection that was restored.
    Learns(Word),
}

/// Whether `a` lies before `b` in the circle of sequence numbers (RFC 9293, 3.4).
#[inline]
pub(super) fn is_before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > i32::MAX as u32
}

/// Whether no segment may have these flags: a connection is opened, carried on, ended or reset, one of it only, and all but
/// what opens and resets acknowledges.
#[inline]
fn has_bad_flags(flags: TcpFlags) -> bool {
    let TcpFlags(bits) = flags;
    let kind = bits & (TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST);
    kind.count_ones() > 1 || (kind & (TcpFlags::SYN | TcpFlags::RST) == 0 && !flags.has(TcpFlags::ACK))
}

/// Whether the segment may open a connection.
pub(super) fn opens(tcp: &Tcp, may_take_up: bool) -> Result<(), Invalid> {
    let flags = tcp.flags;
    if has_bad_flags(flags) {
        return Err(Invalid::BadFlags);
    }
    let is_syn = flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK);
    let is_midst = may_take_up && !flags.has(TcpFlags::SYN | TcpFlags::RST);
    if is_syn || is_midst { Ok(()) } else { Err(Invalid::NotSyn) }
}

/// Whether the segment asks for a new connection.
pub(super) fn is_first(tcp: &Tcp) -> bool {
    tcp.flags.0 & (TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN) == TcpFlags::SYN
}

/// The sequence number behind the segment: SYN and FIN count as a byte each.
#[inline]
fn end_of(tcp: &Tcp) -> u32 {
    let control = u32::from(tcp.flags.has(TcpFlags::SYN)) + u32::from(tcp.flags.has(TcpFlags::FIN));
    tcp.sequence.wrapping_add(u32::from(tcp.payload)).wrapping_add(control)
}

/// A segment of a connection, on its way from one side to the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    pub(super) tcp: &'a Tcp,
    pub(super) from: Direction,
    pub(super) word: Word,
    pub(super) entry: Entry<'a>,
    /// Its end is unknown, since it is a fragment.
    pub(super) is_cut: bool,
}

impl Segment<'_> {
    fn sender(&self) -> &Side {
        self.entry.side(self.from)
    }

    fn receiver(&self) -> &Side {
        self.entry.side(self.from.other())
    }

    /// Whether the segment belongs to its connection, and what it changes.
    #[inline]
    pub(super) fn judge(&self) -> Result<Effect, Invalid> {
        let flags = self.tcp.flags;
        if has_bad_flags(flags) {
            return Err(Invalid::BadFlags);
        }
        if flags.has(TcpFlags::SYN | TcpFlags::RST) {
            return if flags.has(TcpFlags::RST) { self.judge_reset() } else { self.judge_syn() };
        }
        if self.word.is_liberal() {
            return Ok(self.judge_liberal());
        }
        if !self.word.has_syn(self.from) {
            // The peer of a connection that we see open may be in the midst of an older one: its acknowledgement makes
            // the opener reset that (RFC 9293, 3.5.1).
            let is_bare = self.tcp.payload == 0 && !flags.has(TcpFlags::FIN);
            return if is_bare { Ok(Effect::Nothing) } else { Err(Invalid::NotSyn) };
        }
        self.check_window()?;
        Ok(Effect::Counts(self.after()))
    }

    /// A segment of a connection whose windows are not known.
    fn judge_liberal(&self) -> Effect {
        let after = self.after();
        if !self.word.is_learning() {
            return Effect::Counts(after);
        }
        let is_known = after.has_ack(self.from.other()) && !self.is_cut;
        Effect::Learns(if is_known { after.learned() } else { after })
    }

    /// The four bounds.
    #[inline]
    fn check_window(&self) -> Result<(), Invalid> {
        let (sender, receiver) = (self.sender(), self.receiver());
        if !self.word.has_syn(self.from.other()) {
            return Err(Invalid::AckAhead);
        }
        let (receiver_end, window) = (receiver.end.load(Relaxed), receiver.window.load(Relaxed));
        let sender_window = sender.window.load(Relaxed).max(ACK_WINDOW_MIN);
        if self.word.has_ack(self.from.other()) {
            if is_before(receiver.limit.load(Relaxed), self.tcp.sequence) {
                return Err(Invalid::SequenceAhead);
            }
            if is_before(end_of(self.tcp), sender.end.load(Relaxed).wrapping_sub(window)) {
                return Err(Invalid::SequenceBehind);
            }
        }
        if is_before(receiver_end, self.tcp.acknowledgement) {
            Err(Invalid::AckAhead)
        } else if is_before(self.tcp.acknowledgement, receiver_end.wrapping_sub(sender_window)) {
            Err(Invalid::AckBehind)
        } else {
            Ok(())
        }
    }

    /// RFC 5961, 3: only the very next sequence number that the receiver waits for is believed. Who does not know it has to
    /// guess one of four billion. What lies in the window otherwise goes on, for the receiver asks back; its answer makes
    /// an honest sender repeat the reset with the right number.
    fn judge_reset(&self) -> Result<Effect, Invalid> {
        let (sender, receiver) = (self.sender(), self.receiver());
        let (word, tcp) = (self.word, self.tcp);
        if word.is_liberal() && !word.has_ack(self.from.other()) {
            return Ok(Effect::Nothing);
        }
        if self.answers() {
            return Ok(Effect::Counts(word.reset()));
        }
        if !word.has_syn(self.from) {
            // RFC 9293, 3.10.7.3: a SYN is refused by a reset that acknowledges it.
            let refuses = tcp.flags.has(TcpFlags::ACK) && tcp.acknowledgement == receiver.end.load(Relaxed);
            return if refuses { Ok(Effect::Counts(word.reset())) } else { Err(Invalid::ResetOutside) };
        }
        if !word.has_syn(self.from.other()) {
            // The opener resets what its peer has left of an older connection: this one is still to come.
            return Ok(Effect::Nothing);
        }
        // Of a side that was not heard since the connection was taken up in its midst no number is known.
        let is_known = word.has_ack(self.from) || !word.is_liberal();
        let is_all = is_known && tcp.sequence == sender.end.load(Relaxed);
        let (expected, limit) = (receiver.ack.load(Relaxed), receiver.limit.load(Relaxed));
        let has_acked = word.has_ack(self.from.other());
        let is_inside = has_acked && !is_before(tcp.sequence, expected) && !is_before(limit, tcp.sequence);
        if is_all || (has_acked && tcp.sequence == expected) {
            Ok(Effect::Counts(word.reset()))
        } else if is_inside {
            Ok(Effect::Nothing)
        } else {
            Err(Invalid::ResetOutside)
        }
    }

    fn judge_syn(&self) -> Result<Effect, Invalid> {
        let (word, tcp) = (self.word, self.tcp);
        let begun = word.with_syn(self.from, tcp.syn.window_scale);
        let is_original = self.from == Direction::Original;
        if tcp.flags.has(TcpFlags::ACK) {
            return self.judge_syn_ack(begun);
        }
        match (is_original, word.has_syn(Direction::Reply)) {
            // Again, or again with another number, since nobody answered.
            (true, false) if !word.is_liberal() => Ok(Effect::Begins(begun)),
            // RFC 9293, 3.5: both sides open at the same time.
            (false, _)
                if !word.has_ack(self.from) && !word.has_ack(Direction::Original) && !word.is_liberal() =>
            {
                Ok(Effect::Begins(begun))
            }
            // RFC 5961, 4: a SYN to a connection that is open is answered, not believed. If the peer has forgotten the
            // connection, its answer begins another one.
            (true, _) => Ok(Effect::Asks(word.asking(tcp.syn.window_scale))),
            (false, _) => Err(Invalid::StraySyn),
        }
    }

    fn judge_syn_ack(&self, begun: Word) -> Result<Effect, Invalid> {
        let (word, tcp) = (self.word, self.tcp);
        let receiver_end = self.receiver().end.load(Relaxed);
        if word.is_liberal() {
            return Ok(Effect::Nothing);
        }
        if !word.has_syn(self.from.other()) {
            return Err(Invalid::AckAhead);
        }
        let is_again = word.has_syn(self.from) && end_of(tcp) == self.sender().end.load(Relaxed);
        if self.answers() && !is_again {
            return Ok(Effect::Reopens(word.reopened(tcp.syn.window_scale)));
        }
        if !is_again && word.has_syn(self.from) && word.has_ack(self.from.other()) {
            return Err(Invalid::StraySyn);
        }
        if is_before(receiver_end, tcp.acknowledgement) {
            Err(Invalid::AckAhead)
        } else if is_before(tcp.acknowledgement, receiver_end.wrapping_sub(ACK_WINDOW_MIN)) {
            Err(Invalid::AckBehind)
        } else if is_again {
            Ok(Effect::Counts(word.with_ack(self.from)))
        } else {
            Ok(Effect::Begins(begun.with_ack(self.from)))
        }
    }

    /// Whether it acknowledges a SYN that the opener sent to the open connection.
    fn answers(&self) -> bool {
        let asked = self.entry.back.asked.load(Relaxed);
        let is_reply = self.from == Direction::Reply && self.tcp.flags.has(TcpFlags::ACK);
        is_reply && self.word.is_asking() && self.tcp.acknowledgement == asked
    }

    /// Notes what an answer to this SYN acknowledges.
    pub(super) fn ask(&self) {
        self.entry.back.asked.store(self.tcp.sequence.wrapping_add(1), Relaxed);
    }

    /// The peer has answered the opener's SYN, of which only its number is known: so its window is taken as the widest.
    pub(super) fn reopen(&self) {
        let opener = self.receiver();
        opener.clear();
        opener.end.store(self.tcp.acknowledgement, Relaxed);
        opener.window.store(u32::from(u16::MAX), Relaxed);
        self.begin();
    }

    /// The state after a segment whose words count.
    #[inline]
    fn after(&self) -> Word {
        let (word, from, tcp) = (self.word, self.from, self.tcp);
        let mut after =
            if word.has_syn(from.other()) || word.is_liberal() { word.with_ack(from) } else { word };
        if self.is_cut {
            after = after.liberal();
        }
        if tcp.flags.has(TcpFlags::FIN) {
            after = after.with_fin(from);
        }
        let is_acked = || tcp.acknowledgement == self.receiver().end.load(Relaxed);
        if word.has_fin(from.other()) && is_acked() {
            after = after.with_fin_acked(from.other());
        }
        after
    }

    /// Moves the sender's numbers on by what the segment says.
    #[inline]
    pub(super) fn count(&self) {
        let (sender, tcp) = (self.sender(), self.tcp);
        if !tcp.flags.has(TcpFlags::RST) {
            advance(&sender.end, end_of(tcp));
        }
        if tcp.flags.has(TcpFlags::ACK) && !tcp.flags.has(TcpFlags::RST) {
            self.count_ack(self.word.has_ack(self.from));
        }
    }

    /// The sender begins, or begins anew.
    pub(super) fn begin(&self) {
        let sender = self.sender();
        sender.end.store(end_of(self.tcp), Relaxed);
        sender.window.store(u32::from(self.tcp.window).max(1), Relaxed);
        if self.tcp.flags.has(TcpFlags::ACK) {
            self.count_ack(false);
        }
    }

    /// Notes where the sender of a restored connection stands. What was under way when the numbers were kept is not known: it may
    /// come once more, and may be acknowledged by somebody of whom we saw less. So a side counts as having sent all that the other allows,
    /// and its window as twice what it is, and no less than it was.
    pub(super) fn learn(&self) {
        let (sender, receiver) = (self.sender(), self.receiver());
        if self.word.has_ack(self.from) {
            self.count();
        } else {
            let earlier = sender.window.load(Relaxed);
            self.begin();
            let twice = sender.window.load(Relaxed).saturating_mul(2);
            sender.window.store(twice.max(earlier).clamp(ACK_WINDOW_MIN, WINDOW_MAX), Relaxed);
        }
        if self.word.has_ack(self.from.other()) {
            advance(&sender.end, receiver.limit.load(Relaxed));
            advance(&receiver.end, sender.limit.load(Relaxed));
        }
    }

    #[inline]
    fn count_ack(&self, has_earlier: bool) {
        let (sender, tcp) = (self.sender(), self.tcp);
        // The window of a SYN is never scaled (RFC 7323, 2.2).
        let scale = if tcp.flags.has(TcpFlags::SYN) { 0 } else { self.word.scale(self.from) };
        let window = (u32::from(tcp.window) << scale).min(WINDOW_MAX);
        // A closed window is probed with one byte (RFC 9293, 3.8.6.1).
        let limit = tcp.acknowledgement.wrapping_add(window.max(1));
        if has_earlier {
            advance(&sender.ack, tcp.acknowledgement);
            advance(&sender.limit, limit);
        } else {
            sender.ack.store(tcp.acknowledgement, Relaxed);
            sender.limit.store(limit, Relaxed);
        }
        if sender.window.load(Relaxed) < window {
            sender.window.store(window, Relaxed);
        }
    }
}

/// Moves a sequence number on to `to`, if that lies ahead. Who is overtaken time and again leaves it: others moved on.
#[inline]
fn advance(number: &AtomicU32, to: u32) {
    let mut current = number.load(Relaxed);
    for _ in 0..ATTEMPTS {
        if !is_before(current, to) {
            return;
        }
        match number.compare_exchange_weak(current, to, Relaxed, Relaxed) {
            Ok(_) => return,
            Err(other) => current = other,
        }
    }
}

/// Whether `sequence` of a quoted segment lies in what its sender `from` has sent and was not acknowledged: an error about
/// anything else was made up by somebody who does not see the connection (RFC 5927, 4.1).
pub(super) fn is_outstanding(entry: Entry<'_>, word: Word, from: Direction, sequence: u32) -> bool {
    let (sender, receiver) = (entry.side(from), entry.side(from.other()));
    let is_sent = is_before(sequence, sender.end.load(Relaxed));
    let is_acked = word.has_ack(from.other()) && is_before(sequence, receiver.ack.load(Relaxed));
    word.is_liberal() || (is_sent && !is_acked)
}
