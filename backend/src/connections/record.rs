//! Connections and mappings as bytes. What is not needed is left out: a connection of IPv4 takes 84 bytes, one that is not TCP 48.

use std::net::Ipv4Addr;

use viaduct_switch::conntrack::{Record, Tuple};
use viaduct_switch::nat::{Endpoint, Mapping};
use viaduct_switch::packet::{Address, number};
use viaduct_switch::{NetworkIndex, PortIndex};

/// Bits of a connection's first byte.
const IS_V4: u8 = 1;
const VOUCHED: [u8; 2] = [2, 4];
const MAPPED: [u8; 2] = [8, 16];
const KNOWN: u8 = 31;

/// Appends numbers.
pub(super) struct Bytes<'a>(pub(super) &'a mut Vec<u8>);

impl Bytes<'_> {
    pub(super) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.0.extend(value.to_le_bytes());
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.0.extend(value.to_le_bytes());
    }

    fn address(&mut self, address: Address) {
        match address.to_v4() {
            Some(v4) => self.u32(v4.to_bits()),
            None => self.0.extend(address.to_bits().to_le_bytes()),
        }
    }

    fn end(&mut self, end: &Endpoint) {
        self.u16(end.network.raw());
        self.u32(end.address.to_bits());
        self.u16(end.port);
    }
}

/// Takes numbers from the beginning; `None`: there are not enough bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    pub(super) fn port(&mut self) -> Option<PortIndex> {
        PortIndex::new(self.u16()?.into())
    }

    pub(super) fn network(&mut self) -> Option<NetworkIndex> {
        NetworkIndex::new(self.u16()?.into())
    }

    pub(super) fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_owned()).ok()
    }

    fn v4(&mut self) -> Option<Ipv4Addr> {
        self.u32().map(Ipv4Addr::from_bits)
    }

    fn address(&mut self, is_v4: bool) -> Option<Address> {
        if is_v4 {
            Some(self.v4()?.into())
        } else {
            Some(Address::from_bits(u128::from_le_bytes(self.take()?)))
        }
    }

    fn end(&mut self) -> Option<Endpoint> {
        Some(Endpoint { network: self.network()?, address: self.v4()?, port: self.u16()? })
    }
}

fn bit(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

pub(super) fn put_connection(bytes: &mut Bytes<'_>, record: &Record) {
    let Record { tuples, port, vouchers, is_mapped, flags, sides, asked, idle_s } = record;
    let [original, reply] = tuples;
    let is_v4 = original.source.is_v4();
    let vouched = vouchers.iter().zip(VOUCHED).map(|(port, flag)| bit(port.is_some(), flag));
    let mapped = is_mapped.iter().zip(MAPPED).map(|(is, flag)| bit(*is, flag));
    bytes.u8(vouched.chain(mapped).fold(bit(is_v4, IS_V4), |bits, bit| bits | bit));
    bytes.u8(original.protocol);
    bytes.u16(port.raw());
    vouchers.iter().flatten().for_each(|port| bytes.u16(port.raw()));
    bytes.address(original.source);
    bytes.address(original.destination);
    if is_v4 {
        bytes.address(reply.source);
        bytes.address(reply.destination);
    }
    for tuple in tuples {
        bytes.u16(tuple.zone.raw());
        bytes.u16(tuple.source_port);
        bytes.u16(tuple.destination_port);
    }
    bytes.u32(*flags);
    idle_s.iter().for_each(|idle_s| bytes.u32(*idle_s));
    if original.protocol == number::TCP {
        sides.iter().flatten().for_each(|number| bytes.u32(*number));
        bytes.u32(*asked);
    }
}

pub(super) fn take_connection(reader: &mut Reader<'_>) -> Option<Record> {
    let bits = reader.u8().filter(|bits| bits & !KNOWN == 0)?;
    let (is_v4, protocol) = (bits & IS_V4 != 0, reader.u8()?);
    let port = reader.port()?;
    let mut vouchers = [None; 2];
    for (voucher, flag) in vouchers.iter_mut().zip(VOUCHED) {
        if bits & flag != 0 {
            *voucher = Some(reader.port()?);
        }
    }
    let sent = [reader.address(is_v4)?, reader.address(is_v4)?];
    let answered = if is_v4 { [reader.address(true)?, reader.address(true)?] } else { [sent[1], sent[0]] };
    let mut tuple = |[source, destination]: [Address; 2]| {
        let (zone, source_port, destination_port) = (reader.network()?, reader.u16()?, reader.u16()?);
        Some(Tuple { zone, source, destination, protocol, source_port, destination_port })
    };
    let tuples = [tuple(sent)?, tuple(answered)?];
    let flags = reader.u32()?;
    let idle_s = [reader.u32()?, reader.u32()?];
    let (mut sides, mut asked) = ([[0; 4]; 2], 0);
    if protocol == number::TCP {
        for number in sides.iter_mut().flatten() {
            *number = reader.u32()?;
        }
        asked = reader.u32()?;
    }
    let is_mapped = MAPPED.map(|flag| bits & flag != 0);
    Some(Record { tuples, port, vouchers, is_mapped, flags, sides, asked, idle_s })
}

pub(super) fn put_mapping(bytes: &mut Bytes<'_>, mapping: &Mapping) {
    let Mapping { inside, outside, protocol, peer, port, connections, age_s, idle_s } = mapping;
    bytes.u8(bit(peer.is_some(), 1));
    bytes.u8(*protocol);
    bytes.u16(port.raw());
    bytes.end(inside);
    bytes.end(outside);
    for number in [connections, age_s, idle_s] {
        bytes.u32(*number);
    }
    if let Some((address, port)) = peer {
        bytes.u32(address.to_bits());
        bytes.u16(*port);
    }
}

pub(super) fn take_mapping(reader: &mut Reader<'_>) -> Option<Mapping> {
    let has_peer = reader.u8().filter(|bits| bits & !1 == 0)? != 0;
    let (protocol, port) = (reader.u8()?, reader.port()?);
    let (inside, outside) = (reader.end()?, reader.end()?);
    let [connections, age_s, idle_s] = [reader.u32()?, reader.u32()?, reader.u32()?];
    let peer = if has_peer { Some((reader.v4()?, reader.u16()?)) } else { None };
    Some(Mapping { inside, outside, protocol, peer, port, connections, age_s, idle_s })
}
