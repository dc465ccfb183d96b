//! The topology change machine (IEEE 802.1D-2004, 17.31): which addresses to forget, and who else has to know.

use super::PortRole;
use super::port::{Change, Port};
use super::tree::SpanningTree;

impl SpanningTree {
    pub(super) fn follow_topology(&mut self, at: usize) -> bool {
        let port = &mut self.ports[at];
        let is_active = matches!(port.role, PortRole::Root | PortRole::Designated);
        match port.change {
            Change::Inactive => {
                let learns = port.learn;
                if learns {
                    port.change = Change::Learning;
                }
                return learns;
            }
            Change::Learning if is_active && port.forward && !port.oper_edge => self.detect_change(at),
            Change::Learning if port.was_told() => port.forget_told(),
            Change::Learning => {
                let ends = !is_active && !port.learn && !port.learning;
                if ends {
                    self.end_activity(at);
                }
                return ends;
            }
            Change::Active if !is_active || port.oper_edge => port.change = Change::Learning,
            Change::Active => return self.spread_change(at),
        }
        true
    }

    /// DETECTED, and from there ACTIVE.
    fn detect_change(&mut self, at: usize) {
        let port = &mut self.ports[at];
        port.change = Change::Active;
        // What was told before the port took part is answered by what is told from now on.
        port.forget_told();
        port.new_tc_while();
        port.new_info = true;
        self.propagate(at);
    }

    /// INACTIVE.
    fn end_activity(&mut self, at: usize) {
        let port = &mut self.ports[at];
        port.change = Change::Inactive;
        (port.timers.tc_while, port.tc_ack) = (0, false);
        self.flush(at);
    }

    /// What leaves ACTIVE and returns to it: NOTIFIED_TCN, NOTIFIED_TC, PROPAGATING, ACKNOWLEDGED.
    fn spread_change(&mut self, at: usize) -> bool {
        let port = &mut self.ports[at];
        if port.rcvd_tcn || port.rcvd_tc {
            if port.rcvd_tcn {
                port.new_tc_while();
            }
            port.tc_ack |= port.role == PortRole::Designated;
            (port.rcvd_tcn, port.rcvd_tc) = (false, false);
            self.propagate(at);
        } else if port.tc_prop {
            port.new_tc_while();
            port.tc_prop = false;
            self.flush(at);
        } else if port.rcvd_tc_ack {
            (port.timers.tc_while, port.rcvd_tc_ack) = (0, false);
        } else {
            return false;
        }
        true
    }

    /// setTcPropTree() (17.21.18): all other ports pass it on, and what is known behind them may have moved.
    fn propagate(&mut self, from: usize) {
        self.topology_changes += 1;
        self.changed_ms = Some(self.now_ms());
        for (_, port) in self.ports.iter_mut().enumerate().filter(|(at, _)| *at != from) {
            port.tc_prop = true;
        }
    }

    /// fdbFlush (17.19.7): the caller forgets at once, with STP too, which would let addresses age fast.
    fn flush(&mut self, at: usize) {
        self.effects.flushes.push(self.ports[at].settings.number);
    }
}

impl Port {
    fn was_told(&self) -> bool {
        self.rcvd_tc || self.rcvd_tcn || self.rcvd_tc_ack || self.tc_prop
    }

    fn forget_told(&mut self) {
        (self.rcvd_tc, self.rcvd_tcn, self.rcvd_tc_ack, self.tc_prop) = (false, false, false, false);
    }
}
