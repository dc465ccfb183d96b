//! The gateway: what its network's stations send to it, or ask all stations of the network that it should know.

use crate::decision::{Action, Recording, Step};
use crate::explain::Observer;

/// The type field of ARP, IPv4 and IPv6.
const ARP: [u8; 2] = [0x08, 0x06];
const IP: [[u8; 2]; 2] = [[0x08, 0x00], [0x86, 0xdd]];

/// Has packets to the gateway's Ethernet address routed, and offers it what others are asked or told. What it makes of them is
/// found out for each frame, so that no decision depends on routes or neighbours.
#[inline(always)]
pub(super) fn decide<O: Observer>(recording: &mut Recording<'_, O>) -> Step {
    let Some((network, gateway)) = recording.gateway() else { return Step::Continue };
    let destination = recording.destination();
    if destination == gateway.mac {
        recording.act(Action::Route(network));
        return Step::Done;
    }
    let kind = recording.ether_type();
    if kind == ARP || (destination.is_group() && IP.contains(&kind)) {
        recording.act(Action::Offer(network));
    }
    Step::Continue
}
