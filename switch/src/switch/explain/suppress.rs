//! What would become of a question for a station on another host.

use super::Explainer;
use crate::explain::{Fate, Observer, Outcome, Place};
use crate::frame::Frame;
use crate::ids::NetworkIndex;
use crate::packet::Contents;
use crate::suppression::{self, is_discovery};

impl Explainer<'_> {
    /// The answer's way back, if a question is answered here.
    pub(super) fn suppress(&self, network: NetworkIndex, frame: &Frame<&[u8]>) -> Option<Fate> {
        let suppression = self.switch.suppression.get()?;
        let suppresses = self.scene.policy.network(network).is_some_and(|network| network.suppresses());
        if !suppresses || !is_discovery(frame.head.bytes()) || self.scene.is_from_vtep {
            return None;
        }
        let contents = Contents::of(frame).ok()?;
        let (_, question) = suppression::read(frame, &contents);
        let question = question?;
        self.notes.enter(Place::Suppression);
        let known = suppression.resolve(network, &question, self.scene.now_s);
        let is_answered =
            |known: &suppression::Known| suppression::answer(&mut frame.clone(), &question, *known);
        let Some(known) = known.filter(is_answered) else {
            self.notes.outcome(|| Outcome::NotKnown);
            return None;
        };
        self.notes.outcome(|| Outcome::Answered(known.mac));
        Some(Fate::Leaves(vec![self.departure(self.scene.source, &frame.meta)]))
    }
}
