//! The port role transitions machine (IEEE 802.1D-2004, 17.29): from role to state, never through a loop.
//!
//! Its states are told by the variables that they set: the role, learn and forward. Each function below makes at most
//! one transition; all need a port whose role is settled.

use super::PortRole;
use super::port::Port;
use super::tree::SpanningTree;

impl SpanningTree {
    pub(super) fn change_role(&mut self, at: usize) -> bool {
        let port = &mut self.ports[at];
        if !port.is_settled() {
            return false;
        }
        if port.role != port.selected_role {
            port.take_role();
            return true;
        }
        match port.role {
            PortRole::Disabled => port.stay_disabled(),
            PortRole::Root => self.serve_root(at),
            PortRole::Designated => port.serve_designated(),
            PortRole::Alternate | PortRole::Backup => self.serve_alternate(at),
        }
    }

    /// Root port role transitions (figure 17-21).
    fn serve_root(&mut self, at: usize) -> bool {
        let all_synced = self.all_synced();
        let is_alone = self.is_rerooted(at) && self.is_rapid();
        let port = &mut self.ports[at];
        let delay = port.fwd_delay();
        let may_open = port.timers.fd_while == 0 || (is_alone && port.timers.rb_while == 0);
        if port.timers.rr_while != delay {
            // ROOT_PORT
            port.timers.rr_while = delay;
        } else if port.proposed && !port.agree {
            // ROOT_PROPOSED
            port.proposed = false;
            self.sync_all();
        } else if (all_synced && !port.agree) || (port.proposed && port.agree) {
            // ROOT_AGREED
            (port.proposed, port.sync) = (false, false);
            (port.agree, port.new_info) = (true, true);
        } else if !port.forward && !port.re_root {
            // REROOT
            self.reroot_all();
        } else if may_open && !port.learn {
            // ROOT_LEARN
            port.timers.fd_while = port.forward_delay();
            port.learn = true;
        } else if may_open && !port.forward {
            // ROOT_FORWARD
            port.timers.fd_while = 0;
            port.forward = true;
        } else if port.re_root && port.forward {
            // REROOTED
            port.re_root = false;
        } else {
            return false;
        }
        true
    }

    /// Alternate and backup port role transitions (figure 17-23).
    fn serve_alternate(&mut self, at: usize) -> bool {
        let all_synced = self.all_synced();
        let port = &mut self.ports[at];
        if port.learning || port.forwarding {
            // BLOCK_PORT was entered; the state follows.
            return false;
        }
        let (delay, backup) = (port.fwd_delay(), 2 * port.hello_time());
        if port.timers.fd_while != delay || port.sync || port.re_root || !port.synced {
            // ALTERNATE_PORT
            (port.timers.fd_while, port.timers.rr_while) = (delay, 0);
            (port.synced, port.sync, port.re_root) = (true, false, false);
        } else if port.proposed && !port.agree {
            // ALTERNATE_PROPOSED
            port.proposed = false;
            self.sync_all();
        } else if (all_synced && !port.agree) || (port.proposed && port.agree) {
            // ALTERNATE_AGREED
            port.proposed = false;
            (port.agree, port.new_info) = (true, true);
        } else if port.role == PortRole::Backup && port.timers.rb_while != backup {
            // BACKUP_PORT
            port.timers.rb_while = backup;
        } else {
            return false;
        }
        true
    }

    /// reRooted (17.20.10): no other port was a root port not long ago.
    fn is_rerooted(&self, at: usize) -> bool {
        self.ports.iter().enumerate().all(|(other, port)| other == at || port.timers.rr_while == 0)
    }

    /// setSyncTree() (17.21.14).
    fn sync_all(&mut self) {
        self.ports.iter_mut().for_each(|port| port.sync = true);
    }

    /// setReRootTree() (17.21.15).
    fn reroot_all(&mut self) {
        self.ports.iter_mut().for_each(|port| port.re_root = true);
    }
}

impl Port {
    /// DISABLE_PORT, ROOT_PORT, DESIGNATED_PORT or BLOCK_PORT.
    fn take_role(&mut self) {
        self.role = self.selected_role;
        self.inherits &= self.role == PortRole::Designated;
        match self.role {
            PortRole::Root => self.timers.rr_while = self.fwd_delay(),
            PortRole::Designated if self.inherits => self.timers.fd_while = 0,
            PortRole::Designated => {}
            PortRole::Disabled | PortRole::Alternate | PortRole::Backup => {
                (self.learn, self.forward) = (false, false);
            }
        }
    }

    /// Disabled port role transitions (figure 17-20).
    fn stay_disabled(&mut self) -> bool {
        let age = self.max_age();
        let is_clean = self.timers.fd_while == age && !self.sync && !self.re_root && self.synced;
        if self.learning || self.forwarding || is_clean {
            return false;
        }
        // DISABLED_PORT
        (self.timers.fd_while, self.timers.rr_while) = (age, 0);
        (self.synced, self.sync, self.re_root) = (true, false, false);
        true
    }

    /// Designated port role transitions (figure 17-22).
    fn serve_designated(&mut self) -> bool {
        let is_retired = self.timers.rr_while == 0;
        let is_closed = !self.learning && !self.forwarding;
        let must_close = (self.sync && !self.synced) || (self.re_root && !is_retired) || self.disputed;
        let may_open = self.timers.fd_while == 0 || self.agreed || self.oper_edge;
        let may_open = may_open && (is_retired || !self.re_root) && !self.sync;
        if !self.forward && !self.agreed && !self.proposing && !self.oper_edge {
            // DESIGNATED_PROPOSE
            self.timers.edge_delay_while = self.edge_delay();
            (self.proposing, self.new_info) = (true, true);
        } else if (!self.synced && (is_closed || self.agreed || self.oper_edge)) || (self.sync && self.synced)
        {
            // DESIGNATED_SYNCED
            self.timers.rr_while = 0;
            (self.synced, self.sync) = (true, false);
        } else if is_retired && self.re_root {
            // DESIGNATED_RETIRED
            self.re_root = false;
        } else if must_close && !self.oper_edge && (self.learn || self.forward) {
            // DESIGNATED_DISCARD
            (self.learn, self.forward, self.disputed) = (false, false, false);
            self.timers.fd_while = self.forward_delay();
        } else if may_open && !self.learn {
            // DESIGNATED_LEARN. Without an agreement it is said at once, beyond the standard: a neighbour that is not
            // heard disputes it before the port forwards.
            self.learn = true;
            self.new_info |= !self.agreed;
            self.timers.fd_while = if self.inherits { 0 } else { self.forward_delay() };
        } else if may_open && !self.forward {
            // DESIGNATED_FORWARD
            self.inherits = false;
            self.forward = true;
            self.timers.fd_while = 0;
            self.agreed = self.send_rstp;
        } else {
            return false;
        }
        true
    }
}
