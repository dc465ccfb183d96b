//! An end of a talk: who it is, who it talks to, and what it says when it is asked for its Ethernet address (RFC 826).

use std::net::Ipv4Addr;

use crate::bench::card::Arrived;
use crate::bench::frame::Station;

/// Types of frames.
const IPV4: [u8; 2] = [0x08, 0x00];
const ARP: [u8; 2] = [0x08, 0x06];
/// What every ARP message about IPv4 over Ethernet begins with.
const ARP_KIND: [u8; 6] = [0, 1, 0x08, 0, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
const REPLY: [u8; 2] = [0, 2];
/// Where an ARP message has its sender, and the address that is asked for.
const SENDER_AT: usize = 14 + 8;
const TARGET_AT: usize = 14 + 24;
/// The shortest frame, without FCS.
const FRAME_BYTES: usize = 60;

/// The frame of an ARP message.
pub(super) type Message = [u8; FRAME_BYTES];

/// What came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    /// A packet.
    Packet,
    /// Something else.
    Other,
}

/// An end.
#[derive(Debug)]
pub(super) struct End {
    /// It has this address, and so many behind it.
    pub(super) own: Station,
    pub(super) stations: u32,
    /// Who gets its frames, once that is known.
    pub(super) peer: Option<Station>,
    /// The router by which its frames go.
    pub(super) gateway: Option<Ipv4Addr>,
    /// Whoever it talks to, as far as addresses go.
    pub(super) partner: Ipv4Addr,
    /// An answer that is to be sent.
    pub(super) answer: Option<Message>,
}

impl End {
    /// Takes note of a frame that came.
    #[inline]
    pub(super) fn see(&mut self, arrived: &Arrived<'_>) -> Seen {
        match arrived.read::<2>(12) {
            IPV4 => {
                if self.peer.is_none() && self.gateway.is_none() {
                    let [a, b, c, d] = arrived.read::<4>(14 + 12);
                    self.peer = Some(Station { mac: arrived.read(6), ip: Ipv4Addr::new(a, b, c, d) });
                }
                Seen::Packet
            }
            ARP => {
                self.hear(&arrived.read(0));
                Seen::Other
            }
            _ => Seen::Other,
        }
    }

    #[cold]
    fn hear(&mut self, message: &Message) {
        let sender =
            Station { mac: array(message, SENDER_AT), ip: array::<4>(message, SENDER_AT + 6).into() };
        let asked = Ipv4Addr::from(array::<4>(message, TARGET_AT));
        match array(message, 20) {
            REQUEST if self.has(asked) => {
                self.answer = Some(arp(REPLY, Station { ip: asked, ..self.own }, sender, sender.mac));
            }
            REPLY if Some(sender.ip) == self.gateway => {
                self.peer = Some(Station { mac: sender.mac, ip: self.partner });
            }
            _ => {}
        }
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        u32::from(address).checked_sub(u32::from(self.own.ip)).is_some_and(|offset| offset < self.stations)
    }

    /// The question for its gateway, as long as that is not known.
    pub(super) fn question(&self) -> Option<Message> {
        let gateway = self.gateway.filter(|_| self.peer.is_none())?;
        Some(arp(REQUEST, self.own, Station { mac: [0; 6], ip: gateway }, [0xff; 6]))
    }
}

fn array<const N: usize>(message: &Message, at: usize) -> [u8; N] {
    let mut bytes = [0; N];
    bytes.copy_from_slice(&message[at..at + N]);
    bytes
}

fn arp(operation: [u8; 2], from: Station, to: Station, receiver: [u8; 6]) -> Message {
    let mut message = [0; FRAME_BYTES];
    let mut at = 0;
    let (from_ip, to_ip) = (from.ip.octets(), to.ip.octets());
    for part in [&receiver[..], &from.mac, &ARP, &ARP_KIND, &operation, &from.mac, &from_ip, &to.mac, &to_ip]
    {
        message[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(gateway: Option<Ipv4Addr>) -> End {
        let own = Station { mac: [2, 0, 0, 0, 0, 1], ip: [10, 0, 0, 10].into() };
        End { own, stations: 2, peer: None, gateway, partner: [192, 0, 2, 2].into(), answer: None }
    }

    #[test]
    fn who_asks_for_one_of_its_addresses_is_answered() {
        let mut answering = end(None);
        let router = Station { mac: [2, 0, 0, 0, 0, 9], ip: [10, 0, 0, 1].into() };
        for (asked, is_answered) in [([10, 0, 0, 10], true), ([10, 0, 0, 11], true), ([10, 0, 0, 12], false)]
        {
            let target = Station { mac: [0; 6], ip: asked.into() };
            answering.hear(&arp(REQUEST, router, target, [0xff; 6]));
            let answer = answering.answer.take();
            assert_eq!(answer.is_some(), is_answered, "{asked:?}");
            let expected = arp(REPLY, Station { ip: asked.into(), ..answering.own }, router, router.mac);
            assert!(answer.is_none_or(|answer| answer == expected));
        }
    }

    #[test]
    fn the_gateway_is_asked_for_until_it_answers() {
        let mut asking = end(Some([10, 0, 0, 1].into()));
        let question = asking.question().unwrap();
        assert_eq!((&question[..6], &question[TARGET_AT..][..4]), (&[0xff; 6][..], &[10, 0, 0, 1][..]));
        let router = Station { mac: [2, 0, 0, 0, 0, 9], ip: [10, 0, 0, 2].into() };
        asking.hear(&arp(REPLY, router, asking.own, asking.own.mac));
        assert!(asking.question().is_some(), "somebody else answered");
        asking.hear(&arp(REPLY, Station { ip: [10, 0, 0, 1].into(), ..router }, asking.own, asking.own.mac));
        assert_eq!(asking.question(), None);
        assert_eq!(asking.peer, Some(Station { mac: router.mac, ip: asking.partner }));
    }
}
