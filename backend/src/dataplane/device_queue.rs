//! Frames for a device: collected during a visit, sent with one system call at its end. What finds no room is kept.

use viaduct_switch::DropReason;

use super::outlet::{Outcome, ReceiveQueue};
use super::way::{DeviceWay, Fault, WayOut};
use crate::device::{DeviceFault, Sent};
use crate::memory::Segment;

impl ReceiveQueue {
    /// Takes one frame along, or puts it behind those that wait.
    #[inline(never)]
    pub(super) fn collect(
        &mut self,
        header: &[u8; 12],
        head: &[u8],
        rest: &[Segment],
        length: u32,
        outcome: &mut Outcome,
    ) -> Result<(), DropReason> {
        for _ in 0..2 {
            let WayOut::Device(device) = &mut self.way else { return Ok(()) };
            if self.broken.is_some() {
                return Err(DropReason::ReceiverDown);
            }
            if !self.backlog.is_empty() {
                let kept = self.backlog.push(header, head, rest, length);
                return if kept { Ok(()) } else { Err(DropReason::NoBuffer) };
            }
            if device.outgoing.add(header, head, rest, length) {
                return Ok(());
            }
            self.send_collected(outcome);
        }
        // No frame is so long.
        Err(DropReason::DeviceRefused)
    }

    /// Sends what the visit collected; keeps what finds no room.
    pub(super) fn send_collected(&mut self, outcome: &mut Outcome) {
        let WayOut::Device(device) = &mut self.way else { return };
        let DeviceWay { exit, outgoing } = &mut **device;
        if outgoing.is_empty() {
            return;
        }
        let sent = match exit.send(outgoing) {
            Ok(sent) => sent,
            Err(fault) => {
                outcome.abandoned += outgoing.len() as u64;
                outgoing.clear();
                self.fail_device(fault, outcome);
                return;
            }
        };
        for (place, frame) in outgoing.iter().enumerate() {
            if place < sent.done {
                outcome.note(&sent, place, frame.length);
            } else if !self.backlog.push(frame.header, &[], frame.pieces, frame.length) {
                outcome.unsent += 1;
            }
        }
        outgoing.clear();
    }

    /// Sends frames that wait, as far as there is room and one visit may go.
    pub(super) fn drain_device(&mut self, budget: u64, outcome: &mut Outcome) {
        while outcome.moving_cost() < budget && !self.backlog.is_empty() {
            let WayOut::Device(device) = &mut self.way else { return };
            let DeviceWay { exit, outgoing } = &mut **device;
            outgoing.clear();
            let mut bytes = 0;
            for (frame, place) in self.backlog.iter() {
                bytes += u64::from(place.len);
                if !outgoing.add_by_place(&frame.header, place, frame.length) || bytes >= budget {
                    break;
                }
            }
            let (count, sent) = (outgoing.len(), exit.send(outgoing));
            if let Ok(sent) = &sent {
                for (place, frame) in outgoing.iter().enumerate().take(sent.done) {
                    outcome.note(sent, place, frame.length);
                    outcome.moved.add(frame.length);
                    self.backlog.pop();
                }
            }
            outgoing.clear();
            match sent {
                Ok(sent) if sent.done == count => {}
                Ok(_) => return,
                Err(fault) => return self.fail_device(fault, outcome),
            }
        }
    }

    fn fail_device(&mut self, fault: DeviceFault, outcome: &mut Outcome) {
        self.fail(Fault::Device(fault), outcome);
    }
}

impl Outcome {
    /// Counts a frame that a device is done with.
    fn note(&mut self, sent: &Sent, place: usize, length: u32) {
        match 1_u64.checked_shl(u32::try_from(place).unwrap_or(64)) {
            Some(bit) if sent.refused & bit != 0 => self.refused += 1,
            Some(bit) if sent.lost & bit != 0 => self.unsent += 1,
            _ => self.sent.add(length),
        }
    }
}
