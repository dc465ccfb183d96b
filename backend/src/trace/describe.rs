//! A frame in the words that describe one: what was told can be asked about again.

use std::net::{IpAddr, SocketAddr};

use viaduct_switch::MacAddress;
use viaduct_switch::packet::{Contents, Icmp, IcmpMessage, Packet, Transport, parse};

use super::options::flag_names;

/// The frame of `length` bytes that begins with `head`, in words that `viaduct trace` takes.
#[must_use]
pub fn describe(head: &[u8], length: u32) -> String {
    let Some((addresses, rest)) = head.split_first_chunk::<12>() else {
        return format!("{} bytes: no whole Ethernet header", head.len());
    };
    let [to, from] = [&addresses[..6], &addresses[6..]]
        .map(|bytes| bytes.first_chunk().map_or(MacAddress([0; 6]), |mac| MacAddress(*mac)));
    let content = match parse(head, length) {
        Ok(Contents::Ip(packet)) => ip(&packet),
        Ok(Contents::Arp(message)) => {
            let reply = if message.operation == 2 { " reply" } else { "" };
            format!("arp {} > {}{reply}", IpAddr::from(message.sender), IpAddr::from(message.target))
        }
        Ok(Contents::Other(kind)) => format!("ethernet type 0x{kind:04x}"),
        Err(_) => format!("ethernet type 0x{:04x}", kind_behind_tags(rest)),
    };
    format!("{content} from {from} to {to}{} length {length}", tags(rest))
}

fn ip(packet: &Packet) -> String {
    let (source, destination) = (IpAddr::from(packet.source), IpAddr::from(packet.destination));
    let ends = |source_port, destination_port| {
        let [from, to] =
            [SocketAddr::new(source, source_port), SocketAddr::new(destination, destination_port)];
        format!("{from} > {to}")
    };
    match &packet.transport {
        Transport::Tcp(tcp) => {
            let flags = flag_names(tcp.flags.0);
            format!("tcp {} flags {flags}", ends(tcp.ports.source, tcp.ports.destination))
        }
        Transport::Ports(ports) if packet.protocol == 17 => {
            format!("udp {}", ends(ports.source, ports.destination))
        }
        Transport::Icmp(message) => {
            let protocol = if packet.source.is_v4() { "icmp" } else { "icmp6" };
            format!("{protocol} {source} > {destination}{}", icmp(message))
        }
        _ => format!("ip {source} > {destination} protocol {}", packet.protocol),
    }
}

fn icmp(message: &Icmp) -> String {
    let kind = format!(" type {} code {}", message.kind, message.code);
    match message.message {
        IcmpMessage::Request(id) | IcmpMessage::Reply(id) => format!("{kind} id {id}"),
        _ => kind,
    }
}

/// Types that announce tags, with their words.
fn tag_word(kind: [u8; 2]) -> Option<&'static str> {
    match kind {
        [0x81, 0x00] => Some("vlan"),
        [0x88, 0xa8] | [0x91, 0x00] => Some("service-vlan"),
        _ => None,
    }
}

fn tags(mut rest: &[u8]) -> String {
    let mut text = String::new();
    while let Some((&[a, b, c, d], behind)) = rest.split_first_chunk()
        && let Some(word) = tag_word([a, b])
    {
        text.push_str(&format!(" {word} {}", u16::from_be_bytes([c & 0xf, d])));
        if c >> 5 != 0 {
            text.push_str(&format!(" priority {}", c >> 5));
        }
        rest = behind;
    }
    text
}

fn kind_behind_tags(mut rest: &[u8]) -> u16 {
    while let Some((&[a, b, _, _], behind)) = rest.split_first_chunk()
        && tag_word([a, b]).is_some()
    {
        rest = behind;
    }
    rest.first_chunk().map_or(0, |kind| u16::from_be_bytes(*kind))
}
