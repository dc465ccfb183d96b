//! The bridge detection machine (IEEE 802.1D-2004, 17.25): is there a bridge behind the port at all?

use super::settings::EdgePort;
use super::tree::SpanningTree;

impl SpanningTree {
    pub(super) fn detect_bridge(&mut self, at: usize) -> bool {
        let port = &mut self.ports[at];
        let edge = port.settings.edge;
        // operEdge is the state: EDGE or NOT_EDGE. Whoever receives a message leaves EDGE by clearing it.
        let is_edge = if port.is_enabled {
            let is_silent = port.timers.edge_delay_while == 0 && port.send_rstp && port.proposing;
            port.oper_edge || (is_silent && edge == EdgePort::Auto)
        } else {
            edge == EdgePort::Yes
        };
        std::mem::replace(&mut port.oper_edge, is_edge) != is_edge
    }
}
