//! Security groups: who may reach a guest, and whom a guest may reach. Port security: as whom it may speak.
//!
//! A frame from a guest is first held to the port's own addresses ([`SourceGuard`]). What no network can do without passes
//! then ([`is_essential`]); about the rest, groups are asked.
//!
//! A port is in groups; a group has rules; a rule allows a service (protocol, port or ICMP type) in one direction, from
//! or to a remote: anybody, a prefix, the members of a group, an address group. A packet passes if any rule of any of
//! the port's groups matches. Rules only allow, so their order says nothing, and that is what the tables live by.
//!
//! # How it is found out whether a rule matches
//!
//! * **Services are intervals** of one number of 24 bits ([`Service`]). All rules of a group with the same direction,
//!   version of IP and remote are one sorted list of disjoint intervals, however many they are: one binary search.
//! * **Remotes are found by hash.** For a remote's address a group can have few kinds of rules: for anybody, for each of
//!   the prefix lengths that occur in its rules (tuple space search: V. Srinivasan, S. Suri, G. Varghese, "Packet
//!   Classification using Tuple Space Search", SIGCOMM 1999, with one dimension left), and for the sets that the address
//!   is in. Each is one look-up.
//! * **Sets are looked up by the address**: a table gives for it the groups and address groups that it is in, once more by
//!   the prefix lengths that occur. So a remote group is one entry in the rules' table, and one for each member in
//!   the members': never rules times members.
//!
//! So the cost depends on how many groups the port has, how many different prefix lengths their rules have, and in
//! how many groups the address is that rules name: not on how many rules or members there are, but for the logarithm of
//! the binary search and of the table's depth. What was weighed against it: bit vectors for each field (T. Lakshman, D.
//! Stiliadis, SIGCOMM 1998) and decision trees (HyperSplit and its like) take about as long, but a changed rule
//! costs the whole table, and they would be needed for priorities, which there are none. Conjunctive matches, as Open
//! vSwitch has them, keep rules apart from members in the same way, but find the remote's and the service's dimension
//! each by itself and then intersect the lists of what was found, which grow with the rules.
//!
//! # How it changes
//!
//! [`SecurityControl`] belongs to the control thread; [`SecurityPolicy`] is what workers read, and never changes. Its
//! tables are tries that share what did not change ([`trie`](self)), so a change copies a path and not a table: one
//! member in a group of a thousand costs as much as one in a group of two, and a rule costs the rules of its own group,
//! direction and remote.
//!
//! Connections are judged once, at their first packet. Their entry notes [`SecurityPolicy::generation`]. When something is
//! taken away, the ports whose connections may have depended on it get a new generation, and the next packet of each
//! of their connections has it judged again ([`SecurityPolicy::is_current`]). What is added changes no generation.

mod control;
mod essential;
mod guard;
mod policy;
mod port;
mod prefix;
mod rule;
mod service;
mod tables;
#[cfg(test)]
mod tests;
mod trie;

pub use control::{Group, SecurityControl};
pub(crate) use essential::may_be_essential;
pub use essential::{Origin, is_essential};
pub use guard::{SourceError, SourceGuard};
pub(crate) use policy::holds_since;
pub use policy::{Match, SecurityPolicy, Tracking, Verdict};
pub use port::{AddressPair, PortSecurity, PortTables};
pub use prefix::{Family, InvalidPrefix, Prefix};
pub use rule::{AddressGroupIndex, Direction, GROUPS_MAX, GroupIndex, Remote, Rule, RuleError, RuleSpec};
pub use service::{Protocol, Service};
pub use tables::Zone;
