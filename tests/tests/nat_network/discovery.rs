//! What a program for finding out how a NAT behaves (RFC 5780) finds out: coturn's, asking coturn's server out there.

use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::Namespace;
use viaduct_tests::process::Process;

use viaduct_tests::town::{LIMIT, OUTSIDE, Town};

/// The server's other address.
const ALTERNATE: &str = "192.168.99.2";

fn config(filtering: &str) -> String {
    format!(
        r#"
[uplink.isp]
interface = "eth3"
address = "192.168.99.108/24"
gateway = "{OUTSIDE}"
[network.home]
mode = "nat"
uplink = "isp"
subnets = ["10.0.0.0/24"]
nat = {{ {filtering} }}
[port.vm1]
network = "home"
type = "veth"
interface = "v-vm1"
"#
    )
}

/// A STUN server at two addresses and two ports of each, so that it can answer from another one than it was asked at.
fn server(town: &Town) -> Process {
    let place = &town.outside;
    place.ip(&format!("address add {ALTERNATE}/24 dev eth0"));
    let mut command = place.command("turnserver");
    command.args("-n --no-auth --no-cli --no-tls --no-dtls --log-file stdout --listening-ip".split(' '));
    command.args([OUTSIDE, "--listening-ip", ALTERNATE]);
    for (option, file) in [("--pidfile", "pid"), ("--userdb", "users")] {
        command.arg(option).arg(town.folder.path().join(file));
    }
    let server = Process::spawn("turnserver", &command, town.folder.path());
    wait_until("the STUN server to listen at all ends", LIMIT, || {
        let sockets = place.run("ss -Hlun");
        [(OUTSIDE, 3478), (OUTSIDE, 3479), (ALTERNATE, 3478), (ALTERNATE, 3479)]
            .iter()
            .all(|(address, port)| sockets.contains(&format!("{address}:{port} ")))
    });
    server
}

/// What the program says of the NAT between it and the server.
fn discovered(place: &Namespace) -> String {
    place.run(&format!("timeout 20 turnutils_natdiscovery -m -f -H {OUTSIDE}"))
}

#[test]
fn a_stun_client_finds_the_mapping_and_filtering_that_are_configured_and_hairpinning() {
    let [any, of_address, of_port] =
        ["Endpoint Independent", "Address Dependent", "Address and Port Dependent"];
    let behaviors = [
        ("", any, of_address),
        ("filtering = \"endpoint-independent\"", any, any),
        ("filtering = \"address-and-port-dependent\"", any, of_port),
        ("mapping = \"address-and-port-dependent\"", of_port, of_port),
    ];
    let town = Town::new("eth3");
    let vm1 = town.station("vm1");
    vm1.configure("10.0.0.11/24", "10.0.0.1");
    let _server = server(&town);
    let daemon = town.start(&config(behaviors[0].0), &["isp", "vm1"]);
    vm1.await_reach(OUTSIDE);
    for (settings, mapping, filtering) in behaviors {
        daemon.apply(&config(settings));
        let found = discovered(&vm1.namespace);
        for line in [format!("NAT with {mapping} Mapping!"), format!("NAT with {filtering} Filtering!")] {
            assert!(
                found.lines().any(|found| found == line),
                "with {settings:?}, {line:?} is not in\n{found}"
            );
        }
        // A mapping for one peer's port is nobody else's to use.
        let is_hairpinned = found.contains("hairpinning)");
        assert_eq!(is_hairpinned, mapping == any, "hairpinning, with {settings:?}:\n{found}");
        assert!(found.contains("UDP reflexive addr: 192.168.99.108:"), "{found}");
    }
}
