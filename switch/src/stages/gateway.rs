//! The gateway: what its network's stations send to it, or ask all stations of the network that it should know. And what they ask
//! for stations on other hosts, which may be known here.

use crate::decision::{Action, Recording, Step};
use crate::explain::Observer;

/// The type field of ARP, IPv4 and IPv6.
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Has packets to the gateway's Ethernet address routed, and offers it what others are asked or told. What it makes of them is
/// found out for each frame, so that no decision depends on routes or neighbours; nor on what is known of stations on other hosts.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    let (gateway, suppressing) = (recording.gateway(), recording.suppressing());
    let Some(network) = gateway.map(|(network, _)| network).or(suppressing) else { return Step::Continue };
    let destination = recording.destination();
    if gateway.is_some_and(|(_, gateway)| destination == gateway.mac) {
        recording.act(Action::Route(network));
        return Step::Done;
    }
    let kind = recording.ether_type();
    let is_for_many = destination.is_group();
    if kind == ARP || (is_for_many && [IPV4, IPV6].contains(&kind)) {
        recording.act(Action::Offer(network));
    } else if kind == IPV6 && suppressing.is_some() && recording.is_from_vtep() {
        recording.act(Action::Hear(network));
    }
    Step::Continue
}
