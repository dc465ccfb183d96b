//! ARP (RFC 826), with what RFC 5227 says about probes, conflicts and their defence.

use super::discovery::Ask;
use super::resolution::Claim;
use super::{Gateway, Moment, Offered, Output, compose};
use crate::mac::MacAddress;
use crate::packet::{Address, Arp};
use crate::router::Interface;

const REQUEST: u16 = 1;
const REPLY: u16 = 2;

/// What stands in a probe for its sender, who has no address yet (RFC 5227, 1.1).
const NOBODY: Address = Address::from_v4([0; 4]);

impl Gateway {
    /// Takes note of an ARP message, and answers it if it is about an address of the gateway's.
    pub(super) fn hear_arp(
        &mut self,
        offered: &Offered<'_>,
        interface: &Interface,
        arp: &Arp,
        moment: Moment<'_>,
    ) {
        let Offered { port, network, frame, .. } = *offered;
        // RFC 1812, 3.3.2: no station has a group's address.
        if arp.sender_mac.is_group() || arp.sender_mac.is_zero() {
            return self.reject(offered);
        }
        if arp.sender_mac == interface.mac {
            // An echo of the gateway's own, or forged, which the data path has counted.
            return;
        }
        if interface.has(arp.sender) || self.own.is_tentative((network, arp.sender)) {
            return self.claimed(offered, arp.sender, arp.sender_mac, moment.now);
        }
        let is_ours = interface.has(arp.target);
        let is_request = arp.operation == REQUEST;
        if is_request && self.own.is_tentative((network, arp.target)) {
            // RFC 5227, 2.1.1: another one probes for the address at the same time.
            if arp.sender == NOBODY {
                self.claimed(offered, arp.target, arp.sender_mac, moment.now);
            }
            return;
        }
        if arp.sender != NOBODY {
            if !self.may_have(network, arp.sender) {
                return self.reject(offered);
            }
            let is_answer = arp.operation == REPLY && is_ours && is_to(frame, interface.mac);
            let claim = Claim {
                address: arp.sender,
                mac: Some(arp.sender_mac),
                port,
                is_solicited: is_answer,
                overrides: true,
                may_create: is_request && is_ours,
            };
            self.note(network, &claim, moment);
        }
        if is_request && is_ours {
            let frame = reply(interface.mac, arp);
            self.outputs.push_back(Output::Send { network, frame });
        }
    }
}

fn is_to(frame: &[u8], mac: MacAddress) -> bool {
    frame.starts_with(&mac.0)
}

/// The answer to a request for an address of the gateway's.
fn reply(mac: MacAddress, request: &Arp) -> Vec<u8> {
    let ends = [(mac, request.target), (request.sender_mac, request.sender)];
    message(REPLY, request.sender_mac, ends)
}

/// Asks who has an address, all stations or one.
pub(super) fn request(ask: &Ask) -> Vec<u8> {
    let to = ask.to.unwrap_or(MacAddress::BROADCAST);
    message(REQUEST, to, [(ask.mac, ask.source), (MacAddress([0; 6]), ask.target)])
}

/// Asks whether anybody has an address that the gateway wants (RFC 5227, 2.1.1).
pub(super) fn probe(mac: MacAddress, address: Address) -> Vec<u8> {
    request(&Ask { mac, source: NOBODY, target: address, to: None })
}

/// Tells all stations that an address is the gateway's (RFC 5227, 3).
pub(super) fn announcement(mac: MacAddress, address: Address) -> Vec<u8> {
    request(&Ask { mac, source: address, target: address, to: None })
}

/// A frame with a message of `ends[0]` to `ends[1]`.
fn message(operation: u16, to: MacAddress, ends: [(MacAddress, Address); 2]) -> Vec<u8> {
    let [(mac, _), _] = ends;
    let mut frame = [&to.0[..], &mac.0, &[8, 6], &[0, 1, 8, 0, 6, 4]].concat();
    frame.extend(operation.to_be_bytes());
    for (mac, address) in ends {
        frame.extend(mac.0);
        compose::put_address(&mut frame, address);
    }
    frame
}
