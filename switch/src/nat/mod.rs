//! Network address translation: stations of inside networks appear with addresses of an outside network, and are reached by them.
//!
//! [`NatSettings`] is what the control side says; [`Nat`] is that compiled, immutable, part of the policy.

mod addresses;
mod ahead;
mod chained;
mod choice;
mod compiled;
mod mappings;
mod plan;
mod ports;
mod prefix;
mod prefixed;
mod restored;
pub(crate) mod rewrite;
mod settings;
mod standing;
mod store;

pub use compiled::Nat;
pub(crate) use mappings::MappingId;
pub use mappings::{AddressUse, Endpoint, HOLD_S, Mapping, Mappings, NatCounters, NatSnapshot};
pub use plan::Cause;
pub(crate) use plan::{Belongs, Change, Leave, Plan, Preview, Translator};
pub(crate) use prefixed::Prefixed;
pub(crate) use rewrite::Sums;
pub use settings::{
    FilteringBehavior, Floating, MappingBehavior, NatError, NatSettings, PORTS_DEFAULT, PrefixNat, Published,
    Reserved, SourceAddress, SourceNat, SourceRule,
};

/// The most outside addresses of one range.
pub(crate) const POOL_MAX: u32 = 4096;

#[cfg(test)]
mod tests;
