//! `[network.NAME]`: one broadcast domain.

use std::collections::BTreeSet;
use std::time::Duration;

use super::names::{NAME_RULE, is_name, reference};
use super::reader::TableReader;
use super::{Network, NetworkMode, gateway, membership, overlay, schema, spanning_tree, values};

/// IEEE 802.1Q-2018, table 8-6: recommended 300 s.
const AGEING: Duration = Duration::from_secs(300);
/// IEEE 802.1Q-2018, table 8-6: from 10 s to 1,000,000 s.
const AGEING_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(1_000_000);
const AGEING_EXPECTED: &str =
    "a duration from \"10s\" to \"1000000s\" with its unit (ms, s, m, h, d), like \"5m\"";

/// RFC 9776, 8.4: two queries, 125 s apart, and 10 s to answer.
const MEMBERSHIP: Duration = Duration::from_secs(260);
const MEMBERSHIP_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(10)..=Duration::from_secs(10_000);
const MEMBERSHIP_EXPECTED: &str =
    "a duration from \"10s\" to \"10000s\" with its unit (ms, s, m, h, d), like \"260s\"";
const SWITCH: &str = "true or false, without quotes";

/// The network as far as it is right; what is wrong is noted.
pub(super) fn read(table: &TableReader<'_>, uplinks: &BTreeSet<&str>) -> Network {
    table.check_fields(&schema::NETWORK);
    let heard = |value: &_| values::duration(value).filter(|time| MEMBERSHIP_RANGE.contains(time));
    let ageing = |value: &_| values::duration(value).filter(|ageing| AGEING_RANGE.contains(ageing));
    let mode = table.read_word("mode", NetworkMode::ALL, &[]);
    check_uplink(table, mode);
    let gateway = gateway::read(table, mode.unwrap_or_default());
    Network {
        mode: mode.unwrap_or_default(),
        uplink: reference(table, "uplink", "uplink", uplinks),
        segment: reference(table, "segment", "uplink", uplinks),
        vlan: membership::vlan(table, "vlan"),
        inner_tags: table.read("inner_tags", SWITCH, values::boolean).unwrap_or(false),
        tenant: table.read("tenant", NAME_RULE, |value| {
            values::text(value).filter(|name| is_name(name)).map(str::to_owned)
        }),
        parallel_uplinks: spanning_tree::parallel_uplinks(table, uplinks),
        stp: spanning_tree::of_network(table),
        ageing: table.read("ageing", AGEING_EXPECTED, ageing).unwrap_or(AGEING),
        multicast_snooping: table.read("multicast_snooping", SWITCH, values::boolean).unwrap_or(true),
        multicast_membership: table
            .read("multicast_membership", MEMBERSHIP_EXPECTED, heard)
            .unwrap_or(MEMBERSHIP),
        multicast_fast_leave: table.read("multicast_fast_leave", SWITCH, values::boolean).unwrap_or(false),
        overlay: overlay::read(table, mode, uplinks, &gateway.subnets),
        gateway,
    }
}

/// A network that is bridged or translated has an uplink, and an isolated one has none. What a mode needs that is wrong itself,
/// nobody knows.
fn check_uplink(table: &TableReader<'_>, mode: Option<NetworkMode>) {
    let is_routed = mode.is_some_and(NetworkMode::is_routed);
    if table.has("segment") && !is_routed {
        let expected =
            "mode = \"nat\" or \"routed\" beside it; a network of mode \"bridged\" has an `uplink` instead";
        table.note("segment", "the field `segment`".to_owned(), expected.to_owned());
    }
    for field in ["parallel_uplinks", "stp"].into_iter().filter(|field| is_routed && table.has(field)) {
        let expected =
            "mode = \"bridged\" beside it: a network of another mode reaches into one segment at most";
        table.note(field, format!("the field `{field}`"), expected.to_owned());
    }
    match (mode, table.has("uplink")) {
        (Some(NetworkMode::Bridged), false) => {
            let expected = "the name of the uplink to which the network is bridged, as under [uplink.NAME]";
            table.note("uplink", "nothing".to_owned(), expected.to_owned());
        }
        (Some(NetworkMode::Nat), false) => {
            let expected =
                "the name of the uplink whose address the network's packets get, as under [uplink.NAME]";
            table.note("uplink", "nothing".to_owned(), expected.to_owned());
        }
        (Some(NetworkMode::Isolated), true) => note_isolated(table),
        (None, true) if !table.has("mode") => note_isolated(table),
        _ => {}
    }
}

fn note_isolated(table: &TableReader<'_>) {
    let expected = "mode = \"bridged\", \"nat\" or \"routed\" beside it: an isolated network has no uplink";
    table.note("uplink", "the field `uplink`".to_owned(), expected.to_owned());
}
