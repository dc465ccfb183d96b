//! Tells the network where stations are now: after a failover frames for them are to come by the other link.

use std::net::Ipv4Addr;

use crate::mac::MacAddress;

/// Bytes of an announcement: the shortest Ethernet frame, and a tag.
pub const ANNOUNCEMENT_MAX: usize = 64;

/// A station behind the switch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Station {
    /// Its address.
    pub address: MacAddress,
    /// The VLAN that its network has on the uplink.
    pub vlan: Option<u16>,
    /// Its IPv4 address, if it is known.
    pub ipv4: Option<Ipv4Addr>,
}

impl Station {
    /// A frame from the station to all, from which bridges learn its place: a gratuitous ARP request (RFC 5227, 3) where
    /// its IP address is known, else a reverse ARP request (RFC 903), to which nobody listens today but bridges.
    #[must_use]
    pub fn announcement(&self) -> Vec<u8> {
        let (kind, operation) = if self.ipv4.is_some() { (ARP, REQUEST) } else { (RARP, REVERSE_REQUEST) };
        let ip = self.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let target = if self.ipv4.is_some() { MacAddress([0; 6]) } else { self.address };
        let mut frame = Vec::with_capacity(ANNOUNCEMENT_MAX);
        frame.extend(MacAddress::BROADCAST.0);
        frame.extend(self.address.0);
        if let Some(vlan) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend((vlan & 0x0fff).to_be_bytes());
        }
        frame.extend(kind.to_be_bytes());
        write_arp(&mut frame, operation, (self.address, ip), (target, ip));
        pad(&mut frame, if self.vlan.is_some() { ANNOUNCEMENT_MAX } else { 60 });
        frame
    }
}

/// The type fields of both protocols.
pub(super) const ARP: u16 = 0x0806;
const RARP: u16 = 0x8035;

/// What is asked (RFC 826, RFC 903).
pub(super) const REQUEST: u16 = 1;
const REVERSE_REQUEST: u16 = 3;

/// The 28 bytes of ARP about IPv4 over Ethernet (RFC 826).
pub(super) fn write_arp(
    frame: &mut Vec<u8>,
    operation: u16,
    sender: (MacAddress, Ipv4Addr),
    target: (MacAddress, Ipv4Addr),
) {
    frame.extend([0, 1, 0x08, 0x00, 6, 4]);
    frame.extend(operation.to_be_bytes());
    for (address, ip) in [sender, target] {
        frame.extend(address.0);
        frame.extend(ip.octets());
    }
}

/// Makes a frame as long as Ethernet wants it.
pub(super) fn pad(frame: &mut Vec<u8>, len: usize) {
    frame.resize(frame.len().max(len), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: MacAddress = MacAddress([0x52, 0x54, 0, 0, 0, 7]);

    #[test]
    fn a_station_without_an_ip_address_is_announced_by_reverse_arp() {
        let frame = Station { address: ADDRESS, vlan: None, ipv4: None }.announcement();
        let mut expected = vec![0xff; 6];
        expected.extend([0x52, 0x54, 0, 0, 0, 7, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3]);
        expected.extend([0x52, 0x54, 0, 0, 0, 7, 0, 0, 0, 0, 0x52, 0x54, 0, 0, 0, 7, 0, 0, 0, 0]);
        expected.resize(60, 0);
        assert_eq!(frame, expected);
    }

    #[test]
    fn a_station_with_an_ip_address_in_a_vlan_asks_for_itself() {
        let ipv4 = Some(Ipv4Addr::new(10, 0, 0, 7));
        let frame = Station { address: ADDRESS, vlan: Some(0xf123), ipv4 }.announcement();
        let mut expected = vec![0xff; 6];
        expected.extend([0x52, 0x54, 0, 0, 0, 7, 0x81, 0, 0x01, 0x23, 8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        expected.extend([0x52, 0x54, 0, 0, 0, 7, 10, 0, 0, 7, 0, 0, 0, 0, 0, 0, 10, 0, 0, 7]);
        expected.resize(64, 0);
        assert_eq!(frame, expected);
    }
}
