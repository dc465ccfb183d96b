//! Control frames on their way from the workers to the control thread: a queue of fixed size, filled without a lock or
//! an allocation.
//!
//! How many a port may send is the switch's business; the queue has room for what eight ports may send at once.

use std::fmt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use viaduct_switch::PortIndex;
use viaduct_switch::control::CONTROL_FRAME_MAX;

/// Frames that may wait for the control thread. Their room, 800 KiB, is taken once.
const FRAMES: usize = 512;

/// A control frame that came in, as the control thread gets it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlFrame {
    /// The port where it came in.
    pub port: PortIndex,
    /// Which of the port's links, counted from 0; always 0 where a port has one.
    pub link: u8,
    /// The whole frame from the Ethernet header on, without FCS, at most [`CONTROL_FRAME_MAX`] bytes.
    pub bytes: Vec<u8>,
}

/// A frame with its room.
struct Slot {
    port: PortIndex,
    link: u8,
    length: usize,
    bytes: [u8; CONTROL_FRAME_MAX],
}

/// A worker's end.
#[derive(Clone)]
pub(super) struct PuntSender(SyncSender<Slot>);

/// The control thread's end.
pub(super) struct PuntReceiver(Receiver<Slot>);

/// A queue's two ends.
pub(super) fn punts() -> (PuntSender, PuntReceiver) {
    let (sender, receiver) = sync_channel(FRAMES);
    (PuntSender(sender), PuntReceiver(receiver))
}

impl PuntSender {
    /// Leaves a frame, whose bytes `fill` writes and counts; says whether there was room.
    pub(super) fn push(&self, port: PortIndex, link: u8, fill: impl FnOnce(&mut [u8]) -> usize) -> bool {
        let mut slot = Slot { port, link, length: 0, bytes: [0; CONTROL_FRAME_MAX] };
        slot.length = fill(&mut slot.bytes).min(CONTROL_FRAME_MAX);
        self.0.try_send(slot).is_ok()
    }
}

impl PuntReceiver {
    /// The frames that wait, oldest first; at most one queue's worth, however fast more come in.
    pub(super) fn take(&self) -> impl Iterator<Item = ControlFrame> {
        let frame = |slot: Slot| ControlFrame {
            port: slot.port,
            link: slot.link,
            bytes: slot.bytes.get(..slot.length).unwrap_or_default().to_vec(),
        };
        self.0.try_iter().take(FRAMES).map(frame)
    }
}

impl fmt::Debug for PuntSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PuntSender").finish()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn port(index: usize) -> PortIndex {
        PortIndex::new(index).unwrap()
    }

    fn push(sender: &PuntSender, from: usize, bytes: &[u8]) -> bool {
        sender.push(port(from), 0, |room| {
            room[..bytes.len()].copy_from_slice(bytes);
            bytes.len()
        })
    }

    #[test]
    fn frames_come_out_as_they_went_in_until_the_queue_is_full() {
        let (sender, receiver) = punts();
        for number in 0..=u8::MAX {
            assert!(push(&sender, usize::from(number), &[number; 60]));
            assert!(push(&sender, 0, &[number; CONTROL_FRAME_MAX]));
        }
        assert!(!push(&sender, 1, &[0; 60]), "the queue is full");
        let frames: Vec<_> = receiver.take().collect();
        assert_eq!(frames.len(), FRAMES);
        assert_eq!(frames[14], ControlFrame { port: port(7), link: 0, bytes: vec![7; 60] });
        assert_eq!(frames[15].bytes, [7; CONTROL_FRAME_MAX]);
        assert!(push(&sender, 1, &[0; 60]), "there is room again");
    }

    #[test]
    fn nothing_is_lost_or_mixed_up_between_threads() {
        let (sender, receiver) = punts();
        let worker = |from: usize| {
            let sender = sender.clone();
            move || {
                (0..20_000)
                    .filter(|number: &u32| push(&sender, from, &number.to_be_bytes().repeat(15)))
                    .count()
            }
        };
        let workers = [0, 1].map(|from| thread::spawn(worker(from)));
        let mut last = [None; 2];
        let mut received = [0; 2];
        let mut take = || {
            for frame in receiver.take() {
                let number = u32::from_be_bytes(*frame.bytes.first_chunk().unwrap());
                assert_eq!(frame.bytes, number.to_be_bytes().repeat(15));
                let before = last[frame.port.get()].replace(number);
                assert!(before < Some(number), "{before:?}, then {number}");
                received[frame.port.get()] += 1;
            }
        };
        while !workers.iter().all(thread::JoinHandle::is_finished) {
            take();
        }
        take();
        let sent = workers.map(|worker| worker.join().unwrap());
        assert_eq!(received, sent);
    }
}
