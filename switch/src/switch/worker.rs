//! What a worker keeps from burst to burst.

use std::sync::Arc;

use super::judge::Receivers;
use super::readings::Readings;
use crate::counters::{FlowCacheCounters, Tally};
use crate::filter::Openings;
use crate::flow_cache::FlowCache;
use crate::multicast::Scratch;
use crate::offload::BURST_MAX;
use crate::policy::Policy;
use crate::router::Paths;
use crate::tunnel::RecentVteps;

/// How many records a worker's flow cache has room for unless told otherwise. Each takes 128 bytes.
pub const FLOW_ENTRIES_DEFAULT: usize = 8192;

/// What one worker has for itself; it serves one switch.
#[derive(Debug)]
pub struct WorkerState {
    pub(super) policy: Arc<Policy>,
    /// Whether anything is remembered of earlier frames.
    pub(super) has_cache: bool,
    pub(super) flows: FlowCache,
    pub(super) flow_counters: Arc<FlowCacheCounters>,
    pub(super) scratch: Scratch,
    pub(super) receivers: Receivers,
    pub(super) readings: Readings,
    pub(super) paths: Paths,
    /// Openings that rules allowed.
    pub(super) openings: Openings,
    /// VTEPs that were heard lately.
    pub(super) vteps: RecentVteps,
    /// Which frames of a burst exceed what their port may send; empty if none does.
    pub(super) policed: Vec<bool>,
    /// What the burst adds to its port's counters; here, so that a burst does not have to clear room for every reason there is.
    pub(super) tally: Tally,
}

impl WorkerState {
    /// A worker that goes by `policy`, with a flow cache of [`FLOW_ENTRIES_DEFAULT`] records.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        Self::with_flow_entries(policy, FLOW_ENTRIES_DEFAULT)
    }

    /// A worker whose flow cache has room for `entries` records, rounded up to a power of two; with 0 it has
    /// none, and the stages decide about each frame.
    #[must_use]
    pub fn with_flow_entries(policy: Arc<Policy>, entries: usize) -> Self {
        let (flow_counters, scratch) = (Arc::default(), Scratch::default());
        let (receivers, readings) = (Receivers::default(), Readings::default());
        Self {
            policy,
            has_cache: entries > 0,
            flows: FlowCache::new(entries),
            flow_counters,
            scratch,
            receivers,
            readings,
            paths: Paths::none(),
            openings: Openings::new(entries > 0),
            vteps: RecentVteps::default(),
            policed: Vec::with_capacity(BURST_MAX),
            tally: Tally::default(),
        }
    }

    /// Goes by `policy` from the next burst on. No earlier record is replayed any more, unless only what security groups
    /// say differs.
    pub fn set_policy(&mut self, policy: Arc<Policy>) {
        if !policy.decides_as(&self.policy) {
            self.flows.start_epoch();
        }
        if !policy.leads_as(&self.policy) {
            self.paths.start_epoch();
        }
        self.openings.start_epoch();
        self.policy = policy;
    }

    /// The policy that the worker goes by.
    #[must_use]
    pub fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// What the flow cache did, for others to read at any time.
    #[must_use]
    pub fn flow_counters(&self) -> &Arc<FlowCacheCounters> {
        &self.flow_counters
    }
}
