//! Neighbour discovery (RFC 4861) and the detection of duplicate addresses (RFC 4862, 5.4).

use super::compose::{self, HOP_LIMIT_ON_LINK, Header, NETWORK_CONTROL};
use super::resolution::Claim;
use super::{Gateway, Moment, Offered, Output};
use crate::mac::MacAddress;
use crate::packet::{Address, Icmp, Neighbour, Packet, number};
use crate::router::Interface;

pub(super) const SOLICITATION: u8 = 135;
pub(super) const ADVERTISEMENT: u8 = 136;

/// Options: the sender's Ethernet address, and the target's (RFC 4861, 4.6.1).
const SOURCE_MAC: u8 = 1;
const TARGET_MAC: u8 = 2;

/// Flags of advertisements (RFC 4861, 4.4).
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// All stations of the link (RFC 4291, 2.7.1).
const ALL_NODES: Address = Address::from_bits(0xff02 << 112 | 1);

/// A question for a station's Ethernet address.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    /// Who asks.
    pub(super) mac: MacAddress,
    pub(super) source: Address,
    /// Whom for.
    pub(super) target: Address,
    /// The station that is asked; `None`: all that might be it.
    pub(super) to: Option<MacAddress>,
}

impl Gateway {
    /// Takes note of a solicitation or an advertisement, and answers it if it is for an address of the gateway's. What the
    /// reading of packets has checked already: hop limit, code, lengths of options, that it is no fragment.
    pub(super) fn hear_discovery(
        &mut self,
        offered: &Offered<'_>,
        interface: &Interface,
        (packet, icmp, neighbour): (&Packet, &Icmp, &Neighbour),
        moment: Moment<'_>,
    ) {
        let Some(target) = neighbour.target.filter(|target| !target.is_group()) else {
            return self.reject(offered);
        };
        let macs = [neighbour.source_mac, neighbour.target_mac];
        let is_bad = |mac: &MacAddress| mac.is_group() || mac.is_zero() || *mac == interface.mac;
        if !is_summed(offered.frame, packet) || macs.iter().flatten().any(is_bad) {
            return self.reject(offered);
        }
        if icmp.kind == SOLICITATION {
            self.hear_solicitation(offered, interface, (packet, neighbour, target), moment);
        } else {
            self.hear_advertisement(offered, interface, (packet, neighbour, target), moment);
        }
    }

    /// RFC 4861, 7.2.3 and 7.2.4.
    fn hear_solicitation(
        &mut self,
        offered: &Offered<'_>,
        interface: &Interface,
        (packet, neighbour, target): (&Packet, &Neighbour, Address),
        moment: Moment<'_>,
    ) {
        let Offered { port, network, frame, .. } = *offered;
        let sender = mac_at(frame, 6);
        if interface.has(packet.source) {
            let mac = neighbour.source_mac.unwrap_or(sender);
            return self.claimed(offered, packet.source, mac, moment.now);
        }
        let is_probe = packet.source == Address::UNSPECIFIED;
        if is_probe && (neighbour.source_mac.is_some() || packet.destination != solicited_node(target)) {
            return self.reject(offered);
        }
        if self.own.is_tentative((network, target)) {
            // RFC 4862, 5.4.3: another one tries to get the address at the same time. Others are not answered yet.
            if is_probe && sender != interface.mac {
                self.claimed(offered, target, sender, moment.now);
            }
            return;
        }
        if !interface.has(target) {
            return;
        }
        let to = if is_probe {
            None
        } else {
            if !self.may_have(network, packet.source) {
                return self.reject(offered);
            }
            let known = moment.neighbours.get(network, packet.source);
            let claim = Claim {
                address: packet.source,
                mac: neighbour.source_mac,
                port,
                is_solicited: false,
                overrides: true,
                may_create: true,
            };
            self.note(network, &claim, moment);
            Some((neighbour.source_mac.or(known).unwrap_or(sender), packet.source))
        };
        let frame = advertisement(interface.mac, target, to);
        self.outputs.push_back(Output::Send { network, frame });
    }

    /// RFC 4861, 7.2.5.
    fn hear_advertisement(
        &mut self,
        offered: &Offered<'_>,
        interface: &Interface,
        (packet, neighbour, target): (&Packet, &Neighbour, Address),
        moment: Moment<'_>,
    ) {
        let Offered { port, network, frame, .. } = *offered;
        let flags = frame.get(usize::from(packet.transport_at) + 4).copied().unwrap_or(0);
        let is_to_group = packet.destination.is_group();
        // RFC 4861, 7.1.2: who was not asked by one station answers none.
        if is_to_group && flags & SOLICITED != 0 {
            return self.reject(offered);
        }
        if interface.has(target) || self.own.is_tentative((network, target)) {
            let mac = neighbour.target_mac.unwrap_or_else(|| mac_at(frame, 6));
            return self.claimed(offered, target, mac, moment.now);
        }
        if !self.may_have(network, target) {
            return self.reject(offered);
        }
        let claim = Claim {
            address: target,
            mac: neighbour.target_mac,
            port,
            is_solicited: flags & SOLICITED != 0,
            overrides: flags & OVERRIDE != 0,
            may_create: false,
        };
        self.note(network, &claim, moment);
    }
}

/// Whether the checksum of a message of ICMP or a TCP segment is right.
pub(crate) fn is_summed(frame: &[u8], packet: &Packet) -> bool {
    let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
    let message = frame.get(usize::from(packet.transport_at)..end);
    let ends = (packet.source, packet.destination);
    let sum = |message: &[u8]| match packet.protocol {
        number::TCP => compose::transport_sum(ends, number::TCP, message),
        _ => compose::icmp_sum(ends, message),
    };
    message.is_some_and(|message| crate::offload::checksum::fold(sum(message)) == 0xffff)
}

/// The Ethernet address at `at`.
pub(super) fn mac_at(frame: &[u8], at: usize) -> MacAddress {
    let bytes = frame.get(at..at + 6).and_then(|bytes| bytes.try_into().ok());
    MacAddress(bytes.unwrap_or([0; 6]))
}

/// The group of all stations whose address ends as this one (RFC 4291, 2.7.1).
pub(super) fn solicited_node(address: Address) -> Address {
    Address::from_bits(0xff02 << 112 | 0x1_ff00_0000 | address.to_bits() & 0xff_ffff)
}

/// Asks for a station, or one whether it is still there (RFC 4861, 4.3).
pub(super) fn solicitation(ask: &Ask) -> Vec<u8> {
    let group = solicited_node(ask.target);
    let (destination, to) = match ask.to {
        Some(mac) => (ask.target, mac),
        None => (group, compose::group_mac(group)),
    };
    // RFC 4862, 5.4.2: who has no address yet does not say where it is.
    let option = (ask.source != Address::UNSPECIFIED).then_some((SOURCE_MAC, ask.mac));
    let body = body(ask.target, option);
    compose_message(ask.mac, to, (ask.source, destination), (SOLICITATION, 0), &body)
}

/// Asks whether anybody has an address that the gateway wants (RFC 4862, 5.4.2).
pub(super) fn probe(mac: MacAddress, address: Address) -> Vec<u8> {
    solicitation(&Ask { mac, source: Address::UNSPECIFIED, target: address, to: None })
}

/// Tells a station, or all, that an address is the gateway's (RFC 4861, 4.4).
pub(super) fn advertisement(mac: MacAddress, address: Address, to: Option<(MacAddress, Address)>) -> Vec<u8> {
    let flags = if to.is_some() { ROUTER | SOLICITED | OVERRIDE } else { ROUTER | OVERRIDE };
    let (to, destination) = to.unwrap_or((compose::group_mac(ALL_NODES), ALL_NODES));
    let body = body(address, Some((TARGET_MAC, mac)));
    compose_message(mac, to, (address, destination), (ADVERTISEMENT, flags), &body)
}

fn body(target: Address, option: Option<(u8, MacAddress)>) -> Vec<u8> {
    let mut body = Vec::with_capacity(24);
    compose::put_address(&mut body, target);
    if let Some((kind, mac)) = option {
        body.extend([kind, 1]);
        body.extend(mac.0);
    }
    body
}

fn compose_message(
    from: MacAddress,
    to: MacAddress,
    (source, destination): (Address, Address),
    (kind, flags): (u8, u8),
    body: &[u8],
) -> Vec<u8> {
    let message = compose::icmp((source, destination), [kind, 0], [flags, 0, 0, 0], body);
    let header = Header {
        source,
        destination,
        protocol: number::ICMPV6,
        hop_limit: HOP_LIMIT_ON_LINK,
        traffic_class: NETWORK_CONTROL,
        id: None,
    };
    compose::frame(from, to, &compose::packet(&header, &message))
}
