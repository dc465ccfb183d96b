//! In what overlays of networks differ, in words.

use super::addresses::listed;
use super::difference;
use crate::config::{Network, Overlay};

pub(super) fn differences(running: &Network, wanted: &Network) -> Vec<Option<String>> {
    let (Some(running), Some(wanted)) = (&running.overlay, &wanted.overlay) else {
        let shown = |network: &Network| network.overlay.as_ref().map_or("none".to_owned(), tunnel);
        return vec![difference("overlay", shown(running), shown(wanted))];
    };
    let group = |overlay: &Overlay| overlay.group.map_or("none".to_owned(), |group| group.to_string());
    let checksum =
        |overlay: &Overlay| overlay.udp_checksum.map_or("by version of IP".to_owned(), |is| is.to_string());
    vec![
        difference("overlay", tunnel(running), tunnel(wanted)),
        difference("group", group(running), group(wanted)),
        difference("peers", listed(&running.peers), listed(&wanted.peers)),
        difference("ttl", running.ttl, wanted.ttl),
        difference("udp_checksum", checksum(running), checksum(wanted)),
        difference("learning", running.learning, wanted.learning),
        difference("known_vteps_only", running.known_vteps_only, wanted.known_vteps_only),
        difference("arp_suppression", running.suppression, wanted.suppression),
        stations(running, wanted),
    ]
}

/// What makes it another tunnel.
fn tunnel(overlay: &Overlay) -> String {
    let Overlay { kind, id, uplink, port, .. } = overlay;
    let at = if *port == 0 { String::new() } else { format!(" at port {port}") };
    format!("{} {} {id} over {uplink}{at}", kind.name(), kind.id_field())
}

/// Stations are too many to be named.
fn stations(running: &Overlay, wanted: &Overlay) -> Option<String> {
    let (before, after) = (running.stations.len(), wanted.stations.len());
    (running.stations != wanted.stations)
        .then(|| format!("static stations changed ({before} before, {after} now)"))
}

#[cfg(test)]
mod tests {
    use crate::config::{ThisHost, parse};
    use crate::control::plan::diff;

    const VXLAN: &str = "[uplink.isp]\ninterface = 'eth3'\naddress = '192.0.2.1/24'\n[network.t]\n\
                         overlay = { kind = 'vxlan', vni = 1, uplink = 'isp', peers = ['192.0.2.2'] }\n";

    fn told(running: &str, wanted: &str) -> Vec<String> {
        let read = |text: &str| parse(text.as_bytes(), "x.toml", &ThisHost).unwrap().config;
        let plan = diff(&read(running), &read(wanted)).unwrap();
        plan.changes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_change_of_an_overlay_is_told() {
        assert_eq!(told(VXLAN, VXLAN), Vec::<String>::new());
        let plain = VXLAN.split("overlay").next().unwrap();
        let added = ["~ network t: overlay none -> vxlan vni 1 over isp at port 4789"];
        assert_eq!(told(plain, VXLAN), added);
        let station = "[[network.t.static]]\nmac = '52:54:00:00:00:01'\nvtep = '192.0.2.2'\n";
        let wanted = VXLAN
            .replace("vni = 1,", "vni = 2, ttl = 9, learning = false, known_vteps_only = true,")
            .replace("peers = ['192.0.2.2']", "peers = ['192.0.2.3'], udp_checksum = true, port = 8472");
        let wanted = format!("{wanted}arp_suppression = true\n{station}");
        let changed = "~ network t: overlay vxlan vni 1 over isp at port 4789 -> vxlan vni 2 over isp at port 8472, \
                       peers 192.0.2.2 -> 192.0.2.3, ttl 64 -> 9, udp_checksum by version of IP -> true, \
                       learning true -> false, known_vteps_only false -> true, arp_suppression false -> true, \
                       static stations changed (0 before, 1 now)";
        assert_eq!(told(VXLAN, &wanted), [changed]);
        let multicast = VXLAN.replace("peers = ['192.0.2.2']", "group = '239.1.1.1'");
        assert_eq!(
            told(VXLAN, &multicast),
            ["~ network t: group none -> 239.1.1.1, peers 192.0.2.2 -> none"]
        );
        let gre = VXLAN.replace("kind = 'vxlan', vni = 1", "kind = 'gre', key = 1");
        assert_eq!(
            told(VXLAN, &gre),
            ["~ network t: overlay vxlan vni 1 over isp at port 4789 -> gre key 1 over isp"]
        );
    }
}
