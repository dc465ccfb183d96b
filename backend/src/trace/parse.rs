//! Reading a packet's description: `tcp 10.0.0.5:4000 > 10.0.0.9:3306 flags syn vlan 10`, or hex bytes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use super::error::nearest;
use super::options::{Options, Protocol};
use super::{Content, Description, DescriptionError, FRAME_MAX, IpContent, TransportContent};

/// Words of a description with the place that is read next.
pub(super) struct Words<'t> {
    words: Vec<&'t str>,
    next: usize,
}

impl<'t> Words<'t> {
    fn new(text: &'t str) -> Self {
        Self { words: text.split_whitespace().collect(), next: 0 }
    }

    /// The next word.
    pub(super) fn take(&mut self) -> Option<&'t str> {
        let word = self.words.get(self.next).copied();
        self.next += 1;
        word
    }

    /// The last word that was taken, or its absence, is wrong.
    pub(super) fn wrong(&self, expected: impl Into<String>) -> DescriptionError {
        let last = self.next.saturating_sub(1);
        DescriptionError::new(self.words.get(last).copied(), self.next, expected)
    }

    /// The next word as a value.
    pub(super) fn value<T: FromStr>(&mut self, expected: &str) -> Result<T, DescriptionError> {
        self.take().and_then(|word| word.parse().ok()).ok_or_else(|| self.wrong(expected))
    }
}

impl FromStr for Description {
    type Err = DescriptionError;

    fn from_str(text: &str) -> Result<Self, DescriptionError> {
        let is_hex = |byte: u8| byte.is_ascii_hexdigit() || byte.is_ascii_whitespace() || byte == b':';
        if text.bytes().any(|byte| !byte.is_ascii_whitespace()) && text.bytes().all(is_hex) {
            return bytes(text);
        }
        // An arrow needs no spaces around it.
        let spaced = text.replace('>', " > ");
        let mut words = Words::new(&spaced);
        let protocol = protocol(&mut words)?;
        let ends = if protocol == Protocol::Ethernet { None } else { Some(ends(&mut words, protocol)?) };
        let options = Options::read(&mut words, protocol)?;
        let content = content(protocol, ends, &options, &words)?;
        let length = options.length;
        Ok(Self { from: options.from, to: options.to, tags: options.tags, content, length })
    }
}

fn protocol(words: &mut Words<'_>) -> Result<Protocol, DescriptionError> {
    let names = || Protocol::ALL.iter().map(|(name, _)| *name);
    let Some(word) = words.take() else {
        return Err(words.wrong("begin with a protocol, as in `tcp 10.0.0.5:4000 > 10.0.0.9:3306`"));
    };
    let found = Protocol::ALL.iter().find(|(name, _)| *name == word);
    found.map(|(_, protocol)| *protocol).ok_or_else(|| words.wrong(nearest(word, names())))
}

/// Both ends of a packet: addresses, and ports where the protocol has some.
type Ends = [(IpAddr, u16); 2];

fn ends(words: &mut Words<'_>, protocol: Protocol) -> Result<Ends, DescriptionError> {
    let source = end(words, protocol)?;
    if words.take() != Some(">") {
        return Err(words.wrong("write `>` and the destination behind the source"));
    }
    let destination = end(words, protocol)?;
    if source.0.is_ipv4() != destination.0.is_ipv4() {
        return Err(words.wrong("write both addresses in one version of IP"));
    }
    Ok([source, destination])
}

fn end(words: &mut Words<'_>, protocol: Protocol) -> Result<(IpAddr, u16), DescriptionError> {
    let word = words.take();
    if protocol.has_ports() {
        let expected = "write an address with a port, like 10.0.0.5:4000 or [fd00::5]:4000";
        let end =
            word.and_then(|word| word.parse::<SocketAddr>().ok()).ok_or_else(|| words.wrong(expected))?;
        return Ok((end.ip(), end.port()));
    }
    let (example, is_right): (_, fn(&IpAddr) -> bool) = match protocol {
        Protocol::Icmp | Protocol::Arp => ("an IPv4 address, like 10.0.0.5", IpAddr::is_ipv4),
        Protocol::Icmp6 => ("an IPv6 address, like fd00::5", IpAddr::is_ipv6),
        _ => ("an address, like 10.0.0.5 or fd00::5", |_| true),
    };
    let address = word.and_then(|word| word.parse().ok()).filter(is_right);
    Ok((address.ok_or_else(|| words.wrong(format!("write {example}")))?, 0))
}

fn content(
    protocol: Protocol,
    ends: Option<Ends>,
    options: &Options,
    words: &Words<'_>,
) -> Result<Content, DescriptionError> {
    let Some([(source, source_port), (destination, destination_port)]) = ends else {
        return match options.kind {
            Some(kind) => Ok(Content::Ethernet(kind)),
            None => Err(words.wrong("say the type of what the frame carries, like `type 0x88b5`")),
        };
    };
    let (kind, code) = (options.kind.map(|kind| kind.to_be_bytes()[1]), options.code.unwrap_or(0));
    let transport = match protocol {
        Protocol::Tcp => {
            let flags = options.flags.unwrap_or(SYN);
            TransportContent::Tcp { source: source_port, destination: destination_port, flags }
        }
        Protocol::Udp => TransportContent::Udp { source: source_port, destination: destination_port },
        // An echo request: RFC 792, RFC 4443, 4.1.
        Protocol::Icmp => TransportContent::Icmp { kind: kind.unwrap_or(8), code, id: options.id() },
        Protocol::Icmp6 => TransportContent::Icmp { kind: kind.unwrap_or(128), code, id: options.id() },
        Protocol::Arp | Protocol::Ip | Protocol::Ethernet => TransportContent::Protocol(options.protocol()),
    };
    if let (Protocol::Arp, IpAddr::V4(sender), IpAddr::V4(target)) = (protocol, source, destination) {
        return Ok(arp(options.is_reply, sender, target));
    }
    Ok(Content::Ip(IpContent { source, destination, hops: options.hops.unwrap_or(64), transport }))
}

/// What opens a connection (RFC 9293, 3.5).
const SYN: u8 = 2;

fn arp(is_reply: bool, sender: Ipv4Addr, target: Ipv4Addr) -> Content {
    Content::Arp { is_reply, sender, target }
}

/// A whole frame in hex digits, with or without spaces and colons.
fn bytes(text: &str) -> Result<Description, DescriptionError> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let wrong = |expected: String| DescriptionError::new(Some(text.trim()), 1, expected);
    if digits.len() % 2 == 1 {
        return Err(wrong(format!("write two hex digits for each byte; there are {}", digits.len())));
    }
    if digits.len() > 2 * FRAME_MAX {
        return Err(wrong(format!("write at most {FRAME_MAX} bytes; there are {}", digits.len() / 2)));
    }
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or("0"), 16).unwrap_or(0);
    let bytes = digits.chunks(2).map(byte).collect();
    let content = Content::Bytes(bytes);
    Ok(Description { from: None, to: None, tags: Vec::new(), content, length: None })
}
