//! What may follow the addresses of a described packet, in any order.

use viaduct_switch::{MacAddress, Priority, VlanId};

use super::error::nearest;
use super::parse::Words;
use super::{DescriptionError, FRAME_MAX};

/// What a description begins with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Protocol {
    Tcp,
    Udp,
    Icmp,
    Icmp6,
    Arp,
    Ip,
    Ethernet,
}

impl Protocol {
    /// All, by their words.
    pub(super) const ALL: &'static [(&'static str, Self)] = &[
        ("tcp", Self::Tcp),
        ("udp", Self::Udp),
        ("icmp", Self::Icmp),
        ("icmp6", Self::Icmp6),
        ("arp", Self::Arp),
        ("ip", Self::Ip),
        ("ethernet", Self::Ethernet),
    ];

    pub(super) fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, protocol)| *protocol == self).map_or("", |(name, _)| name)
    }

    /// The options that mean something for it.
    fn options(self) -> impl Iterator<Item = &'static str> + Clone {
        let own: &[&str] = match self {
            Self::Tcp => &["ttl", "flags"],
            Self::Udp => &["ttl"],
            Self::Icmp | Self::Icmp6 => &["ttl", "type", "code", "id"],
            Self::Arp => &["reply"],
            Self::Ip => &["ttl", "protocol"],
            Self::Ethernet => &["type"],
        };
        ["from", "to", "vlan", "service-vlan", "priority", "length"].into_iter().chain(own.iter().copied())
    }
}

/// What was said behind the addresses.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) from: Option<MacAddress>,
    pub(super) to: Option<MacAddress>,
    pub(super) tags: Vec<[u8; 4]>,
    pub(super) length: Option<usize>,
    pub(super) flags: Option<u8>,
    pub(super) hops: Option<u8>,
    pub(super) kind: Option<u16>,
    pub(super) code: Option<u8>,
    pub(super) is_reply: bool,
    id: Option<u16>,
    protocol: Option<u8>,
}

/// Tags in a frame at most: what the switch ever looks at, and one more.
const TAGS_MAX: usize = 3;

/// TCP's flags by their names (RFC 9293, 3.1; RFC 3168, 6.1).
const FLAGS: [(&str, u8); 8] =
    [("fin", 1), ("syn", 2), ("rst", 4), ("psh", 8), ("ack", 16), ("urg", 32), ("ece", 64), ("cwr", 128)];

impl Options {
    /// The identifier of an echo.
    pub(super) fn id(&self) -> u16 {
        self.id.unwrap_or(1)
    }

    /// The number of the transport protocol; one for experiments unless said (RFC 3692).
    pub(super) fn protocol(&self) -> u8 {
        self.protocol.unwrap_or(253)
    }

    /// Reads all words that are left.
    pub(super) fn read(words: &mut Words<'_>, protocol: Protocol) -> Result<Self, DescriptionError> {
        let (mut options, mut seen) = (Self::default(), Vec::new());
        while let Some(word) = words.take() {
            if !protocol.options().any(|known| known == word) {
                let name = protocol.name();
                let request = nearest(word, protocol.options());
                return Err(words.wrong(format!("{request} behind the ends of {name}")));
            }
            if seen.contains(&word) && !word.ends_with("vlan") {
                return Err(words.wrong("say it once"));
            }
            seen.push(word);
            options.one(word, words, protocol)?;
        }
        Ok(options)
    }

    fn one(&mut self, word: &str, words: &mut Words<'_>, protocol: Protocol) -> Result<(), DescriptionError> {
        const MAC: &str = "write an Ethernet address, like 52:54:00:12:34:56";
        match word {
            "from" => self.from = Some(words.value(MAC)?),
            "to" => self.to = Some(words.value(MAC)?),
            "vlan" => self.tag([0x81, 0x00], words)?,
            "service-vlan" => self.tag([0x88, 0xa8], words)?,
            "priority" => self.set_priority(words)?,
            "length" => self.length = Some(length(words)?),
            "flags" => self.flags = Some(flags(words)?),
            "ttl" => self.hops = Some(words.value("write a number of hops from 0 to 255")?),
            "type" if protocol == Protocol::Ethernet => self.kind = Some(ether_type(words)?),
            "type" => self.kind = Some(words.value::<u8>("write an ICMP type from 0 to 255")?.into()),
            "code" => self.code = Some(words.value("write an ICMP code from 0 to 255")?),
            "id" => self.id = Some(words.value("write an identifier from 0 to 65535")?),
            "protocol" => self.protocol = Some(words.value("write a protocol's number from 0 to 255")?),
            "reply" => self.is_reply = true,
            _ => return Err(words.wrong("leave it out")),
        }
        Ok(())
    }

    fn tag(&mut self, kind: [u8; 2], words: &mut Words<'_>) -> Result<(), DescriptionError> {
        let expected = "write a VLAN id from 0 (a priority only) to 4094; 4095 is one that no frame may have";
        let id = words.value::<u16>(expected)?;
        if id > VlanId::MAX + 1 {
            return Err(words.wrong(expected));
        }
        if self.tags.len() == TAGS_MAX {
            return Err(words.wrong("write at most three tags"));
        }
        let [high, low] = id.to_be_bytes();
        self.tags.push([kind[0], kind[1], high, low]);
        Ok(())
    }

    /// The priority of the tag before it.
    fn set_priority(&mut self, words: &mut Words<'_>) -> Result<(), DescriptionError> {
        let expected = "write a priority from 0 to 7";
        let priority = words.value(expected)?;
        let priority = Priority::new(priority).ok_or_else(|| words.wrong(expected))?;
        let Some(tag) = self.tags.last_mut() else {
            return Err(
                words.wrong("write the tag whose priority it is before it, like `vlan 10 priority 5`")
            );
        };
        tag[2] = tag[2] & 0x0f | priority.code_point() << 5;
        Ok(())
    }
}

fn length(words: &mut Words<'_>) -> Result<usize, DescriptionError> {
    let expected = format!("write the frame's length in bytes, from 14 to {FRAME_MAX}, without FCS");
    let length = words.value(&expected)?;
    if (14..=FRAME_MAX).contains(&length) { Ok(length) } else { Err(words.wrong(expected)) }
}

fn flags(words: &mut Words<'_>) -> Result<u8, DescriptionError> {
    let expected = "write flags joined by +, like syn, syn+ack or none; there are fin, syn, rst, psh, ack, urg, ece, cwr";
    let Some(word) = words.take() else { return Err(words.wrong(expected)) };
    if word == "none" {
        return Ok(0);
    }
    word.split('+').try_fold(0, |flags, name| {
        let bit = FLAGS.iter().find(|(known, _)| *known == name).map(|(_, bit)| *bit);
        bit.map(|bit| flags | bit).ok_or_else(|| words.wrong(expected))
    })
}

fn ether_type(words: &mut Words<'_>) -> Result<u16, DescriptionError> {
    let expected = "write an Ethernet type in hex, like 0x88b5";
    let digits = words.take().and_then(|word| word.strip_prefix("0x"));
    let kind = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
    kind.ok_or_else(|| words.wrong(expected))
}

/// The names of flags that are set, joined by +.
pub(super) fn flag_names(flags: u8) -> String {
    let set: Vec<&str> = FLAGS.iter().filter(|(_, bit)| flags & bit != 0).map(|(name, _)| *name).collect();
    if set.is_empty() { "none".to_owned() } else { set.join("+") }
}
