//! Router advertisements: what hosts of IPv6 configure themselves by (RFC 4861, 4.2; RFC 4862; RFC 8106).
//!
//! [`Advertisement::frame`] makes the frame, for all hosts or for the one that asked; [`Advertiser`] knows when to send one.

mod advertiser;

use std::net::Ipv6Addr;

pub use advertiser::{Advertiser, AdvertiserCounters, InvalidSolicitation};

use crate::domain::{self, DomainName};
use crate::mac::MacAddress;
use crate::offload::checksum;
use crate::packet::number;

/// All hosts of the link (RFC 4291, 2.7.1).
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The longest time between two advertisements to all, in seconds, that fits the lifetimes of our defaults (RFC 4861, 6.2.1).
pub const INTERVAL_MAX_S: u16 = 600;

/// The longest that a router may be a default one (RFC 4861, 6.2.1).
pub const ROUTER_LIFETIME_MAX_S: u16 = 9000;

/// The most prefixes, name servers and domains.
pub const LIST_MAX: usize = 8;

/// The most bytes of domains. With all lists full a packet has 1,240 bytes: it passes every link.
pub const SEARCH_MAX: usize = 768;

const ROUTER_ADVERTISEMENT: u8 = 134;
/// Who gets the message knows by it that no router was between (RFC 4861, 6.1.2).
const HOP_LIMIT: u8 = 255;
const ETHERNET: usize = 14;
const IP: usize = 40;

/// Types of options (IANA, "IPv6 Neighbor Discovery Option Formats").
mod option {
    pub(super) const SOURCE_LINK_ADDRESS: u8 = 1;
    pub(super) const PREFIX: u8 = 3;
    pub(super) const MTU: u8 = 5;
    pub(super) const DNS_SERVERS: u8 = 25;
    pub(super) const DOMAIN_SEARCH: u8 = 31;
}

/// A prefix of the link (RFC 4861, 4.6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prefix {
    /// Its first address: bits behind the prefix are zero.
    pub address: Ipv6Addr,
    /// Its length; hosts make addresses of prefixes of 64 bits alone (RFC 4291, 2.5.1).
    pub length: u8,
    /// Whether hosts make addresses of it (flag A).
    pub is_autonomous: bool,
    /// For how long such addresses are valid, in seconds; `u32::MAX`: without end.
    pub valid_s: u32,
    /// For how long they are preferred, at most as long.
    pub preferred_s: u32,
}

/// What a router says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Advertisement {
    /// The router's station.
    pub mac: MacAddress,
    /// Its address on the link, in fe80::/10 (RFC 4861, 6.1.2).
    pub address: Ipv6Addr,
    /// The hop limit that hosts are to use; 0 says nothing.
    pub hop_limit: u8,
    /// Whether addresses are had from DHCPv6 (flag M).
    pub is_managed: bool,
    /// Whether the rest is had from DHCPv6 (flag O).
    pub has_other: bool,
    /// For how long it is a default router, at most [`ROUTER_LIFETIME_MAX_S`] seconds; 0: it is none, or ceases to be.
    pub lifetime_s: u16,
    /// Prefixes of the link, at most [`LIST_MAX`].
    pub prefixes: Vec<Prefix>,
    /// The link's MTU, at least 1280.
    pub mtu: Option<u32>,
    /// Name servers, at most [`LIST_MAX`].
    pub dns_servers: Vec<Ipv6Addr>,
    /// Domains in which names are looked up, at most [`LIST_MAX`].
    pub search: Vec<DomainName>,
    /// For how long name servers and domains may be used, in seconds (RFC 8106, 5.1: three intervals at least).
    pub dns_lifetime_s: u32,
}

/// An advertisement that no host would take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdvertisementError {
    /// Hosts drop advertisements of other addresses.
    #[error(
        "the router's address {0} is not one of the link (fe80::/10), so that hosts would drop what it says"
    )]
    NotLinkLocal(Ipv6Addr),
    /// The lifetime is too long.
    #[error("a router's lifetime of {0} s is longer than 9,000 s")]
    Lifetime(u16),
    /// The MTU is too small.
    #[error("an MTU of {0} is below 1280, which every link of IPv6 has")]
    Mtu(u32),
    /// A prefix makes no sense.
    #[error(
        "the prefix {address}/{length} is longer than 128 bits, has bits behind it, or is preferred for longer than valid"
    )]
    Prefix {
        /// Its address.
        address: Ipv6Addr,
        /// Its length.
        length: u8,
    },
    /// A list is too long.
    #[error(
        "a list of prefixes, name servers or domains has more than 8 entries, or the domains more than 768 bytes"
    )]
    TooMany,
}

impl Advertisement {
    /// The frame that tells it to all hosts, or to one station at one address.
    ///
    /// # Errors
    /// If hosts would not take it.
    pub fn frame(&self, to: Option<(MacAddress, Ipv6Addr)>) -> Result<Vec<u8>, AdvertisementError> {
        self.check()?;
        let (mac, address) = to.unwrap_or((MacAddress([0x33, 0x33, 0, 0, 0, 1]), ALL_NODES));
        let mut message = self.message();
        let sum = self.checksum(address, &message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut frame = Vec::with_capacity(ETHERNET + IP + message.len());
        frame.extend(mac.0);
        frame.extend(self.mac.0);
        // Version 6, traffic class CS6 (RFC 4594, 3.1), no flow label.
        frame.extend([0x86, 0xdd, 0x6c, 0, 0, 0]);
        frame.extend(length(&message));
        frame.extend([number::ICMPV6, HOP_LIMIT]);
        frame.extend(self.address.octets());
        frame.extend(address.octets());
        frame.append(&mut message);
        Ok(frame)
    }

    /// Says what is wrong, if anything is.
    ///
    /// # Errors
    /// The first thing for which hosts would not take it.
    pub fn check(&self) -> Result<(), AdvertisementError> {
        if self.address.segments()[0] & 0xffc0 != 0xfe80 {
            return Err(AdvertisementError::NotLinkLocal(self.address));
        }
        if self.lifetime_s > ROUTER_LIFETIME_MAX_S {
            return Err(AdvertisementError::Lifetime(self.lifetime_s));
        }
        if let Some(mtu) = self.mtu.filter(|mtu| *mtu < 1280) {
            return Err(AdvertisementError::Mtu(mtu));
        }
        if let Some(wrong) = self.prefixes.iter().find(|prefix| !prefix.is_right()) {
            return Err(AdvertisementError::Prefix { address: wrong.address, length: wrong.length });
        }
        let lists = [self.prefixes.len(), self.dns_servers.len(), self.search.len()];
        let is_too_long = domain::encode(&self.search).len() > SEARCH_MAX;
        if is_too_long || lists.iter().any(|length| *length > LIST_MAX) {
            return Err(AdvertisementError::TooMany);
        }
        Ok(())
    }

    /// The message with a checksum of 0.
    fn message(&self) -> Vec<u8> {
        let flags = u8::from(self.is_managed) << 7 | u8::from(self.has_other) << 6;
        let mut message = vec![ROUTER_ADVERTISEMENT, 0, 0, 0, self.hop_limit, flags];
        message.extend(self.lifetime_s.to_be_bytes());
        // Reachable time and retransmission timer: nothing is said about them.
        message.extend([0; 8]);
        put(&mut message, option::SOURCE_LINK_ADDRESS, &self.mac.0);
        if let Some(mtu) = self.mtu {
            put(&mut message, option::MTU, &[&[0, 0], mtu.to_be_bytes().as_slice()].concat());
        }
        for prefix in &self.prefixes {
            put(&mut message, option::PREFIX, &prefix.option());
        }
        self.put_names(&mut message);
        message
    }

    /// Name servers and domains (RFC 8106, 5.1 and 5.2).
    fn put_names(&self, message: &mut Vec<u8>) {
        let head = [&[0, 0], self.dns_lifetime_s.to_be_bytes().as_slice()].concat();
        if !self.dns_servers.is_empty() {
            let servers = self.dns_servers.iter().flat_map(Ipv6Addr::octets).collect();
            put(message, option::DNS_SERVERS, &[head.clone(), servers].concat());
        }
        if !self.search.is_empty() {
            put(message, option::DOMAIN_SEARCH, &[head, domain::encode(&self.search)].concat());
        }
    }

    /// RFC 4443, 2.3.
    fn checksum(&self, to: Ipv6Addr, message: &[u8]) -> u16 {
        let pseudo_header = checksum::sum(&self.address.octets())
            + checksum::sum(&to.octets())
            + checksum::sum(&length(message))
            + checksum::sum(&[0, number::ICMPV6]);
        !checksum::fold(pseudo_header + checksum::sum(message))
    }
}

impl Prefix {
    fn is_right(&self) -> bool {
        let host = u128::MAX.checked_shr(u32::from(self.length)).unwrap_or(0);
        self.length <= 128 && self.address.to_bits() & host == 0 && self.preferred_s <= self.valid_s
    }

    /// The option behind its type and length. The prefix is on the link (flag L).
    fn option(&self) -> Vec<u8> {
        let mut bytes = vec![self.length, 0x80 | u8::from(self.is_autonomous) << 6];
        bytes.extend(self.valid_s.to_be_bytes());
        bytes.extend(self.preferred_s.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(self.address.octets());
        bytes
    }
}

/// Puts in an option: its type, its length in units of eight bytes, its value, and zeroes up to a whole unit.
fn put(message: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let units = (value.len() + 2).div_ceil(8);
    let end = message.len() + units * 8;
    message.extend([kind, u8::try_from(units).unwrap_or(u8::MAX)]);
    message.extend_from_slice(value);
    message.resize(end, 0);
}

/// The length of what stands behind the IP header.
fn length(message: &[u8]) -> [u8; 2] {
    u16::try_from(message.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests;
