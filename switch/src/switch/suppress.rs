//! Questions for stations on other hosts: see [`crate::suppression`].

use super::commit::Commit;
use super::{Egress, Switch};
use crate::decision::Scene;
use crate::frame::Frame;
use crate::ids::NetworkIndex;
use crate::suppression::{self, Suppression, SuppressionSnapshot, is_discovery};

impl Switch {
    /// What is known of stations on other hosts; made with the first network that wants it.
    pub fn suppression(&self) -> &Suppression {
        self.suppression.get_or_init(|| Suppression::new(self.seed.rotate_left(56)))
    }

    /// What suppression did so far; nothing, as long as no network wanted it.
    #[must_use]
    pub fn suppression_snapshot(&self) -> SuppressionSnapshot {
        self.suppression.get().map(Suppression::snapshot).unwrap_or_default()
    }
}

impl<E> Commit<'_, E> {
    /// Takes note of what a message says about its sender, and answers what it asks, if the answer is known here; says whether it
    /// did. The answer leaves by the port where the question came in.
    #[inline]
    pub(super) fn suppress<P>(&mut self, slot: usize, frame: &mut Frame<P>, network: NetworkIndex) -> bool
    where
        E: Egress<P>,
    {
        match self.suppression {
            Some(suppression) if is_discovery(frame.head.bytes()) => {
                self.discover(slot, frame, network, suppression)
            }
            _ => false,
        }
    }

    #[inline(never)]
    fn discover<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        network: NetworkIndex,
        suppression: &Suppression,
    ) -> bool
    where
        E: Egress<P>,
    {
        let Scene { policy, source, now_s, .. } = *self.scene;
        if !policy.network(network).is_some_and(|network| network.suppresses()) {
            return false;
        }
        let mut read = None;
        let Ok(contents) = self.readings.contents(slot, frame, &mut read) else { return false };
        let tunnel = self.scene.is_from_vtep.then_some(source);
        let (told, question) = suppression::read(frame, contents);
        if let Some(told) = told {
            suppression.hear(network, &told, tunnel, now_s);
        }
        // Who asks from another host has asked there already; stations here answer themselves.
        let Some(question) = question.filter(|_| tunnel.is_none()) else { return false };
        let known = suppression.resolve(network, &question, now_s);
        let is_answered = known.is_some_and(|known| suppression::answer(frame, &question, known));
        suppression.count(is_answered);
        if is_answered {
            self.egress.send(source, slot, frame);
        }
        is_answered
    }
}
