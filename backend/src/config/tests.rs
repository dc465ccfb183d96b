//! Every way to be wrong, once; and every example, right.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::schema::{self, Support};
use super::*;
use wrong::{Case, WRONG};

mod documents;
mod gateways;
mod groups;
mod interfaces;
mod json_schema;
mod limits;
mod overlays;
mod port_security;
mod qos;
mod trees;
mod vlans;
mod wrong;

/// A machine with processors 0 to 3 and the groups kvm and vm.
struct TestHost;

impl Host for TestHost {
    fn cpus(&self) -> Vec<usize> {
        vec![0, 1, 2, 3]
    }
    fn has_group(&self, name: &str) -> bool {
        ["kvm", "vm"].contains(&name)
    }
}

fn right(text: &str) -> Config {
    parse(text.as_bytes(), "x.toml", &TestHost).unwrap().config
}

fn wrong(text: &str) -> Vec<Problem> {
    parse(text.as_bytes(), "x.toml", &TestHost).unwrap_err().problems().to_vec()
}

/// A text, its line, field, part of what was found, part of what would be right.
type Told = (&'static str, usize, &'static str, &'static str, &'static str);

/// Each text has one mistake, which is told where it stands. All that are told otherwise are shown at once.
fn assert_told<'t>(cases: impl IntoIterator<Item = (String, &'t Told)>) {
    let mut missed = Vec::new();
    for (text, (_, line, field, found, expected)) in cases {
        let problems = wrong(&text);
        let is_told = problems.len() == 1
            && (problems[0].line, problems[0].field.as_str()) == (*line, *field)
            && problems[0].found.contains(found)
            && problems[0].expected.contains(expected);
        if !is_told {
            missed.push(format!("{text}\n{problems:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}

/// What [`assert_told`] wants of texts that are whole as they stand.
fn whole(cases: &[Told]) -> impl Iterator<Item = (String, &Told)> {
    cases.iter().map(|case| (case.0.to_owned(), case))
}

const LAB: &str = "[network.lab]\n";

#[test]
fn each_field_wrong_once_names_line_column_field_finding_and_remedy() {
    for (text, line, column, field, found, expected) in WRONG {
        let problems = wrong(text);
        assert_eq!(problems.len(), 1, "{text}\n{problems:#?}");
        let problem = &problems[0];
        assert_eq!(
            (problem.line, problem.column, problem.field.as_str()),
            (*line, *column, *field),
            "{text}"
        );
        assert!(problem.found.contains(found), "{text}\n{problem}");
        assert!(problem.expected.contains(expected), "{text}\n{problem}");
    }
}

#[test]
fn every_field_of_the_schema_is_wrong_in_some_case() {
    for table in schema::TABLES {
        for field in table.fields.iter().filter(|field| field.support != Support::Later) {
            let heading = table.heading.replace("NAME", "vm1");
            let path =
                if heading.is_empty() { field.name.to_owned() } else { format!("{heading}.{}", field.name) };
            let same = |case: &&Case| case.3 == path || case.3 == path.replace("network.vm1", "network.lab");
            assert!(
                WRONG.iter().any(|case| same(&case))
                    || interfaces::has_case(&path)
                    || vlans::has_case(&path)
                    || trees::has_case(&path)
                    || port_security::has_case(&path)
                    || groups::has_case(&path)
                    || gateways::has_case(&path)
                    || overlays::has_case(&path)
                    || qos::has_case(&path),
                "no case for {path}"
            );
        }
    }
}

#[test]
fn every_later_field_is_refused_by_name() {
    for (table, text) in [
        (&schema::TOP, ""),
        (&schema::NETWORK, LAB),
        (&schema::PORT, "[network.lab]\n[port.a]\nnetwork='lab'\n"),
        (&schema::UPLINK, "[uplink.wan]\ninterface='eth1'\n"),
    ] {
        for field in table.fields.iter().filter(|field| field.support == Support::Later) {
            let problems = wrong(&format!("{text}{} = 1", field.name));
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].expected.contains("this version cannot do"), "{problems:?}");
        }
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_lines() {
    let text = "[port.b]\nmtu = 1\nnetwork = 'x'\n[port.a]\nqueues = 0\ncolour = 1\n[switch]\npolling = 1\n";
    let fields: Vec<String> = wrong(text).into_iter().map(|problem| problem.field).collect();
    let expected = [
        "port.b.mtu",
        "port.b.network",
        "port.a.network",
        "port.a.queues",
        "port.a.colour",
        "switch.polling",
    ];
    assert_eq!(fields, expected);
}

#[test]
fn a_message_names_file_line_column_and_field() {
    let error = parse(b"[network.lab]\nageing = 5", "/etc/x.toml", &TestHost).unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("/etc/x.toml:2:10: network.lab.ageing: found 5, expected a duration"), "{text}");
}

#[test]
fn columns_count_characters() {
    let problems = wrong("switch = { state_dir = '/ä/ö', polling = 'ü' }");
    assert_eq!((problems[0].line, problems[0].column), (1, 42));
}

#[test]
fn the_smallest_file_gets_every_default() {
    let config = right("[network.lab]\n[port.vm1]\nnetwork = 'lab'");
    assert_eq!(
        config.switch,
        SwitchSettings { socket_group: Some("kvm".to_owned()), ..SwitchSettings::default() }
    );
    assert_eq!(
        config.networks["lab"],
        Network {
            mode: NetworkMode::Isolated,
            uplink: None,
            vlan: None,
            inner_tags: false,
            tenant: None,
            parallel_uplinks: Vec::new(),
            stp: None,
            ageing: Duration::from_secs(300),
            multicast_snooping: true,
            multicast_membership: Duration::from_secs(260),
            multicast_fast_leave: false,
            segment: None,
            gateway: GatewaySettings::default(),
            overlay: None,
        }
    );
    let end = VhostUser {
        socket: PathBuf::from("/run/viaduct/vm1.sock"),
        role: Role::Server,
        mac: default_mac("vm1"),
        queues: 1,
    };
    let port = Port {
        membership: Membership::Access("lab".to_owned()),
        priority: Priority::default(),
        attachment: Attachment::VhostUser(end),
        mtu: 1500,
        storm: StormLimits::default(),
        judging: viaduct_switch::JudgeLimits::default(),
        qos: None,
        multicast_router: false,
        security: None,
        groups: None,
        addresses: Vec::new(),
        floating: Vec::new(),
        publish: Vec::new(),
    };
    assert_eq!(config.ports["vm1"], port);
}

#[test]
fn a_port_in_full_is_read_as_written() {
    let config = right(
        "[switch]\nruntime_dir = '/tmp/v'\nstate_dir = '/tmp/s'\ncpus = [3, 1]\npolling = 'busy'\nsocket_mode = '0600'\n\
         socket_group = 'kvm'\napi_mode = '0660'\napi_group = 'vm'\n[network.n]\nmode = 'isolated'\nageing = '1h'\n[port.p]\nnetwork = 'n'\ntype = 'vhost-user'\n\
         socket = '/tmp/x'\nrole = 'client'\nmac = '52:54:00:AB:cd:03'\nqueues = 0x80\nmtu = 9_000\n",
    );
    let settings = &config.switch;
    assert_eq!(
        (settings.cpus.as_slice(), settings.polling, settings.socket_mode),
        ([3, 1].as_slice(), Polling::Busy, 0o600)
    );
    assert_eq!(settings.socket_group.as_deref(), Some("kvm"));
    assert_eq!((settings.api_mode, settings.api_group.as_deref()), (0o660, Some("vm")));
    assert_eq!(settings.api_socket(), Path::new("/tmp/v/api.sock"));
    assert_eq!(config.networks["n"].ageing, Duration::from_secs(3600));
    let port = &config.ports["p"];
    let end = port.vhost_user().unwrap();
    assert_eq!((end.role, end.queues, port.mtu), (Role::Client, 128, 9000));
    assert_eq!(end.mac.to_string(), "52:54:00:ab:cd:03");
}

/// Guests keep these addresses over every update: this test must never be changed.
#[test]
fn the_address_made_from_a_name_never_changes() {
    assert_eq!(default_mac("vm1").to_string(), "52:54:00:9a:e9:3f");
    assert_eq!(default_mac("vm2").to_string(), "52:54:00:a5:eb:82");
}

#[test]
fn made_addresses_that_collide_are_reported_with_a_free_one() {
    let mut seen = std::collections::HashMap::new();
    let (a, b) =
        (0..).find_map(|n| seen.insert(default_mac(&format!("p{n}")), n).map(|first| (first, n))).unwrap();
    let text = format!("[network.n]\n[port.p{a}]\nnetwork='n'\n[port.p{b}]\nnetwork='n'\n");
    let problems = wrong(&text);
    assert_eq!(problems.len(), 1);
    let free = problems[0].expected.split('"').rev().nth(1).unwrap();
    let mended = problems[0].field.trim_end_matches(".mac");
    let text = text.replace(&format!("[{mended}]\n"), &format!("[{mended}]\nmac = \"{free}\"\n"));
    right(&text);
    // In another network the same address harms nobody.
    right(&format!("[network.n]\n[network.m]\n[port.p{a}]\nnetwork='n'\n[port.p{b}]\nnetwork='m'\n"));
}

#[test]
fn storm_limits_are_the_ports_own_or_the_switchs_or_the_default() {
    let config = right(
        "[switch.storm]\nbroadcast = '500pps'\nmulticast = 'unlimited'\n[network.n]\n[port.a]\nnetwork = 'n'\n\
         [port.b]\nnetwork = 'n'\nstorm = { broadcast = '2kpps', unknown_unicast = 'unlimited' }\n",
    );
    let limits = |port: &str| {
        let StormLimits { broadcast, multicast, unknown_unicast } = config.ports[port].storm;
        [broadcast, multicast, unknown_unicast].map(|limit| limit.map(viaduct_switch::FrameRate::per_second))
    };
    assert_eq!(limits("a"), [Some(500), None, Some(100_000)]);
    assert_eq!(limits("b"), [Some(2000), None, None]);
}

#[test]
fn a_missing_default_group_is_a_warning() {
    struct NoGroups;
    impl Host for NoGroups {
        fn cpus(&self) -> Vec<usize> {
            vec![2]
        }
        fn has_group(&self, _: &str) -> bool {
            false
        }
    }
    let loaded = parse(LAB.as_bytes(), "x", &NoGroups).unwrap();
    assert_eq!((loaded.config.switch.socket_group, loaded.config.switch.cpus), (None, vec![2]));
    assert!(loaded.warnings[0].contains("no group \"kvm\""));
}

#[test]
fn only_root_may_use_the_api_unless_a_group_is_named() {
    let settings = right(LAB).switch;
    assert_eq!((settings.api_mode, settings.api_group), (0o600, None));
    let told = |lines: &str| {
        let text = format!("{LAB}[switch]\n{lines}\n");
        parse(text.as_bytes(), "x", &TestHost).unwrap().warnings.join("\n")
    };
    assert_eq!(told("api_mode = '0660'\napi_group = 'vm'"), "");
    assert!(told("api_group = 'vm'").contains("\"0600\" keeps the group out"));
    assert!(told("api_mode = '0660'\napi_group = 'kvm'").contains("choose another group"));
    assert!(told("api_mode = '0666'\napi_group = 'vm'").contains("everybody on this machine"));
}

#[test]
fn the_api_listens_on_tcp_only_where_that_is_said_and_for_others_only_in_so_many_words() {
    assert_eq!(right(LAB).switch.api_listen, None);
    let told = |lines: &str| {
        let loaded = parse(format!("{LAB}[switch]\n{lines}\n").as_bytes(), "x", &TestHost).unwrap();
        (loaded.config.switch.api_listen.unwrap().to_string(), loaded.warnings.join("\n"))
    };
    let (address, warning) = told("api_listen = '[::1]:9477'");
    assert_eq!(address, "[::1]:9477");
    assert!(
        warning.contains("everybody on this machine") && warning.contains("no authorisation"),
        "{warning}"
    );
    let (address, warning) = told("api_listen = '192.0.2.1:9477'\napi_listen_public = true");
    assert_eq!(address, "192.0.2.1:9477");
    assert!(warning.contains("whoever reaches it"), "{warning}");
}

#[test]
fn an_empty_file_is_right_and_warned_about() {
    let loaded = parse(b"# nothing\n", "x", &TestHost).unwrap();
    assert_eq!(loaded.warnings, ["the file declares no network and no port"]);
}
