//! LLDPDUs: frames of type, length and value (IEEE 802.1AB-2016, 8).

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::mac::MacAddress;

/// Where LLDPDUs go: the group that no bridge of any kind forwards (IEEE 802.1AB-2016, table 7-1).
pub const NEAREST_BRIDGE: MacAddress = MacAddress([0x01, 0x80, 0xc2, 0, 0, 0x0e]);

/// The type field (IEEE 802.1AB-2016, table 7-2).
pub const LLDP_TYPE: u16 = 0x88cc;

/// Types of TLVs (IEEE 802.1AB-2016, table 8-1).
const END: u8 = 0;
const CHASSIS_ID: u8 = 1;
const PORT_ID: u8 = 2;
const TIME_TO_LIVE: u8 = 3;
const PORT_DESCRIPTION: u8 = 4;
const SYSTEM_NAME: u8 = 5;
const SYSTEM_DESCRIPTION: u8 = 6;
const SYSTEM_CAPABILITIES: u8 = 7;
const MANAGEMENT_ADDRESS: u8 = 8;

/// What a chassis is named by (IEEE 802.1AB-2016, table 8-2).
pub mod chassis {
    /// An Ethernet address.
    pub const MAC_ADDRESS: u8 = 4;
    /// An address of another network, its family first.
    pub const NETWORK_ADDRESS: u8 = 5;
}

/// What a port is named by (IEEE 802.1AB-2016, table 8-3).
pub mod port {
    /// An Ethernet address.
    pub const MAC_ADDRESS: u8 = 3;
    /// An address of another network, its family first.
    pub const NETWORK_ADDRESS: u8 = 4;
    /// The name of an interface.
    pub const INTERFACE_NAME: u8 = 5;
}

/// Address families (IANA, "Address Family Numbers").
const FAMILY_IPV4: u8 = 1;
const FAMILY_IPV6: u8 = 2;

/// The system is a bridge (IEEE 802.1AB-2016, table 8-4).
const CAPABILITY_BRIDGE: u16 = 1 << 2;

/// The most bytes of names and descriptions, and the most of identities.
const TEXT_MAX: usize = 255;

/// Names a chassis or a port: by what, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Of [`chassis`] or [`port`], or another.
    pub subtype: u8,
    /// 1 to 255 bytes.
    pub value: Vec<u8>,
}

impl Identity {
    /// The identity as people write it. Whether it is that of a chassis or of a port says what its subtype means.
    #[must_use]
    pub fn display(&self, is_chassis: bool) -> String {
        let (mac, network) = if is_chassis {
            (chassis::MAC_ADDRESS, chassis::NETWORK_ADDRESS)
        } else {
            (port::MAC_ADDRESS, port::NETWORK_ADDRESS)
        };
        match (self.subtype, self.value.as_slice()) {
            (subtype, [a, b, c, d, e, f]) if subtype == mac => {
                MacAddress([*a, *b, *c, *d, *e, *f]).to_string()
            }
            (subtype, [family, address @ ..]) if subtype == network => {
                ip(*family, address).map_or_else(|| hexadecimal(&self.value), |ip| ip.to_string())
            }
            (_, value) => text(value),
        }
    }
}

/// What a system is able to do, and what of it it does: bits of IEEE 802.1AB-2016, table 8-4.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Capabilities {
    /// What it is able to do.
    pub able: u16,
    /// What it does.
    pub enabled: u16,
}

impl Capabilities {
    /// The names of the bits of either field.
    pub fn names(bits: u16) -> impl Iterator<Item = &'static str> {
        const NAMES: [&str; 11] = [
            "other",
            "repeater",
            "bridge",
            "access-point",
            "router",
            "telephone",
            "docsis",
            "station",
            "c-vlan",
            "s-vlan",
            "two-port-relay",
        ];
        NAMES.into_iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 != 0).map(|(_, name)| name)
    }
}

/// What a neighbour says about itself. Texts hold no control characters: those that came are replaced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbour {
    /// Which system it is.
    pub chassis: Identity,
    /// Which of its ports.
    pub port: Identity,
    /// For how many seconds that counts; 0: no more.
    pub ttl_s: u16,
    /// What the port is.
    pub port_description: Option<String>,
    /// The system's name.
    pub system_name: Option<String>,
    /// What the system is.
    pub system_description: Option<String>,
    /// What the system is able to do.
    pub capabilities: Option<Capabilities>,
    /// Where it is managed.
    pub management: Option<IpAddr>,
}

/// What we say about ourselves. Texts beyond 255 bytes are cut.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// The address that names this system.
    pub chassis: MacAddress,
    /// The name of the link's interface.
    pub interface: String,
    /// What the link is.
    pub port_description: String,
    /// This system's name.
    pub system_name: String,
    /// What this system is.
    pub system_description: String,
    /// Where this system is managed.
    pub management: Option<IpAddr>,
}

/// Why a frame says nothing to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Another destination or type, or a sender that is a group.
    #[error("the frame is no LLDPDU")]
    NotLldp,
    /// The first three parts are not those that must be there, each once, or come later again.
    #[error("an LLDPDU begins with chassis, port and time to live, each once")]
    Order,
    /// A part reaches beyond the frame's end.
    #[error("a part is longer than the frame")]
    Cut,
    /// A part that must be there has not the length that the standard gives it.
    #[error("the length of a part is not the standard's")]
    PartLength,
}

/// Reads a frame to one of the protocol's three groups from its destination address on (IEEE 802.1AB-2016, 9.2.7.7: what makes an LLDPDU wrong, and what is
/// passed over).
///
/// # Errors
/// What is wrong with it.
pub fn decode(frame: &[u8]) -> Result<Neighbour, Malformed> {
    let mut parts = Parts { rest: body(frame).ok_or(Malformed::NotLldp)? };
    let mut first = |kind: u8| match parts.next() {
        Some(Ok((found, value))) if found == kind => Ok(value),
        Some(Err(error)) => Err(error),
        _ => Err(Malformed::Order),
    };
    let (chassis, port) = (identity(first(CHASSIS_ID)?)?, identity(first(PORT_ID)?)?);
    let ttl: &[u8; 2] = first(TIME_TO_LIVE)?.first_chunk().ok_or(Malformed::PartLength)?;
    let mut neighbour = Neighbour {
        chassis,
        port,
        ttl_s: u16::from_be_bytes(*ttl),
        port_description: None,
        system_name: None,
        system_description: None,
        capabilities: None,
        management: None,
    };
    for part in parts {
        let (kind, value) = part?;
        neighbour.take(kind, value)?;
    }
    Ok(neighbour)
}

/// What follows the type field of a frame of the protocol.
fn body(frame: &[u8]) -> Option<&[u8]> {
    let header: &[u8; 14] = frame.first_chunk()?;
    // Neighbours beyond relays of two ports, and those beyond a provider's bridges, use the other groups (table 7-1).
    let is_group_of_ours = header[..5] == NEAREST_BRIDGE.0[..5] && matches!(header[5], 0x0e | 0x03 | 0x00);
    let is_lldp = is_group_of_ours && header[12..] == LLDP_TYPE.to_be_bytes();
    let is_group = header[6] & 1 != 0;
    frame.get(14..).filter(|_| is_lldp && !is_group)
}

/// The parts of an LLDPDU up to its end.
struct Parts<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(u8, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = self.rest.split_first_chunk::<2>()?;
        // Seven bits of type, nine of length.
        let word = u16::from_be_bytes(*header);
        let (kind, len) = (header[0] >> 1, usize::from(word & 0x1ff));
        self.rest = &[];
        if kind == END {
            return if len == 0 { None } else { Some(Err(Malformed::PartLength)) };
        }
        let Some((value, rest)) = rest.split_at_checked(len) else { return Some(Err(Malformed::Cut)) };
        self.rest = rest;
        Some(Ok((kind, value)))
    }
}

fn identity(value: &[u8]) -> Result<Identity, Malformed> {
    match value.split_first() {
        Some((subtype, value)) if (1..=TEXT_MAX).contains(&value.len()) => {
            Ok(Identity { subtype: *subtype, value: value.to_vec() })
        }
        _ => Err(Malformed::PartLength),
    }
}

impl Neighbour {
    /// One of the parts that may be there. Those with wrong lengths are passed over, and of those that come twice the
    /// last counts.
    fn take(&mut self, kind: u8, value: &[u8]) -> Result<(), Malformed> {
        let short = || (value.len() <= TEXT_MAX).then(|| text(value));
        match kind {
            CHASSIS_ID | PORT_ID | TIME_TO_LIVE => return Err(Malformed::Order),
            PORT_DESCRIPTION => self.port_description = short(),
            SYSTEM_NAME => self.system_name = short(),
            SYSTEM_DESCRIPTION => self.system_description = short(),
            SYSTEM_CAPABILITIES => self.capabilities = capabilities(value),
            MANAGEMENT_ADDRESS => self.management = self.management.or_else(|| management(value)),
            _ => {}
        }
        Ok(())
    }
}

fn capabilities(value: &[u8]) -> Option<Capabilities> {
    let [a, b, c, d] = *value.first_chunk()?;
    Some(Capabilities { able: u16::from_be_bytes([a, b]), enabled: u16::from_be_bytes([c, d]) })
}

/// The address of a management address TLV (IEEE 802.1AB-2016, 8.5.9): its length with the family, family, address.
fn management(value: &[u8]) -> Option<IpAddr> {
    let (len, rest) = value.split_first()?;
    let (family, address) = rest.get(..usize::from(*len))?.split_first()?;
    ip(*family, address)
}

fn ip(family: u8, address: &[u8]) -> Option<IpAddr> {
    match family {
        FAMILY_IPV4 => <[u8; 4]>::try_from(address).ok().map(|bytes| Ipv4Addr::from(bytes).into()),
        FAMILY_IPV6 => <[u8; 16]>::try_from(address).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

/// Bytes of a stranger as text that a terminal may show.
fn text(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

fn hexadecimal(value: &[u8]) -> String {
    value.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string never fails.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The frame that tells neighbours about us, for `ttl_s` seconds.
#[must_use]
pub fn encode(local: &Local, source: MacAddress, ttl_s: u16) -> Vec<u8> {
    let mut frame = [NEAREST_BRIDGE.0, source.0].concat();
    frame.extend(LLDP_TYPE.to_be_bytes());
    let named = |subtype: u8, value: &[u8]| [&[subtype], cut(value)].concat();
    push(&mut frame, CHASSIS_ID, &named(chassis::MAC_ADDRESS, &local.chassis.0));
    push(&mut frame, PORT_ID, &named(port::INTERFACE_NAME, local.interface.as_bytes()));
    push(&mut frame, TIME_TO_LIVE, &ttl_s.to_be_bytes());
    // Who leaves says no more than that (IEEE 802.1AB-2016, 9.1.2.2).
    if ttl_s > 0 {
        push(&mut frame, PORT_DESCRIPTION, cut(local.port_description.as_bytes()));
        push(&mut frame, SYSTEM_NAME, cut(local.system_name.as_bytes()));
        push(&mut frame, SYSTEM_DESCRIPTION, cut(local.system_description.as_bytes()));
        let [high, low] = CAPABILITY_BRIDGE.to_be_bytes();
        push(&mut frame, SYSTEM_CAPABILITIES, &[high, low, high, low]);
        push_management(&mut frame, local.management);
    }
    push(&mut frame, END, &[]);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// The management address, without interface number or object identifier.
fn push_management(frame: &mut Vec<u8>, address: Option<IpAddr>) {
    let (family, bytes) = match address {
        Some(IpAddr::V4(address)) => (FAMILY_IPV4, address.octets().to_vec()),
        Some(IpAddr::V6(address)) => (FAMILY_IPV6, address.octets().to_vec()),
        None => return,
    };
    let len = u8::try_from(bytes.len() + 1).unwrap_or(u8::MAX);
    // Interface numbering 1: unknown.
    push(frame, MANAGEMENT_ADDRESS, &[&[len, family], bytes.as_slice(), &[1, 0, 0, 0, 0, 0]].concat());
}

/// The first bytes of a text that may be too long; not within a character.
fn cut(value: &[u8]) -> &[u8] {
    let is_boundary = |at: &usize| value.get(*at).is_none_or(|byte| byte & 0xc0 != 0x80);
    let len = (0..=TEXT_MAX.min(value.len())).rev().find(is_boundary).unwrap_or(0);
    value.get(..len).unwrap_or_default()
}

fn push(frame: &mut Vec<u8>, kind: u8, value: &[u8]) {
    // No value of ours is longer than 256 bytes.
    let len = u16::try_from(value.len()).unwrap_or(0);
    frame.extend((u16::from(kind) << 9 | len).to_be_bytes());
    frame.extend(value);
}
