//! The port transmit machine (IEEE 802.1D-2004, 17.26): hellos, changes and answers, no faster than neighbours bear.

use super::PortRole;
use super::bpdu::{Bpdu, Configuration, MessageRole, RapidFlags};
use super::port::Port;
use super::tree::SpanningTree;

impl SpanningTree {
    pub(super) fn transmit(&mut self, at: usize) -> bool {
        let hold = self.settings.tx_hold_count;
        let port = &mut self.ports[at];
        if !port.is_enabled || !port.is_settled() {
            return false;
        }
        if port.timers.hello_when == 0 {
            // TRANSMIT_PERIODIC
            let is_root = port.role == PortRole::Root;
            port.new_info |= port.role == PortRole::Designated || (is_root && port.timers.tc_while != 0);
            port.timers.hello_when = port.hello_time();
            return true;
        }
        if !port.new_info || port.tx_count >= hold {
            return false;
        }
        let Some(message) = port.message() else { return false };
        port.count_sent(&message);
        (port.new_info, port.tx_count) = (false, port.tx_count + 1);
        if message != Bpdu::Notification {
            port.tc_ack = false;
        }
        port.timers.hello_when = port.hello_time();
        let frame = message.frame(port.address);
        self.effects.frames.push((port.settings.number, frame));
        true
    }
}

impl Port {
    /// txRstp(), txTcn() or txConfig() (17.21.19 to 17.21.21).
    fn message(&self) -> Option<Bpdu> {
        let role = match self.role {
            PortRole::Root => MessageRole::Root,
            PortRole::Designated => MessageRole::Designated,
            PortRole::Alternate | PortRole::Backup => MessageRole::AlternateOrBackup,
            PortRole::Disabled => return None,
        };
        let configuration = |rapid: Option<RapidFlags>| Configuration {
            rapid,
            role,
            change: self.timers.tc_while != 0,
            acknowledged: rapid.is_none() && self.tc_ack,
            vector: self.designated_priority,
            times: self.designated_times,
        };
        if self.send_rstp {
            let flags = RapidFlags {
                proposal: role == MessageRole::Designated && self.proposing,
                learning: self.learning,
                forwarding: self.forwarding,
                agreement: self.agree,
            };
            return Some(Bpdu::Configuration(configuration(Some(flags))));
        }
        match role {
            MessageRole::Root => Some(Bpdu::Notification),
            MessageRole::Designated => Some(Bpdu::Configuration(configuration(None))),
            MessageRole::AlternateOrBackup => None,
        }
    }

    fn count_sent(&mut self, message: &Bpdu) {
        match message {
            Bpdu::Configuration(Configuration { rapid: Some(_), .. }) => self.counters.rst_sent += 1,
            Bpdu::Configuration(_) => self.counters.configuration_sent += 1,
            Bpdu::Notification => self.counters.notification_sent += 1,
        }
    }
}
