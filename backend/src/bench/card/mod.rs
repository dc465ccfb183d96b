//! A network card without a guest: memory, two rings and a driver that polls, plugged into any vhost-user switch.
//!
//! It is lean, so that the switch is what is measured: descriptors and frames are written once, and sending a frame
//! again writes its number, an entry of the available ring, and once a burst the index.

mod ring;
mod session;
mod shared;

use std::os::unix::net::UnixStream;
use std::path::Path;

use ring::{Ring, Used};
use session::Session;
use shared::Shared;

pub(crate) use session::Side;

use super::error::BenchError;
use super::frame::{BYTES_MAX, CHECKSUM_AT, FLOW_AT, NUMBER_AT, UDP_PORTS_AT};

/// From one buffer to the next: the longest frame with its header, and no power of two, which would make all buffers
/// compete for the same few places in a processor's cache.
const BUFFER_BYTES: usize = 2240;
const BUFFER_LEN: u32 = 2240;
const _: () = assert!(BUFFER_BYTES >= BYTES_MAX + 64 && BUFFER_LEN as usize == BUFFER_BYTES);
/// Where the frame's number is in a buffer with a header of 12 bytes.
const HEADER_BYTES: usize = 12;

/// A card that runs.
pub(crate) struct Card {
    memory: Shared,
    receive: Ring,
    transmit: Ring,
    /// Send buffers that the switch does not have.
    free: Vec<u16>,
    /// Whether it does not have the last one, which is for frames that are sent once.
    has_spare: bool,
    _session: Session,
}

impl Card {
    /// Plugs a card with rings of `entries` (a power of two) into each of `sockets`.
    pub(crate) fn plug(sockets: &[&Path], side: Side, entries: u16) -> Result<Vec<Self>, BenchError> {
        let streams = session::meet(sockets, side)?;
        streams.into_iter().map(|stream| Self::over(stream, entries)).collect()
    }

    fn over(stream: UnixStream, entries: u16) -> Result<Self, BenchError> {
        let rings = Ring::bytes(entries);
        let buffers = usize::from(entries) * BUFFER_BYTES;
        let bytes = (2 * rings + 2 * buffers).next_multiple_of(4096);
        let memory =
            Shared::new(bytes).map_err(BenchError::system(format!("get {bytes} bytes of shared memory")))?;
        let mut receive = Ring::new(&memory, 0, entries)?;
        let transmit = Ring::new(&memory, rings, entries)?;
        for id in 0..entries {
            let address = memory.address(receive_buffer(entries, id));
            receive.describe(&memory, id, address, BUFFER_LEN, true);
            receive.offer(&memory, id);
        }
        let session = Session::start(stream, &memory, [&receive, &transmit])?;
        receive.publish(&memory)?;
        Ok(Self {
            memory,
            receive,
            transmit,
            free: (0..entries - 1).collect(),
            has_spare: true,
            _session: session,
        })
    }

    /// From now on frames that are sent are this one, with numbers; none may be under way.
    pub(crate) fn load(&mut self, frame: &[u8]) {
        for id in 0..self.spare() {
            self.fill(id, frame);
        }
    }

    /// Puts a frame into a send buffer.
    fn fill(&self, id: u16, frame: &[u8]) {
        let at = send_buffer(self.transmit.size(), id);
        self.memory.write(at, &[0; HEADER_BYTES]);
        self.memory.write(at + HEADER_BYTES, frame);
        let len = u32::try_from(HEADER_BYTES + frame.len()).unwrap_or(u32::MAX);
        self.transmit.describe(&self.memory, id, self.memory.address(at), len, false);
    }

    /// The buffer for frames that are sent once.
    fn spare(&self) -> u16 {
        self.transmit.size() - 1
    }

    /// Sends a frame of another kind, unless the one before it is still under way.
    pub(crate) fn send_once(&mut self, frame: &[u8]) -> Result<(), BenchError> {
        self.reclaim()?;
        if std::mem::take(&mut self.has_spare) {
            self.fill(self.spare(), frame);
            self.transmit.offer(&self.memory, self.spare());
            self.transmit.publish(&self.memory)?;
        }
        Ok(())
    }

    /// Sends at most `count` frames with the numbers from `number` on; returns how many buffers there were for.
    #[inline]
    pub(crate) fn send(&mut self, mut number: u64, count: usize) -> Result<usize, BenchError> {
        self.send_changed(count, |memory, at| {
            memory.write_u64(at + NUMBER_AT, number);
            number += 1;
        })
    }

    /// The same of flows, which `flow` names one after the other.
    #[inline]
    pub(crate) fn send_flows(
        &mut self,
        mut number: u64,
        count: usize,
        mut flow: impl FnMut() -> FlowFields,
    ) -> Result<usize, BenchError> {
        self.send_changed(count, |memory, at| {
            let FlowFields { number: of_flow, ports, source } = flow();
            memory.write_u64(at + NUMBER_AT, number);
            memory.write(at + FLOW_AT, &of_flow.to_le_bytes());
            memory.write(at + UDP_PORTS_AT, &ports);
            if let Some(source) = source {
                memory.write(at + CHECKSUM_AT, &source);
            }
            number += 1;
        })
    }

    /// Sends frames after `change` did something to each, where it begins.
    #[inline]
    fn send_changed(
        &mut self,
        count: usize,
        mut change: impl FnMut(&Shared, usize),
    ) -> Result<usize, BenchError> {
        if self.free.len() < count {
            self.reclaim()?;
        }
        let count = count.min(self.free.len());
        let entries = self.transmit.size();
        for id in self.free.drain(self.free.len() - count..) {
            change(&self.memory, send_buffer(entries, id) + HEADER_BYTES);
            self.transmit.offer(&self.memory, id);
        }
        self.transmit.publish(&self.memory)?;
        Ok(count)
    }

    fn reclaim(&mut self) -> Result<(), BenchError> {
        while let Some(used) = self.transmit.take(&self.memory)? {
            if used.id == self.spare() {
                self.has_spare = true;
            } else {
                self.free.push(used.id);
            }
        }
        Ok(())
    }

    /// Whether the switch has given back all that was sent.
    pub(crate) fn is_sent(&mut self) -> Result<bool, BenchError> {
        self.reclaim()?;
        Ok(self.free.len() == usize::from(self.spare()))
    }

    /// Takes at most `most` frames that arrived, shows each to `see`, and gives the buffers back; returns how many.
    #[inline]
    pub(crate) fn receive(
        &mut self,
        most: usize,
        mut see: impl FnMut(&Arrived<'_>) -> Result<(), BenchError>,
    ) -> Result<usize, BenchError> {
        let mut count = 0;
        while count < most
            && let Some(Used { id, len }) = self.receive.take(&self.memory)?
        {
            let at = receive_buffer(self.receive.size(), id) + HEADER_BYTES;
            let bytes = usize::try_from(len).unwrap_or(0).saturating_sub(HEADER_BYTES);
            see(&Arrived { memory: &self.memory, at, bytes: bytes.min(BUFFER_BYTES - HEADER_BYTES) })?;
            self.receive.offer(&self.memory, id);
            count += 1;
        }
        self.receive.publish(&self.memory)?;
        Ok(count)
    }
}

fn receive_buffer(entries: u16, id: u16) -> usize {
    2 * Ring::bytes(entries) + usize::from(id) * BUFFER_BYTES
}

fn send_buffer(entries: u16, id: u16) -> usize {
    receive_buffer(entries, entries) + usize::from(id) * BUFFER_BYTES
}

/// What a frame of a flow has of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowFields {
    /// The flow's number.
    pub(crate) number: u32,
    /// Its UDP ports, source and destination, in the order of the wire.
    pub(crate) ports: [u8; 4],
    /// The checksum of its IPv4 header and its source, if they are not those of all frames.
    pub(crate) source: Option<[u8; 6]>,
}

/// A frame in a receive buffer.
pub(crate) struct Arrived<'m> {
    memory: &'m Shared,
    at: usize,
    bytes: usize,
}

impl Arrived<'_> {
    /// Its length, without the virtio header.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies as much of it as there is room for; returns that part.
    pub(crate) fn copy<'b>(&self, to: &'b mut [u8]) -> &'b [u8] {
        let len = self.bytes.min(to.len());
        self.memory.read(self.at, &mut to[..len]);
        &to[..len]
    }

    /// Bytes of it, as many as there is room for.
    #[inline]
    pub(crate) fn read<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(self.at + at.min(BUFFER_BYTES - HEADER_BYTES - N), &mut bytes);
        bytes
    }

    /// What stands where a frame of ours has its number.
    #[inline]
    pub(crate) fn number(&self) -> u64 {
        self.memory.read_u64(self.at + NUMBER_AT)
    }
}
