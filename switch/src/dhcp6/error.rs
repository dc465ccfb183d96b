//! What can be wrong with a message.

use crate::dhcp;

/// What is wrong with a frame or a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// The frame around it is wrong.
    #[error(transparent)]
    Datagram(#[from] dhcp::Malformed),
    /// The message is too short to be one.
    #[error("the message of {length} bytes is shorter than the 4 that every message has")]
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
    /// There is no such message.
    #[error("there is no message of type {found}")]
    Kind {
        /// The byte `msg-type`.
        found: u8,
    },
    /// An option runs over its message's or its option's end.
    #[error("option {code} runs over the end of what it is in")]
    OptionTruncated {
        /// Its code; 0 if that is cut, too.
        code: u16,
    },
    /// An option that may be there once is there again.
    #[error("option {code} is there more than once")]
    OptionTwice {
        /// Its code.
        code: u16,
    },
    /// An option has a length that it cannot have.
    #[error("option {code} has {length} bytes, which it cannot have")]
    OptionLength {
        /// Its code.
        code: u16,
        /// Its length in bytes.
        length: usize,
    },
    /// There are too many of something.
    #[error("there are more than {max} options {code}")]
    TooMany {
        /// Its code.
        code: u16,
        /// How many are read.
        max: usize,
    },
}
