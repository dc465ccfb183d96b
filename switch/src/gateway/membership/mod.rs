//! Of which groups the gateways' interfaces are members, told to routers and to switches that forward groups only where somebody
//! wants them: IGMP (RFC 9776) and MLD (RFC 9777) as hosts speak them.
//!
//! Each interface has a [`Host`] for each version of IP: pure state, what was asked and the time in, what is to be said out. Which
//! groups it has, its settings say: those of IPv6 that every interface has to listen to, and those that the control side wants.
//! Always from all sources. Others' reports are not listened to: switches count on every host to tell of itself.
//!
//! Whoever is on the link can ask. So a question costs no memory but what its group may have, and the same is not answered twice
//! within a quarter of a second.

mod host;
mod message;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::discovery::solicited_node;
use super::{Gateway, Moment, Offered};
use crate::ids::NetworkIndex;
use crate::multicast::{Family, Query};
use crate::packet::Address;
use crate::router::{DHCP_V6, Interface};
use crate::time::Nanos;
use host::{Host, Said};

/// All routers of the link (RFC 4291, 2.7.1).
const ALL_ROUTERS: Address = Address::from_bits(0xff02 << 112 | 2);

/// An interface's part in one of the two protocols.
type Key = (NetworkIndex, Family);

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// All that interfaces have to say about groups.
#[derive(Debug, Default)]
pub(super) struct Memberships {
    hosts: BTreeMap<Key, (Option<Nanos>, Host)>,
    deadlines: BTreeSet<(Nanos, Key)>,
}

impl Memberships {
    pub(super) fn first_due(&self) -> Option<(Nanos, Key)> {
        self.deadlines.first().copied()
    }

    /// Does something with one of the hosts and notes when it is to be looked after next.
    fn with<R>(&mut self, key: Key, what: impl FnOnce(&mut Host) -> R) -> Option<R> {
        let (noted, host) = self.hosts.get_mut(&key)?;
        let done = what(host);
        let due = host.next_deadline();
        if due != *noted {
            noted.take().map(|old| self.deadlines.remove(&(old, key)));
            self.deadlines.extend(due.map(|due| (due, key)));
            *noted = due;
        }
        Some(done)
    }

    /// These are the groups from now on. Without any, nobody is told of more than that.
    fn set_groups(&mut self, key: Key, groups: &BTreeSet<Address>, now: Nanos) {
        if !groups.is_empty() {
            self.hosts.entry(key).or_default();
        }
        self.with(key, |host| host.set_groups(groups, now));
    }

    fn remove(&mut self, key: Key) {
        if let Some((Some(due), _)) = self.hosts.remove(&key) {
            self.deadlines.remove(&(due, key));
        }
    }

    /// Only interfaces of which this holds are left; the others take their leave without a word.
    pub(super) fn retain(&mut self, is_there: impl Fn(NetworkIndex) -> bool) {
        let gone: Vec<Key> = self.hosts.keys().filter(|(network, _)| !is_there(*network)).copied().collect();
        gone.into_iter().for_each(|key| self.remove(key));
    }

    /// Who is on the link now may not have heard of the interface's groups.
    pub(super) fn tell_again(&mut self, network: NetworkIndex, now: Nanos) {
        for family in FAMILIES {
            self.with((network, family), |host| host.tell_again(now));
        }
    }

    /// Follows an interface's settings.
    pub(super) fn follow(&mut self, network: NetworkIndex, interface: &Interface, now: Nanos) {
        for family in FAMILIES {
            self.set_groups((network, family), &groups(interface, family), now);
        }
    }
}

impl Gateway {
    /// Has the groups of an interface told within the time that a querier gives (RFC 9776, 5.2; RFC 9777, 6.2).
    pub(super) fn hear_query(&mut self, offered: &Offered<'_>, family: Family, moment: Moment<'_>) {
        let Some(query) = Query::read(offered.frame, family) else { return self.reject(offered) };
        let random = &mut self.random;
        self.memberships.with((offered.network, family), |host| host.hear(&query, moment.now, random));
    }

    /// Says what an interface has to say about its groups by now.
    pub(super) fn attend_groups(&mut self, key: Key, now: Nanos) {
        let random = &mut self.random;
        let said = self.memberships.with(key, |host| host.advance(now, random)).unwrap_or_default();
        self.say(key, &said);
    }

    fn say(&mut self, (network, family): Key, said: &[Said]) {
        let routing = Arc::clone(&self.routing);
        let Some(interface) = routing.interface(network) else { return };
        // While the interface has no address for certain, none (RFC 9776, 4.2.13; RFC 9777, 5.2.13).
        let (reports, nobody) = match family {
            Family::V4 => (message::REPORTS_V4, Address::from_v4([0; 4])),
            Family::V6 => (message::REPORTS_V6, Address::UNSPECIFIED),
        };
        let source = self.speaker(network, reports).unwrap_or(nobody);
        for said in said {
            self.send(network, message::frame(interface.mac, source, said));
        }
    }

    /// The gateway ends: who forwards to it for its groups' sake is told that this is over, as far as groups are not the link's own.
    pub fn cease(&mut self, now: Nanos) {
        let keys: Vec<Key> = self.memberships.hosts.keys().copied().collect();
        for key in keys {
            let said = self.memberships.with(key, |host| host.cease(now)).unwrap_or_default();
            self.say(key, &said);
        }
    }
}

/// All groups of which an interface is a member and tells; of those of IPv6, all but that of all stations (RFC 4291, 2.8).
fn groups(interface: &Interface, family: Family) -> BTreeSet<Address> {
    let wanted = interface.groups.iter().copied();
    if family == Family::V4 {
        return wanted.filter(|group| group.is_v4()).collect();
    }
    let own = interface.own_addresses().filter(|address| !address.is_v4()).map(solicited_node);
    let servers = interface.serves.dhcp_v6.then_some(DHCP_V6.0);
    own.chain(servers).chain([ALL_ROUTERS]).chain(wanted.filter(|group| !group.is_v4())).collect()
}
