//! Bands by class of service: one is served only while nothing leaves from those before it.

use super::discipline::{Backlog, Discipline, Next, Queue, Work};
use super::item::{Item, Items};
use super::plan::{PrioPlan, QueuePlan};
use super::priomap::BandOfDscp;
use crate::drops::DropReason;
use crate::time::Nanos;

/// The bands.
#[derive(Debug)]
pub(crate) struct Prio {
    bands: Box<[Queue]>,
    band_of: BandOfDscp,
    /// Whether a band may hold back what it has: then whether a frame may leave at once depends on its band.
    holds_back: bool,
}

impl Prio {
    pub(crate) fn new(plan: &PrioPlan, seed: u64, now: Nanos) -> Self {
        Self {
            bands: plan.bands.iter().map(|band| Queue::new(band, seed, now)).collect(),
            band_of: plan.band_of,
            holds_back: holds_back(plan),
        }
    }

    /// Whether flows go to the same bands in another one.
    pub(crate) fn has_bands_of(&self, other: &Self) -> bool {
        self.bands.len() == other.bands.len() && self.band_of == other.band_of
    }

    /// In the place of another one with the same bands, with what waits there.
    pub(crate) fn succeeding(self, before: Self, work: &mut Work<'_>, spent: &mut Vec<Queue>) -> Self {
        let bands = self.bands.into_iter().zip(before.bands);
        let bands = bands.map(|(band, before)| band.succeeding(before, work, spent)).collect();
        Self { bands, ..self }
    }

    /// The place of the band that an item goes to.
    fn band(&self, item: &Item) -> usize {
        usize::from(self.band_of.band(item.dscp)).min(self.bands.len().saturating_sub(1))
    }
}

fn holds_back(plan: &PrioPlan) -> bool {
    plan.bands.iter().any(|band| match band {
        QueuePlan::Tbf(_) => true,
        QueuePlan::Prio(plan) => holds_back(plan),
        _ => false,
    })
}

impl Discipline for Prio {
    fn enqueue(&mut self, item: Item, work: &mut Work<'_>) {
        let band = self.band(&item);
        self.bands[band].as_discipline_mut().enqueue(item, work);
    }

    fn dequeue(&mut self, work: &mut Work<'_>) -> Next {
        let mut soonest: Option<Nanos> = None;
        for band in &mut self.bands {
            match band.as_discipline_mut().dequeue(work) {
                Next::Item(item) => return Next::Item(item),
                Next::At(at) => soonest = Some(soonest.map_or(at, |soonest| soonest.min(at))),
                Next::Empty => {}
            }
        }
        soonest.map_or(Next::Empty, Next::At)
    }

    fn admit(&mut self, _now: Nanos, _length: u32) -> bool {
        !self.holds_back && self.backlog().frames == 0
    }

    fn refuses(&self, now: Nanos, item: &Item) -> Option<DropReason> {
        self.bands.get(self.band(item))?.as_discipline().refuses(now, item)
    }

    fn may_overtake(&self) -> bool {
        self.holds_back
    }

    /// The last band loses first.
    fn shed(&mut self, work: &mut Work<'_>) -> bool {
        for band in self.bands.iter_mut().rev().map(Queue::as_discipline_mut) {
            if band.shed(work) {
                return true;
            }
            if let Some(item) = band.drain(work.items) {
                work.drop(item, DropReason::QueueMemory);
                return true;
            }
        }
        false
    }

    fn remove(&mut self, items: &mut Items, wanted: &mut dyn FnMut(&Item) -> bool) {
        self.bands.iter_mut().for_each(|band| band.as_discipline_mut().remove(items, wanted));
    }

    fn drain(&mut self, items: &mut Items) -> Option<Item> {
        self.bands.iter_mut().find_map(|band| band.as_discipline_mut().drain(items))
    }

    fn backlog(&self) -> Backlog {
        self.bands
            .iter()
            .map(|band| band.as_discipline().backlog())
            .fold(Backlog::default(), |sum, of| sum + of)
    }
}
