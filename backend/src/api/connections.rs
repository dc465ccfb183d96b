//! `/v1/connections`: pages of connections, and ending some; `/v1/fdb`: pages of learned addresses.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};

use super::routes::{Api, Refused, blocking};
use crate::control::{ADDRESSES_MAX, PAGE_MAX, Selection, SelectionError};

/// Connections in an answer unless said.
const LIMIT: usize = 100;

/// Learned addresses in an answer unless said.
const ADDRESSES: usize = 1000;

impl From<SelectionError> for Refused {
    fn from(error: SelectionError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// What the query says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Query {
    selection: Selection,
    from: Option<u32>,
    limit: Option<usize>,
    all: bool,
}

fn wrong(error: impl Into<String>) -> Refused {
    Refused::new(StatusCode::BAD_REQUEST, error)
}

/// Each word once; values are names, addresses and numbers, of which no character is escaped.
fn query(uri: &Uri) -> Result<Query, Refused> {
    let mut query = Query::default();
    for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let number = || wrong(format!("{name} is {value}; write a number, like {name}=100"));
        let place = match name {
            "network" => &mut query.selection.network,
            "port" => &mut query.selection.port,
            "address" => &mut query.selection.address,
            "protocol" => &mut query.selection.protocol,
            "transport_port" => &mut query.selection.transport_port,
            "state" => &mut query.selection.state,
            "from" => {
                query.from = Some(value.parse().map_err(|_| number())?);
                continue;
            }
            "limit" => {
                query.limit = Some(value.parse().map_err(|_| number())?);
                continue;
            }
            "all" => {
                query.all = value == "true";
                continue;
            }
            _ => {
                let known = "network, port, address, protocol, transport_port, state, from, limit and all";
                return Err(wrong(format!("the query has no {name}; there are {known}")));
            }
        };
        if place.replace(value.to_owned()).is_some() {
            return Err(wrong(format!("the query says {name} twice; say it once")));
        }
    }
    Ok(query)
}

/// Which page is wanted: where it begins, and how long it is: `usual` unless said, `most` at most.
fn page_of(query: &Query, [usual, most]: [usize; 2]) -> Result<(u32, usize), Refused> {
    let (from, limit) = (query.from.unwrap_or(0), query.limit.unwrap_or(usual));
    if limit == 0 || limit > most {
        return Err(wrong(format!("limit is {limit}; write a number from 1 to {most}")));
    }
    Ok((from, limit))
}

/// The same where nothing else may be said.
pub(super) fn paging(uri: &Uri) -> Result<(u32, usize), Refused> {
    let query = query(uri)?;
    if query.selection != Selection::default() || query.all {
        return Err(wrong("the query may say `from` and `limit` here, and nothing else"));
    }
    page_of(&query, [LIMIT, PAGE_MAX])
}

/// A page of learned addresses.
pub(super) async fn fdb(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    let query = query(&uri)?;
    let (from, limit) = page_of(&query, [ADDRESSES, ADDRESSES_MAX])?;
    let Selection { network, port, .. } = query.selection.clone();
    let selection = Selection { network, port, ..Selection::default() };
    if query.selection != selection || query.all {
        return Err(wrong("the query may say `network`, `port`, `from` and `limit` here, and nothing else"));
    }
    let handle = shared.handle.clone();
    blocking(move || Ok(axum::Json(handle.tables()?.learned(&selection, from, limit)?).into_response()))
        .await?
}

/// A page of connections.
pub(super) async fn list(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    let query = query(&uri)?;
    let (from, limit) = page_of(&query, [LIMIT, PAGE_MAX])?;
    let selection = query.selection;
    let handle = shared.handle.clone();
    let page =
        blocking(move || Ok::<_, Refused>(handle.tables()?.connections(&selection, from, limit)?)).await??;
    Ok(axum::Json(page).into_response())
}

/// Ends connections.
pub(super) async fn clear(State(shared): Api, uri: Uri) -> Result<Response, Refused> {
    let Query { selection, from, limit, all } = query(&uri)?;
    if from.is_some() || limit.is_some() {
        return Err(wrong("from and limit have no meaning here; leave them out"));
    }
    if all == (selection != Selection::default()) {
        return Err(wrong(
            "say which connections are to be ended, or all=true for all of them, and not both",
        ));
    }
    let handle = shared.handle.clone();
    let cleared = blocking(move || Ok::<_, Refused>(handle.tables()?.clear(&selection)?)).await??;
    tracing::info!("API: {} connections were ended", cleared.connections);
    Ok(axum::Json(cleared).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Query, String> {
        query(&format!("/v1/connections?{text}").parse().unwrap()).map_err(|refused| refused.1.error)
    }

    #[test]
    fn a_query_selects_and_pages() {
        let query = read("network=lab&address=fd00::9&from=7&limit=20").unwrap();
        assert_eq!(query.selection.network.as_deref(), Some("lab"));
        assert_eq!(query.selection.address.as_deref(), Some("fd00::9"));
        assert_eq!((query.from, query.limit, query.all), (Some(7), Some(20), false));
        assert_eq!(read(""), Ok(Query::default()));
    }

    #[test]
    fn a_misspelt_query_selects_nothing_by_mistake() {
        assert!(read("adress=10.0.0.1").unwrap_err().contains("has no adress; there are network"));
        assert!(read("limit=many").unwrap_err().contains("limit is many; write a number"));
        assert!(read("port=a&port=b").unwrap_err().contains("says port twice"));
    }
}
