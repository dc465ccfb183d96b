//! Ports' addresses and what the outside reaches of them, and routers.

use super::Told;

/// Behind [`HOME`](super::HOME) and [`SUBNETS`](super::SUBNETS): lines from 8.
pub(super) const OTHERS: &[Told] = &[
    // ports
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.1.5']",
        10,
        "port.vm1.addresses",
        "10.0.1.5",
        "10.0.0.0/24, network.lab's",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.1']",
        10,
        "port.vm1.addresses",
        "10.0.0.1",
        "gateway (line 7)",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.255']",
        10,
        "port.vm1.addresses",
        "10.0.0.255",
        "to 10.0.0.254",
    ),
    ("mtu = 1500\n[port.vm1]\nnetwork = 'lab'\nmtu = 1400", 11, "port.vm1.mtu", "1400", "1500 at least"),
    ("[port.vm1]\nnetwork = 'lab'\nmtu = 1200", 10, "port.vm1.mtu", "1200", "1280 at least"),
    ("[port.vm1]\nnetwork = 'lab'\nfloating = 1", 10, "port.vm1.floating", "1", "an IPv4 address"),
    (
        "[port.vm1]\nnetwork = 'lab'\nfloating = '192.168.99.9'",
        10,
        "port.vm1.floating",
        "0 of them",
        "an IPv4 address",
    ),
    ("[port.vm1]\nnetwork = 'lab'\npublish = '80:80'", 10, "port.vm1.publish", "80:80", "a list like"),
    (
        "[port.vm1]\nnetwork = 'lab'\npublish = ['80']",
        10,
        "port.vm1.publish[0]",
        "\"80\"",
        "like \"10080:80/tcp\"",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.108'",
        11,
        "port.vm1.floating",
        "192.168.99.108",
        "another address than uplink.isp (line 3)",
    ),
    (
        "[port.vm1]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = ['192.168.99.7', '192.168.99.8']",
        11,
        "port.vm1.floating",
        "1 of them",
        "2 IPv4 addresses",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.7'\n\
         [port.b]\nnetwork = 'lab'\naddresses = ['10.0.0.6']\nfloating = '192.168.99.7'",
        15,
        "port.b.floating",
        "192.168.99.7",
        "port.a (line 11) has it",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\npublish = ['80-90:80-90']\n\
         [port.b]\nnetwork = 'lab'\naddresses = ['10.0.0.6']\npublish = ['192.168.99.108:85:80']",
        15,
        "port.b.publish",
        "192.168.99.108:85:80/tcp",
        "port.a (line 11) has them",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.7'\n\
         [port.b]\nnetwork = 'lab'\naddresses = ['10.0.0.6']\npublish = ['192.168.99.7:85:80']",
        15,
        "port.b.publish",
        "192.168.99.7:85:80/tcp",
        "all of it is port.a's (line 11)",
    ),
    (
        "snat = [{ source = '10.0.0.0/24', to = '192.168.99.7-192.168.99.9' }]\n\
         [port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.8'",
        8,
        "network.lab.snat",
        "192.168.99.7-192.168.99.9",
        "port.a (line 12) has 192.168.99.8",
    ),
    (
        "snat = [{ source = '10.0.0.0/24', to = ['192.168.99.5', '192.168.99.8'] }]\n\
         [port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '192.168.99.8'",
        8,
        "network.lab.snat",
        "\"192.168.99.8\"",
        "port.a (line 12) has 192.168.99.8",
    ),
    (
        "[network.b]\n[port.a]\nnetwork = 'b'\npublish = ['80:80']",
        11,
        "port.a.publish",
        "the field",
        "is isolated",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\nfloating = '10.0.0.77'",
        11,
        "port.a.floating",
        "10.0.0.77",
        "those in 10.0.0.0/24 are network.lab's own (line 7)",
    ),
    (
        "[port.a]\nnetwork = 'lab'\naddresses = ['10.0.0.5']\npublish = ['10.0.0.5:80:80']",
        11,
        "port.a.publish",
        "10.0.0.5:80:80/tcp",
        "those in 10.0.0.0/24 are network.lab's own (line 7)",
    ),
    // routers
    (
        "[router.vm1]\nnetworks = ['lab']\nroutes = [{ to = 'default', via = '10.0.0.9' }]",
        10,
        "router.vm1.routes[0].to",
        "\"default\"",
        "\"0.0.0.0/0\" or \"::/0\"",
    ),
    ("[router]\nvm1 = 1", 9, "router.vm1", "1", "a table"),
    ("[router.vm1]", 8, "router.vm1.networks", "nothing", "a list of networks' names"),
    ("[router.vm1]\nnetworks = []", 9, "router.vm1.networks", "no network", "a list of networks' names"),
    ("[router.vm1]\nnetworks = ['leb']", 9, "router.vm1.networks[0]", "\"leb\"", "\"lab\", the nearest"),
    (
        "[network.b]\n[router.r]\nnetworks = ['lab', 'b']",
        10,
        "router.r.networks",
        "\"b\"",
        "`subnets`: give network.b (line 8)",
    ),
    (
        "[network.b]\nsubnets = ['10.0.0.128/25']\n[router.r]\nnetworks = ['lab', 'b']",
        11,
        "router.r.networks",
        "\"b\"",
        "no address in common",
    ),
    (
        "[router.a]\nnetworks = ['lab']\n[router.b]\nnetworks = ['lab']",
        11,
        "router.b.networks",
        "\"lab\"",
        "router.a (line 8) has it",
    ),
    ("[router.vm1]\nnetworks = ['lab']\nroutes = 1", 10, "router.vm1.routes", "1", "a list of tables"),
    (
        "[router.vm1]\nnetworks = ['lab']\nroutes = [{ via = '10.0.0.9' }]",
        10,
        "router.vm1.routes[0].to",
        "nothing",
        "a prefix",
    ),
    (
        "[router.vm1]\nnetworks = ['lab']\nroutes = [{ to = '0.0.0.0/0' }]",
        10,
        "router.vm1.routes[0].via",
        "nothing",
        "the next router",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '::/0', via = '10.0.0.9' }]",
        10,
        "router.r.routes[0].via",
        "10.0.0.9",
        "of IPv6",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.9.0.0/16', via = '10.1.0.9' }]",
        10,
        "router.r.routes",
        "10.9.0.0/16 via 10.1.0.9",
        "in 10.0.0.0/24, fd00:2::/64, 192.168.99.0/24",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.9.0.0/16', via = '10.0.0.1' }]",
        10,
        "router.r.routes",
        "via 10.0.0.1",
        "a gateway of its own",
    ),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.0.0.0/24', via = '10.0.0.9' }]",
        10,
        "router.r.routes",
        "10.0.0.0/24 via",
        "none of the networks' own",
    ),
    // a network whose name that of an uplink's address has
    ("[network.isp]", 8, "network.isp", "the name \"isp\"", "uplink.isp (line 1)"),
    (
        "[router.r]\nnetworks = ['lab']\nroutes = [{ to = '10.9.0.0/16', via = '10.0.0.9' }, { to = '10.9.0.0/16', via = \
         '10.0.0.8' }]",
        10,
        "router.r.routes[1].to",
        "10.9.0.0/16",
        "via 10.0.0.9 already",
    ),
];
