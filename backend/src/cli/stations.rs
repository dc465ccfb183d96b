//! `viaduct show stations` and `viaduct station`: stations of overlay networks on other machines.

use std::net::IpAddr;

use clap::Subcommand;
use viaduct_switch::MacAddress;

use super::check::counted;
use super::failure::Failure;
use super::table::{Align, Table};
use super::{Style, json};
use crate::api::Client;
use crate::config::is_name;
use crate::model::{Fed, RemoteStation, StationPage};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct station add tenant101 52:54:00:00:01:02 --vtep 192.168.99.2 --address 10.101.0.2
  viaduct station add tenant101 52:54:00:00:01:02 --vtep 192.168.99.3      it moved there, and has no address now
  viaduct station remove tenant101 52:54:00:00:01:02
  viaduct show stations tenant101

What is added holds until it is removed, the daemon ends, or a file is applied that says otherwise.";

/// How many stations are asked for at once.
const PAGE: usize = 10_000;

/// What is to become of a station.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// Say where a station is, and which addresses it has; what was said of it before does not count any more
    #[command(after_help = "\
Example:
  viaduct station add tenant101 52:54:00:00:01:02 --vtep 192.168.99.2 --address 10.101.0.2,fd00::2")]
    Add {
        /// The network
        network: String,
        /// The station's Ethernet address
        mac: MacAddress,
        /// The address of the machine behind which it is
        #[arg(long, value_name = "ADDRESS")]
        vtep: IpAddr,
        /// Its IP addresses, separated by commas
        #[arg(long, value_delimiter = ',', value_name = "ADDRESSES")]
        address: Vec<IpAddr>,
    },
    /// Take back what was said of a station
    #[command(after_help = "Example:\n  viaduct station remove tenant101 52:54:00:00:01:02")]
    Remove {
        /// The network
        network: String,
        /// The station's Ethernet address
        mac: MacAddress,
    },
}

/// A name that can be part of a path.
pub(super) fn checked(network: &str) -> Result<&str, Failure> {
    let missing =
        || Failure::new(format!("there is no network {network}; `viaduct show networks` lists all"));
    is_name(network).then_some(network).ok_or_else(missing)
}

/// Does what is wanted.
pub(super) fn act(client: &Client, action: &Action, style: Style) -> Result<String, Failure> {
    let fed: Fed = match action {
        Action::Add { network, mac, vtep, address } => {
            let (mac, address, origin) = (mac.to_string(), address.clone(), String::new());
            client.feed(checked(network)?, &RemoteStation { mac, address, vtep: *vtep, origin })?
        }
        Action::Remove { network, mac } => {
            client.delete(&format!("/v1/networks/{}/stations/{mac}", checked(network)?))?
        }
    };
    if style.json { json(&fed) } else { Ok(told(&fed)) }
}

fn told(fed: &Fed) -> String {
    let Fed { network, generation, fed, added, changed, removed, without_room } = fed;
    let room = match without_room {
        0 => String::new(),
        number => format!("; there was no room for {number} of them"),
    };
    format!(
        "network {network}, generation {generation}: {added} added, {changed} changed, {removed} removed{room}; {} fed\n",
        counted(*fed as u64, "station")
    )
}

/// All stations of a network whose place is told.
pub(super) fn show(client: &Client, network: Option<&str>, style: Style) -> Result<String, Failure> {
    let missing = || Failure::new("say of which network, like `viaduct show stations tenant101`");
    let network = checked(network.ok_or_else(missing)?)?;
    let path = format!("/v1/networks/{network}/stations?limit={PAGE}");
    let mut all: StationPage = client.get(&path)?;
    while let Some(next) = all.next.take() {
        let page: StationPage = client.get(&format!("{path}&from={next}"))?;
        if page.generation != all.generation {
            return Err(Failure::new("the stations changed while they were read; ask again"));
        }
        all.stations.extend(page.stations);
        all.next = page.next;
    }
    if style.json { json(&all) } else { Ok(text(&all, style.colour)) }
}

fn text(all: &StationPage, colour: bool) -> String {
    let mut table = Table::new(&[
        ("MAC", Align::Left),
        ("VTEP", Align::Left),
        ("FROM", Align::Left),
        ("ADDRESSES", Align::Left),
    ]);
    for RemoteStation { mac, address, vtep, origin } in &all.stations {
        let addresses: Vec<String> = address.iter().map(ToString::to_string).collect();
        table.row([
            mac.as_str().into(),
            vtep.to_string().into(),
            origin.as_str().into(),
            addresses.join(" ").into(),
        ]);
    }
    let StationPage { network, generation, fed, written, .. } = all;
    let table = if all.stations.is_empty() { String::new() } else { table.render(colour) + "\n" };
    format!(
        "{table}network {network}: {written} written in the file, {fed} fed by the API (generation {generation})\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stations_are_rows_and_say_who_told_of_them() {
        let station = |mac: &str, address: &[&str], origin: &str| RemoteStation {
            mac: mac.to_owned(),
            address: address.iter().map(|address| address.parse().unwrap()).collect(),
            vtep: "192.0.2.2".parse().unwrap(),
            origin: origin.to_owned(),
        };
        let stations = vec![
            station("52:54:00:00:00:02", &["10.0.0.2", "fd00::2"], "file"),
            station("52:54:00:00:00:03", &[], "api"),
        ];
        let (network, generation) = ("blue".to_owned(), 7);
        let page = StationPage { network, generation, fed: 1, written: 1, stations, next: None };
        let expected = "\
MAC                VTEP       FROM  ADDRESSES
52:54:00:00:00:02  192.0.2.2  file  10.0.0.2 fd00::2
52:54:00:00:00:03  192.0.2.2  api   

network blue: 1 written in the file, 1 fed by the API (generation 7)
";
        let told = text(&page, false);
        let lines = |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
        assert_eq!(lines(&told), lines(expected));
    }

    #[test]
    fn a_name_that_is_none_becomes_no_path() {
        for wrong in ["", "a/b", "a?x", "a b"] {
            assert!(checked(wrong).is_err(), "{wrong}");
        }
    }
}
