//! The switch itself.
