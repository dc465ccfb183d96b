//! The header before each frame (virtio 1.2, 5.1.6).

/// The frame's transport checksum is partial.
pub const NEEDS_CSUM: u8 = 1;
/// TCP over IPv4 super-frame.
pub const GSO_TCPV4: u8 = 1;
/// UDP to be fragmented.
pub const GSO_UDP: u8 = 3;
/// TCP over IPv6 super-frame.
pub const GSO_TCPV6: u8 = 4;
/// Many UDP datagrams in one.
pub const GSO_UDP_L4: u8 = 5;

/// `struct virtio_net_hdr`; every field at will.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NetHeader {
    /// [`NEEDS_CSUM`] and others.
    pub flags: u8,
    /// None (0) or one of the super-frame kinds.
    pub gso_type: u8,
    /// Length of all headers.
    pub hdr_len: u16,
    /// Payload bytes of a segment.
    pub gso_size: u16,
    /// First byte that is summed.
    pub csum_start: u16,
    /// Where the sum is stored, from `csum_start`.
    pub csum_offset: u16,
    /// Receive buffers that hold the frame.
    pub num_buffers: u16,
}

impl NetHeader {
    /// The header's bytes; 10 of them without `num_buffers`.
    #[must_use]
    pub fn bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        (bytes[0], bytes[1]) = (self.flags, self.gso_type);
        let fields = [self.hdr_len, self.gso_size, self.csum_start, self.csum_offset, self.num_buffers];
        for (index, field) in fields.into_iter().enumerate() {
            bytes[2 + 2 * index..4 + 2 * index].copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    /// Reads a header of 10 or 12 bytes; without `num_buffers` that is 1.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let field = |index: usize| u16::from_le_bytes([bytes[2 + 2 * index], bytes[3 + 2 * index]]);
        Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: field(0),
            gso_size: field(1),
            csum_start: field(2),
            csum_offset: field(3),
            num_buffers: if bytes.len() >= 12 { field(4) } else { 1 },
        }
    }
}
