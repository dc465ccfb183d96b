//! What messages of ARP (RFC 826) and neighbour discovery (RFC 4861) say about their senders, and what they ask.

use crate::decision::address_at;
use crate::frame::Metadata;
use crate::gateway::is_summed;
use crate::mac::MacAddress;
use crate::packet::{Address, Arp, Contents, Icmp, IcmpMessage, Neighbour, Packet, Transport, number};

/// Types of messages: RFC 4861, 4.3 and 4.4.
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Flags of advertisements: RFC 4861, 4.4.
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;

/// Where a packet of IPv6 begins, its next header's number stands, and a message without extension headers before it begins.
const NETWORK_AT: usize = 14;
const NEXT_HEADER_AT: usize = NETWORK_AT + 6;
pub(super) const MESSAGE_AT: usize = NETWORK_AT + 40;

/// Where a solicitation ends that has one option, which says its sender's Ethernet address.
pub(super) const SOLICITATION_END: u32 = 86;

/// ARP's request.
const REQUEST: u16 = 1;

/// Who has an address, as he says himself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Told {
    pub(crate) address: Address,
    pub(crate) mac: MacAddress,
    /// Whether he is a router; `None`: the message does not say so.
    pub(crate) is_router: Option<bool>,
    /// Whether it holds against what was known before (RFC 4861, 7.2.5).
    pub(crate) overrides: bool,
}

/// Who has this address?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) target: Address,
    /// Who asks.
    pub(crate) mac: MacAddress,
    pub(crate) address: Address,
}

/// Whether a frame may be such a message: a look at few bytes, since every packet of IPv6 that comes by a tunnel gets it.
#[inline]
pub(crate) fn is_discovery(head: &[u8]) -> bool {
    match head.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x86, 0xdd]) => {
            let kind = head.get(MESSAGE_AT);
            head.get(NEXT_HEADER_AT) == Some(&number::ICMPV6)
                && matches!(kind, Some(&(SOLICITATION | ADVERTISEMENT)))
        }
        _ => false,
    }
}

pub(super) fn read(head: &[u8], meta: &Metadata, contents: &Contents) -> (Option<Told>, Option<Question>) {
    let sender = address_at::<6>(head);
    let is_to_group = address_at::<0>(head).is_group();
    match contents {
        // Who speaks for others is not believed, and who is asked alone answers himself.
        Contents::Arp(arp) if arp.sender_mac == sender && is_station(sender) => {
            (told_by_arp(arp), asked_by_arp(arp).filter(|_| is_to_group))
        }
        Contents::Ip(packet) => {
            let Transport::Icmp(Icmp { kind, message: IcmpMessage::Neighbour(neighbour), .. }) =
                packet.transport
            else {
                return (None, None);
            };
            if !is_whole(head, meta, packet) || !is_station(sender) {
                return (None, None);
            }
            match kind {
                ADVERTISEMENT => (told(head, packet, &neighbour, sender), None),
                SOLICITATION => (None, asked(packet, &neighbour, sender).filter(|_| is_to_group)),
                _ => (None, None),
            }
        }
        _ => (None, None),
    }
}

fn is_station(mac: MacAddress) -> bool {
    !mac.is_group() && !mac.is_zero()
}

/// Whether the message is there to its end, behind no other headers, with the right checksum.
fn is_whole(head: &[u8], meta: &Metadata, packet: &Packet) -> bool {
    let is_here = usize::try_from(packet.end_at).is_ok_and(|end| end <= head.len());
    usize::from(packet.transport_at) == MESSAGE_AT
        && is_here
        && (meta.claims.checksum.is_some() || is_summed(head, packet))
}

fn told_by_arp(arp: &Arp) -> Option<Told> {
    let address = arp.sender.to_v4()?;
    let is_host = !(address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_loopback());
    is_host.then_some(Told { address: arp.sender, mac: arp.sender_mac, is_router: None, overrides: true })
}

/// Neither a probe (RFC 5227, 1.1), nor who tells all of himself.
fn asked_by_arp(arp: &Arp) -> Option<Question> {
    let is_question = arp.operation == REQUEST && arp.sender != arp.target;
    let question = Question { target: arp.target, mac: arp.sender_mac, address: arp.sender };
    (is_question && told_by_arp(arp).is_some()).then_some(question)
}

fn told(head: &[u8], packet: &Packet, neighbour: &Neighbour, sender: MacAddress) -> Option<Told> {
    let target = neighbour.target.filter(|target| !target.is_group() && *target != Address::UNSPECIFIED)?;
    let mac = neighbour.target_mac.filter(|mac| *mac == sender)?;
    let flags = head.get(usize::from(packet.transport_at) + 4)?;
    let (is_router, overrides) = (Some(flags & ROUTER != 0), flags & OVERRIDE != 0);
    Some(Told { address: target, mac, is_router, overrides })
}

/// No probe (RFC 4862, 5.4.2), whose sender has no address yet; and nothing that asks for more than an answer says.
fn asked(packet: &Packet, neighbour: &Neighbour, sender: MacAddress) -> Option<Question> {
    let target = neighbour.target.filter(|target| !target.is_group())?;
    let mac = neighbour.source_mac.filter(|mac| *mac == sender)?;
    let is_plain = packet.source != Address::UNSPECIFIED && packet.end_at == SOLICITATION_END;
    (is_plain && !packet.source.is_group() && packet.source != target).then_some(Question {
        target,
        mac,
        address: packet.source,
    })
}
