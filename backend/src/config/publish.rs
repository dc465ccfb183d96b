//! `floating` and `publish` of a port: how the outside reaches it through its network's uplink.

use std::fmt;
use std::net::Ipv4Addr;

use super::addresses;
use super::reader::TableReader;
use super::values;

/// The most floating addresses and published ports of a port.
const ITEMS_MAX: usize = 64;

const FLOATING: &str =
    "an IPv4 address of the uplink's segment in quotes, or a list of them, like \"192.168.99.120\"";
const PUBLISH: &str =
    "a list like [\"10080:80/tcp\", \"192.168.99.108:5353:53/udp\", \"8000-8010:8000-8010/tcp\"]";
const ITEM: &str =
    "[ADDRESS:]OUTSIDE:INSIDE[/tcp or /udp] in quotes, each a port or a range, like \"10080:80/tcp\"";

/// A protocol whose ports are published.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PortProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl fmt::Display for PortProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// Ports outside that are ports of a station inside, one to one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Publication {
    /// The address outside; `None`: the uplink's own, whatever it is now.
    pub address: Option<Ipv4Addr>,
    /// The first and the last port outside.
    pub outside: (u16, u16),
    /// The first and the last port inside; as many.
    pub inside: (u16, u16),
    /// The protocol.
    pub protocol: PortProtocol,
}

impl Publication {
    /// Whether a packet could be for both.
    #[must_use]
    pub(super) fn clashes(&self, other: &Self) -> bool {
        let is_same = self.protocol == other.protocol && self.address == other.address;
        is_same && self.outside.0 <= other.outside.1 && other.outside.0 <= self.outside.1
    }
}

impl fmt::Display for Publication {
    /// As in a file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.map_or(Ok(()), |address| write!(f, "{address}:"))?;
        let written = |(first, last): (u16, u16)| {
            if first == last { first.to_string() } else { format!("{first}-{last}") }
        };
        write!(f, "{}:{}", written(self.outside), written(self.inside))?;
        write!(f, "/{}", self.protocol)
    }
}

/// `floating` as far as it is right.
pub(super) fn floating(table: &TableReader<'_>) -> Vec<Ipv4Addr> {
    let mut seen: Vec<Ipv4Addr> = Vec::new();
    let read = table.read_items("floating", FLOATING, |value| {
        let address = addresses::address_v4(value).ok_or_else(|| FLOATING.to_owned())?;
        if seen.contains(&address) {
            return Err("each address once".to_owned());
        }
        seen.push(address);
        Ok(())
    });
    check_length(table, "floating", read.map_or(0, |items| items.len()));
    seen
}

/// `publish` as far as it is right.
pub(super) fn publications(table: &TableReader<'_>) -> Vec<Publication> {
    let read = table.read_list("publish", PUBLISH, |value| {
        let text = values::text(value).ok_or_else(|| ITEM.to_owned())?;
        publication(text)
    });
    let read = read.unwrap_or_default();
    check_length(table, "publish", read.len());
    read
}

fn check_length(table: &TableReader<'_>, field: &str, length: usize) {
    if length > ITEMS_MAX {
        table.note(
            field,
            format!("{length} items"),
            format!("at most {ITEMS_MAX}; a range stands for many ports"),
        );
    }
}

/// # Errors
/// What would be right.
fn publication(text: &str) -> Result<Publication, String> {
    let wrong = || ITEM.to_owned();
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, "tcp")) => (ports, PortProtocol::Tcp),
        Some((ports, "udp")) => (ports, PortProtocol::Udp),
        Some(_) => return Err("\"tcp\" or \"udp\" behind the `/`".to_owned()),
        None => (text, PortProtocol::Tcp),
    };
    let (ports, inside) = ports.rsplit_once(':').ok_or_else(wrong)?;
    let (address, outside) = match ports.rsplit_once(':') {
        Some((address, outside)) => (Some(address), outside),
        None => (None, ports),
    };
    let address = address.map(|text| text.parse::<Ipv4Addr>().map_err(|_| wrong())).transpose()?;
    if address.is_some_and(|address| !addresses::is_station(address.into())) {
        return Err(wrong());
    }
    let outside = addresses::ports(outside).ok_or_else(wrong)?;
    let inside = addresses::ports(inside).ok_or_else(wrong)?;
    if outside.1 - outside.0 != inside.1 - inside.0 {
        return Err("as many ports inside as outside".to_owned());
    }
    Ok(Publication { address, outside, inside, protocol })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_publication_is_written_as_it_is_read() {
        for text in ["10080:80/tcp", "192.168.99.108:5353:53/udp", "8000-8010:9000-9010/tcp"] {
            assert_eq!(publication(text).unwrap().to_string(), text);
        }
        assert_eq!(publication("80:80").unwrap().to_string(), "80:80/tcp");
    }

    #[test]
    fn what_is_no_publication_says_what_would_be() {
        for (text, remedy) in [
            ("80", "like \"10080:80/tcp\""),
            ("80:80/sctp", "\"tcp\" or \"udp\""),
            ("80:80/", "\"tcp\" or \"udp\""),
            ("80-90:80/tcp", "as many ports"),
            ("0:80/tcp", "like"),
            ("80:70000", "like"),
            ("host:80:80", "like"),
            ("224.0.0.1:80:80", "like"),
            ("1.2.3.4:80:80:80", "like"),
            ("", "like"),
        ] {
            let error = publication(text).unwrap_err();
            assert!(error.contains(remedy), "{text}: {error}");
        }
    }

    #[test]
    fn two_clash_if_a_packet_could_be_for_both() {
        let read = |text: &str| publication(text).unwrap();
        for (one, other, is_clash) in [
            ("80:80/tcp", "80:81/tcp", true),
            ("80:80/tcp", "80:80/udp", false),
            ("80-90:80-90/tcp", "90:1/tcp", true),
            ("80-90:80-90/tcp", "91:1/tcp", false),
            ("1.2.3.4:80:80/tcp", "1.2.3.5:80:80/tcp", false),
            ("1.2.3.4:80:80/tcp", "1.2.3.4:80:81/tcp", true),
        ] {
            assert_eq!(read(one).clashes(&read(other)), is_clash, "{one} {other}");
            assert_eq!(read(other).clashes(&read(one)), is_clash, "{other} {one}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_a_publication_or_refused(text in "[0-9.:/tcpud-]{0,32}") {
            if let Ok(read) = publication(&text) {
                prop_assert_eq!(publication(&read.to_string()), Ok(read));
            }
        }
    }
}
