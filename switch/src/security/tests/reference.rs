//! What groups mean, as plainly as it can be said: every rule of every group is asked, one after the other.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::*;

/// What a packet says, as a rule sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet {
    pub(super) direction: Direction,
    pub(super) remote: IpAddr,
    pub(super) protocol: Protocol,
    /// The destination port, or type and code.
    pub(super) service: [u8; 2],
}

/// All there is.
#[derive(Clone, Default, Debug)]
pub(super) struct World {
    pub(super) groups: BTreeMap<GroupIndex, (bool, Vec<RuleSpec>)>,
    pub(super) address_groups: BTreeMap<AddressGroupIndex, Vec<Prefix>>,
    pub(super) ports: BTreeMap<PortIndex, PortSecurity>,
}

impl World {
    /// Whether the port's groups of this kind allow the packet; `None`: it is not filtered.
    pub(super) fn allows(&self, port: PortIndex, packet: &Packet, tracking: Tracking) -> Option<bool> {
        let port = self.ports.get(&port)?;
        let groups = port.groups.as_ref()?.iter().filter_map(|group| self.groups.get(group));
        let mut asked = groups.filter(|(stateful, _)| *stateful == (tracking == Tracking::Stateful));
        Some(asked.any(|(_, rules)| rules.iter().any(|rule| self.matches(port, rule, packet))))
    }

    fn matches(&self, port: &PortSecurity, rule: &RuleSpec, packet: &Packet) -> bool {
        let version = rule.ethertype.is_none_or(|family| family == Family::of(packet.remote));
        let icmp = match rule.protocol {
            Some(Protocol::ICMP) => packet.remote.is_ipv4(),
            Some(Protocol::ICMPV6) => packet.remote.is_ipv6(),
            _ => true,
        };
        let number = u16::from_be_bytes(packet.service);
        rule.direction == packet.direction
            && version
            && icmp
            && rule.protocol.is_none_or(|protocol| protocol == packet.protocol)
            && rule.ports.is_none_or(|(first, last)| (first..=last).contains(&number))
            && rule.icmp_type.is_none_or(|kind| kind == packet.service[0])
            && rule.icmp_code.is_none_or(|code| code == packet.service[1])
            && rule.prefix.is_none_or(|prefix| prefix.contains(packet.remote))
            && rule.group.is_none_or(|group| self.is_member(port.zone, group, packet.remote))
            && rule.address_group.is_none_or(|group| self.is_in(group, packet.remote))
    }

    fn is_member(&self, zone: Zone, group: GroupIndex, address: IpAddr) -> bool {
        self.ports.values().any(|port| {
            port.zone == zone
                && port.groups.as_ref().is_some_and(|groups| groups.contains(&group))
                && (port.addresses.contains(&address)
                    || port.pairs.iter().any(|pair| pair.prefix.contains(address)))
        })
    }

    fn is_in(&self, group: AddressGroupIndex, address: IpAddr) -> bool {
        self.address_groups.get(&group).into_iter().flatten().any(|prefix| prefix.contains(address))
    }
}
