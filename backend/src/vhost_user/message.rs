//! The protocol as a table: what each request carries, who answers it, and how it is checked before anything
//! acts on it (QEMU, docs/interop/vhost-user: "Message Specification", "Front-end message types").

use std::ops::RangeInclusive;

use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;
use vhost::vhost_user::message::FrontendReq;

use crate::vhost_user::peer_file::{PeerFile, WrongFile};

/// Request, flags and size: three 32-bit numbers in the machine's byte order.
pub const HEADER_SIZE: usize = 12;

/// Regions, and thus files, that one SET_MEM_TABLE may carry (the `vhost` crate's bound; QEMU sends 8).
pub const TABLE_REGIONS_MAX: usize = 32;

/// Files that any message may carry.
pub const FILES_MAX: usize = TABLE_REGIONS_MAX;

/// Longest body in bytes of a request that we do not know; it is read to be refused.
const UNKNOWN_BODY_MAX: usize = 4096;

/// "This is a reply."
pub const FLAG_REPLY: u32 = 1 << 2;
/// "Tell me whether it worked", with REPLY_ACK.
pub const FLAG_NEED_REPLY: u32 = 1 << 3;
const FLAG_VERSION: u32 = 0b11;
pub(super) const VERSION: u32 = 1;

const REGION_SIZE: usize = 32;

/// In the body of a message about a ring's eventfd: none comes with it.
pub(super) const NO_FILE: u64 = 1 << 8;

/// Where a request names a ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RingField {
    /// It names none.
    None,
    /// The first 32 bits of the body ("vring state description", "vring address description").
    Index,
    /// The low 8 bits of the body's 64; bit 8 says that no file comes with it; the others are zero.
    Signal,
}

/// How a request is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Always, with a body of its own.
    Reply,
    /// With zero or one, if the sender asked and REPLY_ACK was negotiated.
    Acknowledge,
}

/// Who serves a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Server {
    /// The `vhost` crate's handler, through the private socket pair.
    Handler,
    /// The session itself: what the handler does not dispatch, or only too late.
    Session,
}

/// One row of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The request.
    pub request: FrontendReq,
    /// Legal lengths of the body in bytes.
    pub body: RangeInclusive<usize>,
    /// Legal numbers of files.
    pub files: RangeInclusive<usize>,
    /// Where it names a ring.
    pub ring: RingField,
    /// How it is answered.
    pub answer: Answer,
    /// The protocol feature without which it must not come.
    pub needs: Option<Protocol>,
    /// Who serves it.
    pub server: Server,
    /// Whether the port's rings must be off the data path while it is served.
    pub touches_rings: bool,
}

/// Builds a row: a request without files and ring, acknowledged, served by the handler.
const fn row(request: FrontendReq, body: usize) -> Rule {
    Rule {
        request,
        body: body..=body,
        files: 0..=0,
        ring: RingField::None,
        answer: Answer::Acknowledge,
        needs: None,
        server: Server::Handler,
        touches_rings: false,
    }
}

impl Rule {
    const fn reply(self) -> Self {
        Self { answer: Answer::Reply, ..self }
    }

    const fn needs(self, feature: Protocol) -> Self {
        Self { needs: Some(feature), ..self }
    }

    const fn session(self) -> Self {
        Self { server: Server::Session, ..self }
    }

    const fn touches(self) -> Self {
        Self { touches_rings: true, ..self }
    }

    const fn ring(self, ring: RingField) -> Self {
        Self { ring, ..self }.touches()
    }

    const fn files(self, least: usize, most: usize) -> Self {
        Self { files: least..=most, ..self }
    }

    const fn body(self, least: usize, most: usize) -> Self {
        Self { body: least..=most, ..self }
    }
}

/// The table. What is not in it is refused.
pub static RULES: &[Rule] = &[
    row(FrontendReq::GET_FEATURES, 0).reply(),
    row(FrontendReq::SET_FEATURES, 8).touches(),
    row(FrontendReq::SET_OWNER, 0),
    row(FrontendReq::RESET_OWNER, 0).touches(),
    row(FrontendReq::SET_MEM_TABLE, 0)
        .body(8 + REGION_SIZE, 8 + TABLE_REGIONS_MAX * REGION_SIZE)
        .files(1, TABLE_REGIONS_MAX)
        .touches(),
    row(FrontendReq::SET_LOG_BASE, 16).files(1, 1).reply().needs(Protocol::LOG_SHMFD).touches(),
    row(FrontendReq::SET_LOG_FD, 0).files(1, 1).session(),
    row(FrontendReq::SET_VRING_NUM, 8).ring(RingField::Index),
    row(FrontendReq::SET_VRING_ADDR, 40).ring(RingField::Index),
    row(FrontendReq::SET_VRING_BASE, 8).ring(RingField::Index),
    row(FrontendReq::GET_VRING_BASE, 8).ring(RingField::Index).reply(),
    row(FrontendReq::SET_VRING_KICK, 8).ring(RingField::Signal).files(0, 1),
    row(FrontendReq::SET_VRING_CALL, 8).ring(RingField::Signal).files(0, 1),
    row(FrontendReq::SET_VRING_ERR, 8).ring(RingField::Signal).files(0, 1),
    row(FrontendReq::GET_PROTOCOL_FEATURES, 0).reply(),
    row(FrontendReq::SET_PROTOCOL_FEATURES, 8),
    row(FrontendReq::GET_QUEUE_NUM, 0).reply().needs(Protocol::MQ),
    // QEMU enables rings before it sends SET_FEATURES; the handler would refuse that.
    row(FrontendReq::SET_VRING_ENABLE, 8).ring(RingField::Index).session(),
    row(FrontendReq::SEND_RARP, 8).needs(Protocol::RARP).session(),
    row(FrontendReq::NET_SET_MTU, 8).needs(Protocol::MTU).session(),
    row(FrontendReq::RESET_DEVICE, 0).needs(Protocol::RESET_DEVICE).touches(),
    row(FrontendReq::GET_MAX_MEM_SLOTS, 0).reply().needs(Protocol::CONFIGURE_MEM_SLOTS),
    row(FrontendReq::ADD_MEM_REG, 8 + REGION_SIZE).files(1, 1).needs(Protocol::CONFIGURE_MEM_SLOTS).touches(),
    // "The back-end MAY accept messages with one file descriptor" and must close it.
    row(FrontendReq::REM_MEM_REG, 8 + REGION_SIZE).files(0, 1).needs(Protocol::CONFIGURE_MEM_SLOTS).touches(),
    row(FrontendReq::SET_STATUS, 8).needs(Protocol::STATUS).session().touches(),
    row(FrontendReq::GET_STATUS, 0).reply().needs(Protocol::STATUS).session(),
];

/// A message that breaks the protocol's form: after it nothing that the peer sends can be trusted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FormError {
    /// The version is not 1.
    #[error("request {code} has protocol version {version}; only version 1 exists")]
    Version {
        /// The request's number.
        code: u32,
        /// What it says.
        version: u32,
    },
    /// A flag that only replies have, or one that does not exist.
    #[error("request {code} has flags {flags:#x}; a request may have version 1 and need-reply only")]
    Flags {
        /// The request's number.
        code: u32,
        /// All flags.
        flags: u32,
    },
    /// The body is shorter or longer than the request's can be.
    #[error("{request} has a body of {size} bytes; {least} to {most} are legal")]
    Size {
        /// The request's name.
        request: String,
        /// What the header says.
        size: u32,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// The number of files is wrong.
    #[error("{request} came with {files} files; {least} to {most} are legal")]
    Files {
        /// The request's name.
        request: String,
        /// How many came.
        files: usize,
        /// The fewest.
        least: usize,
        /// The most.
        most: usize,
    },
    /// The kernel could not deliver all files.
    #[error(
        "a message came with more files than can be received; raise the limit of open files (LimitNOFILE=)"
    )]
    FilesCut,
    /// It names a ring that does not exist.
    #[error("{request} names ring {index}; this port has {rings}")]
    NoSuchRing {
        /// The request's name.
        request: String,
        /// What it names.
        index: u64,
        /// How many there are.
        rings: usize,
    },
    /// It says that there is a file and none came, or the other way around.
    #[error("{request} for ring {index} says {said} and came with {files} files")]
    SignalFiles {
        /// The request's name.
        request: String,
        /// The ring.
        index: u64,
        /// What the flag says.
        said: &'static str,
        /// How many came.
        files: usize,
    },
}

/// A checked header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The request's number.
    pub code: u32,
    /// Flags, version included.
    pub flags: u32,
    /// Bytes of the body.
    pub size: u32,
}

impl Header {
    /// Reads a header.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; HEADER_SIZE]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l] = *bytes;
        let number = u32::from_ne_bytes;
        Self { code: number([a, b, c, d]), flags: number([e, f, g, h]), size: number([i, j, k, l]) }
    }

    /// Writes a header.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER_SIZE] {
        let mut bytes = [0; HEADER_SIZE];
        for (place, number) in bytes.chunks_exact_mut(4).zip([self.code, self.flags, self.size]) {
            place.copy_from_slice(&number.to_ne_bytes());
        }
        bytes
    }

    /// Checks what the header alone tells; gives the row that the request must keep to, if we serve it.
    ///
    /// # Errors
    /// Version, flags or size are not a request's.
    pub fn check(self) -> Result<Option<&'static Rule>, FormError> {
        let Self { code, flags, size } = self;
        if flags & FLAG_VERSION != VERSION {
            return Err(FormError::Version { code, version: flags & FLAG_VERSION });
        }
        if flags & !(FLAG_VERSION | FLAG_NEED_REPLY) != 0 {
            return Err(FormError::Flags { code, flags });
        }
        let rule = RULES.iter().find(|rule| u32::from(rule.request) == code);
        let (least, most) = match rule {
            Some(rule) => (*rule.body.start(), *rule.body.end()),
            None => (0, UNKNOWN_BODY_MAX),
        };
        if !usize::try_from(size).is_ok_and(|size| (least..=most).contains(&size)) {
            return Err(FormError::Size { request: request_name(code), size, least, most });
        }
        Ok(rule)
    }

    /// Whether the sender wants to know how it went.
    #[must_use]
    pub fn needs_reply(self) -> bool {
        self.flags & FLAG_NEED_REPLY != 0
    }

    /// The header of the reply to this request with a body of `size` bytes.
    #[must_use]
    pub fn reply(self, size: u32) -> Self {
        Self { code: self.code, flags: VERSION | FLAG_REPLY, size }
    }
}

/// The name of a request for people: `SET_VRING_NUM`, or its number.
#[must_use]
pub fn request_name(code: u32) -> String {
    FrontendReq::try_from(code).map_or_else(|()| format!("request {code}"), |request| format!("{request:?}"))
}

/// A whole message of the right form.
#[derive(Debug)]
pub struct Message {
    /// Its header.
    pub header: Header,
    /// Its row; `None` if we do not serve it.
    pub rule: Option<&'static Rule>,
    /// Its body; as long as the header says.
    pub body: Vec<u8>,
    /// Its files.
    pub files: Vec<PeerFile>,
}

impl Message {
    /// The request's name.
    #[must_use]
    pub fn name(&self) -> String {
        request_name(self.header.code)
    }

    /// The body's first 64 bits; 0 where it is shorter.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.body.first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    /// The 32-bit number at `index` of the body; 0 where it is shorter.
    #[must_use]
    pub fn number(&self, index: usize) -> u32 {
        let bytes = self.body.get(index * 4..).and_then(<[u8]>::first_chunk);
        bytes.map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// The ring that it names; as [`Message::check`] found it to exist.
    #[must_use]
    pub fn ring(&self) -> Option<u16> {
        match self.rule?.ring {
            RingField::None => None,
            RingField::Index => u16::try_from(self.number(0)).ok(),
            RingField::Signal => u16::try_from(self.value() & !NO_FILE).ok(),
        }
    }

    /// Checks that its files are of the kind that the request needs; they may be used afterwards.
    ///
    /// # Errors
    /// A file is of another kind.
    pub fn check_files(&mut self) -> Result<(), WrongFile> {
        let Some(rule) = self.rule else { return Ok(()) };
        match rule.request {
            FrontendReq::SET_MEM_TABLE | FrontendReq::ADD_MEM_REG | FrontendReq::SET_LOG_BASE => {
                self.files.iter_mut().try_for_each(PeerFile::check_memory)
            }
            // "If a file descriptor is passed, the back-end MUST close it without using it otherwise."
            FrontendReq::REM_MEM_REG => {
                self.files.clear();
                Ok(())
            }
            _ => self.files.iter_mut().try_for_each(PeerFile::check_eventfd),
        }
    }

    /// Checks number of files and the ring against a device with `rings` rings.
    ///
    /// # Errors
    /// What does not fit the request.
    pub fn check(&self, rings: usize) -> Result<(), FormError> {
        let Some(rule) = self.rule else { return Ok(()) };
        let files = self.files.len();
        if !rule.files.contains(&files) {
            let (least, most) = (*rule.files.start(), *rule.files.end());
            return Err(FormError::Files { request: self.name(), files, least, most });
        }
        match rule.ring {
            RingField::None => Ok(()),
            RingField::Index => self.check_ring(u64::from(self.number(0)), rings),
            RingField::Signal => self.check_signal(rings),
        }
    }

    fn check_ring(&self, index: u64, rings: usize) -> Result<(), FormError> {
        if usize::try_from(index).is_ok_and(|index| index < rings) {
            return Ok(());
        }
        Err(FormError::NoSuchRing { request: self.name(), index, rings })
    }

    /// The full width counts: high bits are an index that does not exist, not something to be cut off.
    fn check_signal(&self, rings: usize) -> Result<(), FormError> {
        let index = self.value() & !NO_FILE;
        self.check_ring(index, rings.min(256))?;
        let files = self.files.len();
        let said = match (self.value() & NO_FILE != 0, files) {
            (true, 0) | (false, 1) => return Ok(()),
            (true, _) => "no file",
            (false, _) => "one file",
        };
        Err(FormError::SignalFiles { request: self.name(), index, said, files })
    }
}

#[cfg(test)]
mod tests;
