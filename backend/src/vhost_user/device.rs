//! The state of a virtio-net device as its frontend set it up: plain data, without sockets and threads.
//!
//! Every request that changes rings or memory finds the port detached from the data path; what should run
//! afterwards follows from the data alone ([`Device::setup`]).

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;
use viaduct_switch::PortIndex;
use virtio_bindings::virtio_config::VIRTIO_F_RING_PACKED;

use crate::dataplane::{PortSetup, RingPosition, RingSetup, Signal};
use crate::memory::{DirtyLog, GuestMemory, MemoryError, REGIONS_MAX, Region, RegionSpec};
use crate::ring::{Ledger, RingError};
use crate::vhost_user::features::{LOG_ALL, OFFERED_MASK, PROTOCOL_FEATURES, PROTOCOL_OFFERED};
pub use crate::vhost_user::refusal::DeviceError;
use crate::vhost_user::refusal::{MTU_MIN, SIZE_MAX};
use crate::vhost_user::ring::{Addresses, Condition, Kick, Ring};

/// What the configuration says about the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The port's number on the data path.
    pub port: PortIndex,
    /// Queue pairs.
    pub queues: u16,
    /// Largest packet in bytes, without the Ethernet header.
    pub mtu: u16,
}

/// What a request for a ring's eventfd is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalKind {
    /// The guest made buffers available.
    Kick,
    /// We used buffers.
    Call,
    /// The ring is broken.
    Error,
}

/// The device.
#[derive(Debug)]
pub struct Device {
    limits: Limits,
    features: u64,
    protocol: Option<Protocol>,
    status: u8,
    mtu: Option<u16>,
    memory: GuestMemory,
    log: Option<Arc<DirtyLog>>,
    ledger: Option<Ledger>,
    rings: Vec<Ring>,
    retired: Retired,
}

/// Memory that requests replaced. Freeing it takes time, which is not the device's to spend.
#[derive(Debug, Default)]
pub struct Retired {
    /// Regions that nothing else refers to.
    pub regions: usize,
    memory: Vec<GuestMemory>,
    logs: Vec<Arc<DirtyLog>>,
}

impl Device {
    /// A device that no driver has seen yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let rings = vec![Ring::default(); usize::from(limits.queues) * 2];
        Self {
            limits,
            features: 0,
            protocol: None,
            status: 0,
            mtu: None,
            memory: GuestMemory::default(),
            log: None,
            ledger: None,
            rings,
            retired: Retired::default(),
        }
    }

    /// What the configuration says.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Lets packed rings note in `ledger` how far they have come.
    pub fn keep_notes(&mut self, ledger: Ledger) {
        self.ledger = Some(ledger);
    }

    /// From now on the frontend knows where ring `index` stands, or where it begins.
    fn close_note(&self, index: usize) {
        self.ledger.iter().for_each(|ledger| ledger.close(index));
    }

    /// The same for all rings.
    fn close_notes(&self) {
        (0..self.rings.len()).for_each(|index| self.close_note(index));
    }

    /// Takes a new largest packet size; a smaller one that the frontend asked for stays in force.
    pub fn set_configured_mtu(&mut self, mtu: u16) {
        self.limits.mtu = mtu;
    }

    /// The virtio features in force.
    #[must_use]
    pub fn features(&self) -> u64 {
        self.features
    }

    /// The protocol features that were negotiated; `None` until they are.
    #[must_use]
    pub fn protocol(&self) -> Option<Protocol> {
        self.protocol
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// The dirty log, whether it is in force or not.
    #[must_use]
    pub fn log(&self) -> Option<&Arc<DirtyLog>> {
        self.log.as_ref()
    }

    /// Whether the driver took packed rings.
    fn is_packed(&self) -> bool {
        self.features & (1 << VIRTIO_F_RING_PACKED) != 0
    }

    /// Whether the protocol feature was negotiated.
    #[must_use]
    pub fn has(&self, feature: Protocol) -> bool {
        self.protocol.is_some_and(|protocol| protocol.contains(feature))
    }

    /// All rings, by number.
    #[must_use]
    pub fn rings(&self) -> &[Ring] {
        &self.rings
    }

    /// Rings that run now.
    #[must_use]
    pub fn rings_running(&self) -> usize {
        self.rings.iter().filter(|ring| ring.condition == Condition::Running).count()
    }

    /// The first ring that the guest broke, and how.
    #[must_use]
    pub fn broken(&self) -> Option<(usize, RingError)> {
        self.rings.iter().enumerate().find_map(|(index, ring)| match ring.condition {
            Condition::Broken(error) => Some((index, error)),
            _ => None,
        })
    }

    /// The first ring whose addresses do not translate, and why.
    #[must_use]
    pub fn paused(&self) -> Option<(usize, RingError)> {
        self.rings.iter().enumerate().find_map(|(index, ring)| match ring.condition {
            Condition::Paused(error) => Some((index, error)),
            _ => None,
        })
    }

    /// What the data path should run now; `None` if nothing.
    #[must_use]
    pub fn setup(&self) -> Option<PortSetup> {
        let indices = (0..=u16::MAX).take(self.rings.len());
        let rings: Vec<_> = indices.filter_map(|index| self.ring_setup(index)).collect();
        let (port, features) = (self.limits.port, self.features & !PROTOCOL_FEATURES);
        let log = self.log.clone().filter(|_| self.features & LOG_ALL != 0);
        (!rings.is_empty()).then(|| {
            let (memory, ledger) = (self.memory.clone(), self.ledger.clone());
            PortSetup { port, features, memory, log, ledger, rings }
        })
    }

    /// What the data path should run of one ring; `None` if nothing.
    #[must_use]
    pub fn ring_setup(&self, index: u16) -> Option<RingSetup> {
        // "If VHOST_USER_F_PROTOCOL_FEATURES has not been negotiated, the ring starts directly in the enabled
        // state."
        let by_itself = self.features & PROTOCOL_FEATURES == 0;
        let ring = self.rings.get(usize::from(index))?;
        ring.setup(index, by_itself || ring.enabled)
    }

    /// Regions that it refers to: guest memory and dirty log.
    #[must_use]
    pub fn regions(&self) -> usize {
        self.memory.regions() + usize::from(self.log.is_some()) + self.retired.regions
    }

    /// Gives away what requests replaced.
    pub fn take_retired(&mut self) -> Retired {
        std::mem::take(&mut self.retired)
    }

    /// Replaces the memory by one that lacks `regions` of its regions.
    fn replace_memory(&mut self, memory: GuestMemory, regions: usize) {
        self.retired.memory.push(std::mem::replace(&mut self.memory, memory));
        self.retired.regions += regions;
    }

    /// Notes what the data path made of [`Device::setup`].
    pub fn attached(&mut self, setup: &[u16], failed: &[(u16, RingError)]) {
        for index in setup {
            self.note(*index, Condition::Running);
        }
        for (index, error) in failed {
            self.note(*index, Condition::Paused(*error));
        }
    }

    /// Takes over where the rings stopped.
    pub fn detached(&mut self, positions: &[RingPosition]) {
        for position in positions {
            if let Some(ring) = self.rings.get_mut(usize::from(position.index)) {
                ring.base = position.base;
            }
        }
        for ring in self.rings.iter_mut().filter(|ring| ring.condition == Condition::Running) {
            ring.condition = Condition::Idle;
        }
    }

    /// Notes that the guest broke a ring; it stays off the data path until it is stopped or reset.
    pub fn ring_broken(&mut self, index: u16, error: RingError) {
        if self.rings.get(usize::from(index)).is_some_and(Ring::is_started) {
            self.note(index, Condition::Broken(error));
        }
    }

    /// Notes that all rings that were started are broken.
    pub fn all_broken(&mut self, error: RingError) {
        for ring in self.rings.iter_mut().filter(|ring| ring.is_started()) {
            ring.condition = Condition::Broken(error);
        }
    }

    fn note(&mut self, index: u16, condition: Condition) {
        if let Some(ring) = self.rings.get_mut(usize::from(index)) {
            ring.condition = condition;
        }
    }

    fn ring(&mut self, index: usize) -> Result<&mut Ring, DeviceError> {
        self.rings.get_mut(index).ok_or(DeviceError::NoSuchRing(index))
    }
}

/// Refuses virtio features that we did not offer.
pub fn check_features(features: u64) -> Result<(), DeviceError> {
    match features & !OFFERED_MASK {
        0 => Ok(()),
        unknown => Err(DeviceError::Features(unknown)),
    }
}

/// Refuses protocol features that we did not offer.
pub fn check_protocol_features(features: u64) -> Result<(), DeviceError> {
    match features & !PROTOCOL_OFFERED.bits() {
        0 => Ok(()),
        unknown => Err(DeviceError::ProtocolFeatures(unknown)),
    }
}

/// The requests.
impl Device {
    /// SET_FEATURES.
    pub fn set_features(&mut self, features: u64) -> Result<(), DeviceError> {
        check_features(features)?;
        self.features = features;
        Ok(())
    }

    /// SET_PROTOCOL_FEATURES.
    pub fn set_protocol_features(&mut self, features: u64) -> Result<(), DeviceError> {
        check_protocol_features(features)?;
        self.protocol = Some(Protocol::from_bits_truncate(features));
        Ok(())
    }

    /// RESET_OWNER: deprecated, "use it to disable all rings".
    pub fn reset_owner(&mut self) {
        self.close_notes();
        for ring in &mut self.rings {
            ring.stop();
            ring.enabled = false;
        }
    }

    /// RESET_DEVICE: all of the driver's doing is forgotten. Memory and our eventfds belong to the frontend,
    /// which sends them once per connection, and stay.
    pub fn reset(&mut self) {
        self.close_notes();
        self.features = 0;
        self.status = 0;
        for ring in &mut self.rings {
            ring.reset();
        }
    }

    /// SET_MEM_TABLE: this and nothing else is the guest's memory.
    pub fn set_memory(&mut self, regions: Vec<(RegionSpec, File)>) -> Result<(), DeviceError> {
        let mut memory = GuestMemory::default();
        for (spec, file) in regions {
            memory = memory.with(Region::map(&file, spec)?)?;
        }
        let replaced = self.memory.regions();
        self.replace_memory(memory, replaced);
        Ok(())
    }

    /// ADD_MEM_REG.
    pub fn add_region(&mut self, spec: RegionSpec, file: &File) -> Result<(), DeviceError> {
        // Before anything is mapped: a mapping costs the kernel more than a refusal.
        if self.memory.regions() >= REGIONS_MAX {
            return Err(MemoryError::TooMany.into());
        }
        self.memory = self.memory.with(Region::map(file, spec)?)?;
        Ok(())
    }

    /// REM_MEM_REG: "identified by its guest address, user address and size".
    pub fn remove_region(&mut self, spec: RegionSpec) -> Result<(), DeviceError> {
        let memory = self.memory.without(spec.guest_address, spec.size, spec.user_address)?;
        self.replace_memory(memory, 1);
        Ok(())
    }

    /// SET_LOG_BASE: where writes are noted once LOG_ALL is set. The last one counts.
    pub fn set_log(&mut self, file: &File, offset: u64, size: u64) -> Result<(), DeviceError> {
        let replaced = self.log.replace(Arc::new(DirtyLog::map(file, offset, size)?));
        self.retired.regions += usize::from(replaced.is_some());
        self.retired.logs.extend(replaced);
        Ok(())
    }

    /// SET_VRING_NUM. A packed ring may have any number of descriptors (virtio 1.2, 2.8.10.1).
    pub fn set_size(&mut self, index: usize, size: u32) -> Result<(), DeviceError> {
        let legal = (1..=SIZE_MAX).contains(&size) && (size.is_power_of_two() || self.is_packed());
        let size =
            u16::try_from(size).ok().filter(|_| legal).ok_or(DeviceError::Size { ring: index, size })?;
        let ring = self.ring(index)?;
        if ring.is_fixed() {
            return Err(DeviceError::Started(index));
        }
        ring.size = size;
        Ok(())
    }

    /// SET_VRING_ADDR. Legal while the ring runs: QEMU does so when it turns dirty logging on.
    pub fn set_addresses(&mut self, index: usize, addresses: Addresses) -> Result<(), DeviceError> {
        let Addresses { descriptor, available, used, .. } = addresses;
        let parts =
            [("descriptor table", descriptor, 16), ("available ring", available, 2), ("used ring", used, 4)];
        for (part, address, align) in parts {
            if address % align != 0 {
                let error = RingError::Misaligned { part, address, align };
                return Err(DeviceError::Ring { ring: index, error });
            }
        }
        self.ring(index)?.addresses = Some(addresses);
        Ok(())
    }

    /// SET_VRING_BASE. For a packed ring it has two halves: where chains are taken from, which counts, and where they
    /// are given back, which some frontends leave out. Here the two are always the same.
    pub fn set_base(&mut self, index: usize, base: u32) -> Result<(), DeviceError> {
        let base = if self.is_packed() { base & 0xffff } else { base };
        let base = u16::try_from(base).map_err(|_| DeviceError::Base { ring: index, base })?;
        let ring = self.ring(index)?;
        if ring.is_fixed() {
            return Err(DeviceError::Started(index));
        }
        ring.base = base;
        Ok(())
    }

    /// GET_VRING_BASE: stops the ring, and tells where it goes on, in both halves for a packed ring.
    pub fn stop(&mut self, index: usize) -> Result<u32, DeviceError> {
        let halves = if self.is_packed() { 0x1_0001 } else { 1 };
        let ring = self.ring(index)?;
        ring.stop();
        let base = ring.base;
        self.close_note(index);
        Ok(u32::from(base) * halves)
    }

    /// SET_VRING_KICK, SET_VRING_CALL and SET_VRING_ERR; `file` is an eventfd, or `None` for "poll instead".
    pub fn set_signal(
        &mut self,
        kind: SignalKind,
        index: usize,
        file: Option<OwnedFd>,
    ) -> Result<(), DeviceError> {
        let signal: Option<Signal> = file.map(Arc::new);
        let ring = self.ring(index)?;
        match kind {
            SignalKind::Kick => ring.kick = signal.map_or(Kick::Polled, Kick::Signal),
            SignalKind::Call => ring.call = signal,
            SignalKind::Error => ring.error = signal,
        }
        Ok(())
    }

    /// SET_VRING_ENABLE. QEMU sends it before SET_FEATURES: having negotiated protocol features is enough. DPDK's driver
    /// begins a new connection by disabling its rings, as they are.
    pub fn enable(&mut self, index: usize, value: u32) -> Result<(), DeviceError> {
        let enabled = match value {
            0 => false,
            1 => true,
            value => return Err(DeviceError::Enable { ring: index, value }),
        };
        if enabled && self.protocol.is_none() && self.features & PROTOCOL_FEATURES == 0 {
            return Err(DeviceError::EnableTooEarly);
        }
        self.ring(index)?.enabled = enabled;
        Ok(())
    }

    /// NET_SET_MTU: what the guest will be told.
    pub fn set_mtu(&mut self, mtu: u64) -> Result<(), DeviceError> {
        let asked = u16::try_from(mtu).ok().filter(|mtu| *mtu >= MTU_MIN).ok_or(DeviceError::Mtu(mtu))?;
        let configured = self.limits.mtu;
        if asked > configured {
            return Err(DeviceError::MtuTooLarge { asked, configured });
        }
        self.mtu = Some(asked);
        Ok(())
    }

    /// The MTU that the frontend tells the guest, if it said so.
    #[must_use]
    pub fn mtu(&self) -> Option<u16> {
        self.mtu
    }

    /// SET_STATUS: 0 is a reset by the driver (virtio 1.2, 2.1). Rings stay enabled: the frontend enables them,
    /// not the driver.
    pub fn set_status(&mut self, status: u64) -> Result<(), DeviceError> {
        self.status = u8::try_from(status).map_err(|_| DeviceError::Status(status))?;
        if self.status == 0 {
            self.features = 0;
            self.close_notes();
            self.rings.iter_mut().for_each(Ring::stop);
        }
        Ok(())
    }

    /// GET_STATUS.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.status
    }
}
