//! Which rules of today vouch for a connection that an earlier process let pass.

use super::Filter;
use super::crossing::{Opened, Side};
use crate::conntrack::{Direction as Way, Judged, NotRestored, Record};
use crate::security::{Direction, PortTables, SecurityPolicy};

impl Filter {
    /// How the connection of a record is judged by the rules of `security`: each side that vouched for it has to vouch for it again.
    /// Who was not asked then is asked about the connection's next packet.
    pub(crate) fn judge_again(
        record: &Record,
        security: Option<&SecurityPolicy>,
    ) -> Result<Judged, NotRestored> {
        let Some(security) = security else { return Ok(Judged::default()) };
        let opened = Opened::of(record.tuples);
        let directions = [Direction::Egress, Direction::Ingress];
        let mut vouchers = [None; 2];
        for ((voucher, port), direction) in vouchers.iter_mut().zip(record.vouchers).zip(directions) {
            let Some(port) = port else { continue };
            let side = Side { security, port, direction };
            if security.port(port).and_then(PortTables::groups).is_none() {
                continue;
            }
            if side.vouches(Way::Original, &opened).is_none() {
                return Err(NotRestored::NotAllowed);
            }
            *voucher = Some(port);
        }
        Ok(Judged { vouchers, generation: security.generation() })
    }
}
