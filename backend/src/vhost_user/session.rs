//! One frontend's connection: messages in, replies out, and the port on or off the data path in between.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::MutexGuard;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;
use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;
use vhost::vhost_user::message::FrontendReq;
use viaduct_switch::MacAddress;

use crate::dataplane::RingPosition;
use crate::ring::Ledger;
use crate::vhost_user::allowance::Allowance;
use crate::vhost_user::device::{Device, DeviceError, Limits};
use crate::vhost_user::disposal::Disposal;
use crate::vhost_user::framer::{Framer, ReceiveError};
use crate::vhost_user::heritage::{self, Heritage, LentFile};
use crate::vhost_user::message::{Answer, FormError, Message, Rule, Server};
use crate::vhost_user::outbox::{Outbox, Unread};
use crate::vhost_user::patch_bay::{Detached, PatchBay};
use crate::vhost_user::peer_file::WrongFile;
use crate::vhost_user::relay::{Relay, RelayError};
use crate::vhost_user::{device, rarp, socket};

/// Messages that are served before the other sessions have their turn.
const MESSAGES_PER_TURN: u32 = 32;

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// We do not serve it.
    #[error("it is not supported")]
    Unsupported,
    /// The protocol feature that it belongs to was not negotiated.
    #[error("its protocol feature was not negotiated")]
    NotNegotiated,
    /// A file that came with it is of the wrong kind.
    #[error(transparent)]
    File(#[from] WrongFile),
    /// The device refuses it.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The device refuses it, by way of the handler.
    #[error("{0}")]
    Handler(String),
}

/// Why a session is over.
#[derive(Debug, thiserror::Error)]
pub enum SessionEnd {
    /// The connection ended, or what came is no message.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// A message has not the form of its request.
    #[error(transparent)]
    Form(#[from] FormError),
    /// A request was refused, and the frontend did not ask to be told.
    #[error("{request} is refused: {refusal}")]
    Refused {
        /// The request's name.
        request: String,
        /// Why.
        refusal: Refusal,
    },
    /// The protocol handler found a message malformed.
    #[error("{request} is malformed: {error}")]
    Malformed {
        /// The request's name.
        request: String,
        /// What the handler says.
        error: RelayError,
    },
    /// The peer does not read.
    #[error(transparent)]
    Unread(#[from] Unread),
    /// Writing failed.
    #[error("cannot write to the socket: {0}")]
    Socket(io::Error),
}

impl SessionEnd {
    /// The frontend left, and what it may have sent last is of no interest any more.
    #[must_use]
    pub fn hung_up() -> Self {
        Self::Receive(ReceiveError::Closed)
    }

    /// Whether the frontend just left: no reason to complain.
    #[must_use]
    pub fn is_goodbye(&self) -> bool {
        match self {
            Self::Receive(ReceiveError::Closed) => true,
            Self::Receive(ReceiveError::Socket(error)) | Self::Socket(error) => {
                matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
            }
            _ => false,
        }
    }
}

/// A request that was refused while the session goes on.
#[derive(Debug)]
pub struct Refused {
    /// The request's name.
    pub request: String,
    /// Why.
    pub refusal: Refusal,
}

/// A connection.
pub struct Session {
    socket: UnixStream,
    peer_pid: Option<i32>,
    framer: Framer,
    outbox: Outbox,
    relay: Relay,
    /// Whether the data path has the port, and which of its rings run there.
    attached: bool,
    /// The data path shall not have it for now.
    held: bool,
    on_path: Vec<u16>,
    served: u64,
    disposal: Disposal,
}

impl Session {
    /// Speaks to the frontend at the other end of `socket`, which must be non-blocking. `disposal` is the port's.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn new(socket: UnixStream, limits: Limits, disposal: Disposal) -> io::Result<Self> {
        // The kernel drops urgent bytes that are not read as such, and closes what files they carry, which may take as
        // long as the peer likes. In line they are bytes like others.
        sockopt::set_socket_oobinline(&socket, true)?;
        let peer_pid = socket::peer_pid(&socket);
        let relay = Relay::new(Device::new(limits))?;
        let (framer, outbox) = (Framer::new(disposal.clone()), Outbox::default());
        let (attached, held, on_path) = (false, false, Vec::new());
        Ok(Self { socket, peer_pid, framer, outbox, relay, attached, held, on_path, served: 0, disposal })
    }

    /// Goes on with a session of another process's, whose device is `port`'s as `limits` say. It is held: [`Session::release`] lets
    /// its rings run. What the frontend told that process is served here once more, with all checks.
    ///
    /// # Errors
    /// What of it is refused here. The connection stays as it is.
    pub fn inherit(
        (socket, limits, disposal): (UnixStream, Limits, Disposal),
        ledger: Ledger,
        heritage: Heritage<OwnedFd>,
        bay: &mut PatchBay,
    ) -> Result<Self, SessionEnd> {
        let Heritage { told, bases, unread, unread_files, unsent } = heritage;
        let mut session = Self::new(socket, limits, disposal.clone()).map_err(SessionEnd::Socket)?;
        session.device().keep_notes(ledger);
        session.held = true;
        for one in told {
            session.serve(one.into_message(&disposal), bay)?;
        }
        session.set_bases(&bases);
        session.served = 0;
        // Replies were given already, but for these.
        session.outbox = Outbox::holding(unsent)?;
        session.framer = Framer::resume(disposal, &unread, unread_files)?;
        Ok(session)
    }

    /// What another process has to know to go on with it. Its rings stand where they stopped last.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn heritage(&self) -> io::Result<Heritage<LentFile>> {
        let (unread, files) = self.framer.unread();
        let unread_files = files.iter().map(heritage::lend).collect::<io::Result<_>>()?;
        let told = self.device().told();
        let bases = self.bases();
        Ok(Heritage { told, bases, unread, unread_files, unsent: self.outbox.waiting().to_vec() })
    }

    /// Where each ring stopped last.
    #[must_use]
    pub fn bases(&self) -> Vec<u16> {
        self.device().rings().iter().map(|ring| ring.base).collect()
    }

    /// Has each ring go on from there.
    pub fn set_bases(&self, bases: &[u16]) {
        let positions: Vec<RingPosition> =
            (0..).zip(bases).map(|(index, base)| RingPosition { index, base: *base }).collect();
        self.device().detached(&positions);
    }

    /// Another descriptor of the connection.
    ///
    /// # Errors
    /// The process is out of descriptors.
    pub fn lend_socket(&self) -> io::Result<OwnedFd> {
        Ok(self.socket.try_clone()?.into())
    }

    /// Whether nothing of a message or a reply is under way.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.outbox.is_empty() && self.framer.unread().0.is_empty()
    }

    /// Takes the port off the data path until [`Session::release`]: all that its rings took is completed.
    pub fn hold(&mut self, bay: &mut PatchBay) {
        self.held = true;
        self.detach(bay);
    }

    /// Lets the rings run that can.
    pub fn release(&mut self, bay: &mut PatchBay) {
        if std::mem::take(&mut self.held) {
            self.attach(bay);
        }
    }

    /// The frontend's process, where the kernel tells.
    #[must_use]
    pub fn peer_pid(&self) -> Option<i32> {
        self.peer_pid
    }

    /// The device as the frontend set it up.
    pub fn device(&self) -> MutexGuard<'_, Device> {
        self.relay.device()
    }

    /// Messages served so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served
    }

    /// Whether the socket should be watched for room to write.
    #[must_use]
    pub fn wants_to_write(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Serves what arrived, up to a turn's worth and what the port's `allowance` leaves, and no more than its disposal
    /// can bear; gives the requests that were refused.
    ///
    /// # Errors
    /// The session is over; [`Session::close`] must follow.
    pub fn readable(
        &mut self,
        bay: &mut PatchBay,
        allowance: &mut Allowance,
    ) -> Result<Vec<Refused>, SessionEnd> {
        let mut refused = Vec::new();
        let turn = MESSAGES_PER_TURN.min(allowance.refill(Instant::now()));
        for _ in 0..turn {
            if self.disposal.crowded().is_some() {
                break;
            }
            let Some(message) = self.framer.receive(&self.socket)? else { break };
            allowance.spend();
            refused.extend(self.serve(message, bay)?);
        }
        self.writable()?;
        Ok(refused)
    }

    /// Whether the frontend closed the connection, whatever it sent before.
    #[must_use]
    pub fn has_hung_up(&self) -> bool {
        let mut sockets = [PollFd::new(&self.socket, PollFlags::empty())];
        let gone = PollFlags::HUP | PollFlags::ERR;
        // An interrupted call found nothing yet; the event loop hears of it later.
        poll(&mut sockets, Some(&Timespec::default())).is_ok() && sockets[0].revents().intersects(gone)
    }

    /// Sends replies that wait.
    ///
    /// # Errors
    /// The session is over.
    pub fn writable(&mut self) -> Result<(), SessionEnd> {
        self.outbox.flush(&self.socket).map_err(SessionEnd::Socket)
    }

    /// Takes the port off the data path and ends the session. What takes time is left to the port's disposal.
    pub fn close(mut self, bay: &mut PatchBay) {
        self.detach(bay);
        let regions = self.device().regions();
        self.disposal.free(regions, self.relay);
        self.disposal.hang_up(self.socket);
    }

    /// Notes that the guest broke a ring: the data path stopped it already.
    pub fn ring_broken(&mut self, ring: u16, error: crate::ring::RingError) {
        self.device().ring_broken(ring, error);
    }

    /// Takes the port off the data path because its guest's memory shrank under it.
    pub fn memory_gone(&mut self, bay: &mut PatchBay) {
        self.detach(bay);
        self.device().all_broken(crate::ring::RingError::MemoryGone);
    }

    fn detach(&mut self, bay: &mut PatchBay) {
        if !std::mem::take(&mut self.attached) {
            return;
        }
        let port = self.device().limits().port;
        self.on_path.clear();
        let Detached { positions, broken } = bay.detach(port);
        let mut device = self.device();
        device.detached(&positions);
        for ring in broken {
            device.ring_broken(ring.ring, ring.error);
        }
    }

    fn attach(&mut self, bay: &mut PatchBay) {
        if self.held {
            return;
        }
        let Some(setup) = self.device().setup() else { return };
        let indices: Vec<u16> = setup.rings.iter().map(|ring| ring.index).collect();
        let failed = bay.attach(setup);
        self.device().attached(&indices, &failed);
        let runs = |index: &u16| failed.iter().all(|(other, _)| other != index);
        self.on_path = indices.into_iter().filter(runs).collect();
        self.attached = true;
    }

    /// Whether serving the message changes what runs on the data path now.
    fn disturbs(&self, rule: &Rule, message: &Message) -> bool {
        rule.touches_rings && message.ring().is_none_or(|ring| self.on_path.contains(&ring))
    }

    /// Whether the ring that the message named can be run now.
    fn starts(&self, message: &Message) -> bool {
        message.ring().is_some_and(|ring| self.device().ring_setup(ring).is_some())
    }

    /// Serves one message; gives it back if it was refused and the frontend told so.
    fn serve(&mut self, mut message: Message, bay: &mut PatchBay) -> Result<Option<Refused>, SessionEnd> {
        self.served += 1;
        let rings = self.device().rings().len();
        message.check(rings)?;
        let outcome = match self.admit(&mut message) {
            Ok(rule) => self.serve_by(rule, &message, bay),
            Err(refusal) => Err(Failure::Refused(refusal)),
        };
        self.answer(&message, outcome)
    }

    /// What has to be in order before a request is served at all.
    fn admit(&self, message: &mut Message) -> Result<&'static Rule, Refusal> {
        let rule = message.rule.ok_or(Refusal::Unsupported)?;
        if rule.needs.is_some_and(|feature| !self.device().has(feature)) {
            return Err(Refusal::NotNegotiated);
        }
        // The handler would remember what it was told, even if the device refuses it.
        match rule.request {
            FrontendReq::SET_FEATURES => device::check_features(message.value())?,
            FrontendReq::SET_PROTOCOL_FEATURES => device::check_protocol_features(message.value())?,
            _ => {}
        }
        message.check_files()?;
        Ok(rule)
    }

    fn serve_by(&mut self, rule: &Rule, message: &Message, bay: &mut PatchBay) -> Result<Vec<u8>, Failure> {
        // To take a port off the data path costs every worker a moment: not for a ring that is not there.
        let disturbs = self.disturbs(rule, message);
        if disturbs {
            self.detach(bay);
        }
        let outcome = match rule.server {
            Server::Handler => self.relay.serve(message).map_err(Failure::from),
            Server::Session => self.serve_myself(rule.request, message, bay).map_err(Failure::Refused),
        };
        if disturbs || self.starts(message) {
            self.detach(bay);
            self.attach(bay);
        }
        let retired = self.device().take_retired();
        self.disposal.free(retired.regions, retired);
        outcome
    }

    /// What the handler does not dispatch; gives the reply.
    fn serve_myself(
        &mut self,
        request: FrontendReq,
        message: &Message,
        bay: &mut PatchBay,
    ) -> Result<Vec<u8>, Refusal> {
        let mut device = self.device();
        match request {
            FrontendReq::SET_VRING_ENABLE => {
                device.enable(usize::try_from(message.number(0)).unwrap_or(usize::MAX), message.number(1))?;
            }
            FrontendReq::SET_STATUS => device.set_status(message.value())?,
            FrontendReq::NET_SET_MTU => device.set_mtu(message.value())?,
            FrontendReq::GET_STATUS => return Ok(reply(message, u64::from(device.status()))),
            FrontendReq::SEND_RARP => {
                let port = device.limits().port;
                bay.announce(port, rarp::frame(rarp_address(message)?));
            }
            // The log is read by whoever made it: there is nothing to wake anybody for (QEMU never asks).
            FrontendReq::SET_LOG_FD => {}
            _ => return Err(Refusal::Unsupported),
        }
        Ok(Vec::new())
    }

    /// Replies, acknowledges, or ends the session when the frontend would not learn of a refusal otherwise.
    fn answer(
        &mut self,
        message: &Message,
        outcome: Result<Vec<u8>, Failure>,
    ) -> Result<Option<Refused>, SessionEnd> {
        let has_reply = message.rule.is_some_and(|rule| rule.answer == Answer::Reply);
        let acknowledge =
            !has_reply && message.header.needs_reply() && self.device().has(Protocol::REPLY_ACK);
        let request = message.name();
        match outcome {
            Err(Failure::Malformed(error)) => Err(SessionEnd::Malformed { request, error }),
            Err(Failure::Refused(refusal)) if acknowledge => {
                self.outbox.push(&reply(message, 1))?;
                Ok(Some(Refused { request, refusal }))
            }
            Err(Failure::Refused(refusal)) => Err(SessionEnd::Refused { request, refusal }),
            Ok(_) if acknowledge => Ok(self.outbox.push(&reply(message, 0)).map(|()| None)?),
            Ok(reply) => Ok(self.outbox.push(&reply).map(|()| None)?),
        }
    }
}

impl AsRawFd for Session {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Why serving gave no reply.
enum Failure {
    Refused(Refusal),
    Malformed(RelayError),
}

impl From<RelayError> for Failure {
    fn from(error: RelayError) -> Self {
        match error {
            RelayError::Refused(reason) => Self::Refused(Refusal::Handler(reason)),
            error => Self::Malformed(error),
        }
    }
}

/// A reply that carries one number.
fn reply(message: &Message, value: u64) -> Vec<u8> {
    [message.header.reply(8).to_bytes().as_slice(), &value.to_ne_bytes()].concat()
}

/// "The first 6 bytes of the payload contain the mac address of the guest."
fn rarp_address(message: &Message) -> Result<MacAddress, DeviceError> {
    let address = MacAddress(message.body.first_chunk().copied().unwrap_or_default());
    if address.is_group() || address.is_zero() { Err(DeviceError::Rarp(address)) } else { Ok(address) }
}
