//! Segments, and what may become of them.

use etherparse::PacketBuilder;

use crate::sides::ROUTER;

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;
pub(crate) const FIN: u8 = 1;
pub(crate) const RST: u8 = 4;

/// What became of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fate {
    New,
    Established,
    Invalid,
}

/// A segment of a sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) is_back: bool,
    pub(crate) flags: u8,
    pub(crate) sequence: u32,
    pub(crate) ack: u32,
    pub(crate) length: usize,
    pub(crate) window: u16,
    pub(crate) scale: Option<u8>,
    /// What both make of it, or the switch and the kernel, and why they differ.
    pub(crate) fate: Fate,
    pub(crate) kernel: Option<(Fate, &'static str)>,
}

/// A segment from the side that opens.
pub(crate) fn there(flags: u8, sequence: u32, ack: u32, length: usize, fate: Fate) -> Step {
    Step { is_back: false, flags, sequence, ack, length, window: 1000, scale: None, fate, kernel: None }
}

/// A segment from the other side.
pub(crate) fn back(flags: u8, sequence: u32, ack: u32, length: usize, fate: Fate) -> Step {
    Step { is_back: true, ..there(flags, sequence, ack, length, fate) }
}

impl Step {
    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }

    pub(crate) fn scaled(self, scale: u8) -> Self {
        Self { scale: Some(scale), ..self }
    }

    /// The kernel does something else.
    pub(crate) fn but_kernel(self, fate: Fate, reason: &'static str) -> Self {
        Self { kernel: Some((fate, reason)), ..self }
    }

    pub(crate) fn frame(&self, flow: u16) -> Vec<u8> {
        let ends = [([10, 1, 0, 2], flow), ([10, 2, 0, 2], 80)];
        let (from, to) = if self.is_back { (ends[1], ends[0]) } else { (ends[0], ends[1]) };
        let mut tcp = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 9], ROUTER).ipv4(from.0, to.0, 64).tcp(
            from.1,
            to.1,
            self.sequence,
            self.window,
        );
        for (flag, set) in [(FIN, 0), (SYN, 1), (RST, 2)] {
            if self.flags & flag != 0 {
                tcp = match set {
                    0 => tcp.fin(),
                    1 => tcp.syn(),
                    _ => tcp.rst(),
                };
            }
        }
        if self.flags & ACK != 0 {
            tcp = tcp.ack(self.ack);
        }
        if let Some(scale) = self.scale {
            tcp = tcp.options(&[etherparse::TcpOptionElement::WindowScale(scale)]).unwrap();
        }
        let mut frame = Vec::new();
        tcp.write(&mut frame, &vec![7; self.length]).unwrap();
        frame
    }
}
