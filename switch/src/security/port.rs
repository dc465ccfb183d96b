//! What the control side says about a port, and what the data path knows of it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::essential::Origin;
use super::guard::link_local;
use super::prefix::Prefix;
use super::rule::GroupIndex;
use super::tables::Zone;
use crate::mac::MacAddress;

/// Addresses that a guest may use beside its own: an address that moves between guests, or what it routes for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct AddressPair {
    /// The addresses.
    pub prefix: Prefix,
    /// The MAC address that they come with; `None`: the port's.
    pub mac: Option<MacAddress>,
}

/// What a port may send, and who may reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PortSecurity {
    /// Whose addresses its rules mean.
    pub zone: Zone,
    /// The groups whose rules hold for it; `None`: it is not filtered.
    pub groups: Option<Vec<GroupIndex>>,
    /// The guest's MAC address.
    pub mac: MacAddress,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Further addresses that it may use.
    pub pairs: Vec<AddressPair>,
    /// Whether it may send from these addresses only.
    pub guarded: bool,
    /// Whether it may speak as a router and as a DHCP server.
    pub trusted: bool,
}

impl PortSecurity {
    /// A port of `zone` that is in no group and may send what it likes.
    #[must_use]
    pub fn new(zone: Zone, mac: MacAddress) -> Self {
        let (addresses, pairs) = (Vec::new(), Vec::new());
        Self { zone, groups: None, mac, addresses, pairs, guarded: false, trusted: false }
    }

    /// The prefixes by which it is a member of its groups.
    pub(super) fn prefixes(&self) -> BTreeSet<Prefix> {
        let own = self.addresses.iter().map(|address| Prefix::host(*address));
        own.chain(self.pairs.iter().map(|pair| pair.prefix)).collect()
    }
}

/// The addresses of the link that follow from the port's MAC addresses, with which it may always speak.
fn link_locals(settings: &PortSecurity) -> impl Iterator<Item = Prefix> {
    let macs = settings.pairs.iter().filter_map(|pair| pair.mac).chain([settings.mac]);
    macs.map(|mac| Prefix::host(link_local(mac).into()))
}

/// A port as the data path sees it.
#[derive(Clone, Debug)]
pub struct PortTables {
    zone: Zone,
    groups: Option<Box<[GroupIndex]>>,
    origin: Origin,
    /// The addresses that it may speak with; `None`: any.
    own: Option<Box<[Prefix]>>,
}

impl PortTables {
    pub(super) fn new(settings: &PortSecurity) -> Self {
        let groups = settings.groups.as_ref().map(|groups| {
            let distinct: BTreeSet<_> = groups.iter().copied().collect();
            distinct.into_iter().collect()
        });
        let is_guest = settings.guarded && !settings.trusted;
        let origin = if is_guest { Origin::Guest } else { Origin::Infrastructure };
        let is_known = settings.guarded && !settings.addresses.is_empty();
        let own = is_known.then(|| settings.prefixes().into_iter().chain(link_locals(settings)).collect());
        Self { zone: settings.zone, groups, origin, own }
    }

    /// The groups whose rules hold for it, in ascending order; `None`: it is not filtered.
    #[must_use]
    #[inline]
    pub fn groups(&self) -> Option<&[GroupIndex]> {
        self.groups.as_deref()
    }

    /// What groups of others take it for, by what it sends.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether the port may speak with this address: what is sent to it may be meant for the port's guest.
    #[must_use]
    pub fn may_be(&self, address: IpAddr) -> bool {
        self.own.as_ref().is_none_or(|own| own.iter().any(|prefix| prefix.contains(address)))
    }

    /// Whose addresses its rules mean.
    #[must_use]
    #[inline]
    pub fn zone(&self) -> Zone {
        self.zone
    }
}
