//! What can be wrong with a message.

/// What is wrong with a frame or a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The frame's headers are wrong.
    #[error("the frame's headers are wrong: {0}")]
    Packet(#[from] crate::packet::PacketError),
    /// The packet is part of one, which no message of 576 bytes needs to be.
    #[error("the packet is a fragment")]
    Fragment,
    /// The frame is no UDP datagram for a DHCP server or client.
    #[error("the frame is no UDP datagram between ports 67 and 68")]
    NotDhcp,
    /// A checksum is wrong.
    #[error("the checksum of the {header} header is wrong")]
    Checksum {
        /// `IPv4`, `IPv6` or `UDP`.
        header: &'static str,
    },
    /// The message is too short to be one.
    #[error("the message of {length} bytes is shorter than the 240 that every message has")]
    Short {
        /// Its length in bytes.
        length: usize,
    },
    /// The message is longer than any that is read.
    #[error("the message of {length} bytes is longer than the 4,096 that are read")]
    Long {
        /// Its length in bytes.
        length: usize,
    },
    /// It is neither a request (1) nor a reply (2).
    #[error("the operation {found} is neither a request (1) nor a reply (2)")]
    Operation {
        /// The byte `op`.
        found: u8,
    },
    /// Its hardware address is no individual address of Ethernet.
    #[error(
        "hardware type {kind} with addresses of {length} bytes, or a group's address: not a station on Ethernet"
    )]
    Hardware {
        /// The byte `htype`.
        kind: u8,
        /// The byte `hlen`.
        length: u8,
    },
    /// The magic cookie is missing: BOOTP without options.
    #[error("the magic cookie 99.130.83.99 is missing (RFC 2131, 3)")]
    NoCookie,
    /// An option runs over its field's end.
    #[error("option {code} runs over its field's end")]
    OptionTruncated {
        /// Its code.
        code: u8,
    },
    /// The options do not end.
    #[error("the option `end` (255) is missing (RFC 2131, 4.1)")]
    NoEnd,
    /// An option has a length that it cannot have.
    #[error("option {code} has {length} bytes, which it cannot have")]
    OptionLength {
        /// Its code.
        code: u8,
        /// Its length in bytes.
        length: usize,
    },
    /// An option says what it cannot say.
    #[error("option {code} has a value that it cannot have")]
    OptionValue {
        /// Its code.
        code: u8,
    },
    /// There is no message type: BOOTP with vendor extensions.
    #[error("the message type (option 53) is missing: this is BOOTP, not DHCP")]
    NoType,
}
