//! What a server is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;

use super::{Server, Taken};
use crate::dhcp::lending::{self, Rules};
use crate::dhcp::server::{LEASE_MAX_S, LEASE_MIN_S, LIST_MAX, RANGE_MAX};
use crate::dhcp::{Event, ServerSettings};
use crate::domain::{self, DomainName};
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::ra::SEARCH_MAX;
use crate::time::Nanos;

/// The longest URL of something to boot, in bytes.
pub const BOOT_URL_MAX: usize = 255;

/// The address that belongs to a port.
pub type Fixed = lending::Fixed<Ipv6Addr>;

/// What a server for one network needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Our own address on the link, in fe80::/10: what answers come from.
    pub address: Ipv6Addr,
    /// The station that answers come from, of which the server's identifier is made (DUID-LL: RFC 8415, 11.4).
    pub mac: MacAddress,
    /// The prefixes of the link: first addresses and lengths.
    pub prefixes: Vec<(Ipv6Addr, u8)>,
    /// The first and the last address that are lent to whoever asks; `None`: only ports with an address of their own get one.
    pub range: Option<(Ipv6Addr, Ipv6Addr)>,
    /// For how long an address is lent, from a minute to ten years.
    pub lease_s: u32,
    /// How many ports of the network may yet ask for an address from the range: one is kept for each that holds none.
    pub ports: usize,
    /// Ports with many stations behind them, such as uplinks: these may hold whatever is not kept for others.
    pub wide_ports: BTreeSet<PortIndex>,
    /// Ports that are held to addresses of their own, and so could use none of the range.
    pub held_ports: BTreeSet<PortIndex>,
    /// Addresses that belong to ports.
    pub fixed: BTreeMap<PortIndex, Fixed>,
    /// What clients are told beside their address.
    pub parameters: Parameters,
}

/// What clients are told beside their address, if they ask for it. Lists are of at most 16.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// Name servers.
    pub dns_servers: Vec<Ipv6Addr>,
    /// The network's domain, which completes clients' names.
    pub domain: Option<DomainName>,
    /// Domains in which names are looked up.
    pub search: Vec<DomainName>,
    /// Time servers.
    pub ntp_servers: Vec<Ipv6Addr>,
    /// What to boot, as a URL of at most 255 bytes.
    pub boot_url: Option<String>,
}

/// Settings that make no sense together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// Clients would take no answer from there.
    #[error("the server's address {0} is not one of the link (fe80::/10)")]
    NotLinkLocal(Ipv6Addr),
    /// An address does not belong to the network.
    #[error("{what} {address} is not in one of the network's prefixes")]
    Outside {
        /// What it is for.
        what: &'static str,
        /// The address.
        address: Ipv6Addr,
    },
    /// The range ends before it begins, or is too long.
    #[error("the range {first}-{last} must have 1 to 65,536 addresses, the lower one first")]
    Range {
        /// The first.
        first: Ipv6Addr,
        /// The last.
        last: Ipv6Addr,
    },
    /// The lease is too short or too long.
    #[error("a lease of {0} s is not between 60 s and ten years")]
    Lease(u32),
    /// An address is given twice.
    #[error("the address {0} belongs to more than one port")]
    Twice(Ipv6Addr),
    /// A parameter is too long.
    #[error("{0}")]
    Parameter(&'static str),
}

impl Settings {
    fn check_range(&self) -> Result<(), SettingsError> {
        let Some((first, last)) = self.range else { return Ok(()) };
        let length = last.to_bits().checked_sub(first.to_bits());
        if length.is_none_or(|length| length >= u128::from(RANGE_MAX)) {
            return Err(SettingsError::Range { first, last });
        }
        self.check_address("the range's first address", first)?;
        self.check_address("the range's last address", last)
    }

    fn check_fixed(&self) -> Result<(), SettingsError> {
        let mut known = BTreeSet::new();
        for fixed in self.fixed.values() {
            self.check_address("a port's address", fixed.address)?;
            if !known.insert(fixed.address) {
                return Err(SettingsError::Twice(fixed.address));
            }
        }
        Ok(())
    }

    fn check_address(&self, what: &'static str, address: Ipv6Addr) -> Result<(), SettingsError> {
        if self.is_on_link(address) { Ok(()) } else { Err(SettingsError::Outside { what, address }) }
    }

    /// Whether the address is in one of the link's prefixes.
    #[must_use]
    pub fn is_on_link(&self, address: Ipv6Addr) -> bool {
        self.prefixes.iter().any(|(first, length)| {
            let host = u128::MAX.checked_shr(u32::from(*length)).unwrap_or(0);
            (address.to_bits() ^ first.to_bits()) & !host == 0
        })
    }

    /// What the server is known by: a type, Ethernet, and the station's address (RFC 8415, 11.4).
    #[must_use]
    pub fn duid(&self) -> Vec<u8> {
        [&[0, 3, 0, 1], self.mac.0.as_slice()].concat()
    }

    /// Whether some address may be lent.
    #[must_use]
    pub fn lends(&self) -> bool {
        self.range.is_some() || !self.fixed.is_empty()
    }
}

impl ServerSettings for Settings {
    type Address = Ipv6Addr;
    type Error = SettingsError;

    fn check(&self) -> Result<(), SettingsError> {
        if self.address.segments()[0] & 0xffc0 != 0xfe80 {
            return Err(SettingsError::NotLinkLocal(self.address));
        }
        if !(LEASE_MIN_S..=LEASE_MAX_S).contains(&self.lease_s) {
            return Err(SettingsError::Lease(self.lease_s));
        }
        self.check_range()?;
        self.check_fixed()?;
        self.parameters.check()
    }

    fn rules(&self) -> Rules<Ipv6Addr> {
        // Not the routers' anycast address (RFC 4291, 2.6.1), nor those of name servers and ports.
        let range = self.range.into_iter().flat_map(|(first, last)| first.to_bits()..=last.to_bits());
        let mut pool: BTreeSet<Ipv6Addr> = range.map(Ipv6Addr::from).collect();
        let fixed = self.fixed.values().map(|fixed| &fixed.address);
        let routers = self.prefixes.iter().map(|(first, _)| first);
        for address in self.parameters.dns_servers.iter().chain(fixed).chain(routers) {
            pool.remove(address);
        }
        Rules {
            pool,
            ports: self.ports,
            wide_ports: self.wide_ports.clone(),
            held_ports: self.held_ports.clone(),
            fixed: self.fixed.clone(),
        }
    }

    fn answer(
        server: &mut Server,
        now: Nanos,
        port: PortIndex,
        frame: &[u8],
        taken: &mut Taken,
    ) -> Result<Vec<u8>, Event> {
        server.answer(now, port, frame, taken)
    }
}

impl Parameters {
    fn check(&self) -> Result<(), SettingsError> {
        let lists = [self.dns_servers.len(), self.search.len(), self.ntp_servers.len()];
        let problem = if lists.iter().any(|length| *length > LIST_MAX) {
            "a list of addresses or names has more than 16 entries"
        } else if domain::encode(&self.search).len() > SEARCH_MAX {
            "the domains in which names are looked up have more than 768 bytes"
        } else if self.boot_url.as_ref().is_some_and(|url| url.len() > BOOT_URL_MAX) {
            "the URL of what to boot has more than 255 bytes"
        } else {
            return Ok(());
        };
        Err(SettingsError::Parameter(problem))
    }
}
