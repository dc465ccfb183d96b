//! The port information machine (IEEE 802.1D-2004, 17.27): whose word counts on this link?

use super::bpdu::Configuration;
use super::port::{InfoIs, Information, Message, Port};
use super::tree::SpanningTree;
use super::vector::{Vector, milliseconds};
use super::{MessageRole, PortRole};

/// What a message is, compared with what the port holds (17.21.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Received {
    SuperiorDesignated,
    RepeatedDesignated,
    InferiorDesignated,
    NotDesignated,
    Other,
}

impl SpanningTree {
    pub(super) fn keep_information(&mut self, at: usize) -> bool {
        let is_rapid = self.is_rapid();
        let port = &mut self.ports[at];
        if !port.is_enabled {
            let is_idle = port.info_is == InfoIs::Disabled && port.rcvd_msg.is_none();
            if !is_idle {
                self.pass_on(at);
                self.disable_information(at);
            }
            return !is_idle;
        }
        match port.information {
            Information::Disabled => port.age(),
            Information::Aged if port.selected && port.updt_info => port.update(),
            Information::Aged => return false,
            Information::Current if port.selected && port.updt_info => port.update(),
            Information::Current if port.updt_info => return false,
            Information::Current => {
                let Some(message) = port.rcvd_msg.take() else {
                    let is_old = port.info_is == InfoIs::Received && port.timers.rcvd_info_while == 0;
                    if is_old {
                        port.age();
                    }
                    return is_old;
                };
                port.take(message, is_rapid);
            }
        }
        true
    }
}

impl SpanningTree {
    /// Beyond the standard: when the port by which this bridge serves a shared link loses it, its best backup there takes
    /// over at once, instead of believing for three hellos in a port of its own bridge that is gone. One way into the link
    /// is as good as the other, so nothing can go round that did not before.
    fn pass_on(&mut self, at: usize) {
        let port = &self.ports[at];
        let served = port.role == PortRole::Designated && port.forwarding;
        let said = Vector { bridge: self.id, port: port.id, ..port.port_priority };
        let is_backup = |other: &&mut Port| {
            other.is_enabled && other.role == PortRole::Backup && other.port_priority.has_same_sender(&said)
        };
        if let Some(heir) = self.ports.iter_mut().filter(is_backup).min_by_key(|other| other.id) {
            heir.inherits = served;
            heir.age();
        }
    }
}

impl Port {
    /// AGED.
    fn age(&mut self) {
        (self.info_is, self.information) = (InfoIs::Aged, Information::Aged);
        (self.reselect, self.selected) = (true, false);
    }

    /// UPDATE, and from there CURRENT. Stricter than the standard, which can open a circle for a moment where news cross
    /// on their way: an agreement has no number, and nobody can tell what a neighbour has heard since he gave it.
    fn update(&mut self) {
        (self.proposing, self.proposed) = (false, false);
        // betterorsameInfo(Mine) (17.21.1), and of the same root: who agreed that another bridge is the root may serve this
        // link himself by now, for the one that is.
        let is_no_worse = self.info_is == InfoIs::Mine && self.designated_priority <= self.port_priority;
        self.agreed &= is_no_worse && self.designated_priority.root == self.port_priority.root;
        self.synced &= self.agreed;
        // Who agreed to better information must agree anew, and until then the port is closed. Else stale information
        // that goes round in a circle (count to infinity) can open the whole circle. And who served the link until now
        // has agreed to nothing: both ends would serve it, open, until he hears that.
        let may_ask = self.send_rstp && self.point_to_point && !self.oper_edge;
        let was_served = self.info_is == InfoIs::Received;
        self.sync |= may_ask && (was_served || self.port_priority < self.designated_priority);
        self.port_priority = self.designated_priority;
        self.port_times = self.designated_times;
        self.updt_info = false;
        (self.info_is, self.information) = (InfoIs::Mine, Information::Current);
        self.new_info = true;
    }

    /// RECEIVE and the state for what was received, and from there CURRENT.
    fn take(&mut self, message: Message, is_rapid: bool) {
        let Message::Configuration(mut message) = message else {
            // setTcFlags() (17.21.17)
            self.rcvd_tcn = true;
            return;
        };
        message.times = message.times.within_bounds();
        match self.compare(&message) {
            Received::SuperiorDesignated => {
                (self.agreed, self.proposing) = (false, false);
                self.record_proposal(&message);
                self.set_tc_flags(&message);
                // betterorsameInfo(Received)
                self.agree &= self.info_is == InfoIs::Received && message.vector <= self.port_priority;
                (self.port_priority, self.port_times) = (message.vector, message.times);
                self.update_rcvd_info_while();
                self.info_is = InfoIs::Received;
                (self.reselect, self.selected) = (true, false);
            }
            Received::RepeatedDesignated => {
                self.record_proposal(&message);
                self.set_tc_flags(&message);
                self.update_rcvd_info_while();
            }
            Received::InferiorDesignated => self.record_dispute(&message),
            Received::NotDesignated => {
                self.record_agreement(&message, is_rapid);
                self.set_tc_flags(&message);
            }
            Received::Other => {}
        }
    }

    /// rcvInfo() (17.21.8).
    fn compare(&self, message: &Configuration) -> Received {
        let is_same = message.vector == self.port_priority;
        if message.role != MessageRole::Designated {
            // As bad as what the port says itself, or worse: from somebody who listens to it.
            let listens = message.vector >= self.port_priority;
            return if listens { Received::NotDesignated } else { Received::Other };
        }
        if is_same && message.times == self.port_times && self.info_is == InfoIs::Received {
            Received::RepeatedDesignated
        } else if message.vector.supersedes(&self.port_priority) {
            Received::SuperiorDesignated
        } else {
            Received::InferiorDesignated
        }
    }

    /// recordProposal() (17.21.11).
    fn record_proposal(&mut self, message: &Configuration) {
        self.proposed |= message.rapid.is_some_and(|flags| flags.proposal);
    }

    /// recordAgreement() (17.21.9); to a root that is not this port's (any more) nobody agrees here, as it is in later
    /// editions between trees of one region (IEEE 802.1Q-2018, 13.29.14).
    fn record_agreement(&mut self, message: &Configuration, is_rapid: bool) {
        let is_to_this = message.vector.root == self.port_priority.root;
        let agrees = is_to_this && message.rapid.is_some_and(|flags| flags.agreement);
        self.agreed = is_rapid && self.point_to_point && agrees;
        self.proposing &= !self.agreed;
    }

    /// recordDispute() (17.21.10): who learns behind this port does not hear what it says.
    fn record_dispute(&mut self, message: &Configuration) {
        if message.rapid.is_some_and(|flags| flags.learning) {
            (self.disputed, self.agreed) = (true, false);
        }
    }

    /// setTcFlags() (17.21.17).
    fn set_tc_flags(&mut self, message: &Configuration) {
        self.rcvd_tc |= message.change;
        self.rcvd_tc_ack |= message.acknowledged;
    }

    /// updtRcvdInfoWhile() (17.21.23): three hellos may be lost.
    fn update_rcvd_info_while(&mut self) {
        let is_young = self.port_times.one_hop_on().message_age <= self.port_times.max_age;
        let hellos = 3 * milliseconds(self.port_times.hello_time);
        self.timers.rcvd_info_while = if is_young { hellos } else { 0 };
    }
}
