//! Numbered frames: each can be checked alone for its content, all together for order, loss and doubles.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use crate::driver::header::NetHeader;
use crate::driver::nic::Nic;

/// Local experimental ethertype 1 (IEEE 802-2014, 9.2.4).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];
/// Ethernet header, number and length.
pub const SHORTEST: usize = 14 + 8 + 4;
/// What the filler repeats after; a prime, so that frames of neighbouring numbers differ everywhere.
const FILLER_SHIFTS: u64 = 4093;

static FILLER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..80 * 1024).map(|_| (step() >> 32) as u8).collect()
});

/// An Ethernet address for tests: locally administered, told apart by its last four bytes.
#[must_use]
pub fn mac(number: u32) -> [u8; 6] {
    let [a, b, c, d] = number.to_be_bytes();
    [0x02, 0x00, a, b, c, d]
}

/// `mac` as the configuration writes it.
#[must_use]
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// A frame of `length` bytes (at least [`SHORTEST`]) that carries `number`.
#[must_use]
pub fn frame(to: [u8; 6], from: [u8; 6], number: u64, length: usize) -> Vec<u8> {
    assert!(length >= SHORTEST, "a numbered frame has {SHORTEST} bytes at least");
    let mut bytes = Vec::with_capacity(length);
    bytes.extend_from_slice(&to);
    bytes.extend_from_slice(&from);
    bytes.extend_from_slice(&ETHERTYPE);
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes.extend_from_slice(&(length as u32).to_be_bytes());
    bytes.extend_from_slice(filler(number, length - SHORTEST));
    bytes
}

fn filler(number: u64, length: usize) -> &'static [u8] {
    let from = (number % FILLER_SHIFTS) as usize;
    &FILLER[from..from + length]
}

/// The number of a frame made by [`frame`], after a check of its whole content; `None` for foreign frames.
///
/// # Panics
/// When the frame is one of ours and differs from what was sent.
#[must_use]
pub fn number_of(bytes: &[u8]) -> Option<u64> {
    if bytes.len() < SHORTEST || bytes[12..14] != ETHERTYPE {
        return None;
    }
    let number = u64::from_be_bytes(bytes[14..22].try_into().unwrap());
    let length = u32::from_be_bytes(bytes[22..26].try_into().unwrap()) as usize;
    assert_eq!(bytes.len(), length, "frame {number} was sent with {length} bytes");
    assert!(
        bytes[SHORTEST..] == *filler(number, length - SHORTEST),
        "the content of frame {number} is wrong"
    );
    Some(number)
}

/// One direction between two cards.
pub struct Flow {
    /// Sender's address.
    pub from: [u8; 6],
    /// Receiver's address.
    pub to: [u8; 6],
    /// Number of the next frame to be sent.
    pub next: u64,
    /// How long a frame may be under way.
    pub limit: Duration,
    /// Frames under way at most; receive buffers bound it as well.
    pub window: usize,
}

impl Flow {
    /// A direction that has carried nothing.
    #[must_use]
    pub fn new(from: [u8; 6], to: [u8; 6]) -> Self {
        Self { from, to, next: 0, limit: Duration::from_secs(5), window: 256 }
    }

    /// Carries a frame of each of `lengths` from `sender` to `receiver`: every one arrives once, in order and
    /// unchanged. Foreign frames are passed over.
    pub fn carry(&mut self, sender: &mut Nic, receiver: &mut Nic, lengths: impl IntoIterator<Item = usize>) {
        let mut lengths = lengths.into_iter().peekable();
        let room = receiver.receive[0].buffers.count as usize;
        let mut under_way: VecDeque<(u64, usize)> = VecDeque::new();
        let mut buffers = 0;
        while lengths.peek().is_some() || !under_way.is_empty() {
            while let Some(&length) = lengths.peek() {
                let needed = receiver.receive[0].buffers_for(length);
                assert!(needed <= room, "a frame of {length} bytes never fits the receiver");
                if under_way.len() >= self.window || buffers + needed > room {
                    break;
                }
                sender.transmit[0].put(NetHeader::default(), &frame(self.to, self.from, self.next, length));
                under_way.push_back((self.next, needed));
                buffers += needed;
                self.next += 1;
                lengths.next();
            }
            sender.transmit[0].ring.publish();
            buffers -= self.take_arrived(receiver, &mut under_way);
        }
    }

    /// Waits for a frame and takes all that have come; returns the buffers that got free.
    fn take_arrived(&self, receiver: &mut Nic, under_way: &mut VecDeque<(u64, usize)>) -> usize {
        let mut freed = 0;
        let what = || format!("frame {:?} of {} under way", under_way.front(), under_way.len());
        let what = what();
        let mut next = receiver.receive_within(self.limit);
        assert!(next.is_some(), "nothing came within {:?}: {what}", self.limit);
        while let Some(received) = next {
            let ours = received.bytes.starts_with(&[self.to, self.from].concat());
            if let Some(number) = ours.then(|| number_of(&received.bytes)).flatten() {
                let (expected, buffers) = under_way.pop_front().expect("no more frames than were sent");
                assert_eq!(number, expected, "frames arrive once and in order");
                freed += buffers;
            }
            next = receiver.take();
        }
        freed
    }
}
