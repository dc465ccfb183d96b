//! Spanning trees of networks.

use viaduct_switch::spanning_tree::{EdgePort, Version};

use super::*;

const UPLINKS: &str =
    "[uplink.a]\ninterface = 'a'\n[uplink.b]\ninterface = 'b'\n[uplink.c]\ninterface = 'c'\n";

fn network(lines: &str) -> String {
    format!("{UPLINKS}[network.n]\nmode = 'bridged'\n{lines}\n")
}

#[test]
fn a_network_with_parallel_uplinks_has_a_tree_if_it_asks_for_one() {
    let config = right(&network("uplink = 'a'\nparallel_uplinks = ['c']\nstp = 'rstp'\nstp_priority = 4096"));
    assert_eq!(config.networks["n"].uplinks().collect::<Vec<_>>(), ["a", "c"]);
    let trees = config.trees();
    assert_eq!(trees.len(), 1);
    assert_eq!((trees[0].settings.version, trees[0].settings.priority), (Version::Rstp, 4096));
    assert_eq!(trees[0].uplinks.keys().collect::<Vec<_>>(), ["a", "c"]);
    assert!(right(&network("uplink = 'a'\nstp = 'off'")).trees().is_empty());
    assert!(right(&network("uplink = 'a'")).trees().is_empty());
    assert!(right("[network.n]\nstp = 'rstp'").trees().is_empty(), "without an uplink there is no circle");
}

#[test]
fn a_trees_times_are_what_is_said_and_else_the_standards() {
    let settings =
        |lines: &str| right(&network(&format!("uplink = 'a'\nstp = 'rstp'\n{lines}"))).trees()[0].settings;
    let times = |stp: TreeSettings| (stp.hello_time_s, stp.max_age_s, stp.forward_delay_s);
    assert_eq!(times(settings("")), (2, 20, 15));
    let fast = "stp_hello_time = '1s'\nstp_max_age = '6s'\nstp_forward_delay = '4000ms'";
    assert_eq!(times(settings(fast)), (1, 6, 4));
    let slow = "stp_max_age = '40s'\nstp_forward_delay = '30s'";
    assert_eq!(times(settings(slow)), (2, 40, 30));
    assert_eq!(times(settings("stp_forward_delay = '11s'")), (2, 20, 11), "2 x (11 - 1) is just enough");
    for lines in ["", fast, slow] {
        assert_eq!(settings(lines).check(), Ok(()), "{lines}");
    }
}

#[test]
fn times_that_do_not_go_together_are_refused_with_what_would_help() {
    let cases = [
        (
            "stp_forward_delay = '10s'",
            "stp_forward_delay",
            6,
            "a forward delay of 10 s with a max age of 20 s",
        ),
        ("stp_max_age = '29s'", "stp_max_age", 6, "a forward delay of 15 s with a max age of 29 s"),
        (
            "stp_max_age = '7s'\nstp_forward_delay = '4s'",
            "stp_forward_delay",
            7,
            "a forward delay of 4 s with",
        ),
    ];
    let remedies = [("\"11s\"", "\"18s\""), ("\"16s\"", "\"28s\""), ("\"5s\"", "\"6s\"")];
    for ((lines, field, line, found), (delay, age)) in cases.into_iter().zip(remedies) {
        let text = format!(
            "[uplink.a]\ninterface = 'a'\n[network.n]\nmode = 'bridged'\nuplink = 'a'\n{lines}\nstp = 'rstp'"
        );
        let problems = wrong(&text);
        let expected = format!("stp_forward_delay = {delay} at least, or stp_max_age = {age} at most");
        assert_eq!((problems.len(), problems[0].line), (1, line), "{problems:?}");
        assert_eq!(problems[0].field, format!("network.n.{field}"));
        assert!(problems[0].found.contains(found), "{problems:?}");
        assert!(problems[0].expected.contains(&expected), "{problems:?}");
    }
}

#[test]
fn uplinks_have_their_place_in_trees() {
    let text = "[uplink.a]\ninterface = 'a'\nstp_cost = 7\nstp_priority = 240\nstp_edge = 'no'";
    let stp = right(text).uplinks["a"].stp;
    assert_eq!(stp, UplinkStp { cost: Some(7), priority: 240, edge: EdgePort::No });
    let settings = stp.settings(3, Some(1000));
    assert_eq!((settings.number, settings.path_cost, settings.speed_mbit), (3, Some(7), Some(1000)));
    assert_eq!(right("[uplink.a]\ninterface = 'a'").uplinks["a"].stp, UplinkStp::default());
}

#[test]
fn networks_that_share_an_uplink_are_in_one_tree() {
    let mut config = right(&network("uplink = 'a'\nstp = 'rstp'\nstp_priority = 8192"));
    let first = config.networks["n"].clone();
    let settings = TreeSettings {
        version: Version::Stp,
        priority: 4096,
        hello_time_s: 1,
        max_age_s: 40,
        forward_delay_s: 30,
        ..TreeSettings::default()
    };
    let both = Network { parallel_uplinks: vec!["b".into()], stp: Some(settings), ..first.clone() };
    let apart = Network { uplink: Some("c".into()), ..first };
    config.networks.insert("o".into(), both);
    config.networks.insert("p".into(), apart);
    let trees = config.trees();
    let networks: Vec<_> = trees.iter().map(|tree| tree.networks.clone()).collect();
    assert_eq!(networks, [vec!["n".to_owned(), "o".to_owned()], vec!["p".to_owned()]]);
    assert_eq!(trees[0].settings, settings, "the least priority, STP where one asks for it, careful times");
    assert_eq!(trees[0].uplinks.len(), 2);
}

/// Lines of a network, the field that is wrong, and a part of what would be right.
const OF_NETWORKS: &[(&str, &str, &str)] = &[
    ("uplink = 'a'\nstp = 'rtsp'", "stp", "\"rstp\"?"),
    ("uplink = 'a'\nstp = 'mstp'", "stp", "this version cannot do \"mstp\" yet"),
    ("uplink = 'a'\nstp = 'rstp'\nstp_priority = 4095", "stp_priority", "a multiple of 4096"),
    ("uplink = 'a'\nstp_priority = 4096", "stp_priority", "stp = \"rstp\" beside it"),
    ("uplink = 'a'\nstp = 'rstp'\nstp_hello_time = '3s'", "stp_hello_time", "from \"1s\" to \"2s\""),
    ("uplink = 'a'\nstp = 'rstp'\nstp_hello_time = '0s'", "stp_hello_time", "from \"1s\" to \"2s\""),
    ("uplink = 'a'\nstp = 'rstp'\nstp_hello_time = '1500ms'", "stp_hello_time", "whole seconds"),
    ("uplink = 'a'\nstp = 'rstp'\nstp_hello_time = 2", "stp_hello_time", "whole seconds"),
    ("uplink = 'a'\nstp = 'rstp'\nstp_max_age = '5s'", "stp_max_age", "from \"6s\" to \"40s\""),
    ("uplink = 'a'\nstp = 'rstp'\nstp_max_age = '300s'", "stp_max_age", "from \"6s\" to \"40s\""),
    ("uplink = 'a'\nstp = 'rstp'\nstp_forward_delay = '3s'", "stp_forward_delay", "from \"4s\" to \"30s\""),
    ("uplink = 'a'\nstp_max_age = '10s'", "stp_max_age", "stp = \"rstp\" beside it"),
    ("uplink = 'a'\nparallel_uplinks = ['a']", "parallel_uplinks", "each uplink once"),
    ("uplink = 'a'\nparallel_uplinks = ['b', 'b']", "parallel_uplinks", "each uplink once"),
    ("uplink = 'a'\nparallel_uplinks = ['d']", "parallel_uplinks", "\"a\", \"b\", \"c\""),
    ("uplink = 'a'\nparallel_uplinks = 'b'", "parallel_uplinks", "a list of uplinks' names"),
    ("uplink = 'a'\nparallel_uplinks = [1]", "parallel_uplinks[0]", "an uplink's name"),
];

/// A line of an uplink, its field, and a part of what would be right.
const OF_UPLINKS: &[(&str, &str, &str)] = &[
    ("stp_cost = 0", "stp_cost", "a number from 1"),
    ("stp_cost = 200000001", "stp_cost", "a number from 1"),
    ("stp_priority = 8", "stp_priority", "a multiple of 16"),
    ("stp_priority = 256", "stp_priority", "a multiple of 16"),
    ("stp_edge = true", "stp_edge", "one of \"auto\""),
];

/// Whether the field of the schema is wrong in some case here.
pub(super) fn has_case(path: &str) -> bool {
    let of = |heading: &str, field: &str| path == format!("{heading}.vm1.{field}");
    OF_NETWORKS.iter().any(|(_, field, _)| of("network", field))
        || OF_UPLINKS.iter().any(|(_, field, _)| of("uplink", field))
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    for (lines, field, expected) in OF_NETWORKS {
        let problems = wrong(&network(lines));
        let found = problems.iter().find(|problem| problem.field == format!("network.n.{field}"));
        assert!(found.is_some_and(|problem| problem.expected.contains(expected)), "{lines}: {problems:?}");
    }
    for (line, field, expected) in OF_UPLINKS {
        let problems = wrong(&format!("[uplink.a]\ninterface = 'a'\n{line}"));
        assert_eq!(problems[0].field, format!("uplink.a.{field}"));
        assert!(problems[0].expected.contains(expected), "{line}: {problems:?}");
    }
}

#[test]
fn several_uplinks_without_a_tree_are_warned_of() {
    let warnings = |stp: &str| {
        let text = network(&format!("uplink = 'a'\nparallel_uplinks = ['b']\n{stp}"));
        parse(text.as_bytes(), "x.toml", &TestHost).unwrap().warnings
    };
    assert!(warnings("").iter().any(|warning| warning.contains("go round in a circle")));
    assert!(warnings("stp = 'rstp'").is_empty());
}
