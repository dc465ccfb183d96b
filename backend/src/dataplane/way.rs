//! A port's ways in and out, whatever is behind: a guest's rings or a device. Rings are called directly, as if there were
//! nothing else; a device by its trait, once a burst.

use viaduct_switch::{PortIndex, Volume};

use super::DataplaneEvent;
use crate::device::{DeviceFault, Exit, Intake, Outgoing};
use crate::ring::{Burst, BurstLimit, ReceiveRing, RingError, TransmitRing};

/// Why a way cannot be gone any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The guest broke its ring.
    Ring(RingError),
    /// The device failed.
    Device(DeviceFault),
}

impl Fault {
    /// What the control side is told: `ring` is the number of the ring that broke.
    pub(super) fn into_event(self, port: PortIndex, ring: u16) -> DataplaneEvent {
        match self {
            Self::Ring(error) => DataplaneEvent::RingBroken { port, ring, error },
            Self::Device(error) => {
                let link = u8::try_from(ring / 2).unwrap_or(u8::MAX);
                DataplaneEvent::DeviceFailed { port, link, error }
            }
        }
    }
}

/// Where a worker reads frames.
pub(super) enum WayIn {
    Ring(TransmitRing),
    Device(Box<dyn Intake>),
}

impl WayIn {
    /// Reads a burst of frames that entered at `port`; gives how many were taken.
    #[inline]
    pub(super) fn read(&mut self, port: PortIndex, burst: &mut Burst) -> Result<u16, Fault> {
        match self {
            Self::Ring(ring) => ring.read(burst).map_err(Fault::Ring),
            Self::Device(intake) => intake.read(port, burst).map_err(Fault::Device),
        }
    }

    /// Gives back what the burst held; says whether a guest wants to be notified.
    #[inline]
    pub(super) fn complete(&mut self, burst: &Burst) -> bool {
        match self {
            Self::Ring(ring) => ring.complete(burst),
            Self::Device(intake) => {
                intake.complete();
                false
            }
        }
    }

    /// Asks to be told of the next frame; says whether one came meanwhile, of which nobody tells.
    pub(super) fn arm(&mut self) -> Result<bool, Fault> {
        match self {
            Self::Ring(ring) => ring.core().arm().map_err(Fault::Ring),
            Self::Device(intake) => intake.arm().map_err(Fault::Device),
        }
    }

    /// Asks not to be told any more.
    pub(super) fn disarm(&mut self) {
        if let Self::Ring(ring) = self {
            ring.core().disarm();
        }
    }

    /// Where a ring stopped, or a device in the kernel's.
    pub(super) fn position(&mut self) -> Option<u16> {
        match self {
            Self::Ring(ring) => Some(ring.core().position()),
            Self::Device(intake) => intake.position(),
        }
    }

    pub(super) fn is_ring(&self) -> bool {
        matches!(self, Self::Ring(_))
    }

    /// Ends a ring's bursts when they are so large, in packets and in bytes: at one frame at least.
    pub(super) fn keep_to(&mut self, room: Volume) {
        if let Self::Ring(ring) = self {
            ring.set_limit(BurstLimit::of(room));
        }
    }

    /// Lets a ring's bursts be as large as any.
    pub(super) fn keep_to_bursts(&mut self) {
        if let Self::Ring(ring) = self {
            ring.set_limit(BurstLimit::default());
        }
    }
}

/// Where workers put frames.
#[expect(clippy::large_enum_variant, reason = "nearly all are rings, which stand where they are used")]
pub(super) enum WayOut {
    Ring(ReceiveRing),
    Device(Box<DeviceWay>),
}

/// A device's way out, and the frames of the visit that is under way.
pub(super) struct DeviceWay {
    pub(super) exit: Box<dyn Exit>,
    pub(super) outgoing: Outgoing,
}

impl WayOut {
    pub(super) fn device(exit: Box<dyn Exit>) -> Self {
        Self::Device(Box::new(DeviceWay { exit, outgoing: Outgoing::default() }))
    }

    /// Asks not to be told of free buffers any more.
    pub(super) fn disarm(&mut self) {
        if let Self::Ring(ring) = self {
            ring.core().disarm();
        }
    }

    /// Where a ring stopped.
    pub(super) fn position(&mut self) -> Option<u16> {
        match self {
            Self::Ring(ring) => Some(ring.core().position()),
            Self::Device(_) => None,
        }
    }
}
