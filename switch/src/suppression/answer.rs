//! A question becomes its answer, in its place.

use std::net::IpAddr;

use super::message::{MESSAGE_AT, SOLICITATION_END};
use super::{Known, Question};
use crate::frame::{Claims, Frame};
use crate::gateway::compose::{HOP_LIMIT_ON_LINK, icmp_sum};
use crate::mac::MacAddress;
use crate::offload::checksum::fold;
use crate::packet::Address;

/// ARP's reply (RFC 826), and a neighbour advertisement with its flags and its option (RFC 4861, 4.4 and 4.6.1).
const REPLY: u8 = 2;
const ADVERTISEMENT: u8 = 136;
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;
const TARGET_MAC: u8 = 2;

/// Makes of a frame that asks `question` the frame that answers it, which its sender is to get; says whether it could. The
/// frame is as long as it was.
pub(crate) fn answer<P>(frame: &mut Frame<P>, question: &Question, known: Known) -> bool {
    let head = frame.head.bytes_mut();
    let is_here = usize::try_from(frame.meta.length).is_ok_and(|length| length <= head.len());
    let is_written = is_here
        && match question.target.is_v4() {
            true => arp(head, question, known.mac).is_some(),
            false => advertisement(head, question, known).is_some(),
        };
    if is_written {
        // What was left to be done for the question is done for the answer.
        frame.meta.claims = Claims::default();
    }
    is_written
}

fn arp(head: &mut [u8], question: &Question, mac: MacAddress) -> Option<()> {
    let head = head.first_chunk_mut::<42>()?;
    let (asked, asks) = (octets_v4(question.target)?, octets_v4(question.address)?);
    put_addresses(head, question, mac);
    head[21] = REPLY;
    head[22..28].copy_from_slice(&mac.0);
    head[28..32].copy_from_slice(&asked);
    head[32..38].copy_from_slice(&question.mac.0);
    head[38..42].copy_from_slice(&asks);
    Some(())
}

fn advertisement(head: &mut [u8], question: &Question, known: Known) -> Option<()> {
    let head = head.get_mut(..usize::try_from(SOLICITATION_END).ok()?)?;
    let (asked, asks) = (octets_v6(question.target)?, octets_v6(question.address)?);
    put_addresses(head, question, known.mac);
    head[21] = HOP_LIMIT_ON_LINK;
    head[22..38].copy_from_slice(&asked);
    head[38..54].copy_from_slice(&asks);
    let message = &mut head[MESSAGE_AT..];
    let flags = SOLICITED | OVERRIDE | if known.is_router { ROUTER } else { 0 };
    message[..8].copy_from_slice(&[ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0]);
    message[8..24].copy_from_slice(&asked);
    message[24..26].copy_from_slice(&[TARGET_MAC, 1]);
    message[26..32].copy_from_slice(&known.mac.0);
    let checksum = !fold(icmp_sum((question.target, question.address), message));
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    Some(())
}

/// From who is asked, to who asks.
fn put_addresses(head: &mut [u8], question: &Question, mac: MacAddress) {
    head[..6].copy_from_slice(&question.mac.0);
    head[6..12].copy_from_slice(&mac.0);
}

fn octets_v4(address: Address) -> Option<[u8; 4]> {
    address.to_v4().map(|address| address.octets())
}

fn octets_v6(address: Address) -> Option<[u8; 16]> {
    match IpAddr::from(address) {
        IpAddr::V6(address) => Some(address.octets()),
        IpAddr::V4(_) => None,
    }
}
