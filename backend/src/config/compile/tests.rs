//! The example of NAT, as the parts of the switch have it.

use std::net::Ipv4Addr;

use viaduct_switch::dhcp::ServerSettings;
use viaduct_switch::nat::{FilteringBehavior, MappingBehavior, SourceAddress};
use viaduct_switch::{MacAddress, NetworkIndex, PortIndex};

use super::Numbered;
use crate::config::{Config, ThisHost, parse};

const EXAMPLE: &str = include_str!("../../../../examples/nat.toml");

/// Numbers in the order of the names; an uplink's network has 100.
struct Names<'a>(&'a Config);

impl Numbered for Names<'_> {
    fn network(&self, name: &str) -> Option<NetworkIndex> {
        NetworkIndex::new(self.0.networks.keys().position(|other| other == name)?)
    }

    fn outside(&self, uplink: &str) -> Option<NetworkIndex> {
        self.0.uplinks.contains_key(uplink).then(|| NetworkIndex::new(100))?
    }

    fn port(&self, name: &str) -> Option<PortIndex> {
        let mut names = self.0.ports.keys().chain(self.0.uplinks.keys());
        PortIndex::new(names.position(|other| other == name)?)
    }

    fn gateway(&self, _: &str) -> Option<MacAddress> {
        Some(MacAddress([2, 0, 0, 0, 0, 1]))
    }
}

fn read(text: &str) -> Config {
    parse(text.as_bytes(), "x.toml", &ThisHost).unwrap().config
}

#[test]
fn the_port_of_a_tunnel_is_no_mappings() {
    let text = "[uplink.isp]\ninterface = 'eth3'\naddress = '192.0.2.1/24'\n[network.home]\nmode = 'nat'\nuplink = 'isp'\n\
                subnets = ['10.0.0.0/24']\n[network.t]\noverlay = { kind = 'vxlan', vni = 1, uplink = 'isp', port = 8472 }\n\
                [network.g]\noverlay = { kind = 'gre', key = 1, uplink = 'isp' }\n";
    let config = read(text);
    let told: Vec<_> = config.nat_settings(&Names(&config)).reserved;
    assert_eq!(
        told.iter().map(|one| (one.protocol, one.ports.clone())).collect::<Vec<_>>(),
        [(17, 8472..=8472)]
    );
    let alone = read(&text.replace("mode = 'nat'\nuplink = 'isp'\n", ""));
    assert_eq!(alone.nat_settings(&Names(&alone)).reserved, []);
}

#[test]
fn everything_about_nat_is_said() {
    let config = read(EXAMPLE);
    let names = Names(&config);
    let settings = config.nat_settings(&names);
    let outside = NetworkIndex::new(100).unwrap();
    let (home, lab) = (names.network("home").unwrap(), names.network("lab").unwrap());
    let insides: Vec<NetworkIndex> = settings.sources.iter().map(|source| source.inside).collect();
    assert_eq!(insides, [home, lab], "a network behind the router leaves by the same address");
    for source in &settings.sources {
        let to: Vec<String> =
            source.rules.iter().map(|rule| format!("{} {:?}", rule.sources, rule.to)).collect();
        let expected = ["172.16.99.0/24 Pool([(192.168.99.109, 192.168.99.109)])", "0.0.0.0/0 Masquerade"];
        assert_eq!((source.outside, to.as_slice()), (outside, &expected.map(str::to_owned)[..]));
        assert_eq!(source.ports, viaduct_switch::nat::PORTS_DEFAULT);
        let behavior = (source.mapping, source.filtering, source.ports_per_guest);
        let standard = (MappingBehavior::EndpointIndependent, FilteringBehavior::AddressDependent, None);
        assert_eq!(behavior, standard);
    }
    let web1 = Ipv4Addr::new(10, 0, 0, 10);
    let [floating] = settings.floating[..] else { panic!("{:?}", settings.floating) };
    assert_eq!((floating.outside, floating.inside, floating.station), (outside, home, web1));
    assert_eq!(floating.address, Ipv4Addr::new(192, 168, 99, 120));
    let published: Vec<_> = settings
        .published
        .iter()
        .map(|one| {
            (one.address, one.protocol, *one.ports.start(), *one.ports.end(), one.station, one.station_port)
        })
        .collect();
    let own = Some(Ipv4Addr::new(192, 168, 99, 108));
    let by_tcp = [(None, 6, 10080, 10080, web1, 80), (None, 6, 5353, 5353, web1, 53)];
    assert_eq!(published, [by_tcp[0], by_tcp[1], (own, 17, 5353, 5353, web1, 53)]);
}

#[test]
fn the_switch_answers_for_addresses_that_stand_for_stations() {
    let text = EXAMPLE
        .replace("\"192.168.99.109\"", "\"192.168.99.109-192.168.99.110\"")
        .replace("10080:80", "192.168.99.7:1:1");
    let found: Vec<String> = read(&text).translated_at("isp").iter().map(ToString::to_string).collect();
    assert_eq!(
        found,
        ["192.168.99.7", "192.168.99.109", "192.168.99.110", "192.168.99.120"],
        "and not the uplink's own"
    );
    assert!(read(&text).translated_at("other").is_empty());
}

/// RFC 6888 wants no pool to be of one piece.
#[test]
fn a_pool_of_several_pieces_is_the_switchs_and_all_of_it_is_answered_for() {
    let text = EXAMPLE.replace("\"192.168.99.109\"", "['192.168.99.109', '192.168.99.112-192.168.99.113']");
    let config = read(&text);
    let found: Vec<String> = config.translated_at("isp").iter().map(ToString::to_string).collect();
    let pool = ["192.168.99.109", "192.168.99.112", "192.168.99.113"];
    assert_eq!(found, [pool[0], pool[1], pool[2], "192.168.99.120"]);
    let settings = config.nat_settings(&Names(&config));
    let [one, first, last] = pool.map(|address| address.parse().unwrap());
    assert_eq!(settings.sources[0].rules[0].to, SourceAddress::Pool(vec![(one, one), (first, last)]));
}

#[test]
fn what_is_written_about_translation_counts() {
    let options = "nat = { mapping = 'address-and-port-dependent', filtering = 'endpoint-independent', ports = '2000-2999', \
                   port_limit = 50, nptv6 = [{ inside = 'fd00:2::/64', outside = '2001:db8::/64' }] }\ndhcp = {";
    let text = EXAMPLE.replacen("dhcp = {", options, 1).replace("\"192.168.99.109\"", "\"keep\"");
    let config = read(&text);
    let settings = config.nat_settings(&Names(&config));
    let source = &settings.sources[0];
    assert_eq!((&source.ports, source.ports_per_guest), (&(2000..=2999), Some(50)));
    assert_eq!(
        (source.mapping, &source.rules[0].to),
        (MappingBehavior::EndpointDependent, &SourceAddress::Keep)
    );
    assert_eq!(source.filtering, FilteringBehavior::EndpointIndependent);
    let [prefix] = settings.prefixes[..] else { panic!("{:?}", settings.prefixes) };
    assert_eq!(
        (prefix.inner.to_string(), prefix.outer.to_string()),
        ("fd00:2::/64".into(), "2001:db8::/64".into())
    );
}

#[test]
fn a_dhcp_server_is_told_what_follows_from_the_rest() {
    let config = read(EXAMPLE);
    let names = Names(&config);
    let settings = config.dhcp_settings("home", &names).unwrap();
    settings.check().unwrap();
    let gateway = Ipv4Addr::new(10, 0, 0, 1);
    assert_eq!(
        (settings.address, settings.prefix, settings.lease_s, settings.ports),
        (gateway, 24, 43_200, 2)
    );
    let parameters = &settings.parameters;
    assert_eq!((&parameters.routers[..], &parameters.dns_servers[..]), (&[gateway][..], &[gateway][..]));
    assert_eq!(parameters.domain.as_ref().unwrap().as_str(), "home.lan");
    assert_eq!((parameters.search.len(), parameters.mtu), (1, Some(1500)));
    let fixed = &settings.fixed[&names.port("web1").unwrap()];
    assert_eq!((fixed.address, fixed.mac.is_some()), (Ipv4Addr::new(10, 0, 0, 10), true));
    assert_eq!(fixed.host_name.as_ref().unwrap().as_str(), "web1");
    assert_eq!((settings.fixed.len(), settings.wide_ports.len()), (1, 0));
    assert!(config.dhcp_settings("lab", &names).is_none());
}

#[test]
fn a_dhcp_server_that_routes_nothing_names_no_router_and_no_name_server() {
    let config = read(
        "[uplink.wire]\ninterface = 'x'\n[network.a]\nmode = 'bridged'\nuplink = 'wire'\nsubnets = ['10.0.0.0/24']\n\
         dhcp = { search = ['lan'], mtu = 1400 }\n[port.b]\nnetwork = 'a'\n[port.t]\ntrunk = []\nnative = 'a'",
    );
    let names = Names(&config);
    let settings = config.dhcp_settings("a", &names).unwrap();
    settings.check().unwrap();
    let parameters = &settings.parameters;
    assert!(
        parameters.routers.is_empty() && parameters.dns_servers.is_empty() && parameters.domain.is_none()
    );
    assert_eq!((parameters.search.len(), parameters.mtu, settings.ports), (1, Some(1400), 1));
    let wide = ["t", "wire"].map(|name| names.port(name).unwrap());
    assert_eq!(settings.wide_ports, wide.into());
}

/// Only who is held to addresses, none of which is of the range, could use none of it.
#[test]
fn ports_that_could_not_use_what_is_lent_are_named() {
    let config = read(
        "[network.home]\nmode = 'isolated'\nsubnets = ['10.0.0.0/24', 'fd00:2::/64']\ndhcp = {}\n\
         dhcp6 = { range = 'fd00:2::100-fd00:2::1ff' }\nra = 'stateful'\n\
         [port.free]\nnetwork = 'home'\n\
         [port.four]\nnetwork = 'home'\naddresses = ['10.0.0.4']\n\
         [port.mac]\nnetwork = 'home'\nport_security = true\n\
         [port.open]\nnetwork = 'home'\naddresses = ['10.0.0.6']\nport_security = false\n\
         [port.pair]\nnetwork = 'home'\naddresses = ['10.0.0.5']\n\
         allowed_address_pairs = [{ address = 'fd00:2::/64' }]\n",
    );
    let names = Names(&config);
    let numbers = |held: &[&str]| held.iter().map(|name| names.port(name).unwrap()).collect();
    let v4 = config.dhcp_settings("home", &names).unwrap();
    assert_eq!((v4.held_ports, v4.ports), (numbers(&["four", "pair"]), 3));
    let plan = crate::leasing::NetworkPlan::of(&config, "home", &names).unwrap();
    let v6 = plan.v6.unwrap();
    assert_eq!((v6.held_ports, v6.ports), (numbers(&["four"]), 4));
}

/// What every example says is taken by those to whom it is said.
#[test]
fn what_examples_say_makes_sense_to_the_switch() {
    for text in [
        EXAMPLE,
        include_str!("../../../../examples/full.toml"),
        include_str!("../../../../examples/cloud-flat.toml"),
        include_str!("../../../../examples/cloud-dhcp.toml"),
        include_str!("../../../../examples/cloud-vlan.toml"),
        include_str!("../../../../examples/containers.toml"),
    ] {
        let config = read(text);
        for name in config.networks.keys() {
            if let Some(settings) = config.dhcp_settings(name, &Names(&config)) {
                settings.check().unwrap();
            }
        }
        assert!(!config.nat_settings(&Names(&config)).sources.is_empty());
    }
}
