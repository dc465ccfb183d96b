//! The switch as a pure library: bytes and time come in as arguments, decisions go out.
//!
//! No `unsafe`, no I/O, no clock, no threads. A burst of [`Frame`]s from one source port enters
//! [`Switch::process`]; for each frame the ordered list [`STAGES`] decides and records a decision, whose
//! actions are then carried out: an address is learned, a drop is counted, the caller's [`Egress`] is told
//! where copies of the frame go. Each worker's flow cache replays records for frames of the same kind, as
//! long as nothing changed on which they depend.
//!
//! What the control side wants is compiled into a [`Policy`], which is replaced as a whole; what the
//! switch learns stands in tables of fixed size beside it. What a guest claims about a frame is a
//! [`RawClaims`] until it is checked; [`offload`] makes good on claims that a receiver cannot take.
#![forbid(unsafe_code)]

pub mod bond;
pub mod claims;
pub mod conntrack;
pub mod control;
pub mod counters;
mod decision;
pub mod dhcp;
pub mod dhcp6;
pub mod domain;
pub mod drops;
pub mod explain;
mod fdb;
mod filter;
mod flow_cache;
pub mod flow_hash;
pub mod fragments;
pub mod frame;
pub mod gateway;
pub mod ids;
mod kinds;
pub mod lacp;
pub mod lldp;
pub mod mac;
pub mod marking;
pub mod meter;
mod multicast;
pub mod nat;
pub mod offload;
pub mod packet;
pub mod policy;
pub mod qos;
pub mod ra;
mod random;
pub mod router;
pub mod security;
pub mod spanning_tree;
mod stages;
pub mod storm;
pub mod suppression;
pub mod switch;
mod tags;
pub mod time;
pub mod timer_wheel;
pub mod tunnel;
pub mod vlan;

pub use claims::{FLAG_NEEDS_CHECKSUM, RawClaims};
pub use control::{ControlPolicy, ControlProtocol};
pub use counters::{
    Counters, FdbSnapshot, FlowCacheCounters, FlowCacheSnapshot, PortCounters, PortSnapshot, Volume,
};
pub use drops::{DROP_REASONS, DropReason};
pub use fdb::{Duplicate, FdbEntry, Limits};
pub use filter::{Carried, Denied};
pub use flow_cache::FlowMismatch;
pub use frame::{Claims, Frame, Gso, GsoKind, Head, Marks, Metadata, PartialChecksum, TakenTag};
pub use ids::{NetworkIndex, PortIndex};
pub use mac::MacAddress;
pub use multicast::{GroupEntry, GroupLimits, GroupSnapshot};
pub use policy::{
    Gateway, Membership, MulticastSettings, NetworkPolicy, NetworkSettings, Policy, PolicyError, PortPolicy,
    TagsOf, Trunk, VtepMembership,
};
pub use stages::{STAGES, Stage};
pub use storm::{FrameRate, JudgeLimits, StormClass, StormLimits};
pub use switch::{Egress, Switch, WorkerState};
pub use time::Nanos;
pub use vlan::{Priority, TagStack, TagTypes, VlanId};
