//! What snooping did: written relaxed, read at any time.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Declares the counters once: name and sentence.
macro_rules! counters {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// The counters.
        #[derive(Debug, Default)]
        pub(super) struct GroupCounters { $(pub(super) $name: AtomicU64),* }

        /// The values of the counters of multicast snooping at one moment.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct GroupSnapshot { $($(#[doc = $doc])* pub $name: u64),* }

        impl GroupCounters {
            /// All values as they stand.
            pub(super) fn snapshot(&self) -> GroupSnapshot {
                GroupSnapshot { $($name: self.$name.load(Relaxed)),* }
            }
        }
    };
}

counters! {
    /// General queries of routers that were believed.
    queries,
    /// Ports that became members of a group, or routers.
    joined,
    /// Memberships that a host left; unless leaving is fast, one ends seconds later as expired.
    left,
    /// Memberships that ended because nothing was heard for too long, or the port left its network.
    expired,
    /// Memberships that gave way to another one.
    evicted,
    /// Joins not noted, because every place was taken by ports with fewer memberships, or the port has as
    /// many as it may.
    refused,
    /// Memberships removed with their port.
    forgotten,
    /// Messages not noted, because another worker was writing.
    contended,
    /// Messages that were cut, contradicted themselves or failed their checksum; they were dropped.
    malformed,
    /// Messages not read, because the port sent too many or they were too long.
    unread,
}
