//! Security groups and port security, point by point, through real rings and by both versions of IP.
//!
//! | point | what is to hold | shown by |
//! |---|---|---|
//! | 1 | a new group lets all out and nothing in; `default` lets its members in | `point_01_*` |
//! | 2 | any rule of any group; nothing else; nothing that belongs to no connection | `point_02_*`, `socket_group_table.rs` |
//! | 3 | replies and ICMP errors pass, unless a group is stateless | `point_03_*` |
//! | 4 | what is taken away cuts, what is added disturbs nobody | `point_04_*`, `guest_tiers.rs` |
//! | 5 | overlapping addresses of networks never meet | `point_05_*` |
//! | 6 | remotes: prefix, group, address group; membership at once, at the cost of one member | `point_06_*`, `socket_group_table.rs`; control/tests/groups.rs: `one_membership_in_a_group_of_a_thousand_costs_less_than_a_millisecond` |
//! | 7 | rules that make no sense are refused by name | config/tests/groups.rs, switch security/tests/rules.rs, `point_07_*` |
//! | 8 | a port sends from its own addresses only, in ARP and ND too | `socket_spoofing.rs`, switch security/tests/spoofing.rs |
//! | 9 | without an address only what comes before one | the same |
//! | 10 | a guest is a DHCP client, no server and no router | the same |
//! | 11 | what no network can do without gets in | `point_11_*` |
//! | 12 | port security is an operator's setting | `point_12_*` |
//! | 13 | fragments are what their first one is | `point_13_*`, switch fragments/tests.rs |
//! | 14 | the sender's egress and the receiver's ingress rules both count | `point_14_*` |
//! | 15 | what is kept of decisions says what the rules say now | `point_15_*`; every test here runs with `verify_flow_cache` |
//! | 16 | no connection opens another one | `point_16_*` |
//! | 17 | a flood of connections costs its own port | `point_17_*`, switch conntrack/tests/bounds.rs |
#![allow(clippy::unwrap_used, reason = "a test")]

mod fragments;

use std::net::IpAddr;
use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::stations::{Body, Family, Flags, Stations, Talk, frame, frame_between};
use viaduct_tests::stream::mac;

/// How long nothing may come before it counts as "nothing came".
const QUIET: Duration = Duration::from_millis(60);

/// A port of station `number` in `network`, in these groups; without groups it is not filtered and may send anything.
fn port(name: &str, number: u8, network: &str, groups: &str) -> String {
    let mac = format!("mac = '02:00:00:00:00:{number:02x}'");
    let addresses = format!("addresses = ['10.0.0.{number}', 'fd00::{number:x}']");
    let membership = match groups {
        "" => "port_security = false".to_owned(),
        "default" => addresses,
        named => format!("{addresses}\ngroups = ['{}']", named.replace(',', "', '")),
    };
    format!("[port.{name}]\nnetwork = '{network}'\n{mac}\n{membership}\n")
}

/// `[group.NAME]` with these rules; egress by rules alone.
fn group(name: &str, rules: &[&str]) -> String {
    format!("[group.{name}]\negress = 'rules'\nrules = [{}]\n", rules.join(", "))
}

const WEB: &str = "{ direction = 'ingress', protocol = 'tcp', ports = 80 }";
const ALL_IN: &str = "{ direction = 'ingress' }";
const ALL_OUT: &str = "{ direction = 'egress' }";

fn lab(parts: &[String]) -> String {
    format!("[network.lab]\n{}", parts.concat())
}

#[test]
fn point_01_a_new_group_lets_all_out_and_nothing_in_and_default_lets_its_members_in() {
    let config = lab(&[
        "[group.new]\n[group.default]\n".to_owned(),
        port("a", 1, "lab", "default"),
        port("b", 2, "lab", "default"),
        port("c", 3, "lab", "new"),
        port("d", 4, "lab", ""),
    ]);
    let mut stage = Stations::new(&config, &[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    for family in Family::BOTH {
        let mut says = |from, to, number| stage.passes(family, from, to, &Body::Udp(number, 9));
        assert!(!says("d", "c", 1) && says("c", "d", 2), "{family:?}: a new group");
        assert!(!says("d", "a", 3) && !says("c", "a", 4) && says("a", "d", 5), "{family:?}: strangers");
        assert!(says("a", "b", 6) && says("b", "a", 7), "{family:?}: members of the default group");
    }
    assert_eq!(stage.dropped("c", "group-ingress"), 2);
    assert_eq!(stage.dropped("a", "group-ingress"), 4);
}

#[test]
fn point_02_any_rule_of_any_group_allows_and_what_belongs_to_nothing_is_dropped_by_name() {
    let second = "{ direction = 'ingress', protocol = 'tcp', ports = '81-82' }";
    let config = lab(&[
        group("one", &[WEB]),
        group("two", &[second]),
        port("vm", 1, "lab", "one,two"),
        port("d", 4, "lab", ""),
    ]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("d", 4)]);
    for family in Family::BOTH {
        for (number, expected) in [(79, false), (80, true), (81, true), (82, true), (83, false)] {
            let opened = stage.passes(family, "d", "vm", &Body::Syn(1000 + number, number));
            assert_eq!(opened, expected, "{family:?} {number}");
        }
        // In the midst of a connection that nobody opened, to a port that is open.
        let segment = Body::Segment([2000, 80], Flags::Ack, 1, 1, b"data".to_vec());
        assert!(!stage.passes(family, "d", "vm", &segment));
    }
    assert_eq!(stage.dropped("vm", "group-ingress"), 4);
    assert_eq!(stage.dropped("d", "ct-not-syn"), 2);
}

#[test]
fn point_03_replies_and_errors_about_what_was_allowed_pass_unless_a_group_is_stateless() {
    let flat = "[group.flat]\nstateful = false\negress = 'rules'\n\
                rules = [{ direction = 'egress', protocol = 'udp' }]\n";
    let config = lab(&[
        "[group.new]\n".to_owned(),
        flat.to_owned(),
        port("vm", 1, "lab", "new"),
        port("flat", 2, "lab", "flat"),
        port("d", 4, "lab", ""),
    ]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("flat", 2), ("d", 4)]);
    for family in Family::BOTH {
        let asked = |from| frame(family, from, 4, &Body::Udp(50, 53));
        let about = |from| Body::unreachable(family, &asked(from));
        assert!(!stage.passes(family, "d", "vm", &Body::Udp(53, 50)), "{family:?}: before it was asked");
        assert!(!stage.passes(family, "d", "vm", &about(1)), "{family:?}: an error about nothing");
        assert!(stage.carries("vm", "d", &asked(1)));
        assert!(stage.passes(family, "d", "vm", &Body::Udp(53, 50)), "{family:?}: the reply");
        assert!(stage.passes(family, "d", "vm", &about(1)), "{family:?}: the error");
        assert!(!stage.passes(family, "d", "vm", &Body::Udp(54, 50)), "{family:?}: from another port");
        assert!(stage.passes(family, "vm", "d", &Body::ping(family, 7)));
        assert!(stage.passes(family, "d", "vm", &Body::pong(family, 7)), "{family:?}");
        assert!(!stage.passes(family, "d", "vm", &Body::pong(family, 8)), "{family:?}: no such request");
        assert!(!stage.passes(family, "d", "vm", &Body::ping(family, 7)), "{family:?}: a request back");
        let mut talk = Talk::open(&mut stage, family, ("vm", 4000), ("d", 80)).unwrap();
        assert!(talk.goes_on(&mut stage));
        assert!(stage.carries("flat", "d", &asked(2)));
        assert!(!stage.passes(family, "d", "flat", &Body::Udp(53, 50)), "{family:?}: stateless");
        assert!(!stage.passes(family, "d", "flat", &about(2)), "{family:?}: stateless");
    }
}

/// The two tiers of the scenario, with a place from which both are administered.
fn tiers() -> String {
    let web = "{ direction = 'ingress', protocol = 'tcp', ports = 8080 }, \
               { direction = 'ingress', protocol = 'tcp', ports = 22, remote_address_group = 'admins' }";
    let db = "{ direction = 'ingress', protocol = 'tcp', ports = 3306, remote_group = 'web' }, \
              { direction = 'ingress', protocol = 'tcp', ports = 22, remote_address_group = 'admins' }";
    lab(&[
        "[address_group.admins]\naddresses = ['10.0.0.4', 'fd00::4']\n[group.new]\n".to_owned(),
        format!("[group.web]\nrules = [{web}]\n[group.db]\nrules = [{db}]\n"),
        port("web", 1, "lab", "web"),
        port("db", 2, "lab", "db"),
        port("admin", 4, "lab", ""),
    ])
}

#[test]
fn point_04_what_is_taken_away_cuts_at_the_next_packet_and_what_is_added_disturbs_nobody() {
    let mut stage = Stations::new(&tiers(), &[("web", 1), ("db", 2), ("admin", 4)]);
    for family in Family::BOTH {
        let open = |stage: &mut Stations, number, from, to| Talk::open(stage, family, (from, number), to);
        let mut query = open(&mut stage, 4000, "web", ("db", 3306)).unwrap();
        let mut shell = open(&mut stage, 4001, "admin", ("db", 22)).unwrap();
        let mut page = open(&mut stage, 4002, "admin", ("web", 8080)).unwrap();
        let all = |stage: &mut Stations, talks: [&mut Talk; 3]| talks.map(|talk| talk.goes_on(stage));
        assert_eq!(all(&mut stage, [&mut query, &mut shell, &mut page]), [true; 3]);
        // A member goes: only what needed it ends, whoever speaks next.
        stage.set_groups("web", "new");
        assert!(!query.says(&mut stage, 1, b"from the server"), "{family:?}");
        assert!(!query.says(&mut stage, 0, b"from the client"), "{family:?}");
        assert!(open(&mut stage, 4003, "web", ("db", 3306)).is_none(), "{family:?}");
        assert!(shell.goes_on(&mut stage), "{family:?}: nothing was taken away from it");
        assert!(!page.says(&mut stage, 0, b"GET"), "{family:?}: the port's own rules are gone, too");
        // It comes back; others' connections do not notice, and new ones open at once.
        stage.set_groups("web", "web");
        let mut again = open(&mut stage, 4004, "web", ("db", 3306)).unwrap();
        assert!(again.goes_on(&mut stage) && shell.goes_on(&mut stage), "{family:?}");
        // A rule goes, and another one comes.
        let ssh = "{ direction = 'ingress', protocol = 'tcp', ports = 22, remote_address_group = 'admins' }]\n[port.web]";
        let other =
            "{ direction = 'ingress', protocol = 'tcp', ports = 5432, remote_group = 'web' }]\n[port.web]";
        stage.daemon.apply(&tiers().replace(ssh, other));
        assert!(!shell.says(&mut stage, 0, b"ls"), "{family:?}");
        assert!(again.goes_on(&mut stage), "{family:?}");
        assert!(open(&mut stage, 4005, "web", ("db", 5432)).is_some(), "{family:?}");
        stage.daemon.apply(&tiers());
        assert!(again.goes_on(&mut stage), "{family:?}");
    }
}

#[test]
fn point_05_tenants_with_the_same_addresses_never_meet() {
    let rules =
        format!("[group.web]\n[group.db]\nrules = [{}]\n", WEB.replace(" }", ", remote_group = 'web' }"));
    let tenants = "[network.one]\n[network.two]\n[network.three]\ntenant = 'two'\n";
    let ports = [
        port("web1", 1, "one", "web"),
        port("db1", 2, "one", "db"),
        port("plain2", 1, "two", "db"),
        port("db2", 2, "two", "db"),
        port("web3", 9, "three", "web"),
        port("d2", 9, "two", ""),
    ];
    let config = format!("{tenants}{rules}{}", ports.concat());
    let stations = [("web1", 1), ("db1", 2), ("plain2", 1), ("db2", 2), ("web3", 9), ("d2", 9)];
    let mut stage = Stations::new(&config, &stations);
    for family in Family::BOTH {
        let mut talk = Talk::open(&mut stage, family, ("web1", 4000), ("db1", 80)).unwrap();
        assert!(talk.goes_on(&mut stage));
        // The very same tuple in the other network is no part of it, and its sender no member there.
        let segment = Body::Segment([4000, 80], Flags::Ack, 1010, 2010, b"data".to_vec());
        assert!(!stage.passes(family, "plain2", "db2", &segment), "{family:?}");
        assert!(!stage.passes(family, "plain2", "db2", &Body::Syn(4000, 80)), "{family:?}");
        // Its own tenant's member in another network has this address.
        assert!(Talk::open(&mut stage, family, ("d2", 4000), ("db2", 80)).is_some(), "{family:?}");
        assert!(talk.goes_on(&mut stage), "{family:?}");
        stage.drain("db2");
        stage.send("web1", &frame(family, 1, 2, &Body::Syn(4001, 80)));
        assert_eq!(stage.collect("db2", QUIET), [] as [Vec<u8>; 0], "{family:?}: nothing crosses");
    }
    assert_eq!(stage.dropped("plain2", "ct-not-syn"), 2);
    assert_eq!(stage.dropped("db2", "group-ingress"), 2);
}

#[test]
fn point_06_a_member_counts_with_all_of_its_addresses_and_at_once() {
    let pairs = "allowed_address_pairs = [{ address = '10.0.0.100' }, { address = 'fd00:9::/64' }]\n";
    let config = lab(&[
        format!(
            "[group.web]\n[group.new]\n[group.db]\nrules = [{}]\n",
            WEB.replace(" }", ", remote_group = 'web' }")
        ),
        port("vm", 1, "lab", "web") + pairs,
        port("db", 2, "lab", "db"),
    ]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("db", 2)]);
    let addresses: [(&str, Family); 4] = [
        ("10.0.0.1", Family::V4),
        ("10.0.0.100", Family::V4),
        ("fd00::1", Family::V6),
        ("fd00:9::77", Family::V6),
    ];
    let mut number = 4000;
    for (is_member, groups) in [(true, "web"), (false, "new"), (true, "new,web")] {
        stage.set_groups("vm", groups);
        for (address, family) in addresses {
            number += 1;
            let from: (_, IpAddr) = (mac(1), address.parse().unwrap());
            let frame = frame_between(from, (mac(2), family.address(2)), &Body::Syn(number, 80));
            assert_eq!(stage.carries("vm", "db", &frame), is_member, "{address} in {groups}");
        }
    }
}

#[test]
fn point_07_a_rule_that_makes_no_sense_is_refused_with_its_place_in_its_group() {
    let daemon = Daemon::start("[network.lab]\n");
    let wrong = "[network.lab]\n[group.web]\nrules = [\n  { direction = 'ingress', protocol = 'tcp', ports = 80 },\n  \
                 { direction = 'ingress', ports = 80 },\n]\n";
    let output = daemon.try_apply(wrong);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && told.contains(":5:36: "), "{told}");
    assert!(told.contains("group.web.rules[1].ports") && told.contains("protocol"), "{told}");
}

/// What a router, a DHCP server and neighbours send, for a port into which no rule lets anything: scapy's bytes would be the
/// same; they are few enough to be written here.
#[test]
fn point_11_what_no_network_can_do_without_gets_in_and_nothing_that_looks_like_it() {
    let trusted = port("router", 3, "lab", "")
        .replace("port_security = false", "addresses = ['10.0.0.3', 'fd00::3']\ntrusted = true");
    let config = lab(&[
        "[group.new]\n".to_owned(),
        port("vm", 1, "lab", "new"),
        trusted,
        port("d", 4, "lab", ""),
        port("guest", 5, "lab", "new"),
    ]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("router", 3), ("d", 4), ("guest", 5)]);
    let local = |number: u8| -> IpAddr { format!("fe80::ff:fe00:{number:x}").parse().unwrap() };
    let icmp = |number: u8, kind: u8, hops: u8, data: &[u8]| {
        let mut bytes = frame_between(
            (mac(number.into()), local(number)),
            (mac(1), local(1)),
            &Body::Icmp(kind, 0, [0; 4], data.to_vec()),
        );
        bytes[21] = hops;
        bytes
    };
    let target =
        |number: u8| local(number).to_string().parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
    let offer = |number: u8| {
        let from = (mac(number.into()), Family::V4.address(number));
        frame_between(from, (mac(1), Family::V4.address(1)), &Body::Udp(67, 68))
    };
    let offer6 = |number: u8| {
        frame_between((mac(number.into()), local(number)), (mac(1), local(1)), &Body::Udp(547, 546))
    };
    // Of neighbour discovery everything is checked but that it comes from next door (RFC 4861, 7.1).
    assert!(stage.carries("guest", "vm", &icmp(5, 135, 255, &target(1))), "a neighbour solicitation");
    assert!(stage.carries("guest", "vm", &icmp(5, 136, 255, &target(5))), "a neighbour advertisement");
    assert!(stage.carries("router", "vm", &icmp(3, 134, 255, &[0; 8])), "the router's advertisement");
    assert!(stage.carries("router", "vm", &offer(3)) && stage.carries("router", "vm", &offer6(3)), "DHCP");
    assert!(!stage.carries("guest", "vm", &icmp(5, 134, 255, &[0; 8])), "a guest is no router");
    assert!(!stage.carries("guest", "vm", &offer(5)) && !stage.carries("guest", "vm", &offer6(5)));
    for (reason, count) in [("rogue-router", 1), ("rogue-dhcp", 2)] {
        assert_eq!(stage.dropped("guest", reason), count, "{reason}");
    }
    // Next to them: a ping, a datagram to the client's port from elsewhere.
    assert!(!stage.carries("router", "vm", &icmp(3, 128, 64, &[0; 8])));
    assert!(!stage.passes(Family::V4, "router", "vm", &Body::Udp(66, 68)));
    assert!(!stage.passes(Family::V6, "router", "vm", &Body::Udp(547, 547)));
}

#[test]
fn point_12_groups_need_port_security_and_a_guest_cannot_turn_it_off() {
    let config = lab(&["[group.new]\n".to_owned(), port("vm", 1, "lab", "new"), port("d", 4, "lab", "")]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("d", 4)]);
    let refused = stage.daemon.command(&["port", "set", "d", "--groups", "new"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("port d has no port security"), "{told}");
    let beside = config.replace("groups = ['new']", "groups = ['new']\nport_security = false");
    let refused = stage.daemon.try_apply(&beside);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("port.vm.groups"), "{told}");
    for family in Family::BOTH {
        let stolen =
            frame_between((mac(1), family.address(9)), (mac(4), family.address(4)), &Body::Udp(1, 2));
        assert!(!stage.carries("vm", "d", &stolen), "{family:?}");
    }
}

#[test]
fn point_14_the_senders_egress_and_the_receivers_ingress_rules_both_count() {
    let to_web = "{ direction = 'egress', protocol = 'tcp', ports = 80 }";
    let config = lab(&[
        group("closed", &[]),
        group("opened", &[ALL_IN, ALL_OUT]),
        group("sends", &[to_web]),
        group("takes", &[WEB]),
        port("a", 1, "lab", "closed"),
        port("b", 2, "lab", "closed"),
    ]);
    let mut stage = Stations::new(&config, &[("a", 1), ("b", 2)]);
    let mut number = 4000;
    for family in Family::BOTH {
        let cases = [
            ("opened", "opened", Ok(())),
            ("sends", "takes", Ok(())),
            ("closed", "opened", Err(("a", "group-egress"))),
            ("opened", "closed", Err(("b", "group-ingress"))),
            ("closed", "closed", Err(("a", "group-egress"))),
        ];
        for (sender, receiver, expected) in cases {
            stage.set_groups("a", sender);
            stage.set_groups("b", receiver);
            number += 1;
            let before = expected.map_err(|(port, reason)| stage.dropped(port, reason));
            let opened = Talk::open(&mut stage, family, ("a", number), ("b", 80)).is_some();
            let after = expected.map_err(|(port, reason)| stage.dropped(port, reason));
            assert_eq!(opened, expected.is_ok(), "{family:?} {sender} {receiver}");
            assert_eq!(after, before.map_err(|count| count + 1), "{family:?} {sender} {receiver}");
        }
    }
}

#[test]
fn point_15_what_is_kept_of_decisions_says_what_the_rules_say_now() {
    let config = lab(&[
        group("web", &[WEB]),
        group("closed", &[]),
        port("vm", 1, "lab", "web"),
        port("d", 4, "lab", ""),
    ]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("d", 4)]);
    for family in Family::BOTH {
        for number in 4000..4005 {
            stage.set_groups("vm", "web");
            let mut talk = Talk::open(&mut stage, family, ("d", number), ("vm", 80)).unwrap();
            assert!((0..4).all(|_| talk.goes_on(&mut stage)), "{family:?}");
            // The same addresses and the same frame kind, of another port: nothing that is kept lets it in.
            assert!(!stage.passes(family, "d", "vm", &Body::Syn(number, 81)), "{family:?}");
            stage.set_groups("vm", "closed");
            assert!((0..4).all(|_| !talk.says(&mut stage, 0, b"x")), "{family:?}");
        }
    }
    let workers = stage.daemon.show_json()["workers"].as_array().unwrap().clone();
    let count =
        |name: &str| workers.iter().map(|worker| worker["flow_cache"][name].as_u64().unwrap()).sum::<u64>();
    assert!(count("hits") > 50 && count("mismatched") == 0, "{workers:?}");
}

#[test]
fn point_16_no_connection_opens_another_one() {
    let config = lab(&["[group.new]\n".to_owned(), port("vm", 1, "lab", "new"), port("d", 4, "lab", "")]);
    let mut stage = Stations::new(&config, &[("vm", 1), ("d", 4)]);
    for family in Family::BOTH {
        let mut control = Talk::open(&mut stage, family, ("vm", 4000), ("d", 21)).unwrap();
        // RFC 959, 4.1.2; RFC 2428, 2: "connect to my port 4001".
        let offers = ["PORT 10,0,0,1,15,161\r\n", "EPRT |2|fd00::1|4001|\r\n"];
        assert!(offers.iter().all(|offer| control.says(&mut stage, 0, offer.as_bytes())));
        assert!(!stage.passes(family, "d", "vm", &Body::Syn(20, 4001)), "{family:?}");
        assert!(control.goes_on(&mut stage));
    }
}

#[test]
fn point_17_a_flood_of_connections_costs_its_own_port() {
    let config = lab(&[
        group("opened", &[ALL_IN, ALL_OUT]),
        port("a", 1, "lab", "opened"),
        port("b", 2, "lab", "opened"),
        port("flooder", 3, "lab", "opened"),
    ]);
    let daemon = Daemon::start_with("connections = 1024", &config);
    let mut stage = Stations::on(daemon, &[("a", 1), ("b", 2), ("flooder", 3)]);
    for family in Family::BOTH {
        let mut open: Vec<Talk> = (0..50)
            .map(|number| Talk::open(&mut stage, family, ("a", 4000 + number), ("b", 80)).unwrap())
            .collect();
        // Four times what the table has room for.
        for number in 0..4096_u16 {
            stage.send("flooder", &frame(family, 3, 2, &Body::Syn(10_000 + number, 80)));
            if number.is_multiple_of(64) {
                stage.drain("b");
            }
        }
        assert!(open.iter_mut().all(|talk| talk.goes_on(&mut stage)), "{family:?}");
        assert!(Talk::open(&mut stage, family, ("a", 5000), ("b", 80)).is_some(), "{family:?}");
    }
}
