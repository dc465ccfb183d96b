//! `viaduct show connections` and `viaduct connections clear`.

use clap::{Args, Subcommand};

use super::check::counted;
use super::failure::Failure;
use super::table::{Align, Table};
use super::{Style, json, units};
use crate::api::Client;
use crate::model::{Cleared, ConnectionPage};

pub(super) const EXAMPLES: &str = "\
Examples:
  viaduct show connections --network lab --state established
  viaduct connections clear --address 10.0.0.9 --protocol tcp
  viaduct connections clear --all";

/// What is to be done with connections.
#[derive(Debug, Subcommand)]
pub(super) enum Action {
    /// End connections: their next packets are judged as new ones
    #[command(after_help = "\
Examples:
  viaduct connections clear --port web1 --state established
  viaduct connections clear --all")]
    Clear {
        #[command(flatten)]
        selection: Selection,
        /// All of them
        #[arg(long)]
        all: bool,
    },
}

/// Which connections are meant: those for which all holds that is said.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub(super) struct Selection {
    /// Of connections: only those of this network
    #[arg(long, value_name = "NETWORK")]
    network: Option<String>,
    /// Of connections: only those that were opened at this port
    #[arg(long, value_name = "PORT")]
    port: Option<String>,
    /// Of connections: only those to or from this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Of connections: only those of this protocol, like tcp or 47
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<String>,
    /// Of connections: only those to or from this transport port
    #[arg(long, value_name = "NUMBER")]
    transport_port: Option<String>,
    /// Of connections: only those in this state, like established
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

/// Which part of the list is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Args)]
pub(super) struct Paging {
    /// Of connections and mappings: where to go on, as the page before said
    #[arg(long, value_name = "NUMBER")]
    from: Option<u32>,
    /// Of connections and mappings: how many at most (100, at most 1000)
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

impl Paging {
    /// The query's words.
    pub(super) fn words(&self) -> impl Iterator<Item = (&'static str, String)> {
        let from = self.from.map(|from| ("from", from.to_string()));
        from.into_iter().chain(self.limit.map(|limit| ("limit", limit.to_string())))
    }
}

impl Selection {
    /// Refuses what is said about connections where something else is shown.
    pub(super) fn must_be_empty(&self) -> Result<(), Failure> {
        let told = "--network, --port, --address, --protocol, --transport-port and --state are for \
                    `viaduct show connections`; leave them out";
        if *self == Self::default() { Ok(()) } else { Err(Failure::new(told)) }
    }

    /// The query's words.
    fn words(&self) -> Vec<(&'static str, String)> {
        let fields = [
            ("network", &self.network),
            ("port", &self.port),
            ("address", &self.address),
            ("protocol", &self.protocol),
            ("transport_port", &self.transport_port),
            ("state", &self.state),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.clone()?))).collect()
    }
}

/// Refuses what is said about connections where something else is shown.
pub(super) fn only_there(selection: &Selection, paging: &Paging) -> Result<(), Failure> {
    selection.must_be_empty()?;
    let told = "--from and --limit are for `viaduct show connections` and `viaduct show nat`; leave them out";
    if *paging == Paging::default() { Ok(()) } else { Err(Failure::new(told)) }
}

/// The path with a query; a value that a query could not hold as it is is refused.
pub(super) fn path(of: &str, words: &[(&'static str, String)]) -> Result<String, Failure> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:%*".contains(&byte);
    if let Some((name, value)) = words.iter().find(|(_, value)| !value.bytes().all(is_plain)) {
        return Err(Failure::new(format!(
            "there is no {name} {value:?}; names have letters, digits, - _ and ."
        )));
    }
    let query: Vec<String> = words.iter().map(|(name, value)| format!("{name}={value}")).collect();
    Ok(format!("{of}?{}", query.join("&")))
}

/// A page of connections.
pub(super) fn show(
    client: &Client,
    selection: &Selection,
    paging: &Paging,
    style: Style,
) -> Result<String, Failure> {
    let mut words = selection.words();
    words.extend(paging.words());
    let page: ConnectionPage = client.get(&path("/v1/connections", &words)?)?;
    if style.json { json(&page) } else { Ok(text(&page, style.colour)) }
}

/// Does what is wanted.
pub(super) fn act(client: &Client, action: &Action, style: Style) -> Result<String, Failure> {
    let Action::Clear { selection, all } = action;
    let mut words = selection.words();
    words.extend(all.then(|| ("all", "true".to_owned())));
    let cleared: Cleared = client.delete(&path("/v1/connections", &words)?)?;
    if style.json {
        return json(&cleared);
    }
    Ok(format!("{} ended\n", counted(cleared.connections as u64, "connection")))
}

fn text(page: &ConnectionPage, colour: bool) -> String {
    let mut table = Table::new(&[
        ("NETWORK", Align::Left),
        ("OPENED AT", Align::Left),
        ("PROTOCOL", Align::Left),
        ("FROM", Align::Left),
        ("TO", Align::Left),
        ("STATE", Align::Left),
        ("IDLE", Align::Right),
        ("ENDS IN", Align::Right),
    ]);
    for connection in &page.connections {
        let end = |address: &str, port: u16| match address.contains(':') {
            true => format!("[{address}]:{port}"),
            false => format!("{address}:{port}"),
        };
        table.row([
            connection.network.as_str().into(),
            connection.port.as_str().into(),
            connection.protocol.as_str().into(),
            end(&connection.source, connection.source_port).into(),
            end(&connection.destination, connection.destination_port).into(),
            connection.state.as_str().into(),
            units::seconds(connection.idle_s.into()).into(),
            units::seconds(connection.expires_s.into()).into(),
        ]);
    }
    let more =
        page.next.map_or_else(String::new, |next| format!("there are more; go on with --from {next}\n"));
    table.render(colour) + &more
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ConnectionStatus;

    #[test]
    fn a_connection_is_a_row_and_a_page_says_where_it_goes_on() {
        let connection = ConnectionStatus {
            network: "lab".to_owned(),
            port: "web1".to_owned(),
            protocol: "tcp".to_owned(),
            source: "fd00::5".to_owned(),
            source_port: 4000,
            destination: "fd00::9".to_owned(),
            destination_port: 3306,
            state: "established".to_owned(),
            idle_s: 3,
            expires_s: 431_997,
        };
        let told = text(&ConnectionPage { connections: vec![connection], next: Some(17) }, false);
        assert!(
            told.contains("lab      web1       tcp       [fd00::5]:4000  [fd00::9]:3306  established"),
            "{told}"
        );
        assert!(told.ends_with("there are more; go on with --from 17\n"), "{told}");
    }

    #[test]
    fn a_selection_becomes_a_query_and_nothing_else() {
        let selection = Selection {
            network: Some("lab".to_owned()),
            address: Some("fd00::9".to_owned()),
            ..Selection::default()
        };
        assert_eq!(
            path("/v1/connections", &selection.words()).unwrap(),
            "/v1/connections?network=lab&address=fd00::9"
        );
        for wrong in ["a&all=true", "a b", "a#b", "a/b?"] {
            let selection = Selection { network: Some(wrong.to_owned()), ..Selection::default() };
            assert!(path("/v1/connections", &selection.words()).is_err(), "{wrong}");
        }
    }
}
