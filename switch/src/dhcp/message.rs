//! A message and its bytes (RFC 2131, 2).

use std::net::Ipv4Addr;

use super::Malformed;
use super::options::{Options, Room, code};
use crate::mac::MacAddress;

/// The longest message that is read, in bytes.
pub const MESSAGE_MAX: usize = 4096;

/// The options' longest default: a client takes IP datagrams of 576 bytes without having said so (RFC 2131, 2).
pub const DATAGRAM_DEFAULT: u16 = 576;

/// Headers of IPv4 and UDP before a message.
const HEADERS: usize = 28;

/// What stands before the options: the fixed part and the magic cookie.
const FIXED: usize = 240;

/// The shortest message that is sent: BOOTP's, which relays and some clients want (RFC 951, 3; RFC 1542, 2.1).
const SHORTEST: usize = 300;

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const ETHERNET: u8 = 1;
const BROADCAST: u16 = 0x8000;

/// Lengths of the fields that may hold options.
const SNAME: usize = 64;
const FILE: usize = 128;

/// Bytes of the option that says which fields hold options.
const OVERLOAD_BYTES: usize = 3;

/// Who speaks (RFC 2131, 2: `op`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// A client.
    Request,
    /// A server.
    Reply,
}

/// What a message is (RFC 2132, 9.6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MessageType {
    /// A client looks for servers.
    Discover,
    /// A server offers an address.
    Offer,
    /// A client asks for what was offered, or to go on using what it has.
    Request,
    /// A client says that somebody uses the address.
    Decline,
    /// A server agrees.
    Ack,
    /// A server refuses.
    Nak,
    /// A client needs its address no more.
    Release,
    /// A client has an address and asks for the rest.
    Inform,
}

impl MessageType {
    const ALL: [Self; 8] = [
        Self::Discover,
        Self::Offer,
        Self::Request,
        Self::Decline,
        Self::Ack,
        Self::Nak,
        Self::Release,
        Self::Inform,
    ];

    /// The type with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8 + 1
    }
}

/// A message. Its options do not hold what has a field here, nor how they lie in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message {
    /// Who speaks.
    pub operation: Operation,
    /// How many relays it passed.
    pub hops: u8,
    /// Joins answers to their questions.
    pub xid: u32,
    /// For how long the client has been trying, in seconds.
    pub seconds: u16,
    /// Whether the client takes no unicast yet.
    pub broadcast: bool,
    /// The address that the client uses and answers ARP for.
    pub ciaddr: Ipv4Addr,
    /// The address that it is given.
    pub yiaddr: Ipv4Addr,
    /// The server to boot from.
    pub siaddr: Ipv4Addr,
    /// The relay; none here, where clients and server are on one link.
    pub giaddr: Ipv4Addr,
    /// The client's hardware address.
    pub chaddr: MacAddress,
    /// The name of the server to boot from, at most 63 bytes of text, or empty.
    pub server_name: String,
    /// The file to boot, at most 127 bytes of text, or empty.
    pub boot_file: String,
    /// The options.
    pub options: Options,
}

impl Message {
    /// A message without options and addresses.
    #[must_use]
    pub fn new(operation: Operation, xid: u32, chaddr: MacAddress) -> Self {
        let none = Ipv4Addr::UNSPECIFIED;
        Self {
            operation,
            hops: 0,
            xid,
            seconds: 0,
            broadcast: false,
            ciaddr: none,
            yiaddr: none,
            siaddr: none,
            giaddr: none,
            chaddr,
            server_name: String::new(),
            boot_file: String::new(),
            options: Options::new(),
        }
    }

    /// Reads a UDP datagram's payload.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let length = bytes.len();
        let (fixed, options) = bytes.split_first_chunk::<FIXED>().ok_or(Malformed::Short { length })?;
        if length > MESSAGE_MAX {
            return Err(Malformed::Long { length });
        }
        if fixed[236..] != COOKIE {
            return Err(Malformed::NoCookie);
        }
        let mut message = Self::new(operation(fixed[0])?, be32(fixed, 4), hardware(fixed)?);
        message.hops = fixed[3];
        message.seconds = be16(fixed, 8);
        message.broadcast = be16(fixed, 10) & BROADCAST != 0;
        message.ciaddr = be32(fixed, 12).into();
        message.yiaddr = be32(fixed, 16).into();
        message.siaddr = be32(fixed, 20).into();
        message.giaddr = be32(fixed, 24).into();
        message.options.read(options)?;
        message.read_fields(&fixed[44..108], &fixed[108..236])?;
        Ok(message)
    }

    /// Reads `sname` and `file`: options, where they are said to hold some (RFC 2131, 4.1: `file` first), else text.
    fn read_fields(&mut self, sname: &[u8], file: &[u8]) -> Result<(), Malformed> {
        let overload = self.options.u8(code::OVERLOAD)?.unwrap_or(0);
        if overload > 3 || (overload == 0 && self.options.get(code::OVERLOAD).is_some()) {
            return Err(Malformed::OptionValue { code: code::OVERLOAD });
        }
        self.options.remove(code::OVERLOAD);
        if overload & 1 != 0 {
            self.options.read(file)?;
        } else {
            self.boot_file = text(file);
        }
        if overload & 2 != 0 {
            self.options.read(sname)?;
        } else {
            self.server_name = text(sname);
        }
        // Where options lie is said once, and not by those that lie there.
        match self.options.get(code::OVERLOAD) {
            None => Ok(()),
            Some(_) => Err(Malformed::OptionValue { code: code::OVERLOAD }),
        }
    }

    /// What kind of message it is.
    ///
    /// # Errors
    /// [`Malformed::NoType`] if it does not say so, [`Malformed::OptionValue`] if there is no such kind.
    pub fn kind(&self) -> Result<MessageType, Malformed> {
        let number = self.options.u8(code::MESSAGE_TYPE)?.ok_or(Malformed::NoType)?;
        MessageType::from_number(number).ok_or(Malformed::OptionValue { code: code::MESSAGE_TYPE })
    }

    /// The message as the payload of a UDP datagram, for a receiver that takes IP datagrams of `datagram` bytes, 576 at
    /// least (RFC 2132, 9.10). Options for which there is no room are left out, the last ones first: their codes are
    /// returned.
    #[must_use]
    pub fn encode(&self, datagram: u16) -> (Vec<u8>, Vec<u8>) {
        let room = usize::from(datagram.max(DATAGRAM_DEFAULT)) - HEADERS - FIXED;
        let mut fields = Fields {
            options: Room::new(room),
            file: self.boot_file.is_empty().then(|| Room::new(FILE)),
            sname: self.server_name.is_empty().then(|| Room::new(SNAME)),
        };
        let left_out = fields.fill(&self.options);
        let mut bytes = self.fixed_part();
        fields.write(&mut bytes);
        bytes.resize(bytes.len().max(SHORTEST), 0);
        (bytes, left_out)
    }

    fn fixed_part(&self) -> Vec<u8> {
        let operation = if self.operation == Operation::Request { 1 } else { 2 };
        let mut bytes = vec![operation, ETHERNET, 6, self.hops];
        bytes.extend(self.xid.to_be_bytes());
        bytes.extend(self.seconds.to_be_bytes());
        bytes.extend(if self.broadcast { BROADCAST } else { 0 }.to_be_bytes());
        for address in [self.ciaddr, self.yiaddr, self.siaddr, self.giaddr] {
            bytes.extend(address.octets());
        }
        bytes.extend(self.chaddr.0);
        bytes.extend([0; 10]);
        put_text(&mut bytes, &self.server_name, SNAME);
        put_text(&mut bytes, &self.boot_file, FILE);
        bytes.extend(COOKIE);
        bytes
    }
}

/// The fields of a message that options go to; `None` where one has its own content.
struct Fields {
    options: Room,
    file: Option<Room>,
    sname: Option<Room>,
}

impl Fields {
    /// Puts in what fits, and returns the codes of what does not.
    fn fill(&mut self, options: &Options) -> Vec<u8> {
        let mut probe = Room::new(self.options.capacity());
        if options.iter().all(|(code, value)| probe.put(code, value)) {
            self.options = probe;
            (self.file, self.sname) = (None, None);
            return Vec::new();
        }
        self.options.reserve(OVERLOAD_BYTES);
        let mut left_out = Vec::new();
        for (code, value) in options.iter() {
            if !self.put(code, value) {
                left_out.push(code);
            }
        }
        self.options.release(OVERLOAD_BYTES);
        left_out
    }

    fn put(&mut self, code: u8, value: &[u8]) -> bool {
        self.options.put(code, value)
            || self.file.as_mut().is_some_and(|file| file.put(code, value))
            || self.sname.as_mut().is_some_and(|sname| sname.put(code, value))
    }

    /// Writes the fields over those of a message's fixed part, and the options behind it.
    fn write(mut self, bytes: &mut Vec<u8>) {
        let file = self.file.filter(|room| !room.bytes.is_empty());
        let sname = self.sname.filter(|room| !room.bytes.is_empty());
        let overload = u8::from(file.is_some()) | u8::from(sname.is_some()) << 1;
        if overload != 0 {
            self.options.put(code::OVERLOAD, &[overload]);
        }
        for (room, at) in [(sname, 44), (file, 44 + SNAME)] {
            if let Some(field) = room.map(Room::finish) {
                bytes[at..at + field.len()].copy_from_slice(&field);
            }
        }
        bytes.extend(self.options.finish());
    }
}

fn operation(found: u8) -> Result<Operation, Malformed> {
    match found {
        1 => Ok(Operation::Request),
        2 => Ok(Operation::Reply),
        _ => Err(Malformed::Operation { found }),
    }
}

fn hardware(fixed: &[u8; FIXED]) -> Result<MacAddress, Malformed> {
    let (kind, length) = (fixed[1], fixed[2]);
    let mac = MacAddress([fixed[28], fixed[29], fixed[30], fixed[31], fixed[32], fixed[33]]);
    let is_station = kind == ETHERNET && length == 6 && !mac.is_group() && !mac.is_zero();
    if is_station { Ok(mac) } else { Err(Malformed::Hardware { kind, length }) }
}

fn be16(bytes: &[u8; FIXED], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8; FIXED], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The text before the first zero, if it is printable ASCII; else none.
fn text(field: &[u8]) -> String {
    let end = field.iter().position(|&byte| byte == 0).unwrap_or(field.len());
    let is_text = field[..end].iter().all(|byte| matches!(byte, b' '..=b'~'));
    if is_text { String::from_utf8_lossy(&field[..end]).into_owned() } else { String::new() }
}

/// Puts text into a field of `length` bytes, with a zero behind it at least.
fn put_text(bytes: &mut Vec<u8>, text: &str, length: usize) {
    let end = bytes.len() + length;
    bytes.extend(text.bytes().take(length - 1));
    bytes.resize(end, 0);
}
