//! The life of ports that are interfaces: they follow what the kernel says, one step at a time.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use event_manager::EventOps;
use viaduct_switch::PortIndex;

use crate::control::controller::Controller;
use crate::control::interface::{Attached, InterfacePort, Move, Wanted};
use crate::control::timer::Deadline;
use crate::device::{Device, DeviceError, DeviceRequest};

/// How often is looked for network namespaces that came or went.
const NAMESPACE_PAUSE: Duration = Duration::from_secs(1);

/// The running ports that are interfaces.
pub(super) type Interfaces = BTreeMap<PortIndex, InterfacePort>;

/// What opens interfaces: [`crate::device::open`].
pub(super) type Opener = Box<dyn FnMut(&DeviceRequest) -> Result<Device, DeviceError>>;

impl Controller {
    /// Makes a port that is an interface; its name has a number.
    pub(super) fn insert_interface(&mut self, name: &str, wanted: Wanted, ops: &mut EventOps) {
        let Some(&index) = self.numbers.ports.get(name) else { return };
        for interface in wanted.interfaces() {
            self.links.add(&interface, index, ops);
        }
        if let Some(bond) = &wanted.bond {
            self.bonds.insert(index, bond);
        }
        let mut port = InterfacePort::new(name, index, wanted);
        port.log.keep_in(self.journal());
        if let Some(missing) = self.links.missing(&port.wanted.interface) {
            port.log.warn(missing);
        } else if port.wanted.interfaces().iter().all(|interface| self.links.link(interface).is_none())
            && !port.is_made_by_opening()
        {
            port.log
                .warn(format_args!("there is no interface {}; it is waited for", port.wanted.interface.name));
        }
        self.interfaces.insert(index, port);
        self.follow(index);
    }

    /// Takes such a port away.
    pub(super) fn remove_interface(&mut self, name: &str, ops: &mut EventOps) {
        let Some(index) = self.numbers.ports.get(name) else { return };
        let Some(port) = self.interfaces.remove(index) else { return };
        self.timer.clear(Deadline::Attach(*index));
        for interface in port.wanted.interfaces() {
            self.links.remove(&interface, ops);
        }
        self.bonds.remove(*index);
        if port.attached.is_some() {
            self.bay.detach_device(*index);
        }
    }

    /// Changes such a port whose interface stays.
    pub(super) fn adjust_interface(&mut self, name: &str, wanted: Wanted) {
        let port = self.numbers.ports.get(name).and_then(|index| self.interfaces.get_mut(index));
        let Some(port) = port else { return };
        if port.wanted.networks.iter().any(|network| !wanted.networks.contains(network)) {
            self.switch.forget_port(port.index);
        }
        if let Some(bond) = &wanted.bond {
            self.bonds.insert(port.index, bond);
        }
        port.wanted = wanted;
    }

    /// The kernel said something about the interfaces of a namespace.
    pub(super) fn serve_links(&mut self, slot: u16, ops: &mut EventOps) {
        for port in self.links.read(usize::from(slot), ops) {
            self.follow(port);
        }
    }

    /// Looks for namespaces that came or went.
    pub(super) fn look_after_namespaces(&mut self, ops: &mut EventOps) {
        for port in self.links.look_after(ops) {
            self.follow(port);
        }
    }

    /// Sets the timer for what no event tells.
    pub(super) fn rearm_links(&mut self, now: Instant) {
        if self.links.need_looking_after() {
            self.timer.set_if_clear(Deadline::Namespaces, now + NAMESPACE_PAUSE);
        } else {
            self.timer.clear(Deadline::Namespaces);
        }
    }

    /// Brings a port to where its interface is.
    pub(super) fn follow(&mut self, index: PortIndex) {
        let link = self.link_behind(index);
        let Some(port) = self.interfaces.get_mut(&index) else { return };
        match port.follow(link) {
            Move::Stay => {}
            Move::Attach => self.attach_interface(index),
            Move::Detach => self.detach_interface(index),
            Move::Renew if self.exchange_links(index) => {}
            Move::Renew => {
                self.detach_interface(index);
                self.attach_interface(index);
            }
        }
    }

    /// Tries once more to attach what was refused.
    pub(super) fn retry_interface(&mut self, index: PortIndex) {
        if self.interfaces.get(&index).is_some_and(InterfacePort::may_retry) {
            self.attach_interface(index);
        } else if self.retry_links(index) {
            self.detach_interface(index);
            self.attach_interface(index);
        }
    }

    /// A device failed: the interface went down or away, of which the kernel tells by another way too, or it broke.
    pub(super) fn interface_failed(&mut self, index: PortIndex, why: &str) {
        let Some(port) = self.interfaces.get_mut(&index).filter(|port| port.attached.is_some()) else {
            return;
        };
        let pause = port.refused(why, Instant::now());
        self.close_links(index);
        self.bay.detach_device(index);
        self.switch.forget_port(index);
        self.timer.set(Deadline::Attach(index), Instant::now() + pause);
    }

    fn attach_interface(&mut self, index: PortIndex) {
        if self.is_waiting() {
            return;
        }
        self.timer.clear(Deadline::Attach(index));
        let opened = self.open_device(index);
        let Some(port) = self.interfaces.get_mut(&index) else { return };
        match opened {
            Ok(device) => {
                port.attach(Attached::new(&device, Instant::now()));
                self.bay.attach_device(index, device);
            }
            Err(error) => {
                let now = Instant::now();
                let pause = port.refused(&error, now);
                self.timer.set(Deadline::Attach(index), now + pause);
            }
        }
    }

    /// Opens an interface anew that was taken off the data path for a moment.
    pub(super) fn reattach_interface(&mut self, index: PortIndex) {
        self.detach_interface(index);
        self.attach_interface(index);
    }

    /// Whoever was behind the interface is not there any more.
    fn detach_interface(&mut self, index: PortIndex) {
        let Some(port) = self.interfaces.get_mut(&index) else { return };
        if port.attached.take().is_some() {
            self.close_links(index);
            self.bay.detach_device(index);
            self.switch.forget_port(index);
        }
    }

    /// Looks at the counters of all such ports.
    pub(super) fn measure_interfaces(&mut self) {
        let now = Instant::now();
        for port in self.interfaces.values_mut() {
            port.measure(&self.switch, now);
        }
    }
}
