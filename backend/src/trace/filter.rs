//! Which real packets are meant: `tcp host 10.0.0.9 port 3306`. All that is said must hold.

use std::net::IpAddr;
use std::str::FromStr;

use viaduct_switch::packet::{Arp, Contents, Packet, parse};

use super::DescriptionError;
use super::error::nearest;

/// Words that choose packets; the empty filter means all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    kind: Option<Kind>,
    host: Option<IpAddr>,
    port: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Tcp,
    Udp,
    Icmp,
    Icmp6,
    Arp,
    Ip,
    Ip6,
}

const KINDS: [(&str, Kind); 7] = [
    ("tcp", Kind::Tcp),
    ("udp", Kind::Udp),
    ("icmp", Kind::Icmp),
    ("icmp6", Kind::Icmp6),
    ("arp", Kind::Arp),
    ("ip", Kind::Ip),
    ("ip6", Kind::Ip6),
];

impl FromStr for Filter {
    type Err = DescriptionError;

    fn from_str(text: &str) -> Result<Self, DescriptionError> {
        let (mut filter, mut words) = (Self::default(), (1..).zip(text.split_whitespace()));
        while let Some((at, word)) = words.next() {
            let is_repeated = match word {
                "host" => {
                    let address = value(&mut words, at, "write an address, like host 10.0.0.9")?;
                    filter.host.replace(address).is_some()
                }
                "port" => {
                    let port = value(&mut words, at, "write a port's number, like port 3306")?;
                    filter.port.replace(port).is_some()
                }
                _ => filter.kind.replace(kind(word, at)?).is_some(),
            };
            if is_repeated {
                return Err(DescriptionError::new(Some(word), at, "say one of each kind"));
            }
        }
        Ok(filter)
    }
}

fn kind(word: &str, at: usize) -> Result<Kind, DescriptionError> {
    let found = KINDS.iter().find(|(name, _)| *name == word);
    found.map(|(_, kind)| *kind).ok_or_else(|| {
        let known = KINDS.iter().map(|(name, _)| *name).chain(["host", "port"]);
        DescriptionError::new(Some(word), at, nearest(word, known))
    })
}

fn value<'t, T: FromStr>(
    words: &mut impl Iterator<Item = (usize, &'t str)>,
    before: usize,
    expected: &str,
) -> Result<T, DescriptionError> {
    let (at, word) = words.next().map_or((before + 1, None), |(at, word)| (at, Some(word)));
    let value = word.and_then(|word| word.parse().ok());
    value.ok_or_else(|| DescriptionError::new(word, at, expected))
}

impl Filter {
    /// Whether the frame of `length` bytes that begins with `head` is meant.
    #[must_use]
    pub fn matches(&self, head: &[u8], length: u32) -> bool {
        if *self == Self::default() {
            return true;
        }
        match parse(head, length) {
            Ok(Contents::Ip(packet)) => self.matches_packet(&packet),
            Ok(Contents::Arp(message)) => self.matches_arp(&message),
            Ok(Contents::Other(_)) | Err(_) => false,
        }
    }

    fn matches_packet(&self, packet: &Packet) -> bool {
        let is_v4 = packet.source.is_v4();
        let is_kind = match self.kind {
            None => true,
            Some(Kind::Tcp) => packet.protocol == 6,
            Some(Kind::Udp) => packet.protocol == 17,
            Some(Kind::Icmp) => packet.protocol == 1 && is_v4,
            Some(Kind::Icmp6) => packet.protocol == 58 && !is_v4,
            Some(Kind::Arp) => false,
            Some(Kind::Ip) => is_v4,
            Some(Kind::Ip6) => !is_v4,
        };
        let is_host = |host: IpAddr| [packet.source, packet.destination].map(IpAddr::from).contains(&host);
        let is_port =
            |port: u16| packet.ports().is_some_and(|ports| ports.source == port || ports.destination == port);
        is_kind && self.host.is_none_or(is_host) && self.port.is_none_or(is_port)
    }

    fn matches_arp(&self, message: &Arp) -> bool {
        let is_host = |host: IpAddr| [message.sender, message.target].map(IpAddr::from).contains(&host);
        matches!(self.kind, None | Some(Kind::Arp)) && self.host.is_none_or(is_host) && self.port.is_none()
    }
}
