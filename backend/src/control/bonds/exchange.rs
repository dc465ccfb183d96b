//! Links of a bond that come and go while others stay: each is exchanged by itself, so that it costs the others no frame.

use std::time::Instant;

use viaduct_switch::PortIndex;

use super::{BondPort, Member, RETRY_MAX};
use crate::control::controller::Controller;
use crate::control::interface::{Attached, InterfacePort};
use crate::control::interfaces::Opener;
use crate::control::timer::Deadline;
use crate::device::{Device, DeviceKind, DeviceQueue, DeviceRequest, bond_reason, link_queue};

/// Opens a link of a bond: by a packet socket unless another driver is asked for, and with one queue, which is what a link has.
pub(super) fn open_link(open: &mut Opener, mut request: DeviceRequest) -> Result<Device, String> {
    if request.kind == DeviceKind::Auto {
        request.kind = DeviceKind::AfPacket;
    }
    let device = open(&request).map_err(|error| error.to_string())?;
    let (name, queues) = (&request.interface, device.queues.len());
    if queues == 1 {
        return Ok(device);
    }
    Err(format!(
        "{name} has {queues} receive queues, and a link of a bond has one with AF_XDP: ethtool -L {name} combined 1, or leave \
         `driver` out"
    ))
}

impl BondPort {
    /// Whether a link stays that is open, while others come or go.
    fn keeps_some(&self) -> bool {
        self.members.iter().any(|member| member.opened.is_some() && member.is_as_opened())
    }

    /// What stands in the place of a link: its device, or nothing. `None` if the bond is to be opened anew instead, because the
    /// device is of another kind than the others, or for want of descriptors.
    fn queue(&self, number: usize, device: Option<Device>) -> Option<DeviceQueue> {
        let alike = device.as_ref().is_none_or(|device| {
            self.how.as_ref().is_some_and(|(capabilities, _)| *capabilities == device.capabilities)
        });
        if !alike {
            return None;
        }
        link_queue(device, (number, self.members.len()), &self.links)
    }

    /// Why it is served as it is.
    fn reason(&self) -> String {
        let open = self.members.iter().filter(|member| member.opened.is_some()).count();
        bond_reason(open, self.members.len(), self.how.as_ref().map_or("", |(_, how)| how))
    }
}

impl Controller {
    /// Brings the links of an attached bond to where their interfaces are, one by one; says whether that could be done. It cannot
    /// be done if none stays, or if longer or shorter frames go now: then the bond is to be opened anew.
    pub(in crate::control) fn exchange_links(&mut self, port: PortIndex) -> bool {
        let Some(bond) = self.bonds.0.get(&port) else { return false };
        let mtu = |known: &InterfacePort| known.attached.as_ref().map(Attached::mtu);
        let mtus = (bond.together().map(|link| link.mtu), self.interfaces.get(&port).and_then(mtu));
        if mtus.0.is_none() || mtus.0 != mtus.1 || !bond.keeps_some() {
            return false;
        }
        let changed = |(number, member): (usize, &Member)| (!member.is_as_opened()).then_some(number);
        let changed: Vec<usize> = bond.members.iter().enumerate().filter_map(changed).collect();
        let is_open =
            |number: &usize| bond.members.get(*number).is_some_and(|member| member.opened.is_some());
        let opened: Vec<usize> = changed.iter().copied().filter(is_open).collect();
        // What goes is closed first: an interface has room for one AF_XDP program.
        let done = opened.iter().all(|number| self.close_link(port, *number))
            && changed.iter().all(|number| self.open_one_link(port, *number));
        self.note_links(port);
        done
    }

    /// Has nothing stand in a link's place; says whether that could be done.
    pub(super) fn close_link(&mut self, port: PortIndex, number: usize) -> bool {
        let Some(bond) = self.bonds.0.get_mut(&port) else { return false };
        let Some(nothing) = bond.queue(number, None) else { return false };
        if let Some(member) = bond.members.get_mut(number) {
            member.opened = None;
        }
        self.bay.exchange_link(port, u8::try_from(number).unwrap_or(u8::MAX), nothing);
        true
    }

    /// Opens a link whose interface is up, and puts it into its place; says whether that could be done. One that is refused is
    /// waited for.
    fn open_one_link(&mut self, port: PortIndex, number: usize) -> bool {
        let Some(known) = self.interfaces.get(&port) else { return false };
        let Some(bond) = self.bonds.0.get_mut(&port) else { return false };
        let interfaces = known.wanted.interfaces();
        let place = bond.members.get_mut(number).zip(interfaces.get(number));
        let Some((member, interface)) = place.filter(|(member, _)| member.usable().is_some()) else {
            return true;
        };
        let device = match open_link(&mut self.open, known.request(interface, member.link.as_ref())) {
            Ok(device) => device,
            Err(refusal) => {
                member.trouble = Some(refusal);
                return true;
            }
        };
        (member.opened, member.trouble) = (member.usable(), None);
        let Some(queue) = bond.queue(number, Some(device)) else { return false };
        self.bay.exchange_link(port, u8::try_from(number).unwrap_or(u8::MAX), queue);
        true
    }

    /// Notes which links an attached bond has now, and when those that were refused are tried again.
    pub(super) fn note_links(&mut self, port: PortIndex) {
        let Some(bond) = self.bonds.0.get(&port) else { return };
        let attached = self.interfaces.get_mut(&port).and_then(|known| known.attached.as_mut());
        if let (Some(attached), Some(link)) = (attached, bond.together()) {
            attached.renew(link.index, bond.reason());
        }
        if bond.lacks_some() {
            self.timer.set(Deadline::Attach(port), Instant::now() + bond.pause);
        }
    }

    /// Tries links again that an attached bond lacks; says whether the bond is to be opened anew.
    pub(in crate::control) fn retry_links(&mut self, port: PortIndex) -> bool {
        if self.interfaces.get(&port).is_none_or(|known| known.attached.is_none()) {
            return false;
        }
        let Some(bond) = self.bonds.0.get_mut(&port).filter(|bond| bond.lacks_some()) else { return false };
        bond.pause = (bond.pause * 2).min(RETRY_MAX);
        !self.exchange_links(port)
    }
}
