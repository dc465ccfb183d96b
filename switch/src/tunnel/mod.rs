//! Overlays: networks whose frames cross another network in packets of IP, to the same network at other hosts.
//!
//! ```text
//! Ethernet ─ tags ─ IP ─ UDP ─ VXLAN (RFC 7348) ──┐
//!                   │    └──── Geneve (RFC 8926) ─┼─ the inner frame
//!                   └── GRE (RFC 2784, RFC 2890) ─┘
//! ```
//!
//! A remote end (VTEP) is a port of the switch like any other: stations are learned behind it, decisions name it, floods reach it.
//! What makes it one is a place in [`Vteps`], which says whose address it stands for. Its frames come in by an uplink, where
//! `Tunnels::admit` takes the outer headers off before anything else looks at them, and leave by that uplink behind an
//! [`Encapsulation`]. So all that holds for ports holds for VTEPs, and nothing else knows of tunnels, but that a frame that
//! came by a tunnel leaves by none in its network (split horizon), and claims no station that is here.
//!
//! A kind of tunnel is one file: the header between IP or UDP and the inner frame.

mod encapsulation;
mod endpoint;
mod entry;
mod geneve;
mod gre;
mod outer;
pub mod path_mtu;
mod train;
mod vteps;
mod vxlan;

pub(crate) use encapsulation::Ways;
pub use encapsulation::{Encapsulation, Inside, PREFIX_MAX, Unreached, fit};
pub use endpoint::{EndpointIndex, EndpointSettings, SegmentSettings, TunnelError, Tunnels};
pub use entry::Admission;
pub use train::{Coupled, TRAIN_SENT_MAX, TRAIN_TAKEN_MAX, Train};
pub use vteps::{RecentVteps, VTEPS_MAX, VtepEntry, Vteps, is_vtep_port, vtep_port};

use crate::drops::DropReason;
use crate::packet::number;

/// The kind of a tunnel.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Kind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// RFC 2784 with the key of RFC 2890, which names the tenant, and Ethernet frames (transparent Ethernet bridging).
    Gre,
}

/// What stands between the outer IP or UDP header and the inner frame.
trait Format {
    /// Its length in bytes as we write it.
    const LEN: usize;

    /// Writes a header of [`Format::LEN`] bytes that says this tenant; `room` is as long.
    fn write(id: u32, room: &mut [u8]);

    /// Reads the header with which `bytes` begin.
    ///
    /// # Errors
    /// Why the frame is to be dropped.
    fn read(bytes: &[u8]) -> Result<Found, DropReason>;
}

/// What a tunnel's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Found {
    /// The tenant: a VNI, or a key.
    id: u32,
    /// The header's length in bytes.
    len: usize,
}

/// "Transparent Ethernet bridging": an Ethernet frame follows (RFC 7637, 3.2; RFC 8926, 3.4).
const ETHERNET_FOLLOWS: [u8; 2] = [0x65, 0x58];

impl Kind {
    /// The protocol that the outer IP header names.
    #[must_use]
    pub fn protocol(self) -> u8 {
        match self {
            Self::Vxlan | Self::Geneve => number::UDP,
            Self::Gre => number::GRE,
        }
    }

    /// Whether a UDP header comes first.
    #[must_use]
    pub fn is_udp(self) -> bool {
        self.protocol() == number::UDP
    }

    /// The highest number of a tenant.
    #[must_use]
    pub fn id_max(self) -> u32 {
        match self {
            Self::Vxlan | Self::Geneve => (1 << 24) - 1,
            Self::Gre => u32::MAX,
        }
    }

    /// By how many bytes a packet of the underlay is longer than the packet in the inner frame: all outer headers behind Ethernet's,
    /// and the inner Ethernet header.
    #[must_use]
    pub fn overhead(self, is_v6: bool) -> u16 {
        let own = match self {
            Self::Vxlan | Self::Geneve => 8 + 8,
            Self::Gre => 8,
        };
        own + if is_v6 { 40 } else { 20 } + crate::frame::ETHERNET
    }

    fn len(self) -> usize {
        match self {
            Self::Vxlan => vxlan::Vxlan::LEN,
            Self::Geneve => geneve::Geneve::LEN,
            Self::Gre => gre::Gre::LEN,
        }
    }

    fn write(self, id: u32, room: &mut [u8]) {
        match self {
            Self::Vxlan => vxlan::Vxlan::write(id, room),
            Self::Geneve => geneve::Geneve::write(id, room),
            Self::Gre => gre::Gre::write(id, room),
        }
    }

    #[inline]
    fn read(self, bytes: &[u8]) -> Result<Found, DropReason> {
        match self {
            Self::Vxlan => vxlan::Vxlan::read(bytes),
            Self::Geneve => geneve::Geneve::read(bytes),
            Self::Gre => gre::Gre::read(bytes),
        }
    }
}

#[cfg(test)]
mod tests;
