//! The differences that random talks may meet, each with what must be true of the segment: anything else is a fault of one of
//! the two.

use viaduct_switch::conntrack::Invalid as Reason;

use crate::step::Fate::{self, Established, Invalid, New};
use crate::step::{ACK, FIN, RST, SYN, Step};

/// The window that all segments of a talk offer.
const WINDOW: u32 = 1000;

/// The least window for old acknowledgements, in both.
const ACK_WINDOW: u32 = 66_000;

/// What the segments before the last one said, counted by hand: all of them agreed.
#[derive(Default)]
struct Said {
    /// Behind the last byte that each side sent.
    end: [u32; 2],
    /// The last that each side acknowledged.
    ack: [u32; 2],
    /// Behind the FIN of each side.
    fin: [Option<u32>; 2],
    /// The numbers of the resets of each side.
    resets: [Vec<u32>; 2],
    /// Whether one of those was the very next number, and so believed.
    is_reset: bool,
    /// What an answer to the opener's SYN acknowledges, if that was sent to an open connection.
    asked: Option<u32>,
    /// The opener has begun anew and was not answered.
    is_unanswered: bool,
}

/// How far `a` lies behind `b` in the circle of sequence numbers; negative: before it.
fn beyond(a: u32, b: u32) -> i64 {
    i64::from(a.wrapping_sub(b) as i32)
}

fn end_of(step: &Step) -> u32 {
    let control = u32::from(step.flags & SYN != 0) + u32::from(step.flags & FIN != 0);
    step.sequence.wrapping_add(step.length as u32 + control)
}

impl Said {
    /// After three segments that open a connection, and others.
    fn by(steps: &[Step]) -> Self {
        let ends = [end_of(&steps[0]), end_of(&steps[1])];
        let mut said = Self { end: ends, ack: [steps[2].ack, steps[1].ack], ..Self::default() };
        steps[3..].iter().for_each(|step| said.hear(step));
        said
    }

    fn hear(&mut self, step: &Step) {
        let side = usize::from(step.is_back);
        if step.fate == Invalid {
            return;
        }
        if step.flags & RST != 0 {
            self.resets[side].push(step.sequence);
            self.is_reset |= step.sequence == self.end[side] || step.sequence == self.ack[1 - side];
        } else if step.flags == SYN && step.fate == New {
            *self = Self { end: [end_of(step), 0], is_unanswered: true, ..Self::default() };
        } else if step.flags == SYN && !step.is_back {
            self.asked = Some(end_of(step));
        } else if step.flags & SYN == 0 && !self.is_unanswered && self.fits(step) {
            if beyond(end_of(step), self.end[side]) > 0 {
                self.end[side] = end_of(step);
            }
            if beyond(step.ack, self.ack[side]) > 0 {
                self.ack[side] = step.ack;
            }
            if step.flags & FIN != 0 {
                self.fin[side] = Some(end_of(step));
            }
        }
    }

    /// Whether the connection is over: reset, or all is said and acknowledged.
    fn is_over(&self) -> bool {
        let is_acked = |side: usize| self.fin[side].is_some_and(|_| self.ack[1 - side] == self.end[side]);
        self.is_reset || (is_acked(0) && is_acked(1))
    }

    /// Whether one side has said that it ends.
    fn is_ending(&self) -> bool {
        self.is_reset || self.fin != [None; 2]
    }

    /// Whether the segment lies in the windows. All that agreed and does not is invalid.
    fn fits(&self, step: &Step) -> bool {
        !self.is_ahead(step) && !self.is_old(step) && !self.is_old_ack(step) && !self.acks_too_much(step)
    }

    fn is_ahead(&self, step: &Step) -> bool {
        let side = usize::from(step.is_back);
        beyond(step.sequence, self.ack[1 - side].wrapping_add(WINDOW)) > 0
    }

    fn is_old(&self, step: &Step) -> bool {
        let side = usize::from(step.is_back);
        beyond(end_of(step), self.end[side].wrapping_sub(WINDOW)) < 0
    }

    fn is_old_ack(&self, step: &Step) -> bool {
        let side = usize::from(step.is_back);
        beyond(step.ack, self.end[1 - side].wrapping_sub(ACK_WINDOW)) < 0
    }

    fn acks_too_much(&self, step: &Step) -> bool {
        let side = usize::from(step.is_back);
        beyond(step.ack, self.end[1 - side]) > 0
    }
}

/// All classes, in the order of their names; `docs/connection-tracking.md` gives the reasons.
pub(crate) const CLASSES: [&str; 13] = [
    "acknowledges a reset",
    "begins after an end",
    "begins at an end",
    "from the other side",
    "from the other side at an end",
    "guessed reset",
    "just ahead",
    "not an answer",
    "old",
    "old acknowledgement",
    "reset ahead of an end",
    "reset just ahead",
    "stray",
];

/// The class of the difference about the last of `steps`, which the switch and the kernel judged so, the switch for
/// `reason`; `None`: there is no such class.
pub(crate) fn class(steps: &[Step], fates: (Fate, Fate), reason: Option<Reason>) -> Option<&'static str> {
    let (step, before) = steps.split_last()?;
    let said = Said::by(before);
    let side = usize::from(step.is_back);
    let is = |class: &'static str, holds: bool| holds.then_some(class);
    // The kernel takes no note of what begins less than a window beyond one.
    let limit = said.ack[1 - side].wrapping_add(2 * WINDOW);
    let is_just_ahead = said.is_ahead(step) && beyond(step.sequence, limit) <= 0;
    match (fates.0, fates.1, reason) {
        (Invalid, Established, Some(Reason::SequenceBehind)) => is("old", said.is_old(step)),
        (Invalid, Established, Some(Reason::AckBehind)) => is("old acknowledgement", said.is_old_ack(step)),
        (Invalid, Established, Some(Reason::SequenceAhead)) => is("just ahead", is_just_ahead),
        (Invalid, Established, Some(Reason::ResetOutside)) if is_just_ahead && !said.is_unanswered => {
            Some("reset just ahead")
        }
        (Invalid, Established, Some(Reason::ResetOutside)) if said.is_unanswered => {
            is("guessed reset", step.is_back && (step.flags == RST || step.ack != said.end[0]))
        }
        (Invalid, Established, Some(Reason::ResetOutside)) => {
            is("reset ahead of an end", said.is_ahead(step) && said.is_ending())
        }
        (Invalid, Established, Some(Reason::StraySyn)) => {
            is("stray", step.is_back && step.flags == SYN | ACK && said.asked != Some(step.ack))
        }
        (Invalid, Established, Some(Reason::NotSyn)) => {
            is("not an answer", step.is_back && step.length > 0 && said.is_unanswered)
        }
        (Invalid, Established, Some(Reason::AckAhead)) => {
            let is_reset = |number: &u32| beyond(step.ack, *number) <= 0;
            is("acknowledges a reset", said.acks_too_much(step) && said.resets[1 - side].iter().any(is_reset))
        }
        (Established, New, None) => {
            is("begins at an end", !step.is_back && step.flags == SYN && said.is_ending() && !said.is_over())
        }
        (Invalid, New, Some(Reason::StraySyn)) => {
            let is_syn = step.is_back && step.flags == SYN;
            is("from the other side at an end", is_syn && said.is_ending() && !said.is_over())
        }
        (New, Invalid, None) => {
            is("from the other side", step.is_back && step.flags == SYN && said.is_over())
        }
        (New, Established, None) => is("begins after an end", step.flags == SYN && said.is_over()),
        _ => None,
    }
}
