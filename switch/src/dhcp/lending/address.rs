//! Addresses of either version.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address that can be lent.
pub trait Address: Copy + Ord + Debug + Into<IpAddr> {
    /// An address from `first` to `last`, which `chance` chooses.
    fn within(first: Self, last: Self, chance: u64) -> Self;

    /// The address, if it is of this version.
    fn of(address: IpAddr) -> Option<Self>;
}

impl Address for Ipv4Addr {
    fn within(first: Self, last: Self, chance: u64) -> Self {
        let length = u64::from(last.to_bits().saturating_sub(first.to_bits())) + 1;
        (first.to_bits() + u32::try_from(chance % length).unwrap_or(0)).into()
    }

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }
    }
}

impl Address for Ipv6Addr {
    fn within(first: Self, last: Self, chance: u64) -> Self {
        let length = last.to_bits().saturating_sub(first.to_bits()).saturating_add(1);
        (first.to_bits() + u128::from(chance) % length).into()
    }

    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(address),
        }
    }
}
