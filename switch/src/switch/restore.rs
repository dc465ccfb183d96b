//! Connections and mappings of an earlier process.

use super::Switch;
use crate::conntrack::{ConnectionId, NotRestored, Record};
use crate::filter::Filter;
use crate::nat::Mapping;
use crate::policy::Policy;
use crate::time::Nanos;

impl Switch {
    /// Makes a mapping of an earlier process once more, if `policy`, for which room was made, still has its outside address and lets
    /// its station appear by that. To be called before workers get the policy, so that nobody else is given its port, and before
    /// connections are restored that rely on it.
    ///
    /// # Errors
    /// Why not.
    pub fn restore_mapping(&self, mapping: &Mapping, policy: &Policy, now: Nanos) -> Result<(), NotRestored> {
        let translator = self.translator(policy).ok_or(NotRestored::Waits)?;
        translator.restore(mapping, now.seconds())
    }

    /// Opens a connection of an earlier process once more, if the rules of `policy`, for which room was made, still allow it, and if
    /// its packets would still be translated as they were. Each side that vouched for it is asked for its rules of today.
    /// `is_exact`: no packet of it was carried since the record was made. If some were, where its sides of TCP stand is learned from
    /// their next segments.
    ///
    /// # Errors
    /// Why not.
    pub fn restore_connection(
        &self,
        record: &Record,
        policy: &Policy,
        is_exact: bool,
        now: Nanos,
    ) -> Result<ConnectionId, NotRestored> {
        let filter = self.filter.get().ok_or(NotRestored::Waits)?;
        let judged = Filter::judge_again(record, policy.security().map(|security| &**security))?;
        let [original, reply] = record.tuples;
        let leaving = reply.reversed();
        let is_plain = leaving == (crate::conntrack::Tuple { zone: leaving.zone, ..original });
        if is_plain && record.is_mapped == [false; 2] {
            return filter.conntrack.restore(record, [None; 2], judged, is_exact, now);
        }
        let translator = self.translator(policy).ok_or(NotRestored::Waits)?;
        let mappings = translator.rejoin(record)?;
        let restored = filter.conntrack.restore(record, mappings, judged, is_exact, now);
        restored.inspect_err(|_| translator.leave(record.tuples, mappings))
    }
}
