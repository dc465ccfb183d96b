//! What a server is told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::{Server, Taken};
use crate::dhcp::lending::{self, Rules};
use crate::dhcp::routes::{Route, mask};
use crate::dhcp::{Event, ServerSettings};
use crate::domain::DomainName;
use crate::ids::PortIndex;
use crate::mac::MacAddress;
use crate::time::Nanos;

/// The most addresses that a range may have.
pub const RANGE_MAX: u32 = 65_536;

/// The shortest lease in seconds.
pub const LEASE_MIN_S: u32 = 60;

/// The longest lease in seconds: ten years. There are none without an end.
pub const LEASE_MAX_S: u32 = 10 * 365 * 86_400;

/// The most addresses in one list, and the most names and routes.
pub const LIST_MAX: usize = 16;

/// The address that belongs to a port.
pub type Fixed = lending::Fixed<Ipv4Addr>;

/// What a server for one network needs to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Our own address in the network: what answers come from, and the server identifier.
    pub address: Ipv4Addr,
    /// The station that answers come from.
    pub mac: MacAddress,
    /// The length of the network's prefix, 1 to 30.
    pub prefix: u8,
    /// The first and the last address that are lent to whoever asks; `None`: only ports with an address of their own get one.
    pub range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// For how long an address is lent, [`LEASE_MIN_S`] to [`LEASE_MAX_S`].
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

/// What clients are told beside their address, if they ask for it. Lists are of at most [`LIST_MAX`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    /// Routers, the preferred one first.
    pub routers: Vec<Ipv4Addr>,
    /// Name servers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// The network's domain.
    pub domain: Option<DomainName>,
    /// Domains in which names are looked up.
    pub search: Vec<DomainName>,
    /// Time servers.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// The MTU, at least 68 (RFC 2132, 5.1).
    pub mtu: Option<u16>,
    /// Routes beside the default one, which is told with them (RFC 3442: who reads these ignores the routers).
    pub routes: Vec<Route>,
    /// What to boot from.
    pub boot: Option<Boot>,
}

/// What to boot from the network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Boot {
    /// The server's address (`siaddr`).
    pub next_server: Ipv4Addr,
    /// Its name, at most 63 bytes of text, or empty.
    pub server_name: String,
    /// The file, at most 127 bytes of text.
    pub file: String,
}

/// Settings that make no sense together.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    /// The prefix leaves no room for clients.
    #[error("a network of /{0} has no addresses to lend: use a prefix of 1 to 30 bits")]
    Prefix(u8),
    /// An address does not belong to the network.
    #[error("{what} {address} is not an address of a station in {network}/{prefix}")]
    Outside {
        /// What it is for.
        what: &'static str,
        /// The address.
        address: Ipv4Addr,
        /// The network's first address.
        network: Ipv4Addr,
        /// The network's prefix length.
        prefix: u8,
    },
    /// The range ends before it begins, or is too long.
    #[error("the range {first}-{last} must have 1 to 65,536 addresses, the lower one first")]
    Range {
        /// The first.
        first: Ipv4Addr,
        /// The last.
        last: Ipv4Addr,
    },
    /// The lease is too short or too long.
    #[error("a lease of {0} s is not between 60 s and ten years")]
    Lease(u32),
    /// An address is given twice.
    #[error("the address {0} belongs to more than one port, or is the server's own")]
    Twice(Ipv4Addr),
    /// A parameter is too long or too small.
    #[error("{0}")]
    Parameter(&'static str),
}

impl Settings {
    fn check_range(&self) -> Result<(), SettingsError> {
        let Some((first, last)) = self.range else { return Ok(()) };
        let length = last.to_bits().checked_sub(first.to_bits());
        if length.is_none_or(|length| length >= RANGE_MAX) {
            return Err(SettingsError::Range { first, last });
        }
        self.check_address("the range's first address", first)?;
        self.check_address("the range's last address", last)
    }

    fn check_fixed(&self) -> Result<(), SettingsError> {
        let mut known = BTreeSet::from([self.address]);
        for fixed in self.fixed.values() {
            self.check_address("a port's address", fixed.address)?;
            if !known.insert(fixed.address) {
                return Err(SettingsError::Twice(fixed.address));
            }
        }
        Ok(())
    }

    fn check_address(&self, what: &'static str, address: Ipv4Addr) -> Result<(), SettingsError> {
        if self.is_station(address) {
            return Ok(());
        }
        let network = self.address & self.mask();
        Err(SettingsError::Outside { what, address, network, prefix: self.prefix })
    }

    /// The network's mask.
    #[must_use]
    pub fn mask(&self) -> Ipv4Addr {
        mask(self.prefix)
    }

    /// Whether the address is in the network.
    #[must_use]
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        address & self.mask() == self.address & self.mask()
    }

    /// Whether a station of the network may have the address: not its first one, nor its last one, which is for all.
    #[must_use]
    pub fn is_station(&self, address: Ipv4Addr) -> bool {
        let host = address & !self.mask();
        self.contains(address) && host != Ipv4Addr::UNSPECIFIED && host != !self.mask()
    }

    /// The address for all stations of the network.
    #[must_use]
    pub fn broadcast(&self) -> Ipv4Addr {
        self.address | !self.mask()
    }

    /// The addresses of the range that may be lent: not our own, nor the routers' and name servers', nor those of ports.
    fn pool(&self) -> BTreeSet<Ipv4Addr> {
        let Some((first, last)) = self.range else { return BTreeSet::new() };
        let mut pool: BTreeSet<Ipv4Addr> = (first.to_bits()..=last.to_bits()).map(Ipv4Addr::from).collect();
        pool.remove(&self.address);
        for address in self.parameters.routers.iter().chain(&self.parameters.dns_servers) {
            pool.remove(address);
        }
        for fixed in self.fixed.values() {
            pool.remove(&fixed.address);
        }
        pool
    }
}

impl ServerSettings for Settings {
    type Address = Ipv4Addr;
    type Error = SettingsError;

    fn check(&self) -> Result<(), SettingsError> {
        if !(1..=30).contains(&self.prefix) {
            return Err(SettingsError::Prefix(self.prefix));
        }
        if !(LEASE_MIN_S..=LEASE_MAX_S).contains(&self.lease_s) {
            return Err(SettingsError::Lease(self.lease_s));
        }
        self.check_address("the server", self.address)?;
        self.check_range()?;
        self.check_fixed()?;
        self.parameters.check()
    }

    fn rules(&self) -> Rules<Ipv4Addr> {
        Rules {
            pool: self.pool(),
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
        let longest = [
            self.routers.len(),
            self.dns_servers.len(),
            self.search.len(),
            self.ntp_servers.len(),
            self.routes.len(),
        ]
        .into_iter()
        .max();
        let boot = self.boot.as_ref();
        let problem = if longest > Some(LIST_MAX) {
            "a list of addresses, names or routes has more than 16 entries"
        } else if self.mtu.is_some_and(|mtu| mtu < 68) {
            "the MTU is below 68 (RFC 2132, 5.1)"
        } else if self.routes.iter().any(|route| route.prefix > 32) {
            "a route has a prefix of more than 32 bits"
        } else if boot.is_some_and(|boot| boot.file.len() > 127 || boot.server_name.len() > 63) {
            "the boot file's name has more than 127 bytes, or its server's name more than 63"
        } else {
            return Ok(());
        };
        Err(SettingsError::Parameter(problem))
    }
}
