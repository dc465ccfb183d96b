//! The port receive machine (IEEE 802.1D-2004, 17.23): hands over one message after the other.

use super::MIGRATE_TIME_MS;
use super::port::Message;
use super::tree::SpanningTree;

impl SpanningTree {
    pub(super) fn receive_message(&mut self, at: usize) -> bool {
        let port = &mut self.ports[at];
        if !port.is_enabled {
            let is_idle = !port.rcvd_bpdu && port.timers.edge_delay_while == MIGRATE_TIME_MS;
            // DISCARD
            (port.rcvd_bpdu, port.rcvd_rstp, port.rcvd_stp) = (false, false, false);
            (port.rcvd_msg, port.arrived) = (None, None);
            port.timers.edge_delay_while = MIGRATE_TIME_MS;
            return !is_idle;
        }
        if !port.rcvd_bpdu || port.rcvd_msg.is_some() {
            return false;
        }
        // RECEIVE, with updtBPDUVersion() (17.21.22)
        port.rcvd_msg = port.arrived.take();
        match port.rcvd_msg {
            Some(Message::Configuration(message)) if message.rapid.is_some() => port.rcvd_rstp = true,
            _ => port.rcvd_stp = true,
        }
        (port.oper_edge, port.rcvd_bpdu) = (false, false);
        port.timers.edge_delay_while = MIGRATE_TIME_MS;
        true
    }
}
