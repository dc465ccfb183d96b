//! `viaduct show uplinks`: ways to the outside.

use std::net::IpAddr;

use super::show::{dropped, state};
use super::table::{Align, Table};
use super::units;
use crate::model::{
    ClaimStatus, DhcpClientStatus, InterfaceStatus, OutsideStatus, PortStatus, Snapshot, Traffic,
};

/// A line for each uplink, and below a line for each that has something to say.
pub(super) fn uplink_text(snapshot: &Snapshot, colour: bool) -> String {
    let mut table = Table::new(&[
        ("UPLINK", Align::Left),
        ("INTERFACE", Align::Left),
        ("STATE", Align::Left),
        ("DRIVER", Align::Left),
        ("LINK", Align::Left),
        ("SPEED", Align::Right),
        ("MTU", Align::Right),
        ("RECEIVED", Align::Right),
        ("SENT", Align::Right),
        ("DROPS", Align::Right),
    ]);
    let mut notes = String::new();
    for port in snapshot.uplinks() {
        let Some(interface) = &port.interface else { continue };
        row(&mut table, port, interface);
        if let Some(detail) = &port.detail {
            notes.push_str(&format!("{}: {detail}\n", port.name));
        }
    }
    if snapshot.uplinks().next().is_none() {
        return "there is no uplink; declare one as [uplink.NAME] (docs/bridged.md)\n".to_owned();
    }
    table.render(colour) + &notes + &outside_text(&snapshot.outsides)
}

/// A line for what the switch is at each uplink where it has an address, or is about to have one, and one for each that is claimed.
pub(super) fn outside_text(outsides: &[OutsideStatus]) -> String {
    outsides.iter().map(|outside| own(outside) + &claims(outside)).collect()
}

fn own(outside: &OutsideStatus) -> String {
    let listed = |words: &str, addresses: &[IpAddr]| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        if addresses.is_empty() { String::new() } else { format!(", {words} {}", addresses.join(" ")) }
    };
    let addresses =
        if outside.addresses.is_empty() { "no address".to_owned() } else { outside.addresses.join(" ") };
    let (gateways, servers) =
        (listed("gateway", &outside.gateways), listed("name servers", &outside.name_servers));
    let dhcp = outside.dhcp.as_ref().map(dhcp).unwrap_or_default();
    format!("{}: {addresses}{gateways}{servers}{dhcp}\n", outside.uplink)
}

fn dhcp(client: &DhcpClientStatus) -> String {
    let server = client.server.map_or_else(String::new, |server| format!(" by {server}"));
    let expires =
        client.expires_s.map_or_else(String::new, |left| format!(", ends in {}", units::seconds(left)));
    let trouble = client.trouble.as_ref().map_or_else(String::new, |trouble| format!(": {trouble}"));
    format!("; DHCP {}{server}{expires}{trouble}", client.state)
}

fn claims(outside: &OutsideStatus) -> String {
    let claim = |claim: &ClaimStatus| {
        let what = if claim.in_use { "is claimed by" } else { "is not used, since it is that of" };
        let (address, mac) = (&claim.address, &claim.mac);
        let age = units::seconds(claim.age_s);
        format!("{}: {address} {what} the station {mac}, last {age} ago\n", outside.uplink)
    };
    outside.claims.iter().map(claim).collect()
}

fn row(table: &mut Table, port: &PortStatus, interface: &InterfaceStatus) {
    let speed = interface.speed_mbps.map(|mbps| units::bit_rate(u64::from(mbps) * 1_000_000));
    let rate = |rate: Traffic| units::bit_rate(rate.bytes.saturating_mul(8));
    let or_nothing = |text: Option<String>| text.unwrap_or("-".to_owned());
    table.row([
        port.name.as_str().into(),
        interface.name.as_str().into(),
        state(port),
        or_nothing(interface.driver.clone()).into(),
        interface.link.name().into(),
        or_nothing(speed).into(),
        or_nothing(interface.mtu.map(|mtu| mtu.to_string())).into(),
        rate(interface.received_rate).into(),
        rate(interface.sent_rate).into(),
        units::count(dropped(port)).into(),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uplinks_own_address_and_who_claims_it_are_told() {
        let claim = |in_use| ClaimStatus {
            address: "192.0.2.5".to_owned(),
            mac: "02:00:00:00:00:66".to_owned(),
            in_use,
            age_s: 5,
        };
        let dhcp = DhcpClientStatus {
            state: "bound".to_owned(),
            address: Some([192, 0, 2, 5].into()),
            server: Some([192, 0, 2, 1].into()),
            renews_s: Some(1800),
            expires_s: Some(3600),
            trouble: None,
        };
        let outside = OutsideStatus {
            uplink: "isp".to_owned(),
            addresses: vec!["192.0.2.5/24".to_owned()],
            gateways: vec![[192, 0, 2, 1].into()],
            name_servers: vec![[192, 0, 2, 53].into()],
            claims: vec![claim(true), claim(false)],
            dhcp: Some(dhcp),
        };
        let expected = "isp: 192.0.2.5/24, gateway 192.0.2.1, name servers 192.0.2.53; DHCP bound by 192.0.2.1, ends in 1 h\n\
                        isp: 192.0.2.5 is claimed by the station 02:00:00:00:00:66, last 5 s ago\n\
                        isp: 192.0.2.5 is not used, since it is that of the station 02:00:00:00:00:66, last 5 s ago\n";
        assert_eq!(outside_text(&[outside]).replace("1 h 0 min", "1 h"), expected);
        let none = DhcpClientStatus {
            state: "selecting".to_owned(),
            trouble: Some("the lease has ended".to_owned()),
            ..DhcpClientStatus::default()
        };
        let outside =
            OutsideStatus { uplink: "isp".to_owned(), dhcp: Some(none), ..OutsideStatus::default() };
        assert_eq!(outside_text(&[outside]), "isp: no address; DHCP selecting: the lease has ended\n");
    }
}
