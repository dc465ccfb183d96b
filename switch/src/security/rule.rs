//! Rules: what their author wrote, and what is left of it once it is known to make sense.

use std::fmt;

use thiserror::Error;

use super::prefix::{Family, Prefix};
use super::service::{Protocol, Services};

/// The most security groups, and the most address groups.
pub const GROUPS_MAX: usize = 65_536;

/// Which way traffic goes, as its guest sees it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// To the guest.
    Ingress,
    /// From the guest.
    Egress,
}

impl Direction {
    /// Both directions, by their name in the file.
    pub const ALL: &'static [(&'static str, Self)] = &[("ingress", Self::Ingress), ("egress", Self::Egress)];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

macro_rules! index {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub struct $name(u16);

        impl $name {
            /// The index `value`, or `None` at or above [`GROUPS_MAX`].
            #[must_use]
            pub fn new(value: usize) -> Option<Self> {
                u16::try_from(value).ok().map(Self)
            }

            /// The index as an array position.
            #[must_use]
            pub fn get(self) -> usize {
                usize::from(self.0)
            }

            /// The index as it is hashed.
            #[inline]
            pub(super) fn raw(self) -> u16 {
                self.0
            }
        }
    };
}

index! {
    /// Names a security group: `0..GROUPS_MAX`, given by the control side.
    GroupIndex
}

index! {
    /// Names an address group: `0..GROUPS_MAX`, given by the control side.
    AddressGroupIndex
}

/// Who is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Remote {
    /// Anybody.
    Any,
    /// Who has an address with this prefix.
    Prefix(Prefix),
    /// The members of a security group, by their addresses.
    Group(GroupIndex),
    /// Who has an address of an address group.
    AddressGroup(AddressGroupIndex),
}

/// The versions of IP that a rule is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Families {
    One(Family),
    Both,
}

/// A rule as its author wrote it, with what was left out left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RuleSpec {
    /// Which way.
    pub direction: Direction,
    /// The version of IP; `None`: what protocol and remote leave open, which may be both.
    pub ethertype: Option<Family>,
    /// The protocol; `None`: any.
    pub protocol: Option<Protocol>,
    /// The lowest and the highest destination port; `None`: any.
    pub ports: Option<(u16, u16)>,
    /// The ICMP type; `None`: any.
    pub icmp_type: Option<u8>,
    /// The ICMP code; `None`: any.
    pub icmp_code: Option<u8>,
    /// The prefix of the other end's address.
    pub prefix: Option<Prefix>,
    /// The security group that the other end is a member of.
    pub group: Option<GroupIndex>,
    /// The address group that the other end's address is in.
    pub address_group: Option<AddressGroupIndex>,
}

impl RuleSpec {
    /// A rule that allows everything in one direction: a beginning.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        Self {
            direction,
            ethertype: None,
            protocol: None,
            ports: None,
            icmp_type: None,
            icmp_code: None,
            prefix: None,
            group: None,
            address_group: None,
        }
    }

    fn remote(&self) -> Result<Remote, RuleError> {
        let all = [
            // All addresses of a version are nobody in particular.
            self.prefix.map(|prefix| if prefix.length() == 0 { Remote::Any } else { Remote::Prefix(prefix) }),
            self.group.map(Remote::Group),
            self.address_group.map(Remote::AddressGroup),
        ];
        let mut given = all.into_iter().flatten();
        let first = given.next().unwrap_or(Remote::Any);
        if given.next().is_none() { Ok(first) } else { Err(RuleError::ManyRemotes) }
    }

    fn services(&self) -> Result<Services, RuleError> {
        let Some(protocol) = self.protocol else {
            return match (self.ports, self.icmp_type, self.icmp_code) {
                (None, None, None) => Ok(Services::ALL),
                (Some(_), _, _) => Err(RuleError::PortsWithoutProtocol),
                _ => Err(RuleError::TypeWithoutProtocol),
            };
        };
        if protocol.is_extension() {
            return Err(RuleError::Extension(protocol));
        }
        match (self.ports, self.icmp_type, self.icmp_code) {
            (None, None, None) => Ok(Services::of(protocol)),
            (Some(_), Some(_), _) | (Some(_), _, Some(_)) => Err(RuleError::PortsAndType),
            (Some(ports), None, None) => ports_of(protocol, ports),
            (None, kind, code) => types_of(protocol, kind, code),
        }
    }

    fn families(&self) -> Result<Families, RuleError> {
        let mut families = self.ethertype.map_or(Families::Both, Families::One);
        if let Some(family) = self.protocol.and_then(family_of) {
            let protocol = self.protocol.unwrap_or(Protocol::ICMP);
            families =
                families.narrowed(family).ok_or(RuleError::ProtocolOfOtherVersion(protocol, family))?;
        }
        if let Some(prefix) = self.prefix {
            let family = prefix.family();
            families = families.narrowed(family).ok_or(RuleError::PrefixOfOtherVersion(prefix, family))?;
        }
        Ok(families)
    }
}

impl Families {
    /// What is left if only `family` will do.
    fn narrowed(self, family: Family) -> Option<Self> {
        match self {
            Self::One(other) if other != family => None,
            _ => Some(Self::One(family)),
        }
    }
}

/// The version of IP that a protocol belongs to, if it belongs to one only.
fn family_of(protocol: Protocol) -> Option<Family> {
    match protocol {
        Protocol::ICMP => Some(Family::Ipv4),
        Protocol::ICMPV6 => Some(Family::Ipv6),
        _ => None,
    }
}

fn ports_of(protocol: Protocol, (first, last): (u16, u16)) -> Result<Services, RuleError> {
    if protocol.is_icmp() {
        return Err(RuleError::PortsOfIcmp(protocol));
    }
    if !protocol.has_ports() {
        return Err(RuleError::NoPorts(protocol));
    }
    if first == 0 {
        return Err(RuleError::PortZero);
    }
    if first > last {
        return Err(RuleError::PortsReversed(first, last));
    }
    Ok(Services::between(protocol, first, last))
}

fn types_of(protocol: Protocol, kind: Option<u8>, code: Option<u8>) -> Result<Services, RuleError> {
    if !protocol.is_icmp() {
        return Err(RuleError::NoTypes(protocol));
    }
    let kind = kind.ok_or(RuleError::CodeWithoutType)?;
    let [first, last] =
        code.map_or([0, u8::MAX], |code| [code; 2]).map(|code| u16::from_be_bytes([kind, code]));
    Ok(Services::between(protocol, first, last))
}

/// What one rule allows. It can be matched as it stands: ports belong to a protocol that has them, and so on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Rule {
    direction: Direction,
    remote: Remote,
    families: Families,
    services: Services,
}

impl Rule {
    /// Everything in one direction, IPv4 and IPv6.
    #[must_use]
    pub fn everything(direction: Direction, remote: Remote) -> Self {
        let families = match remote {
            Remote::Prefix(prefix) => Families::One(prefix.family()),
            _ => Families::Both,
        };
        Self { direction, remote, families, services: Services::ALL }
    }

    /// Which way.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Who is at the other end.
    #[must_use]
    pub fn remote(&self) -> Remote {
        self.remote
    }

    /// The versions of IP that it is for.
    pub fn families(&self) -> impl Iterator<Item = Family> + use<> {
        let families = self.families;
        Family::ALL.into_iter().filter(move |family| match families {
            Families::One(one) => one == *family,
            Families::Both => true,
        })
    }

    pub(crate) fn services(&self) -> Services {
        self.services
    }
}

impl TryFrom<RuleSpec> for Rule {
    type Error = RuleError;

    fn try_from(spec: RuleSpec) -> Result<Self, RuleError> {
        let remote = spec.remote()?;
        let services = spec.services()?;
        Ok(Self { direction: spec.direction, remote, families: spec.families()?, services })
    }
}

/// Why what somebody wrote is no rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum RuleError {
    /// Two ends at once.
    #[error(
        "at most one of remote, remote_group and remote_address_group can be given; write a rule for each"
    )]
    ManyRemotes,
    /// Ports of what?
    #[error("ports need a protocol that has them, such as protocol = \"tcp\"")]
    PortsWithoutProtocol,
    /// Type of what?
    #[error("type and code need protocol = \"icmp\" or \"icmpv6\"")]
    TypeWithoutProtocol,
    /// Both of what exclude each other.
    #[error("a rule has either ports or an ICMP type: no protocol has both")]
    PortsAndType,
    /// ICMP has none.
    #[error("{0} has no ports; write type, and code if it matters")]
    PortsOfIcmp(Protocol),
    /// A protocol without ports.
    #[error("protocol {0} has no ports; leave them out, or name tcp, udp, sctp, dccp or udplite")]
    NoPorts(Protocol),
    /// A protocol without types.
    #[error("protocol {0} has no type and code; leave them out, or name icmp or icmpv6")]
    NoTypes(Protocol),
    /// Port 0 cannot be used.
    #[error("port 0 does not exist; ports are numbers from 1 to 65535")]
    PortZero,
    /// The wrong way round.
    #[error("the range of ports ends before it begins; \"{1}-{0}\" would be right")]
    PortsReversed(u16, u16),
    /// A code of which type?
    #[error("a code needs a type: what it means depends on it")]
    CodeWithoutType,
    /// An extension header.
    #[error("{0} is the number of an IPv6 extension header; name the protocol that stands behind it")]
    Extension(Protocol),
    /// ICMP in IPv6, or the reverse.
    #[error("protocol {0} is {1}'s; leave ethertype and remote to it, or use the other version's icmp")]
    ProtocolOfOtherVersion(Protocol, Family),
    /// A prefix of the other version.
    #[error("{0} is a prefix of {1}, and ethertype or protocol say another version; leave ethertype out")]
    PrefixOfOtherVersion(Prefix, Family),
}
