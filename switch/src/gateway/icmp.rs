//! ICMP and ICMPv6: errors about packets that cannot go on, and answers to echo requests (RFC 792, RFC 1812, RFC 4443).

use super::compose::{self, HOP_LIMIT, Header, NETWORK_CONTROL};
use super::discovery::{is_summed, mac_at};
use super::reset::reset;
use super::{Gateway, Moment, Offered};
use crate::drops::DropReason;
use crate::offload::checksum::{fold, sum};
use crate::offload::layout::protocol;
use crate::packet::datagram::{Datagram, NoDatagram};
use crate::packet::{Address, Contents, Icmp, Packet, Transport, number, parse};
use crate::router::{Interface, Route, is_link_local, is_nobodys};

/// How long an error may be with all headers of IP (RFC 1812, 4.3.2.3; RFC 4443, 2.4 c).
const ERROR_MAX_V4: usize = 576;
const ERROR_MAX_V6: usize = 1280;

/// Echo requests and replies.
const ECHO_REQUEST_V4: u8 = 8;
const ECHO_REPLY_V4: u8 = 0;
const ECHO_REQUEST_V6: u8 = 128;
const ECHO_REPLY_V6: u8 = 129;

/// Redirects, about which no error is sent, like about errors (RFC 4443, 2.4 e.2).
const REDIRECT_V6: u8 = 137;

/// What is wrong with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Problem {
    /// There is no route.
    NoRoute,
    /// The next station on its way does not answer.
    HostUnreachable,
    /// It is for the gateway, which does not speak its protocol.
    ProtocolUnknown,
    /// It is for the gateway, where nothing listens on its port.
    PortUnreachable,
    /// No address is left by which it could leave (RFC 5508, 6, REQ-8).
    Prohibited,
    /// It passed as many routers as it may.
    Expired,
    /// It is longer than this MTU of the next network, and may not be cut.
    TooBig(u16),
}

impl Problem {
    /// Type and code (RFC 792 and RFC 1812, 5.2.7.1; RFC 4443, 3), and the four bytes behind the checksum.
    fn encode(self, packet: &Packet, names_protocol: usize) -> ([u8; 2], [u8; 4]) {
        let is_v4 = packet.source.is_v4();
        let of_version = |v4, v6| if is_v4 { v4 } else { v6 };
        match self {
            Self::NoRoute => (of_version([3, 0], [1, 0]), [0; 4]),
            Self::HostUnreachable => (of_version([3, 1], [1, 3]), [0; 4]),
            Self::PortUnreachable => (of_version([3, 3], [1, 4]), [0; 4]),
            Self::Prohibited => (of_version([3, 13], [1, 1]), [0; 4]),
            Self::Expired => (of_version([11, 0], [3, 0]), [0; 4]),
            // RFC 1191, 4 and RFC 4443, 3.2: the same number stands at the same end of four bytes.
            Self::TooBig(mtu) => (of_version([3, 4], [2, 0]), u32::from(mtu).to_be_bytes()),
            Self::ProtocolUnknown if is_v4 => ([3, 2], [0; 4]),
            // Points to the byte that names the protocol (RFC 4443, 3.4).
            Self::ProtocolUnknown => ([4, 1], u32::try_from(names_protocol).unwrap_or(0).to_be_bytes()),
        }
    }
}

impl Gateway {
    /// Tells who sent a packet that it cannot go on, if that may be told.
    pub(super) fn tell(&mut self, offered: &Offered<'_>, problem: Problem, moment: Moment<'_>) {
        let length = u32::try_from(offered.frame.len()).unwrap_or(u32::MAX);
        let Ok(Contents::Ip(packet)) = parse(offered.frame, length) else { return };
        let routing = self.routing.clone();
        let Some(interface) = routing.interface(offered.network) else { return };
        let Some(source) = interface.source_for(packet.source) else { return };
        let is_settled = !self.own.is_tentative((offered.network, source));
        let is_about_length = matches!(problem, Problem::TooBig(_));
        if !is_settled
            || !self.may_be_told(offered, interface, &packet)
            || !self.meters.admit(offered.port, is_about_length, moment.now)
        {
            return;
        }
        let error = error(offered.frame, &packet, source, problem);
        self.reply(offered, &error, packet.source, moment);
    }

    /// Whether an error may be sent about a packet (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 e). None is sent about any
    /// later fragment, not of IPv6 either, where it could be part of an error.
    fn may_be_told(&self, offered: &Offered<'_>, interface: &Interface, packet: &Packet) -> bool {
        let is_sound = has_sound_header(offered.frame, packet);
        let is_to_many = packet.destination.is_group() || mac_at(offered.frame, 0).is_group();
        let is_from_one = !is_nobodys(packet.source)
            && !matches!(
                self.routing.route(interface.router, packet.source),
                Some(Route::Local | Route::Broadcast)
            );
        let is_about_error = match packet.transport {
            Transport::Fragment => true,
            Transport::Icmp(Icmp { kind, .. }) if packet.source.is_v4() => {
                matches!(kind, 3 | 4 | 5 | 11 | 12)
            }
            Transport::Icmp(Icmp { kind, .. }) => kind < 128 || kind == REDIRECT_V6,
            _ => false,
        };
        is_sound && !is_to_many && is_from_one && !is_about_error
    }

    /// Answers an echo request (RFC 1122, 3.2.2.6; RFC 4443, 4.2), from the address to which it was sent. No option is copied.
    pub(super) fn echo(
        &mut self,
        offered: &Offered<'_>,
        (packet, icmp): (&Packet, &Icmp),
        moment: Moment<'_>,
    ) {
        if !is_summed(offered.frame, packet) {
            return self.reject(offered);
        }
        let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
        let message = offered.frame.get(usize::from(packet.transport_at)..end).unwrap_or_default();
        let Some((head, body)) = message.split_at_checked(8) else { return };
        let reply = if packet.source.is_v4() { ECHO_REPLY_V4 } else { ECHO_REPLY_V6 };
        let ends = (packet.destination, packet.source);
        let rest = [head[4], head[5], head[6], head[7]];
        let message = compose::icmp(ends, [reply, icmp.code], rest, body);
        let header = Header {
            source: ends.0,
            destination: ends.1,
            protocol: packet.protocol,
            hop_limit: HOP_LIMIT,
            traffic_class: packet.traffic_class,
            id: Some(self.random.id_v4()),
        };
        let reply = compose::packet(&header, &message);
        if !self.reply(offered, &reply, packet.source, moment) {
            self.drop(offered, DropReason::NotRoutable);
        }
    }

    /// Sends a packet to who sent another one. If the way back leads where that came from, it goes to the station that sent
    /// the frame: nobody needs to be asked for, and who forges an address of his own network is answered himself. Who forges one
    /// of the outside has nobody there answered. Says whether there is a way back.
    fn reply(&mut self, offered: &Offered<'_>, packet: &[u8], to: Address, moment: Moment<'_>) -> bool {
        let Some(interface) = self.routing.interface(offered.network) else { return false };
        let back = match self.routing.route(interface.router, to) {
            _ if is_link_local(to) => offered.network,
            Some(Route::Link(network) | Route::Via(network, _)) => network,
            _ => return false,
        };
        if back == offered.network {
            let station = mac_at(offered.frame, 6);
            self.send_packet(offered.network, station, packet);
            return true;
        }
        if self.routing.interface(back).is_none_or(|interface| interface.is_outside) {
            return false;
        }
        // What becomes of an answer is nobody's to know.
        let _ = self.originate_for(offered.network, packet, super::Charge::port(offered.port), moment);
        true
    }

    /// Answers a frame that no service wants, as [`super::Output::Local`] gave it: the sender of a datagram is told that nothing
    /// listens on that port (RFC 1122, 4.1.3.1; RFC 4443, 3.1), that of a TCP segment by a reset (RFC 9293, 3.10.7.1). The frame is
    /// counted as dropped. A damaged one is not answered (RFC 1122, 4.1.3.4): nobody knows whose it is.
    pub fn refuse(&mut self, offered: &Offered<'_>, moment: Moment<'_>) {
        let length = u32::try_from(offered.frame.len()).unwrap_or(u32::MAX);
        let Ok(Contents::Ip(packet)) = parse(offered.frame, length) else {
            return self.drop(offered, DropReason::GatewayNotServed);
        };
        if !has_sound_transport(offered.frame, &packet) {
            return self.reject(offered);
        }
        self.drop(offered, DropReason::GatewayNotServed);
        let Transport::Tcp(tcp) = packet.transport else {
            return self.tell(offered, Problem::PortUnreachable, moment);
        };
        let is_for_us = self.routing.interface(offered.network).is_some_and(|interface| {
            interface.has(packet.destination)
                || self.routing.route(interface.router, packet.destination) == Some(Route::Local)
        });
        if is_for_us
            && !is_nobodys(packet.source)
            && self.meters.admit(offered.port, false, moment.now)
            && let Some(reset) = reset(&packet, &tcp)
        {
            self.reply(offered, &reset, packet.source, moment);
        }
    }
}

/// The packet in a frame, without what stands behind it.
fn packet_in<'a>(frame: &'a [u8], packet: &Packet) -> &'a [u8] {
    let end = usize::try_from(packet.end_at).unwrap_or(usize::MAX);
    frame.get(usize::from(packet.network_at)..end).unwrap_or_default()
}

/// Whether the header's own checksum is right, which IPv4 alone has (RFC 1812, 5.2.2).
fn has_sound_header(frame: &[u8], packet: &Packet) -> bool {
    let bytes = packet_in(frame, packet);
    let length = bytes.first().map_or(0, |first| usize::from(first & 15) * 4);
    !packet.source.is_v4() || bytes.get(..length).is_some_and(|header| fold(sum(header)) == 0xffff)
}

/// Whether the checksum of a TCP segment or a UDP datagram is right, as far as it has one; that of others nobody knows here.
fn has_sound_transport(frame: &[u8], packet: &Packet) -> bool {
    match packet.protocol {
        number::TCP => is_summed(frame, packet),
        number::UDP => !matches!(Datagram::open(packet_in(frame, packet)), Err(NoDatagram::Checksum(_))),
        _ => true,
    }
}

/// A packet with an error about the packet in `frame`, of which it quotes as much as there is room for.
fn error(frame: &[u8], packet: &Packet, source: Address, problem: Problem) -> Vec<u8> {
    let is_v4 = packet.source.is_v4();
    let most = if is_v4 { ERROR_MAX_V4 - 28 } else { ERROR_MAX_V6 - 48 };
    let whole = packet_in(frame, packet);
    let quote = &whole[..whole.len().min(most)];
    let (kind, rest) = problem.encode(packet, if is_v4 { 0 } else { names_protocol(whole) });
    let ends = (source, packet.source);
    let message = compose::icmp(ends, kind, rest, quote);
    let header = Header {
        source,
        destination: packet.source,
        protocol: if is_v4 { number::ICMP } else { number::ICMPV6 },
        hop_limit: HOP_LIMIT,
        traffic_class: NETWORK_CONTROL,
        id: None,
    };
    compose::packet(&header, &message)
}

/// Which byte of an IPv6 packet names the protocol of its transport header (RFC 8200, 4).
fn names_protocol(packet: &[u8]) -> usize {
    let (mut named_by, mut at) = (6, 40);
    while let (Some(&header), Some(&[_, length, ..])) = (packet.get(named_by), packet.get(at..at + 2)) {
        let length = match header {
            protocol::FRAGMENT => 8,
            protocol::HOP_BY_HOP | protocol::ROUTING | protocol::DESTINATION_OPTIONS => {
                8 + 8 * usize::from(length)
            }
            _ => break,
        };
        named_by = at;
        at += length;
    }
    named_by
}

/// Whether the message asks for an echo.
pub(super) fn is_echo_request(packet: &Packet, icmp: &Icmp) -> bool {
    icmp.kind == if packet.source.is_v4() { ECHO_REQUEST_V4 } else { ECHO_REQUEST_V6 }
}
