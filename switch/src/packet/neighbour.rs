//! Neighbour discovery messages (RFC 4861) and ARP messages (RFC 826).

use super::ip::{Ip, take};
use super::view::{View, u16_at};
use super::{Address, PacketError};
use crate::mac::MacAddress;

/// What a neighbour discovery message says about addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// The target of a solicitation, advertisement or redirect; `None` in what routers and their clients say.
    pub target: Option<Address>,
    /// The sender's own Ethernet address (RFC 4861, 4.6.1, type 1).
    pub source_mac: Option<MacAddress>,
    /// The target's Ethernet address (RFC 4861, 4.6.1, type 2).
    pub target_mac: Option<MacAddress>,
    /// Whether all options lay within the frame's first 128 bytes: the addresses may stand in one that did not.
    pub is_complete: bool,
}

/// RFC 4861, 4.1 to 4.5, with the checks of 6.1 and 7.1, but for the checksum.
pub(super) fn parse(view: &View<'_>, ip: &Ip, kind: u8) -> Result<Neighbour, PacketError> {
    if ip.fragment.is_some() {
        // RFC 6980, 5.
        return Err(PacketError::NeighbourFragment);
    }
    if ip.hop_limit != 255 {
        return Err(PacketError::NeighbourBadHopLimit);
    }
    if view.chunk::<2>(ip.transport, PacketError::IcmpTruncated)?[1] != 0 {
        return Err(PacketError::NeighbourBadCode);
    }
    let (fixed, has_target) = match kind {
        133 => (8, false),
        134 => (16, false),
        137 => (40, true),
        _ => (24, true),
    };
    let options = ip.transport + fixed;
    view.range(ip.transport, options, PacketError::NeighbourTruncated)?;
    let target = if has_target {
        let target = Address::from_v6(*view.chunk(ip.transport + 8, PacketError::NeighbourTruncated)?);
        // No group is a neighbour (RFC 4861, 7.1.1 and 7.1.2), and no IPv4 address is one.
        if target.is_v4() {
            return Err(PacketError::MappedAddress);
        }
        Some(target)
    } else {
        None
    };
    let (copied, is_complete) = view.copied(options);
    let mut message = Neighbour { target, source_mac: None, target_mac: None, is_complete };
    message.read_options(copied)?;
    Ok(message)
}

impl Neighbour {
    /// RFC 4861, 4.6.
    fn read_options(&mut self, mut options: &[u8]) -> Result<(), PacketError> {
        while let Some((&kind, rest)) = options.split_first() {
            let Some(&length) = rest.first() else { return self.cut() };
            if length == 0 {
                return Err(PacketError::NeighbourZeroOption);
            }
            let length = usize::from(length) * 8;
            let Some((option, rest)) = options.split_at_checked(length) else { return self.cut() };
            let known = match kind {
                1 => Some(&mut self.source_mac),
                2 => Some(&mut self.target_mac),
                _ => None,
            };
            if let Some(known) = known {
                // RFC 2464, 6: an Ethernet address makes the option eight bytes long.
                let mac = MacAddress(std::array::from_fn(|byte| option[2 + byte]));
                if length != 8 || known.replace(mac).is_some() {
                    return Err(PacketError::NeighbourBadOption);
                }
            }
            options = rest;
        }
        Ok(())
    }

    /// An option runs over what was copied: no mistake if the message goes on behind.
    fn cut(&self) -> Result<(), PacketError> {
        if self.is_complete { Err(PacketError::NeighbourBadOption) } else { Ok(()) }
    }
}

/// An ARP message about IPv4 addresses on Ethernet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arp {
    /// What it is: 1 asks, 2 answers.
    pub operation: u16,
    /// The sender's Ethernet address.
    pub sender_mac: MacAddress,
    /// The sender's IPv4 address; 0.0.0.0 in a probe (RFC 5227, 1.1).
    pub sender: Address,
    /// The target's Ethernet address, if it is known.
    pub target_mac: MacAddress,
    /// The target's IPv4 address.
    pub target: Address,
}

impl Arp {
    /// Reads the message at `at`.
    pub(super) fn parse(view: &View<'_>, at: usize) -> Result<Self, PacketError> {
        let message: &[u8; 28] = view.chunk(at, PacketError::ArpTruncated)?;
        // Ethernet, IPv4, and their addresses' lengths.
        if message[..6] != [0, 1, 8, 0, 6, 4] {
            return Err(PacketError::ArpBadFormat);
        }
        Ok(Self {
            operation: u16_at(message, 6),
            sender_mac: MacAddress(take(message, 8)),
            sender: Address::from_v4(take(message, 14)),
            target_mac: MacAddress(take(message, 18)),
            target: Address::from_v4(take(message, 24)),
        })
    }
}
