//! What a server lends us, read from its answer.

use std::net::Ipv4Addr;

use super::super::options::code;
use super::super::routes::{self, Route, prefix_of};
use super::super::{Malformed, Message};
use crate::domain::{self, DomainName};
use crate::time::Nanos;

/// MTUs below this are not believed: every host takes datagrams of this length (RFC 1122, 3.3.2), and a smaller one would
/// be a way to slow somebody down.
const MTU_MIN: u16 = 576;

/// An address that we were lent, and all that came with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Our address.
    pub address: Ipv4Addr,
    /// The length of the network's prefix.
    pub prefix: u8,
    /// The server that lent it.
    pub server: Ipv4Addr,
    /// Routes; the default one has a prefix of 0 bits.
    pub routes: Vec<Route>,
    /// Name servers.
    pub dns_servers: Vec<Ipv4Addr>,
    /// The network's domain.
    pub domain: Option<DomainName>,
    /// Domains in which names are looked up.
    pub search: Vec<DomainName>,
    /// Time servers.
    pub ntp_servers: Vec<Ipv4Addr>,
    /// The MTU, 576 at least.
    pub mtu: Option<u16>,
    /// When to ask the server to go on (T1).
    pub renew_at: Nanos,
    /// When to ask any server (T2).
    pub rebind_at: Nanos,
    /// When it ends.
    pub until: Nanos,
}

impl Lease {
    /// What an offer or an acknowledgement says. The time counts from `since`, when the request was sent (RFC 2131, 4.4.1).
    ///
    /// # Errors
    /// [`Malformed`] if an option that it must have is missing or one is wrong. Lists that are wrong are none, so that a
    /// server's mistake about a search list costs nobody his network.
    pub(super) fn of(message: &Message, since: Nanos) -> Result<Self, Malformed> {
        let options = &message.options;
        let missing = |code| Malformed::OptionValue { code };
        let server = options.address(code::SERVER_IDENTIFIER)?.ok_or(missing(code::SERVER_IDENTIFIER))?;
        let mask = options.address(code::SUBNET_MASK)?.ok_or(missing(code::SUBNET_MASK))?;
        let prefix = prefix_of(mask).filter(|prefix| *prefix > 0).ok_or(missing(code::SUBNET_MASK))?;
        let lease_s = options.u32(code::LEASE_TIME)?.filter(|lease_s| *lease_s > 0);
        let (renew_at, rebind_at, until) = times(message, since, lease_s.ok_or(missing(code::LEASE_TIME))?);
        if !is_usable(message.yiaddr) {
            return Err(missing(code::REQUESTED_ADDRESS));
        }
        Ok(Self {
            address: message.yiaddr,
            prefix,
            server,
            routes: routes_of(message),
            dns_servers: options.addresses(code::DNS_SERVERS).unwrap_or_default(),
            domain: options.text(code::DOMAIN_NAME).and_then(|text| text.parse().ok()),
            search: options
                .get(code::DOMAIN_SEARCH)
                .and_then(|list| domain::decode(list).ok())
                .unwrap_or_default(),
            ntp_servers: options.addresses(code::NTP_SERVERS).unwrap_or_default(),
            mtu: options.u16(code::INTERFACE_MTU).ok().flatten().filter(|mtu| *mtu >= MTU_MIN),
            renew_at,
            rebind_at,
            until,
        })
    }
}

/// T1, T2 and the end; half and seven eighths of the lease where the server says nothing sensible (RFC 2131, 4.4.5).
fn times(message: &Message, since: Nanos, lease_s: u32) -> (Nanos, Nanos, Nanos) {
    let told = |code| message.options.u32(code).ok().flatten();
    let rebind_s = told(code::REBINDING_TIME).filter(|rebind_s| *rebind_s < lease_s);
    let rebind_s = rebind_s.unwrap_or(lease_s - lease_s.div_ceil(8));
    let renew_s = told(code::RENEWAL_TIME).filter(|renew_s| *renew_s <= rebind_s);
    let renew_s = renew_s.unwrap_or((lease_s / 2).min(rebind_s));
    let after = |seconds| Nanos(since.0.saturating_add(Nanos::from_seconds(seconds).0));
    (after(renew_s), after(rebind_s), after(lease_s))
}

/// Routes to prefixes, or else one to everywhere by the first router (RFC 3442: the former exclude the latter).
fn routes_of(message: &Message) -> Vec<Route> {
    let routes = message.options.get(code::CLASSLESS_ROUTES).and_then(|bytes| routes::decode(bytes).ok());
    routes.unwrap_or_else(|| {
        let routers = message.options.addresses(code::ROUTERS).unwrap_or_default();
        let default = |router| Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router };
        routers.first().copied().map(default).into_iter().collect()
    })
}

/// Whether a station can have the address.
fn is_usable(address: Ipv4Addr) -> bool {
    let is_reserved = address.octets()[0] == 0 || address.octets()[0] >= 224;
    !is_reserved && !address.is_loopback()
}
