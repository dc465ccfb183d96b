//! Network address translation: stations of inside networks appear with addresses of an outside network, and are reached by them.
//!
//! [`NatSettings`] is what the control side says; [`Nat`] is that compiled, immutable, part of the policy.

#[expect(dead_code, reason = "the data path does not ask it yet")]
mod compiled;
#[cfg_attr(not(test), expect(dead_code, reason = "the data path does not ask it yet"))]
mod prefix;
mod settings;

pub use compiled::Nat;
pub use settings::{
    FilteringBehavior, Floating, MappingBehavior, NatError, NatSettings, PORTS_DEFAULT, PrefixNat, Published,
    SourceAddress, SourceNat, SourceRule,
};

/// The most outside addresses of one range.
pub(crate) const POOL_MAX: u32 = 4096;

#[cfg(test)]
mod tests;
