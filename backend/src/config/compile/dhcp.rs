//! Settings of DHCP servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use viaduct_switch::PortIndex;
use viaduct_switch::dhcp::lending::{Address, Fixed};
use viaduct_switch::dhcp::server::{Parameters, Settings};
use viaduct_switch::domain::DomainName;

use super::Numbered;
use crate::config::{AddressPair, Attachment, Config, Dhcp, Membership, Network, Port, Subnet};

impl Config {
    /// What the DHCP server of a network is told; `None`: it has none.
    #[must_use]
    pub fn dhcp_settings(&self, name: &str, numbers: &impl Numbered) -> Option<Settings> {
        let network = self.networks.get(name)?;
        let dhcp = network.gateway.dhcp.as_ref()?;
        let IpAddr::V4(address) = dhcp.subnet.address else { return None };
        let ports = self.ports.values().filter(|port| port.membership.has(name));
        let lent = ports.filter(|port| !is_wide(port) && !is_held(port, dhcp.range)).count();
        Some(Settings {
            address,
            mac: numbers.gateway(name)?,
            prefix: dhcp.subnet.prefix.length(),
            range: dhcp.range,
            lease_s: dhcp.lease_s,
            ports: lent,
            wide_ports: self.wide_ports(name, numbers),
            held_ports: self.held_ports(name, dhcp.range, numbers),
            fixed: self.fixed(name, &dhcp.subnet, numbers),
            parameters: self.parameters((name, network), dhcp, address, numbers),
        })
    }

    /// Uplinks, and trunks, behind which is a switch.
    pub(crate) fn wide_ports(&self, name: &str, numbers: &impl Numbered) -> BTreeSet<PortIndex> {
        let trunks = self.ports.iter().filter(|(_, port)| port.membership.has(name) && is_wide(port));
        let uplinks = self.networks.get(name).into_iter().flat_map(Network::uplinks);
        // Stations on other machines count as behind the uplink over which their tunnels go.
        let tunnels = self.networks.get(name).and_then(|network| network.overlay.as_ref());
        let tunnels = tunnels.map(|overlay| &overlay.uplink);
        let names = uplinks.chain(tunnels).chain(trunks.map(|(name, _)| name));
        names.filter_map(|name| numbers.port(name)).collect()
    }

    /// Ports of a network that port security holds to addresses other than those of `range`.
    pub(crate) fn held_ports<A: Into<IpAddr> + Copy>(
        &self,
        name: &str,
        range: Option<(A, A)>,
        numbers: &impl Numbered,
    ) -> BTreeSet<PortIndex> {
        let ports = self.ports.iter().filter(|(_, port)| port.membership.has(name) && is_held(port, range));
        ports.filter_map(|(name, _)| numbers.port(name)).collect()
    }

    /// The addresses that belong to ports: the first one of each in the server's subnet.
    pub(crate) fn fixed<A: Address>(
        &self,
        name: &str,
        subnet: &Subnet,
        numbers: &impl Numbered,
    ) -> BTreeMap<PortIndex, Fixed<A>> {
        let ports = self.ports.iter().filter(|(_, port)| port.membership.has(name));
        let fixed = |(name, port): (&String, &Port)| {
            let address = port.addresses.iter().find(|address| subnet.is_station(**address))?;
            let fixed = Fixed { mac: mac_of(port), address: A::of(*address)?, host_name: name.parse().ok() };
            Some((numbers.port(name)?, fixed))
        };
        ports.filter_map(fixed).collect()
    }

    fn parameters(
        &self,
        (name, network): (&str, &Network),
        dhcp: &Dhcp,
        own: Ipv4Addr,
        numbers: &impl Numbered,
    ) -> Parameters {
        let dns = network.gateway.dns.as_ref();
        let when = |is_so: bool| if is_so { vec![own] } else { Vec::new() };
        let domain = dhcp.domain.clone().or_else(|| dns?.domain.clone());
        Parameters {
            routers: dhcp.routers.clone().unwrap_or_else(|| when(self.is_routed(name))),
            dns_servers: dhcp.dns_servers.clone().unwrap_or_else(|| when(dns.is_some())),
            search: dhcp.search.clone().unwrap_or_else(|| network.search()),
            domain,
            ntp_servers: dhcp.ntp_servers.clone(),
            mtu: Some(dhcp.mtu.unwrap_or_else(|| self.mtu_over(name, |uplink| numbers.mtu(uplink)))),
            routes: dhcp.routes.clone(),
            boot: dhcp.boot.clone(),
        }
    }
}

impl Network {
    /// Domains in which stations look names up: as the name server's settings say, else its domain.
    #[must_use]
    pub fn search(&self) -> Vec<DomainName> {
        let Some(dns) = &self.gateway.dns else { return Vec::new() };
        if dns.search.is_empty() { dns.domain.iter().cloned().collect() } else { dns.search.clone() }
    }
}

/// Whether many stations are behind the port.
fn is_wide(port: &Port) -> bool {
    matches!(port.membership, Membership::Trunk(_))
}

/// Whether port security holds the port to addresses of its own, and lets it use not all of `range` beside them.
fn is_held<A: Into<IpAddr> + Copy>(port: &Port, range: Option<(A, A)>) -> bool {
    let Some(security) = port.security.as_ref().filter(|security| !security.addresses.is_empty()) else {
        return false;
    };
    let covers = |pair: &AddressPair| {
        range.is_some_and(|(first, last)| [first, last].iter().all(|end| pair.prefix.contains((*end).into())))
    };
    !security.pairs.iter().any(covers)
}

/// The station behind a port, if the file says which it is.
fn mac_of(port: &Port) -> Option<viaduct_switch::MacAddress> {
    match &port.attachment {
        Attachment::VhostUser(guest) => Some(guest.mac),
        Attachment::Interface(_) => port.security.as_ref().map(|security| security.mac),
    }
}
