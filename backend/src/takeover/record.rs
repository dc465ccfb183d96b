//! All that travels from one process to the next.
//!
//! In words of the configuration and of vhost-user, and never as memory of this version: what a later version does not know is passed
//! over, and what it needs has a value that says "not told".

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::TakeoverError;
use crate::device::RingShape;
use crate::vhost_user::Request;

/// One message between the two processes. Files that come with one are named in its comment.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub(crate) enum Record {
    /// Who is there.
    Hello { form: u32, version: String },
    /// The service manager, and how often it wants to hear of the switch.
    Manager { socket: String, watchdog_us: Option<u64> },
    /// The lock of `state_dir`, a file.
    Lock { state_dir: PathBuf },
    /// A Unix socket that listens, a file: of the API, of takeovers, of ports.
    Listener {
        path: PathBuf,
        /// The service manager made it.
        #[serde(default)]
        is_managed: bool,
    },
    /// The API's socket of TCP, a file.
    Tcp { address: SocketAddr },
    /// There is no more to begin with.
    Offered,
    /// The successor has started, and wants the sessions.
    Describe,
    /// A session, or some more requests of the one before; the connection, with the first; the files of what is unread; those of requests.
    Session(SessionRecord),
    /// Addresses that were learned.
    Learned { addresses: Vec<LearnedRecord> },
    /// There is no more to prepare.
    Described,
    /// The successor has all of that, and could go on with it.
    Prepared,
    /// Where the rings of a session stopped that is as it was told.
    Rings { port: String, generation: u64, bases: Vec<u16> },
    /// An open device of a port or uplink, with a file for each of its queues.
    Device(DeviceRecord),
    /// Nothing runs now.
    Stopped,
    /// The successor would run now.
    Ready,
    /// Do.
    Go,
    /// It comes to nothing.
    Refusal { reason: String },
}

/// A session with a frontend.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    /// The port's name.
    pub(crate) port: String,
    /// Another one for each state that the session was in.
    pub(crate) generation: u64,
    /// More requests of the record before, and nothing else.
    #[serde(default)]
    pub(crate) is_more: bool,
    /// The socket by which the frontend came, or at which it listens: whoever may use it is whose session it is. Not told by an incumbent that
    /// does not know it.
    #[serde(default)]
    pub(crate) socket: Option<PathBuf>,
    /// The session is whole with this record.
    pub(crate) is_last: bool,
    /// What the frontend told.
    pub(crate) requests: Vec<Request>,
    /// Where each ring stands.
    #[serde(default)]
    pub(crate) bases: Vec<u16>,
    /// What was read of a message that is not whole yet, and how many files came with it.
    #[serde(default)]
    pub(crate) unread: Vec<u8>,
    #[serde(default)]
    pub(crate) unread_files: usize,
    /// What of replies is not sent yet.
    #[serde(default)]
    pub(crate) unsent: Vec<u8>,
}

/// An address that was learned.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct LearnedRecord {
    pub(crate) network: String,
    pub(crate) port: String,
    pub(crate) mac: [u8; 6],
}

/// A device.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceRecord {
    /// The port's or uplink's name.
    pub(crate) port: String,
    /// The interface's name, and its number.
    pub(crate) interface: String,
    pub(crate) index: u32,
    /// Its network namespace, as the file system and the file that name it.
    #[serde(default)]
    pub(crate) namespace: Option<(u64, u64)>,
    /// How it is driven, as `driver` in the configuration.
    pub(crate) driver: String,
    /// What the kernel's ring of frames looks like, where there is one, and each queue's next slot.
    #[serde(default)]
    pub(crate) ring: Option<(RingShape, Vec<u16>)>,
}

impl Record {
    /// What it is called.
    pub(crate) fn name(&self) -> String {
        let text = serde_json::to_value(self).ok();
        let name = text.as_ref().and_then(|text| text["record"].as_str());
        name.unwrap_or("a record").to_owned()
    }

    /// That it came where `expected` was due.
    pub(crate) fn unexpected(&self, expected: impl Into<String>) -> TakeoverError {
        TakeoverError::Unexpected { expected: expected.into(), found: self.name() }
    }
}
