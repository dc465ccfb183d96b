//! Devices of ports and uplinks, as they pass from one process to the next.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use viaduct_switch::PortIndex;

use crate::config::Interface;
use crate::control::controller::Controller;
use crate::control::interface::{Attached, driver_name};
use crate::dataplane::Signal;
use crate::device::{self, DeviceKind, LentDevice};
use crate::link::NamespaceId;
use crate::takeover::{DeviceRecord, Line, Parcel, Record, TakeoverError};
use crate::vhost_user::LentFile;

/// The network namespace in which an interface is wanted now.
fn namespace(interface: &Interface) -> Option<(u64, u64)> {
    let path = interface.netns.as_deref().unwrap_or(Path::new("/proc/self/ns/net"));
    NamespaceId::of(path).ok().map(NamespaceId::parts)
}

impl Controller {
    /// Takes all devices off the data path. Those that can pass to another process stay open, so that the kernel keeps what comes
    /// meanwhile; the others are closed.
    pub(super) fn suspend_devices(&mut self) {
        for index in self.attached_interfaces() {
            match self.bay.suspend_device(index) {
                Some(lent) => self.takeover.suspended.push((index, lent)),
                None => self.bay.detach_device(index),
            }
        }
    }

    /// Has them carry frames again.
    pub(super) fn resume_devices(&mut self) {
        let mut suspended = std::mem::take(&mut self.takeover.suspended);
        for index in self.attached_interfaces() {
            let lent = suspended.iter().position(|(port, _)| *port == index);
            let lent = lent.map(|place| suspended.swap_remove(place).1);
            if lent.is_none_or(|lent| self.inherit_device(index, lent).is_err()) {
                self.reattach_interface(index);
            }
        }
    }

    /// Tells of those that pass to the successor.
    pub(super) fn tell_devices(&self, line: &Line) -> Result<(), TakeoverError> {
        for (index, lent) in &self.takeover.suspended {
            let Some(port) = self.interfaces.get(index) else { continue };
            let Some(attached) = &port.attached else { continue };
            let record = Record::Device(DeviceRecord {
                port: port.name.clone(),
                interface: port.wanted.interface.name.clone(),
                index: attached.index(),
                namespace: namespace(&port.wanted.interface),
                driver: driver_name(lent.kind).to_owned(),
                ring: lent.ring.clone(),
            });
            let files = lent.files.iter().map(|file| LentFile::Shared(Arc::clone(file))).collect();
            line.send(&Parcel { record, files })?;
        }
        Ok(())
    }

    /// Goes on with the incumbent's, and opens all others.
    pub(super) fn take_over_devices(&mut self, devices: Vec<(DeviceRecord, Vec<OwnedFd>)>) {
        for (record, files) in devices {
            let Some(&index) = self.numbers.ports.get(&record.port) else { continue };
            if let Err(error) = self.take_over_device(index, record, files)
                && let Some(port) = self.interfaces.get_mut(&index)
            {
                port.log.warn(format_args!(
                    "is opened anew, since what was open could not be taken over: {error}"
                ));
            }
        }
        let indices: Vec<PortIndex> = self.interfaces.keys().copied().collect();
        for index in indices {
            self.follow(index);
        }
    }

    fn take_over_device(
        &mut self,
        index: PortIndex,
        record: DeviceRecord,
        files: Vec<OwnedFd>,
    ) -> Result<(), String> {
        let Some(port) = self.interfaces.get(&index) else { return Ok(()) };
        let DeviceRecord { interface, driver, ring, .. } = record;
        let request = port.request(&port.wanted.interface, port.link());
        let kind =
            [DeviceKind::Tap, DeviceKind::AfPacket].into_iter().find(|kind| driver_name(*kind) == driver);
        let kind = kind.filter(|kind| {
            request.kind == *kind || (request.kind == DeviceKind::Auto && *kind == DeviceKind::AfPacket)
        });
        let is_same = port.wanted.bond.is_none()
            && port.wanted.interface.name == interface
            && port.link().is_none_or(|link| link.index == record.index)
            && record.namespace.is_none_or(|found| Some(found) == namespace(&port.wanted.interface))
            && files.len() == usize::from(request.queues.unwrap_or(1));
        let Some(kind) = kind.filter(|_| is_same) else {
            return Err("the configuration wants another interface, driver or number of queues".to_owned());
        };
        let files: Vec<Signal> = files.into_iter().map(Arc::new).collect();
        self.inherit_device(index, LentDevice { kind, files, ring })
    }

    fn inherit_device(&mut self, index: PortIndex, lent: LentDevice) -> Result<(), String> {
        let Some(port) = self.interfaces.get_mut(&index) else { return Ok(()) };
        let request = port.request(&port.wanted.interface, port.link());
        let device = device::inherit(&request, lent).map_err(|error| error.to_string())?;
        port.attach(Attached::new(&device, Instant::now()));
        self.bay.attach_device(index, device);
        Ok(())
    }

    fn attached_interfaces(&self) -> Vec<PortIndex> {
        self.interfaces.values().filter(|port| port.attached.is_some()).map(|port| port.index).collect()
    }
}
