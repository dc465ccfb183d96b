//! The other ends of tunnels, with names: read beside the control thread.

use std::collections::{BTreeMap, HashMap};

use viaduct_switch::suppression::SuppressionSnapshot;
use viaduct_switch::tunnel::{EndpointSettings, Kind, VtepEntry};
use viaduct_switch::{Nanos, NetworkIndex, Policy, PortIndex, Switch};

use crate::control::gateways::name_of;
use crate::control::port::Counted;
use crate::control::{Tables, duplicates};
use crate::model::{SuppressionStatus, TunnelledNetwork, VtepStatus, VtepTables};

impl Tables {
    /// All other ends of tunnels, and what is answered for stations behind them.
    #[must_use]
    pub fn vteps(&self) -> VtepTables {
        let Self { switch, policy, now, networks, ports, .. } = self;
        Names { switch, policy, now: *now, networks, ports }.vteps()
    }
}

/// What it takes to tell of VTEPs.
struct Names<'a> {
    switch: &'a Switch,
    policy: &'a Policy,
    now: Nanos,
    networks: &'a BTreeMap<String, NetworkIndex>,
    ports: &'a BTreeMap<String, PortIndex>,
}

impl Names<'_> {
    fn vteps(&self) -> VtepTables {
        let Some(tunnels) = self.policy.tunnels() else { return VtepTables::default() };
        let mut stations: HashMap<PortIndex, u64> = HashMap::new();
        for entry in self.switch.fdb_iter(self.now, self.policy) {
            *stations.entry(entry.port).or_default() += 1;
        }
        let status = |entry: &VtepEntry| {
            let endpoint = tunnels.endpoint(entry.endpoint)?;
            Some(self.vtep(entry, endpoint, stations.get(&entry.port).copied().unwrap_or(0)))
        };
        let mut vteps: Vec<VtepStatus> = self.switch.vteps().entries().iter().filter_map(status).collect();
        vteps.sort_by(|a, b| (&a.uplink, &a.kind, a.address).cmp(&(&b.uplink, &b.kind, b.address)));
        let duplicates = self.switch.duplicates(self.now);
        let names = (self.networks, self.ports);
        let duplicates =
            duplicates.iter().map(|found| duplicates::status(self.switch, names, found)).collect();
        VtepTables { vteps, suppression: suppression(self.switch.suppression_snapshot()), duplicates }
    }

    fn vtep(&self, entry: &VtepEntry, endpoint: &EndpointSettings, stations: u64) -> VtepStatus {
        let counted = Counted::of(self.switch, entry.port);
        let mut networks: Vec<TunnelledNetwork> = endpoint
            .segments
            .iter()
            .map(|segment| TunnelledNetwork {
                network: name_of(self.networks, segment.network, "network"),
                id: segment.id,
            })
            .collect();
        networks.sort();
        VtepStatus {
            uplink: name_of(self.ports, endpoint.uplink, "port"),
            kind: kind_name(endpoint.kind).to_owned(),
            address: entry.address.into(),
            local: endpoint.local.into(),
            networks,
            is_configured: entry.is_configured,
            state: state_of(self.switch, self.policy, (entry, endpoint), self.now).to_owned(),
            heard_s: entry.heard_s.map(|heard_s| self.now.seconds().saturating_sub(heard_s)),
            stations,
            received_frames: counted.received.frames,
            received_bytes: counted.received.bytes,
            sent_frames: counted.sent.frames,
            sent_bytes: counted.sent.bytes,
            drops: counted.drops,
        }
    }
}

/// Whether packets to a VTEP can leave.
fn state_of(
    switch: &Switch,
    policy: &Policy,
    (entry, endpoint): (&VtepEntry, &EndpointSettings),
    now: Nanos,
) -> &'static str {
    let Some(segment) = endpoint.segments.first() else { return "unreachable" };
    match switch.encapsulation(policy, (entry.port, segment.network), now) {
        Ok((_, true)) => "resolved",
        Ok((_, false)) => "unresolved",
        Err(_) => "unreachable",
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Vxlan => "vxlan",
        Kind::Geneve => "geneve",
        Kind::Gre => "gre",
    }
}

fn suppression(snapshot: SuppressionSnapshot) -> SuppressionStatus {
    let SuppressionSnapshot { answered, passed, refused, learned, fixed } = snapshot;
    SuppressionStatus { answered, passed, refused, learned, fixed }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use viaduct_switch::packet::Address;
    use viaduct_switch::tunnel::{EndpointIndex, SegmentSettings, Tunnels, vtep_port};
    use viaduct_switch::{Limits, Membership, NetworkSettings, PortPolicy, VtepMembership};

    use super::*;

    #[test]
    fn a_vtep_is_told_with_its_networks_and_its_state() {
        let [port, tenant] = [0, 1].map(|index| PortIndex::new(index).unwrap());
        let [underlay, network] = [0, 1].map(|index| NetworkIndex::new(index).unwrap());
        let membership =
            VtepMembership { networks: Arc::new([network].into_iter().collect()), floods: Vec::new() };
        let ports = [
            (port, PortPolicy::new(underlay, 1500)),
            (tenant, PortPolicy::new(network, 1500)),
            (vtep_port(0).unwrap(), PortPolicy::of(Membership::Vtep(membership), 1500)),
        ];
        let networks = [(underlay, NetworkSettings::default()), (network, NetworkSettings::default())];
        let address = |text: &str| Address::from(text.parse::<std::net::IpAddr>().unwrap());
        let segment = SegmentSettings {
            id: 101,
            network,
            group: None,
            ttl: 64,
            udp_checksum: false,
            takes_unknown: true,
            learns: true,
            inner_tags: false,
            known: Arc::new([]),
        };
        let endpoint = EndpointSettings {
            index: EndpointIndex(0),
            kind: Kind::Vxlan,
            udp_port: 4789,
            uplink: port,
            underlay,
            local: address("192.0.2.1"),
            segments: vec![segment],
        };
        let policy = Policy::compile(ports, networks).unwrap();
        let policy = policy.with_tunnels(Arc::new(Tunnels::compile([endpoint]).unwrap()));
        let switch = Switch::new(1, Limits::default());
        switch.prepare(&policy);
        let vtep = switch.configure_vtep(EndpointIndex(0), address("192.0.2.2")).unwrap();
        assert!(switch.set_station(network, "52:54:00:00:00:02".parse().unwrap(), vtep));
        let (networks, ports) =
            ([("tenant101".to_owned(), network)].into(), [("isp".to_owned(), port)].into());
        let names =
            Names { switch: &switch, policy: &policy, now: Nanos(0), networks: &networks, ports: &ports };
        let VtepTables { vteps, suppression, .. } = names.vteps();
        let expected = VtepStatus {
            uplink: "isp".to_owned(),
            kind: "vxlan".to_owned(),
            address: "192.0.2.2".parse().unwrap(),
            local: "192.0.2.1".parse().unwrap(),
            networks: vec![TunnelledNetwork { network: "tenant101".to_owned(), id: 101 }],
            is_configured: true,
            state: "unreachable".to_owned(),
            heard_s: None,
            stations: 1,
            received_frames: 0,
            received_bytes: 0,
            sent_frames: 0,
            sent_bytes: 0,
            drops: Vec::new(),
        };
        assert_eq!((vteps, suppression), (vec![expected], SuppressionStatus::default()));
    }
}
