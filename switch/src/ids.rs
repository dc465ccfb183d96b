//! Small indices that name ports and networks on the data path.

use std::fmt;

/// The most ports that one switch can have.
pub const PORTS_MAX: usize = 4096;

/// The most networks that one switch can have.
pub const NETWORKS_MAX: usize = 4096;

/// Names a port on the data path: `0..PORTS_MAX`, given by the control side, reused after removal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PortIndex(u16);

/// Names a network (one broadcast domain) on the data path: `0..NETWORKS_MAX`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NetworkIndex(u16);

macro_rules! index {
    ($name:ident, $max:expr) => {
        impl $name {
            /// The index `value`, or `None` at or above the maximum.
            #[must_use]
            pub fn new(value: usize) -> Option<Self> {
                if value < $max { u16::try_from(value).ok().map(Self) } else { None }
            }

            /// The index as an array position.
            #[must_use]
            pub fn get(self) -> usize {
                usize::from(self.0)
            }

            /// The index as it is packed into table entries.
            #[must_use]
            pub fn raw(self) -> u16 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

index!(PortIndex, PORTS_MAX);
index!(NetworkIndex, NETWORKS_MAX);
