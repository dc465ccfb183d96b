//! What a configuration means to the parts of the switch that do what gateways do: their settings, with numbers for names.
//!
//! Nothing here is checked: a [`Config`](crate::config::Config) is right, and what has no number is left out.

mod dhcp;
mod nat;
#[cfg(test)]
mod tests;

use viaduct_switch::{MacAddress, NetworkIndex, PortIndex};

/// The numbers of what a configuration names.
pub trait Numbered {
    /// The number of a network.
    fn network(&self, name: &str) -> Option<NetworkIndex>;

    /// The number of the network in which an uplink's own addresses are.
    fn outside(&self, uplink: &str) -> Option<NetworkIndex>;

    /// The number of a port or an uplink.
    fn port(&self, name: &str) -> Option<PortIndex>;

    /// The largest packet in bytes that an uplink's interface takes; `None`: that is not known now.
    fn mtu(&self, _uplink: &str) -> Option<u16> {
        None
    }

    /// The Ethernet address of a network's gateway.
    fn gateway(&self, network: &str) -> Option<MacAddress>;
}
