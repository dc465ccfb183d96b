//! The port protocol migration machine (IEEE 802.1D-2004, 17.24): RSTP or STP with this neighbour?

use super::MIGRATE_TIME_MS;
use super::port::Migration;
use super::tree::SpanningTree;

impl SpanningTree {
    pub(super) fn migrate(&mut self, at: usize) -> bool {
        let is_rapid = self.is_rapid();
        let port = &mut self.ports[at];
        let waited = port.timers.mdelay_while == 0;
        let next = match port.migration {
            Migration::CheckingRapid if !port.is_enabled => {
                let is_new =
                    port.timers.mdelay_while != MIGRATE_TIME_MS || port.send_rstp != is_rapid || port.mcheck;
                is_new.then_some(Migration::CheckingRapid)
            }
            Migration::CheckingRapid => waited.then_some(Migration::Sensing),
            Migration::SelectingOld => {
                (waited || !port.is_enabled || port.mcheck).then_some(Migration::Sensing)
            }
            Migration::Sensing => {
                let heard_rapid = is_rapid && !port.send_rstp && port.rcvd_rstp;
                if !port.is_enabled || port.mcheck || heard_rapid {
                    Some(Migration::CheckingRapid)
                } else {
                    (port.send_rstp && port.rcvd_stp).then_some(Migration::SelectingOld)
                }
            }
        };
        let Some(next) = next else { return false };
        port.migration = next;
        match next {
            Migration::CheckingRapid => {
                (port.mcheck, port.send_rstp) = (false, is_rapid);
                port.timers.mdelay_while = MIGRATE_TIME_MS;
            }
            Migration::SelectingOld => {
                port.send_rstp = false;
                port.timers.mdelay_while = MIGRATE_TIME_MS;
            }
            Migration::Sensing => (port.rcvd_rstp, port.rcvd_stp) = (false, false),
        }
        true
    }
}
