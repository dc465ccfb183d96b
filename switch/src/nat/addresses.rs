//! The outside addresses, and which of their ports are whose.

use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use super::mappings::{Endpoint, OutsideAddress, PROTOCOLS};
use super::ports::PortSet;
use super::store::Store;
use crate::ids::NetworkIndex;

/// The ports of an outside address.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) network: NetworkIndex,
    pub(super) address: Ipv4Addr,
    pub(super) ports: [PortSet; PROTOCOLS.len()],
    pub(super) used: [u32; PROTOCOLS.len()],
    reserved: Vec<(u8, RangeInclusive<u16>)>,
    /// No policy has the address any more.
    pub(super) is_gone: bool,
}

impl Table {
    pub(super) fn is_reserved(&self, protocol: u8, port: u16) -> bool {
        self.reserved.iter().any(|(of, ports)| *of == protocol && ports.contains(&port))
    }
}

pub(super) fn class_of(protocol: u8) -> Option<usize> {
    PROTOCOLS.iter().position(|own| *own == protocol)
}

impl Store {
    /// Makes these the addresses that mappings may have; those of before are kept until their mappings have ended.
    pub(super) fn set_addresses(&mut self, addresses: &[OutsideAddress]) {
        for table in self.tables.iter_mut().flatten() {
            table.is_gone = true;
        }
        for OutsideAddress { network, address, reserved } in addresses {
            let table = self.table_for(*network, *address);
            self.reserve(table, reserved);
        }
        for table in 0..u32::try_from(self.tables.len()).unwrap_or(0) {
            self.drop_unused(table);
        }
    }

    /// The table of an address, which is made if there is none.
    fn table_for(&mut self, network: NetworkIndex, address: Ipv4Addr) -> u32 {
        if let Some(&number) = self.by_address.get(&(network, address)) {
            return number;
        }
        let (ports, used, reserved) = (std::array::from_fn(|_| PortSet::default()), [0; 3], Vec::new());
        let table = Table { network, address, ports, used, reserved, is_gone: false };
        let number = match self.tables.iter().position(Option::is_none) {
            Some(free) => free,
            None => {
                self.tables.push(None);
                self.tables.len() - 1
            }
        };
        self.tables[number] = Some(table);
        let number = u32::try_from(number).unwrap_or(0);
        self.by_address.insert((network, address), number);
        number
    }

    /// Changes which ports of an address no mapping gets. Mappings that have one keep it until they end.
    fn reserve(&mut self, number: u32, reserved: &[(u8, RangeInclusive<u16>)]) {
        let Some(table) = self.tables.get(number as usize).and_then(Option::as_ref) else { return };
        let (network, address) = (table.network, table.address);
        let old = table.reserved.iter().cloned().map(|ports| (ports, false));
        let changes: Vec<_> = old.chain(reserved.iter().cloned().map(|ports| (ports, true))).collect();
        for ((protocol, ports), is_taken) in changes {
            let Some(class) = class_of(protocol) else { continue };
            for port in ports {
                let is_mapped = self.find_outside(Endpoint { network, address, port }, protocol).is_some();
                let Some(table) = self.tables.get_mut(number as usize).and_then(Option::as_mut) else {
                    return;
                };
                if is_taken {
                    table.ports[class].take(port);
                } else if !is_mapped {
                    table.ports[class].give(port);
                }
            }
        }
        if let Some(table) = self.tables.get_mut(number as usize).and_then(Option::as_mut) {
            table.reserved = reserved.to_vec();
            table.is_gone = false;
        }
    }

    /// Forgets the table of an address that is no more, once no mapping has any of its ports.
    pub(super) fn drop_unused(&mut self, number: u32) {
        let Some(place) = self.tables.get_mut(number as usize) else { return };
        if let Some(table) = place
            && table.is_gone
            && table.used == [0; 3]
        {
            self.by_address.remove(&(table.network, table.address));
            *place = None;
        }
    }
}
