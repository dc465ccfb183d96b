//! In what networks differ, in words.

use std::time::Duration;

use viaduct_switch::spanning_tree::TreeSettings;

use super::{addresses, difference, overlays, written_vlan};
use crate::config::Network;
use crate::config::spanning_tree::kind_name;

pub(super) fn network_differences(running: &Network, wanted: &Network) -> Vec<String> {
    let seconds = |time: Duration| format!("{}s", time.as_secs());
    let uplink = |network: &Network| match network.uplinks().cloned().collect::<Vec<_>>() {
        names if names.is_empty() => "none".to_owned(),
        names => names.join("+"),
    };
    let tenant = |network: &Network| network.tenant.clone().unwrap_or("the network's own".to_owned());
    let membership = |network: &Network| seconds(network.multicast_membership);
    let own = [
        difference("mode", running.mode.name(), wanted.mode.name()),
        difference("uplink", uplink(running), uplink(wanted)),
        difference("vlan", written_vlan(running.vlan), written_vlan(wanted.vlan)),
        difference("inner_tags", running.inner_tags, wanted.inner_tags),
        difference("tenant", tenant(running), tenant(wanted)),
        difference("ageing", seconds(running.ageing), seconds(wanted.ageing)),
        difference("multicast_snooping", running.multicast_snooping, wanted.multicast_snooping),
        difference("multicast_membership", membership(running), membership(wanted)),
        difference("multicast_fast_leave", running.multicast_fast_leave, wanted.multicast_fast_leave),
    ];
    own.into_iter()
        .chain(stp_differences(running, wanted))
        .chain(addresses::network_differences(running, wanted))
        .chain(overlays::differences(running, wanted))
        .flatten()
        .collect()
}

/// What differs in networks' spanning trees.
fn stp_differences(running: &Network, wanted: &Network) -> [Option<String>; 5] {
    let differs = |field: &str, shown: fn(&TreeSettings) -> String| {
        let shown = |network: &Network| network.stp.as_ref().map_or("none".to_owned(), shown);
        difference(field, shown(running), shown(wanted))
    };
    [
        difference("stp", kind_name(running.stp.as_ref()), kind_name(wanted.stp.as_ref())),
        differs("stp_priority", |stp| stp.priority.to_string()),
        differs("stp_hello_time", |stp| format!("{}s", stp.hello_time_s)),
        differs("stp_max_age", |stp| format!("{}s", stp.max_age_s)),
        differs("stp_forward_delay", |stp| format!("{}s", stp.forward_delay_s)),
    ]
}
