//! `viaduct show fdb`: all pages of the learned addresses.

use super::tables::fdb_table;
use crate::api::Client;
use crate::cli::failure::Failure;
use crate::cli::{Style, json, stations, vteps};
use crate::control::ADDRESSES_MAX;
use crate::model::{FdbPage, FdbStatus, VtepTables};

/// Asks for page after page, and tells them in order.
pub(super) fn show(client: &Client, network: Option<&str>, style: Style) -> Result<String, Failure> {
    let mut addresses = all(client, network)?;
    // Pages are not of one moment: who moved meanwhile may be on two.
    addresses.sort_by(|one, other| (&one.network, &one.mac).cmp(&(&other.network, &other.mac)));
    addresses.dedup_by(|one, other| (&one.network, &one.mac) == (&other.network, &other.mac));
    if style.json {
        return json(&addresses);
    }
    let mut duplicates = client.get::<VtepTables>("/v1/vteps")?.duplicates;
    duplicates.retain(|entry| network.is_none_or(|network| entry.network == network));
    Ok(fdb_table(&addresses).render(style.colour) + &vteps::duplicate_lines(&duplicates))
}

fn all(client: &Client, network: Option<&str>) -> Result<Vec<FdbStatus>, Failure> {
    let network = match network {
        Some(name) => format!("&network={}", stations::checked(name)?),
        None => String::new(),
    };
    let (mut addresses, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let path = format!("/v1/fdb?from={place}&limit={ADDRESSES_MAX}{network}");
        let page: FdbPage = client.get(&path)?;
        addresses.extend(page.addresses);
        from = page.next;
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_row_that_fits_a_hundred_columns() {
        let entry = FdbStatus {
            network: "lab".to_owned(),
            vlan: Some(4094),
            mac: "52:54:00:00:00:01".to_owned(),
            port: "a-port-whose-name-is-as-long-as-names-may-be-and-then-some-more-of-it".to_owned(),
            age_s: 3,
        };
        let text = fdb_table(&[entry]).render(false);
        assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
        let row = text.lines().find(|line| line.starts_with("lab")).unwrap();
        assert!(row.contains("4094") && row.contains("52:54:00:00:00:01"), "{row}");
    }
}
