//! Rings in plain shared memory, their driver's side, and a switch that knows where everybody is.

use std::fs::File;
use std::os::fd::FromRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use viaduct::dataplane::{PortSetup, RingSetup};
use viaduct::memory::{GuestMemory, Region, RegionSpec};
use viaduct::ring::{Burst, Core};
use viaduct_switch::{
    Egress, Frame, Limits, Nanos, NetworkIndex, NetworkSettings, Policy, PortIndex, PortPolicy, Switch,
    WorkerState,
};
use virtio_bindings::virtio_config::{VIRTIO_F_RING_PACKED, VIRTIO_F_VERSION_1};
use vm_memory::{Bytes, FileOffset, GuestAddress, GuestMemoryMmap};

/// Entries of a ring.
pub(super) const SIZE: u16 = 256;
/// Frames that are offered at once: as many as a burst takes.
pub(super) const BURST: u16 = 64;
/// Where the descriptor table lies.
pub(super) const DESCRIPTORS: u64 = 0x1000;
/// Where the available ring lies.
pub(super) const AVAILABLE: u64 = 0x9000;
/// Where the used ring lies.
pub(super) const USED: u64 = 0xb000;
const MEMORY: u64 = 16 << 20;
const BUFFERS: u64 = 0x10_0000;
const BUFFER_LEN: u64 = 2048;
const USER: u64 = 0x7f00_0000_0000;

/// A guest's memory with one ring in which every entry is a buffer of its own.
pub(super) struct Guest {
    file: File,
    memory: GuestMemoryMmap,
    index: u16,
    layout: Layout,
    /// Bytes of each buffer, and the flags of its descriptor.
    len: u64,
    flags: u64,
}

/// How the ring is laid out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    Split,
    #[allow(dead_code, reason = "not every benchmark has packed rings")]
    Packed,
}

impl Guest {
    /// A guest that sends, with a ring of this layout: frames of `frame_len` bytes of `flows` flows in turn.
    pub(super) fn sender(layout: Layout, frame_len: u64, flows: u8) -> Self {
        Self::sender_of(layout, frame_len, |entry| addresses(u8::try_from(entry).unwrap() % flows).to_vec())
    }

    /// The same with frames that begin as `start` says of each entry.
    pub(super) fn sender_of(layout: Layout, frame_len: u64, start: impl Fn(u16) -> Vec<u8>) -> Self {
        let mut guest = Self::empty(layout);
        guest.fill(frame_len + 12, 0, start);
        guest
    }

    /// A guest that receives.
    pub(super) fn receiver(layout: Layout) -> Self {
        let mut guest = Self::empty(layout);
        guest.fill(BUFFER_LEN, 2, |_| Vec::new());
        guest
    }

    fn empty(layout: Layout) -> Self {
        // SAFETY: the name is a C string, and the new descriptor belongs to the `File` alone.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"bench".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(MEMORY).unwrap();
        let part = FileOffset::new(file.try_clone().unwrap(), 0);
        let len = usize::try_from(MEMORY).unwrap();
        let memory = GuestMemoryMmap::from_ranges_with_files([(GuestAddress(0), len, Some(part))]).unwrap();
        Self { file, memory, index: 0, layout, len: 0, flags: 0 }
    }

    fn fill(&mut self, len: u64, flags: u64, start: impl Fn(u16) -> Vec<u8>) {
        (self.len, self.flags) = (len, flags);
        for entry in 0..SIZE {
            let (number, at) = (entry, u64::from(entry));
            let address = BUFFERS + at * BUFFER_LEN;
            let rest = match self.layout {
                Layout::Split => {
                    self.file.write_all_at(&number.to_le_bytes(), AVAILABLE + 4 + at * 2).unwrap();
                    len | flags << 32
                }
                Layout::Packed => packed(len, flags, entry),
            };
            let bytes: Vec<u8> = [address, rest].iter().flat_map(|word| word.to_le_bytes()).collect();
            self.file.write_all_at(&bytes, DESCRIPTORS + at * 16).unwrap();
            let mut frame = vec![0; 12];
            frame.extend(start(entry));
            frame.resize(usize::try_from(len).unwrap(), 0x5a);
            self.file.write_all_at(&frame, address).unwrap();
        }
    }

    /// Makes the next 64 entries available: what the driver does.
    pub(super) fn offer(&mut self) {
        if self.layout == Layout::Packed {
            return self.offer_packed();
        }
        self.index = self.index.wrapping_add(BURST);
        let place = GuestAddress(AVAILABLE + 2);
        self.memory.store(self.index, place, std::sync::atomic::Ordering::Release).unwrap();
    }

    /// Turns over the flags of the next 64 slots, and says again what the used descriptors took their place of.
    fn offer_packed(&mut self) {
        let available = if (self.index / SIZE).is_multiple_of(2) { 1 << 7 } else { 1 << 15 };
        for index in self.index..self.index + BURST {
            let slot = u64::from(index % SIZE);
            let word = packed(self.len, self.flags | available, index % SIZE);
            let place = GuestAddress(DESCRIPTORS + slot * 16 + 8);
            self.memory.store(word, place, std::sync::atomic::Ordering::Release).unwrap();
        }
        self.index = (self.index + BURST) % (2 * SIZE);
    }

    /// The ring as the switch sees it.
    pub(super) fn core(&self) -> Core {
        let features = if self.layout == Layout::Packed { 1 << VIRTIO_F_RING_PACKED } else { 0 };
        Core::new(&self.ring(0), &self.guest_memory(), features).unwrap()
    }

    /// The guest at the port `at`, whose ring has this number.
    #[allow(dead_code, reason = "not every benchmark has a whole data path")]
    pub(super) fn setup(&self, at: usize, ring: u16) -> PortSetup {
        let features = 1 << VIRTIO_F_VERSION_1;
        let (port, memory, rings) = (port(at), self.guest_memory(), vec![self.ring(ring)]);
        PortSetup { port, features, memory, log: None, ledger: None, rings }
    }

    fn guest_memory(&self) -> GuestMemory {
        let spec = RegionSpec { guest_address: 0, size: MEMORY, user_address: USER, file_offset: 0 };
        GuestMemory::default().with(Region::map(&self.file, spec).unwrap()).unwrap()
    }

    fn ring(&self, index: u16) -> RingSetup {
        RingSetup {
            index,
            size: SIZE,
            // A packed ring begins in its first lap: with a wrap counter of 1.
            base: if self.layout == Layout::Packed { 1 << 15 } else { 0 },
            descriptor: USER + DESCRIPTORS,
            available: USER + AVAILABLE,
            used: USER + USED,
            used_log: None,
            kick: None,
            call: None,
            error: None,
        }
    }

    /// How many entries the device has used, modulo 65536.
    #[allow(dead_code, reason = "not every benchmark looks at what came")]
    pub(super) fn used(&self) -> u16 {
        self.memory.load(GuestAddress(USED + 2), std::sync::atomic::Ordering::Acquire).unwrap()
    }

    /// The same memory as the crate `vm-memory` maps it.
    #[allow(dead_code, reason = "the stock stack alone needs it")]
    pub(super) fn memory(&self) -> GuestMemoryMmap {
        self.memory.clone()
    }
}

/// The second word of a packed descriptor (virtio 1.2, 2.8.13).
fn packed(len: u64, flags: u64, id: u16) -> u64 {
    len | u64::from(id) << 32 | flags << 48
}

/// Destination, source and type field of a frame of flow number `flow`, which port 0 sends.
fn addresses(flow: u8) -> [u8; 14] {
    [2, 0, 0, 0, 1, flow, 2, 0, 0, 0, 0, flow, 8, 0]
}

/// An egress that costs next to nothing.
pub(super) struct Count(pub(super) u64);

impl<P> Egress<P> for Count {
    fn send(&mut self, _to: PortIndex, _slot: usize, _frame: &Frame<P>) {
        self.0 += 1;
    }

    fn flood(&mut self, _network: NetworkIndex, _receivers: &[PortIndex], _slot: usize, _frame: &Frame<P>) {
        self.0 += 1;
    }
}

/// The port with this number.
pub(super) fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

/// A switch with `ports` ports on one network, on which the destinations of all flows are known.
pub(super) fn switch(ports: usize, flows: u8) -> (Switch, WorkerState) {
    let (switch, mut state) = empty(ports);
    for flow in 0..flows {
        let mut bytes = [0x5a; 64];
        let there = addresses(flow);
        bytes[..14].copy_from_slice(&there);
        bytes[..6].copy_from_slice(&there[6..12]);
        bytes[6..12].copy_from_slice(&there[..6]);
        let mut burst = Burst::new(port(1));
        burst.load(port(1), &mut bytes);
        switch.process(&mut state, Nanos(0), burst.parts().0, &mut Count(0));
    }
    (switch, state)
}

/// A switch with `ports` ports on one network, which knows nobody. Frames of 1518 bytes, without FCS, fit its MTU.
fn empty(ports: usize) -> (Switch, WorkerState) {
    let network = NetworkIndex::new(0).unwrap();
    let ports = (0..ports).map(|index| (port(index), PortPolicy::new(network, 9000)));
    let policy = Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap();
    (Switch::new(7, Limits::default()), WorkerState::new(Arc::new(policy)))
}

/// The address of a station at a port.
#[allow(dead_code, reason = "not every benchmark has a crowd")]
pub(super) fn station(port: u8, number: u32) -> [u8; 6] {
    let [.., a, b] = number.to_be_bytes();
    [2, 0, 0, port, a, b]
}

/// A switch with two ports, at each of which `stations` are known.
#[allow(dead_code, reason = "not every benchmark has a crowd")]
pub(super) fn crowd(stations: u32) -> (Switch, WorkerState) {
    let (switch, mut state) = empty(2);
    for (number, at) in (0..stations).flat_map(|number| [(number, 0), (number, 1)]) {
        let mut bytes = [0x5a; 64];
        bytes[..6].copy_from_slice(&station(1 - at, number));
        bytes[6..12].copy_from_slice(&station(at, number));
        let mut burst = Burst::new(port(usize::from(at)));
        burst.load(port(usize::from(at)), &mut bytes);
        switch.process(&mut state, Nanos(0), burst.parts().0, &mut Count(0));
    }
    (switch, state)
}
