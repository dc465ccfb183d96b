//! The PROXY protocol's header, version 2 ("The PROXY protocol", W. Tarreau, 2.2), in binary.

use std::net::{IpAddr, SocketAddr};

use viaduct_switch::ids::PortIndex;

use super::super::settings::NetworkServices;
use super::super::stack::Stream;

/// By what version 2 is known.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, on behalf of another.
const PROXY: u8 = 0x21;

/// TCP over IPv4, and over IPv6.
const TCP: [u8; 2] = [0x11, 0x21];

/// Types of what is added, from those that anybody may use (2.2.7, `PP2_TYPE_MIN_CUSTOM`): the name of the port at which the guest
/// is, and the name of its network.
const PORT: u8 = 0xe0;
const NETWORK: u8 = 0xe1;

/// The header of a connection.
pub(super) fn of(stream: &Stream, port: PortIndex, settings: &NetworkServices) -> Vec<u8> {
    let name = settings.ports.iter().find(|(index, _)| *index == port).map_or("", |(_, name)| name.as_str());
    make(stream.peer(), stream.local(), name, &settings.name)
}

fn make(peer: SocketAddr, local: SocketAddr, port: &str, network: &str) -> Vec<u8> {
    let mut body = Vec::new();
    for address in [peer.ip(), local.ip()] {
        match address {
            IpAddr::V4(address) => body.extend(address.octets()),
            IpAddr::V6(address) => body.extend(address.octets()),
        }
    }
    body.extend(peer.port().to_be_bytes());
    body.extend(local.port().to_be_bytes());
    add(&mut body, PORT, port);
    add(&mut body, NETWORK, network);
    let family = TCP[usize::from(peer.is_ipv6())];
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family]);
    header.extend(u16::try_from(body.len()).unwrap_or(0).to_be_bytes());
    header.extend(body);
    header
}

/// A type, a length and a value of at most 255 bytes, which names never exceed.
fn add(body: &mut Vec<u8>, kind: u8, value: &str) {
    let value = &value.as_bytes()[..value.len().min(255)];
    body.extend([kind, 0, u8::try_from(value.len()).unwrap_or(0)]);
    body.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_the_one_of_the_specification() {
        let header =
            make("10.0.0.9:40000".parse().unwrap(), "169.254.169.254:80".parse().unwrap(), "vm1", "home");
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x19\x0a\0\0\x09\xa9\xfe\xa9\xfe\x9c\x40\0\x50\
            \xe0\0\x03vm1\xe1\0\x04home";
        assert_eq!(header, expected);
        let header = make("[fd00::9]:1".parse().unwrap(), "[fd00:ec2::254]:80".parse().unwrap(), "", "");
        assert_eq!((header.len(), header[13], header[15]), (16 + 36 + 6, 0x21, 42));
    }
}
