//! The device behind the `vhost` crate's handler: its trait, in our words.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use vhost::vhost_user::message::{
    VhostTransferStateDirection, VhostTransferStatePhase, VhostUserConfigFlags, VhostUserInflight,
    VhostUserLog, VhostUserMemoryRegion, VhostUserShMemConfig, VhostUserSharedMsg,
    VhostUserSingleMemoryRegion, VhostUserVringAddrFlags, VhostUserVringState,
};
use vhost::vhost_user::{
    Error, GpuBackend, Result, VhostUserBackendReqHandlerMut, VhostUserProtocolFeatures as Protocol,
};

use crate::memory::{REGIONS_MAX, RegionSpec};
use crate::vhost_user::device::{Device, DeviceError, SignalKind};
use crate::vhost_user::features::{OFFERED_MASK, PROTOCOL_OFFERED};
use crate::vhost_user::ring::Addresses;

/// The base of a region in our address space; only postcopy asks for it.
type RegionBase = vhost::VhostUserMemoryRegionBase;

/// Wraps a refusal so that it comes out of the handler as it went in.
fn refused(error: DeviceError) -> Error {
    Error::ReqHandlerError(io::Error::other(error))
}

/// What was not negotiated never gets here: the session refuses it first.
fn not_negotiated<T>() -> Result<T> {
    Err(Error::InvalidOperation("it was not negotiated"))
}

fn region(region: &VhostUserMemoryRegion) -> RegionSpec {
    RegionSpec {
        guest_address: region.guest_phys_addr,
        size: region.memory_size,
        user_address: region.user_addr,
        file_offset: region.mmap_offset,
    }
}

fn ring(index: u32) -> usize {
    // The session checked it; a number that does not fit is no ring either.
    usize::try_from(index).unwrap_or(usize::MAX)
}

impl Device {
    fn take_signal(&mut self, kind: SignalKind, index: u8, file: Option<File>) -> Result<()> {
        self.set_signal(kind, usize::from(index), file.map(OwnedFd::from)).map_err(refused)
    }
}

impl VhostUserBackendReqHandlerMut for Device {
    fn set_owner(&mut self) -> Result<()> {
        Ok(())
    }

    fn reset_owner(&mut self) -> Result<()> {
        Device::reset_owner(self);
        Ok(())
    }

    fn reset_device(&mut self) -> Result<()> {
        self.reset();
        Ok(())
    }

    fn get_features(&mut self) -> Result<u64> {
        Ok(OFFERED_MASK)
    }

    fn set_features(&mut self, features: u64) -> Result<()> {
        Device::set_features(self, features).map_err(refused)
    }

    fn set_mem_table(
        &mut self,
        table: &[VhostUserMemoryRegion],
        files: Vec<File>,
        _postcopy: Option<bool>,
    ) -> Result<Option<Vec<RegionBase>>> {
        self.set_memory(table.iter().map(region).zip(files).collect()).map_err(refused)?;
        Ok(None)
    }

    fn set_vring_num(&mut self, index: u32, num: u32) -> Result<()> {
        self.set_size(ring(index), num).map_err(refused)
    }

    fn set_vring_addr(
        &mut self,
        index: u32,
        flags: VhostUserVringAddrFlags,
        descriptor: u64,
        used: u64,
        available: u64,
        log: u64,
    ) -> Result<()> {
        let used_log = flags.contains(VhostUserVringAddrFlags::VHOST_VRING_F_LOG).then_some(log);
        let addresses = Addresses { descriptor, available, used, used_log };
        self.set_addresses(ring(index), addresses).map_err(refused)
    }

    fn set_vring_base(&mut self, index: u32, base: u32) -> Result<()> {
        self.set_base(ring(index), base).map_err(refused)
    }

    fn get_vring_base(&mut self, index: u32) -> Result<VhostUserVringState> {
        let base = self.stop(ring(index)).map_err(refused)?;
        Ok(VhostUserVringState::new(index, base))
    }

    fn set_vring_kick(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.take_signal(SignalKind::Kick, index, file)
    }

    fn set_vring_call(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.take_signal(SignalKind::Call, index, file)
    }

    fn set_vring_err(&mut self, index: u8, file: Option<File>) -> Result<()> {
        self.take_signal(SignalKind::Error, index, file)
    }

    fn get_protocol_features(&mut self) -> Result<Protocol> {
        Ok(PROTOCOL_OFFERED)
    }

    fn set_protocol_features(&mut self, features: u64) -> Result<()> {
        Device::set_protocol_features(self, features).map_err(refused)
    }

    fn get_queue_num(&mut self) -> Result<u64> {
        Ok(u64::from(self.limits().queues))
    }

    fn set_vring_enable(&mut self, index: u32, enable: bool) -> Result<()> {
        self.enable(ring(index), u32::from(enable)).map_err(refused)
    }

    fn get_max_mem_slots(&mut self) -> Result<u64> {
        u64::try_from(REGIONS_MAX).map_err(|_| Error::BackendInternalError)
    }

    fn add_mem_region(
        &mut self,
        spec: &VhostUserSingleMemoryRegion,
        file: File,
        _postcopy: Option<bool>,
    ) -> Result<Option<RegionBase>> {
        self.add_region(region(spec), &file).map_err(refused)?;
        Ok(None)
    }

    fn remove_mem_region(&mut self, spec: &VhostUserSingleMemoryRegion) -> Result<()> {
        self.remove_region(region(spec)).map_err(refused)
    }

    fn get_config(&mut self, _: u32, _: u32, _: VhostUserConfigFlags) -> Result<Vec<u8>> {
        not_negotiated()
    }

    fn set_config(&mut self, _: u32, _: &[u8], _: VhostUserConfigFlags) -> Result<()> {
        not_negotiated()
    }

    fn set_gpu_socket(&mut self, _: GpuBackend) -> Result<()> {
        not_negotiated()
    }

    fn get_shared_object(&mut self, _: VhostUserSharedMsg) -> Result<File> {
        not_negotiated()
    }

    fn get_inflight_fd(&mut self, _: &VhostUserInflight) -> Result<(VhostUserInflight, File)> {
        not_negotiated()
    }

    fn set_inflight_fd(&mut self, _: &VhostUserInflight, _: File) -> Result<()> {
        not_negotiated()
    }

    fn set_device_state_fd(
        &mut self,
        _: VhostTransferStateDirection,
        _: VhostTransferStatePhase,
        _: File,
    ) -> Result<Option<File>> {
        not_negotiated()
    }

    fn check_device_state(&mut self) -> Result<()> {
        not_negotiated()
    }

    fn get_shmem_config(&mut self) -> Result<VhostUserShMemConfig> {
        not_negotiated()
    }

    fn set_log_base(&mut self, log: &VhostUserLog, file: File) -> Result<()> {
        self.set_log(&file, log.mmap_offset, log.mmap_size).map_err(refused)
    }
}
