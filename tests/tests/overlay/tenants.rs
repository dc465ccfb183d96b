//! What networks of one machine have, over tunnels: VLANs of tenants (scenario S3), security groups (S5), and the way out by one
//! machine for the guests of all (S8).

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::Process;
use viaduct_tests::town::{Station, page};

use super::exchange::{exchange, reach, serve};
use super::underlay::{LIMIT, Underlay, address, quiet_station, start, uplink};
use super::wire::Wire;

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(200);

/// The file of machine `number` of two: tenants in VLANs 10 and 20, a station of each, and a port whose guest tags for itself.
fn vlans(number: u8) -> String {
    let tenant = |name: &str, vlan: u8| {
        format!(
            "[network.{name}]\nvlan = {vlan}\n\
             overlay = {{ kind = \"vxlan\", vni = {vlan}, uplink = \"isp\", peers = [\"192.168.99.{}\"] }}\n\
             [port.{name}-{number}]\nnetwork = \"{name}\"\n",
            3 - number
        )
    };
    let trunk = "[port.trunk]\ntrunk = [\"ten\", \"twenty\"]\n";
    uplink(number) + &tenant("ten", 10) + &tenant("twenty", 20) + trunk
}

/// A broadcast with a tag, of a station that is nobody else.
fn tagged(vlan: u8) -> Vec<u8> {
    [&[0xff; 6][..], &[2, 0, 0, 0, 9, vlan], &[0x81, 0, 0, vlan, 0x88, 0xb5], &[7; 60]].concat()
}

/// The tags of so many frames or more that come to a trunk: the VLAN, and the last byte of who sent it.
fn tags(trunk: &mut Nic, count: usize) -> Vec<(u8, u8)> {
    let frames = trunk.collect_at_least(count, QUIET).into_iter().map(|received| received.bytes);
    frames.filter(|bytes| bytes[12..14] == [0x81, 0]).map(|bytes| (bytes[15], bytes[11])).collect()
}

#[test]
fn tenants_of_two_machines_meet_in_their_vlan_and_never_see_each_other() {
    let underlay = Underlay::new();
    let hosts = ["one", "two"].map(|name| underlay.machine(name));
    // Both tenants use the same addresses.
    let stations = [
        [("ten-1", 1), ("twenty-1", 1)].map(|(name, number)| quiet_station(&hosts[0], name, number)),
        [("ten-2", 2), ("twenty-2", 2)].map(|(name, number)| quiet_station(&hosts[1], name, number)),
    ];
    for tenants in &stations {
        // But not the same Ethernet addresses, so that it can be told on the wire whose a frame is.
        let own = tenants[1].mac().replace("00:01:", "00:02:");
        tenants[1].namespace.ip(&format!("link set eth0 address {own}"));
    }
    let wire = Wire::listen(&underlay, "vlans");
    let daemons: [Daemon; 2] = [1, 2].map(|number: u8| {
        let place = usize::from(number) - 1;
        start(&hosts[place], &vlans(number), &stations[place].each_ref())
    });
    let mut trunks =
        daemons.each_ref().map(|daemon| Nic::connect(&daemon.socket("trunk"), &NicOptions::default()));
    for tenant in [0, 1] {
        reach(&stations[0][tenant].namespace, &address(2));
        reach(&stations[1][tenant].namespace, &address(1));
        let _server = serve(&underlay, &stations[1][tenant].namespace);
        exchange(&stations[0][tenant].namespace, &address(2), 1 << 18);
    }
    // Of each tenant a trunk hears what is for all, by its tag; so one machine's trunk heard who asked at the other.
    let heard = tags(&mut trunks[1], 2);
    assert!(heard.contains(&(10, 1)) && heard.contains(&(20, 1)), "{heard:?}");
    trunks.iter_mut().for_each(|trunk| _ = trunk.collect(QUIET));
    for vlan in [10, 20] {
        trunks[0].send(&tagged(vlan));
        assert_eq!(tags(&mut trunks[1], 1), [(vlan, vlan)], "it comes once, with its tag");
    }
    // On the wire there are no tags, and each tenant's frames have its number.
    assert_eq!(wire.count("vxlan && vlan"), 0);
    for (vni, own) in [(10, "52:54:00:00:01"), (20, "52:54:00:00:02")] {
        let sent = |vni: u8| wire.count(&format!("vxlan.vni == {vni} && eth.src[0:5] == {own}"));
        assert!(sent(vni) > 50, "{vni}");
        assert_eq!(sent(30 - vni), 0, "{vni}");
    }
}

/// The database's machine lets in whom the list names: members on other machines are known by their addresses.
fn database(members: &str) -> String {
    format!(
        "{}{}[address_group.web]\naddresses = [{members}]\n\
         [group.db]\nrules = [{{ direction = \"ingress\", protocol = \"tcp\", ports = 7000, remote_address_group = \"web\" }}]\n\
         [port.s2]\nnetwork = \"tenant\"\naddresses = [\"{}\"]\ngroups = [\"db\"]\n",
        uplink(2),
        tenant(2, 2),
        address(2)
    )
}

/// The network of a machine of this many.
fn tenant(number: u8, machines: u8) -> String {
    let others = (1..=machines).filter(|other| *other != number);
    let peers: Vec<String> = others.map(|other| format!("\"192.168.99.{other}\"")).collect();
    let peers = peers.join(", ");
    format!(
        "[network.tenant]\noverlay = {{ kind = \"geneve\", vni = 7, uplink = \"isp\", peers = [{peers}] }}\n"
    )
}

/// Whether a connection to the database opens.
fn opens(from: &Namespace) -> bool {
    let line = format!(
        "python3 -c \"import socket; socket.create_connection(('{}', 7000), timeout=1)\"",
        address(2)
    );
    from.succeeds(&line)
}

#[test]
fn a_security_group_lets_in_its_members_on_another_machine_alone() {
    let underlay = Underlay::new();
    let hosts = ["one", "two"].map(|name| underlay.machine(name));
    let clients = [("s1", 1), ("s3", 3)].map(|(name, number)| quiet_station(&hosts[0], name, number));
    let server = quiet_station(&hosts[1], "s2", 2);
    let ports = "[port.s1]\nnetwork = \"tenant\"\n[port.s3]\nnetwork = \"tenant\"\n";
    let first = start(&hosts[0], &(uplink(1) + &tenant(1, 2) + ports), &clients.each_ref());
    let one = format!("\"{}/32\"", address(1));
    let second = start(&hosts[1], &database(&one), &[&server]);
    let _server = serve(&underlay, &server.namespace);
    wait_until("the member to be let in", LIMIT, || opens(&clients[0].namespace));
    assert!(!opens(&clients[1].namespace), "it is no member");
    assert!(!clients[0].reaches(&address(2)), "no rule allows echo requests");
    assert!(second.show().port("s2").dropped("group-ingress") >= 2);
    // What the server begins is allowed, and answered.
    reach(&server.namespace, &address(3));
    // The other one becomes the member while all runs.
    let three = format!("\"{}/32\"", address(3));
    second.apply(&viaduct_tests::town::with_stations(database(&three), &[&server]));
    wait_until("the new member to be let in", LIMIT, || opens(&clients[1].namespace));
    assert!(!opens(&clients[0].namespace), "it is no member any more");
    drop(first);
}

/// The machine out there, with a server that says whom it sees.
fn outside(underlay: &Underlay) -> (Namespace, Process) {
    const MIRROR: &str = "import http.server\n\
        class Mirror(http.server.BaseHTTPRequestHandler):\n    def do_GET(self):\n        \
        page = self.client_address[0].encode()\n        \
        self.send_response(200)\n        self.send_header('Content-Length', str(len(page)))\n        \
        self.end_headers()\n        self.wfile.write(page)\n\
        http.server.ThreadingHTTPServer(('', 80), Mirror).serve_forever()\n";
    let place = underlay.machine("outside");
    place.ip("address add 192.168.99.100/24 dev under0");
    let mut command = place.command("python3");
    command.args(["-c", MIRROR]);
    let server = Process::spawn("mirror", &command, underlay.folder.path());
    wait_until("the server out there", LIMIT, || place.succeeds("ss -Hltn 'sport = :80' | grep -q ."));
    (place, server)
}

#[test]
fn one_machine_is_the_way_out_for_the_guests_of_all() {
    let underlay = Underlay::new();
    let (place, _mirror) = outside(&underlay);
    let names = ["s1", "s2", "s3"];
    let nodes = [1, 2, 3].map(|number: u8| {
        let name = names[usize::from(number) - 1];
        let host = underlay.machine(["one", "two", "three"][usize::from(number) - 1]);
        let station = Station::new(&host, name);
        let own = match number {
            1 => {
                "mode = \"nat\"\nuplink = \"isp\"\nsubnets = [\"10.101.0.0/24\"]\n\
                  dhcp = { range = \"10.101.0.100-10.101.0.109\" }\n"
            }
            _ => "",
        };
        let config =
            format!("{}{}{own}[port.{name}]\nnetwork = \"tenant\"\n", uplink(number), tenant(number, 3));
        let daemon = start(&host, &config, &[&station]);
        (station, daemon, host)
    });
    let _server = serve(&underlay, &place);
    for (station, ..) in &nodes {
        let told = station.lease(underlay.folder.path());
        assert!(told.contains("router=10.101.0.1") && told.contains("mtu=1450"), "{}: {told}", station.name);
        station.await_reach("192.168.99.100");
        assert_eq!(page(&station.namespace, "192.168.99.100", 80), "192.168.99.1", "{}", station.name);
        exchange(&station.namespace, "192.168.99.100", 1 << 20);
        assert_eq!(station.namespace.checksum_errors(), 0, "{}", station.name);
    }
    nodes[1].0.await_reach(&nodes[2].0.address());
    assert_eq!(place.checksum_errors(), 0);
}
