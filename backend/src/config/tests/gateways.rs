//! Networks with a gateway: subnets, what is served there, uplinks' addresses, what the outside reaches, routers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use viaduct_switch::security::Family;

use super::*;

mod wrong;

pub(super) use wrong::has_case;

/// A network of mode `nat`, six lines.
const HOME: &str = "[uplink.isp]\ninterface = 'eth3'\naddress = '192.168.99.108/24'\n[network.lab]\nmode = 'nat'\nuplink = \
                    'isp'\n";
/// Its subnets, and no more: line 7.
const SUBNETS: &str = "subnets = ['10.0.0.0/24', 'fd00:2::/64']\n";

#[test]
fn the_smallest_nat_network_gets_every_default() {
    let config =
        right(&format!("{HOME}{SUBNETS}dhcp = {{}}\ndns = {{}}\n[port.a]\nnetwork = 'lab'\nmtu = 1400"));
    let network = &config.networks["lab"];
    let gateway = &network.gateway;
    assert_eq!((network.way_out(), network.uplinks().count()), (Some("isp"), 0));
    assert!(config.has_gateway("lab") && config.is_routed("lab"));
    assert_eq!(config.mtu_of("lab"), 1400);
    let addresses: Vec<String> = gateway.subnets.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.1/24", "fd00:2::1/64"]);
    let dhcp = gateway.dhcp.as_ref().unwrap();
    let whole = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 254));
    assert_eq!((dhcp.range, dhcp.lease_s, dhcp.subnet), (Some(whole), 43_200, gateway.subnets[0]));
    assert_eq!((&dhcp.routers, &dhcp.dns_servers, dhcp.mtu), (&None, &None, None));
    assert_eq!((gateway.advertising, &gateway.dhcp6), (Some(AdvertisingMode::Slaac), &None));
    assert_eq!(gateway.nat, NatOptions::default());
    assert_eq!((gateway.nat.ports, gateway.nat.mapping), ((1024, 65_023), Mapping::EndpointIndependent));
    let uplink = config.uplinks["isp"].addressing.as_ref().unwrap();
    assert_eq!(
        (uplink.address_v4(), uplink.gateway(Family::Ipv4)),
        (Some(Ipv4Addr::new(192, 168, 99, 108)), None)
    );
    assert!(uplink.has(Family::Ipv4) && !uplink.has(Family::Ipv6));
}

#[test]
fn a_network_has_a_gateway_where_one_is_needed() {
    let config = right(
        "[network.a]\nsubnets = ['10.1.0.0/24']\n[network.b]\nsubnets = ['10.2.0.0/24']\ndhcp = {}\n\
         [network.c]\nsubnets = ['10.3.0.9/24']\n[network.d]\nmode = 'routed'\nsubnets = ['10.4.0.0/24']\n[network.e]\n\
         [router.r]\nnetworks = ['c', 'd']",
    );
    let gateways = ["a", "b", "c", "d", "e"].map(|name| (config.has_gateway(name), config.is_routed(name)));
    assert_eq!(gateways, [(false, false), (true, false), (true, true), (true, true), (false, false)]);
    assert_eq!((config.mtu_of("e"), config.networks["d"].way_out()), (1500, None));
}

#[test]
fn everything_of_a_gateway_is_read_as_written() {
    let config = right(&format!(
        "{HOME}subnets = ['10.0.0.254/24', '10.5.0.0/16', 'fd00:2::/64']\nmtu = 1400\nsegment = 'wire'\nvlan = 10\n\
         dhcp = {{ range = '10.5.1.0-10.5.1.255', lease = '1h', routers = ['10.5.0.9'], dns_servers = [], domain = 'a.b', search = \
         ['c.d'], ntp_servers = ['10.0.0.3'], mtu = 1300, routes = [{{ to = '10.9.0.0/16', via = '10.5.0.8' }}], boot = {{ server = \
         '10.0.0.2', file = 'pxe' }} }}\ndhcp6 = {{ range = 'none', dns_servers = ['fd00::53'], ntp_servers = ['fd00::7b'], \
         boot_url = 'http://[fd00::2]/b' }}\n\
         dns = {{ domain = 'Home.LAN', upstream = ['9.9.9.9', '[fd00::1]:5353'], search = ['lan'], hosts = {{ 'a.b' = '10.0.0.3', c = \
         ['10.0.0.4', 'fd00::4'] }} }}\nmetadata = '127.0.0.1:8775'\nnat = {{ filtering = 'endpoint-independent', port_limit = 500, \
         nptv6 = [{{ inside = 'fd00:2::/64', outside = '2001:db8::/64' }}] }}\n\
         snat = [{{ source = '172.16.99.0/24', to = '192.168.99.109-192.168.99.110' }}, {{ source = '10.0.0.0/24', \
         to = 'masquerade' }}, {{ source = '10.6.0.0/16', to = ['192.168.99.120', '10.20.1.1-10.20.1.3'] }}]\n[uplink.wire]\ninterface = 'eth4'\n\
         [port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5', 'fd00:2::5', '10.5.0.5']\nfloating = ['192.168.99.7', '10.20.0.1']\n\
         publish = ['10080:80/tcp', '192.168.99.108:5353:53/udp', '8000-8010:9000-9010']"
    ));
    let network = &config.networks["lab"];
    let gateway = &network.gateway;
    assert_eq!(network.uplinks().collect::<Vec<_>>(), ["wire"]);
    let dhcp = gateway.dhcp.as_ref().unwrap();
    assert_eq!(dhcp.subnet.to_string(), "10.5.0.1/16");
    assert_eq!((dhcp.lease_s, dhcp.mtu, dhcp.dns_servers.as_deref()), (3600, Some(1300), Some(&[][..])));
    assert_eq!((dhcp.routes.len(), dhcp.boot.as_ref().unwrap().file.as_str()), (1, "pxe"));
    let dhcp6 = gateway.dhcp6.as_ref().unwrap();
    assert_eq!((gateway.advertising, dhcp6.range), (Some(AdvertisingMode::Stateful), None));
    assert_eq!(dhcp6.ntp_servers, ["fd00::7b".parse::<Ipv6Addr>().unwrap()]);
    assert_eq!(dhcp6.boot_url.as_deref(), Some("http://[fd00::2]/b"));
    let dns = gateway.dns.as_ref().unwrap();
    let upstream: Vec<String> = dns.upstream.iter().map(ToString::to_string).collect();
    assert_eq!(
        (upstream.as_slice(), dns.domain.as_ref().unwrap().as_str()),
        (&["9.9.9.9:53".to_owned(), "[fd00::1]:5353".to_owned()][..], "home.lan")
    );
    assert_eq!(dns.hosts.values().map(Vec::len).collect::<Vec<_>>(), [1, 2]);
    let server = MetadataServer::Tcp("127.0.0.1:8775".parse().unwrap());
    assert_eq!(gateway.metadata, Some(Metadata { server, proxy_protocol: true }));
    let rules: Vec<String> = gateway.source_rules.iter().map(ToString::to_string).collect();
    let first = "172.16.99.0/24 to 192.168.99.109-192.168.99.110";
    let last = "10.6.0.0/16 to 192.168.99.120, 10.20.1.1-10.20.1.3";
    assert_eq!(rules, [first, "10.0.0.0/24 to masquerade", last]);
    let ends = |first: [u8; 4], last: [u8; 4]| (Ipv4Addr::from(first), Ipv4Addr::from(last));
    let pool = vec![ends([192, 168, 99, 120], [192, 168, 99, 120]), ends([10, 20, 1, 1], [10, 20, 1, 3])];
    assert_eq!(gateway.source_rules[2].to, SourceTarget::Pool(pool));
    let port = &config.ports["a"];
    let stations: Vec<Ipv4Addr> = port.addresses_in(network).collect();
    assert_eq!(stations, [Ipv4Addr::new(10, 0, 0, 5), Ipv4Addr::new(10, 5, 0, 5)]);
    assert_eq!((port.floating.len(), port.publish.len()), (2, 3));
    assert_eq!(port.publish[2].inside, (9000, 9010));
}

#[test]
fn a_metadata_server_that_knows_no_proxy_protocol_is_asked_without() {
    let read = |text: &str| {
        let metadata =
            right(&format!("{HOME}{SUBNETS}metadata = {text}")).networks["lab"].gateway.metadata.clone();
        metadata.unwrap().to_string()
    };
    assert_eq!(read("'unix:/run/m'"), "unix:/run/m");
    assert_eq!(read("{ to = 'unix:/run/m' }"), "unix:/run/m");
    assert_eq!(read("{ to = '[fd00::1]:80', proxy_protocol = true }"), "[fd00::1]:80");
    assert_eq!(read("{ to = 'unix:/run/m', proxy_protocol = false }"), "unix:/run/m without proxy_protocol");
}

#[test]
fn what_has_no_effect_yet_is_told_where_it_is_written() {
    let loaded = parse(format!("{HOME}{SUBNETS}").as_bytes(), "x.toml", &TestHost).unwrap();
    let unserved: Vec<&String> =
        loaded.warnings.iter().filter(|line| line.contains("nothing acts on it")).collect();
    let fields = [(&schema::UPLINK, "address"), (&schema::NETWORK, "subnets")];
    let expected =
        fields.iter().filter(|(table, name)| table.field(name).unwrap().support == Support::Unserved);
    assert_eq!(unserved.len(), expected.count(), "{unserved:?}");
}

#[test]
fn addresses_without_port_security_are_leases_where_there_are_subnets() {
    let text = |network: &str| {
        format!(
            "[network.n]\n{network}[port.a]\nnetwork = 'n'\nport_security = false\naddresses = ['10.0.0.5']\n"
        )
    };
    let port = right(&text("subnets = ['10.0.0.0/24']\n")).ports["a"].clone();
    assert_eq!((port.security, port.addresses), (None, vec![IpAddr::from([10, 0, 0, 5])]));
    let problems = wrong(&text(""));
    assert!(problems[0].expected.contains("`subnets`"), "{problems:?}");
}

proptest::proptest! {
    /// Whatever stands in a field is read, or refused with its place; nothing panics.
    #[test]
    fn any_value_of_any_field_is_read_or_refused(
        field in 0..200_usize,
        value in "('[0-9a-f:./ -]{0,40}'|\\['[0-9./:-]{0,20}', '[0-9./:-]{0,20}'\\]|-?[0-9]{1,20}|true|\\{\\}|\\[\\])",
    ) {
        let all: Vec<(&str, &str)> = schema::TABLES[1..]
            .iter()
            .flat_map(|table| table.fields.iter().map(move |field| (table.heading, field.name)))
            .collect();
        let (heading, name) = all[field % all.len()];
        let heading = heading.replace("NAME", "lab");
        let text = format!("[{heading}]\n{name} = {value}\n");
        for text in [text.clone(), text.replace(&format!("[{heading}]"), &format!("[[{heading}]]")), format!("{HOME}{SUBNETS}{text}")] {
            if let Err(error) = parse(text.as_bytes(), "x.toml", &TestHost) {
                proptest::prop_assert!(error.problems().iter().all(|problem| problem.line > 0), "{error}");
            }
        }
    }
}
