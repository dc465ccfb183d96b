//! The same TCP segments through the kernel's connection tracking and through the switch's: what each of them makes of
//! every one. Where they differ, it says so here, with the reason; `docs/connection-tracking.md` explains them.
//!
//! The kernel forwards between two cables, with a rule that writes what it made of a segment into its DSCP field and drops
//! what is invalid. Behind each segment goes a datagram that always passes: when that is there, the segment was either, too,
//! or never comes. So nothing here waits for a time to pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::too_many_lines,
    reason = "a test"
)]

mod differences;
mod sequences;
mod sides;
mod step;

use std::collections::BTreeMap;

use sequences::sequences;
use sides::{Kernel, Switch};
use step::Fate::{Established, New};
use step::{ACK, FIN, RST, SYN, Step, back, there};

#[test]
fn the_kernel_and_the_switch_agree_but_for_what_is_listed() {
    let (mut kernel, switch) = (Kernel::new(), Switch::new());
    let mut wrong = Vec::new();
    for (flow, (name, steps)) in (20_000u16..).zip(sequences()) {
        for (number, step) in steps.iter().enumerate() {
            let expected = (step.fate, step.kernel.map_or(step.fate, |(fate, _)| fate));
            let found = (switch.pass(step, flow), kernel.pass(step, flow));
            if found != expected {
                wrong.push(format!(
                    "{name}, step {number}: switch and kernel said {found:?}, not {expected:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Two stations that talk, one of which now and then is not what it seems.
struct Talk {
    random: u64,
    /// Of so many segments nine are not what they seem.
    wrong_in: u32,
    next: [u32; 2],
    acked: [u32; 2],
}

impl Talk {
    fn below(&mut self, limit: u32) -> u32 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as u32 % limit
    }

    fn segment(&mut self) -> Step {
        let side = self.below(2) as usize;
        let (own, other) = (self.next[side], self.next[1 - side]);
        let length = self.below(300);
        let (mut flags, mut sequence, mut ack) = (ACK, own, other);
        let mut counts = length;
        match self.below(self.wrong_in) {
            0 => flags = RST,
            1 => (flags, sequence) = (RST | ACK, own.wrapping_add(self.below(4000))),
            2 => (flags, counts) = (FIN | ACK, length + 1),
            3 => sequence = own.wrapping_add(self.below(5000)),
            4 => sequence = own.wrapping_sub(self.below(5000)),
            5 => ack = other.wrapping_add(self.below(1000)),
            6 => ack = other.wrapping_sub(self.below(100_000)),
            7 => (flags, sequence) = (SYN, self.below(u32::MAX)),
            8 => (flags, sequence) = (SYN | ACK, self.below(u32::MAX)),
            _ => {}
        }
        if flags != ACK && flags != (FIN | ACK) {
            return Step { is_back: side == 1, ..there(flags, sequence, ack, 0, Established) };
        }
        if sequence == own && ack == other && own.wrapping_sub(self.acked[side]) + counts < 1000 {
            self.next[side] = own.wrapping_add(counts);
            self.acked[1 - side] = other;
        }
        Step { is_back: side == 1, ..there(flags, sequence, ack, length as usize, Established) }
    }
}

/// Random talks: the switch lets nothing through as a part of a connection that the kernel calls invalid, and is stricter for the
/// listed reasons alone. A talk ends where the two differ, for then they know different things.
#[test]
fn the_switch_is_never_laxer_than_the_kernel_and_stricter_for_known_reasons_only() {
    let (mut kernel, switch) = (Kernel::new(), Switch::new());
    let (mut segments, mut stricter, mut wrong) = (0, 0, Vec::new());
    let mut seen = BTreeMap::new();
    for flow in 1000..1600u16 {
        // The later talks meet their first difference later, too.
        let (wrong_in, length) = if flow < 1400 { (16, 20) } else { (90, 60) };
        let (one, other) = (u32::from(flow) << 20, u32::from(flow) << 16 | 7);
        let mut steps = vec![
            there(SYN, one, 0, 0, New),
            back(SYN | ACK, other, one.wrapping_add(1), 0, Established),
            there(ACK, one.wrapping_add(1), other.wrapping_add(1), 0, Established),
        ];
        let start = [one.wrapping_add(1), other.wrapping_add(1)];
        let mut talk = Talk { random: flow.into(), wrong_in, next: start, acked: start };
        steps.extend((0..length).map(|_| talk.segment()));
        for number in 0..steps.len() {
            let step = steps[number];
            segments += 1;
            let ((own, reason), theirs) = (switch.explain(&step, flow), kernel.pass(&step, flow));
            if own == theirs {
                steps[number].fate = own;
                continue;
            }
            let known = differences::class(&steps[..=number], (own, theirs), reason);
            stricter += 1;
            if let Some(class) = known {
                *seen.entry(class).or_insert(0) += 1;
            } else {
                wrong.push(format!(
                    "talk {flow}, step {number}: {own:?} ({reason:?}), kernel {theirs:?}: {step:?}\n{:?}",
                    &steps[..number]
                ));
            }
            break;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {segments}, {stricter} stricter:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(6)].join("\n")
    );
    assert!(segments > 8000, "{segments}");
    // A class that no talk meets any more should not be there.
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), differences::CLASSES);
}
