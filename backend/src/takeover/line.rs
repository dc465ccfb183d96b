//! The way between the two processes: records with files, bounded in size and time.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::geteuid;

use super::record::Record;
use super::{FORM, TakeoverError};
use crate::vhost_user::LentFile;

/// Bytes of a record at most.
const RECORD_MAX: usize = 1 << 20;

/// Files of a record at most; the kernel delivers 253 (SCM_MAX_FD).
pub(super) const FILES_MAX: usize = 128;

/// Bytes before a record: its length, and how many files come with it.
const HEAD: usize = 8;

/// A record and the files that go with it.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) record: Record,
    pub(crate) files: Vec<LentFile>,
}

impl Parcel {
    /// A record without files.
    pub(crate) fn of(record: Record) -> Self {
        Self { record, files: Vec::new() }
    }

    pub(crate) fn with(record: Record, file: impl Into<OwnedFd>) -> Self {
        Self { record, files: vec![LentFile::Shared(Arc::new(file.into()))] }
    }
}

/// One end of the way. Clones are the same end.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    stream: Arc<UnixStream>,
    /// How long one record may take to come or to go.
    limit: Duration,
    /// When all of them have to have come and gone.
    end: Option<Instant>,
}

impl Line {
    /// Over a connection to a process of the same user.
    ///
    /// # Errors
    /// It is another user's.
    pub(crate) fn over(stream: UnixStream, limit: Duration) -> Result<Self, TakeoverError> {
        let peer = socket_peercred(&stream).map_err(|error| TakeoverError::Socket(error.into()))?;
        let (found, own) = (peer.uid.as_raw(), geteuid().as_raw());
        if found != own {
            return Err(TakeoverError::OtherUser { process: peer.pid.as_raw_nonzero().get(), found, own });
        }
        stream.set_nonblocking(false).map_err(TakeoverError::Socket)?;
        Ok(Self { stream: Arc::new(stream), limit, end: None })
    }

    /// The same end, where a record may take so long.
    pub(crate) fn within(&self, limit: Duration) -> Self {
        Self { limit, ..self.clone() }
    }

    /// The same end, where all records together may take so long from now on.
    pub(crate) fn within_all(&self, limit: Duration) -> Self {
        Self { limit, end: Some(Instant::now() + limit), ..self.clone() }
    }

    fn deadline(&self) -> Instant {
        let deadline = Instant::now() + self.limit;
        self.end.map_or(deadline, |end| end.min(deadline))
    }

    /// The process at the other end.
    pub(crate) fn process(&self) -> i32 {
        socket_peercred(&*self.stream).map_or(0, |peer| peer.pid.as_raw_nonzero().get())
    }

    /// What is said first.
    pub(crate) fn hello() -> Record {
        Record::Hello { form: FORM, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    pub(crate) fn say(&self, record: Record) -> Result<(), TakeoverError> {
        self.send(&Parcel::of(record))
    }

    /// Tells why it goes no further; who is not there does not hear it.
    pub(crate) fn refuse(&self, reason: impl ToString) {
        let _ = self.say(Record::Refusal { reason: reason.to_string() });
    }

    pub(crate) fn send(&self, parcel: &Parcel) -> Result<(), TakeoverError> {
        let body = serde_json::to_vec(&parcel.record)
            .map_err(|error| TakeoverError::Here(format!("cannot write a record: {error}")))?;
        let files: Vec<BorrowedFd<'_>> = parcel.files.iter().map(AsFd::as_fd).collect();
        if body.len() > RECORD_MAX || files.len() > FILES_MAX {
            let (bytes, files) = (body.len(), files.len());
            let what = format!("{} has {bytes} bytes and {files} files, too many", parcel.record.name());
            return Err(TakeoverError::Here(what));
        }
        let length = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes();
        let whole = [length(body.len()).as_slice(), &length(files.len()), &body].concat();
        let deadline = self.deadline();
        let mut rest = whole.as_slice();
        let mut files = files.as_slice();
        while !rest.is_empty() {
            self.wait_until(deadline, false)?;
            let sent = self.send_some(rest, files)?;
            (rest, files) = (rest.get(sent..).unwrap_or_default(), &[]);
        }
        Ok(())
    }

    fn send_some(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> Result<usize, TakeoverError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES_MAX))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(files));
        }
        loop {
            match rustix::net::sendmsg(
                &*self.stream,
                &[IoSlice::new(bytes)],
                &mut control,
                SendFlags::NOSIGNAL,
            ) {
                Err(Errno::INTR) => {}
                sent => return sent.map_err(|errno| self.failed(errno)),
            }
        }
    }

    /// The next record, with its files.
    pub(crate) fn receive(&self) -> Result<(Record, Vec<OwnedFd>), TakeoverError> {
        let deadline = self.deadline();
        let (mut head, mut files) = ([0; HEAD], Vec::new());
        self.fill(&mut head, &mut files, deadline)?;
        let [a, b, c, d, e, f, g, h] = head;
        let number = |bytes| usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
        let (length, count) = (number([a, b, c, d]), number([e, f, g, h]));
        if length > RECORD_MAX || count > FILES_MAX {
            return Err(TakeoverError::Garbage(format!("{length} bytes and {count} files")));
        }
        let mut body = vec![0; length];
        self.fill(&mut body, &mut files, deadline)?;
        if files.len() != count {
            let text = format!("{} files came, and {count} should have", files.len());
            return Err(TakeoverError::Garbage(text));
        }
        let record: Record =
            serde_json::from_slice(&body).map_err(|error| TakeoverError::Garbage(error.to_string()))?;
        match record {
            Record::Refusal { reason } => Err(TakeoverError::Refused(reason)),
            record => Ok((record, files)),
        }
    }

    /// Waits for a record that says no more than its name.
    pub(crate) fn expect(&self, wanted: &Record) -> Result<(), TakeoverError> {
        let (record, _) = self.receive()?;
        if record == *wanted { Ok(()) } else { Err(record.unexpected(wanted.name())) }
    }

    fn fill(
        &self,
        mut into: &mut [u8],
        files: &mut Vec<OwnedFd>,
        deadline: Instant,
    ) -> Result<(), TakeoverError> {
        while !into.is_empty() {
            self.wait_until(deadline, true)?;
            let received = self.receive_some(into, files)?;
            into = into.get_mut(received..).unwrap_or_default();
        }
        Ok(())
    }

    fn receive_some(&self, into: &mut [u8], files: &mut Vec<OwnedFd>) -> Result<usize, TakeoverError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let flags = RecvFlags::CMSG_CLOEXEC;
            match rustix::net::recvmsg(&*self.stream, &mut [IoSliceMut::new(into)], &mut control, flags) {
                Err(Errno::INTR) => {}
                received => break received.map_err(|errno| self.failed(errno))?,
            }
        };
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(more) = message {
                files.extend(more);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || files.len() > FILES_MAX {
            return Err(TakeoverError::Garbage("more files than there can be".to_owned()));
        }
        if received.bytes == 0 { Err(TakeoverError::Ended) } else { Ok(received.bytes) }
    }

    /// Has the next call wait for no longer than this.
    fn wait_until(&self, deadline: Instant, is_read: bool) -> Result<(), TakeoverError> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TakeoverError::Silent(self.limit.as_millis()));
        }
        let left = Some(left);
        let set =
            if is_read { self.stream.set_read_timeout(left) } else { self.stream.set_write_timeout(left) };
        set.map_err(TakeoverError::Socket)
    }

    fn failed(&self, errno: Errno) -> TakeoverError {
        match errno {
            Errno::AGAIN => TakeoverError::Silent(self.limit.as_millis()),
            Errno::PIPE | Errno::CONNRESET => TakeoverError::Ended,
            errno => TakeoverError::Socket(io::Error::from(errno)),
        }
    }
}
