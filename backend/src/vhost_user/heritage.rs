//! A session as plain messages, by which another process makes it anew.
//!
//! What a frontend told a port is told once more, in the protocol's own words: nothing else has to be understood by the process that takes a
//! session over, whatever its version, and it checks all of it as if the frontend said it. Only where rings stand, and what was read or
//! not sent of a message, is said beside.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;
use vhost::vhost_user::message::FrontendReq;

use crate::dataplane::Signal;
use crate::memory::{DirtyLog, Region, RegionSpec};
use crate::vhost_user::device::Device;
use crate::vhost_user::disposal::Disposal;
use crate::vhost_user::message::{Header, Message, NO_FILE, RULES, VERSION};
use crate::vhost_user::peer_file::PeerFile;
use crate::vhost_user::ring::{Addresses, Kick, Ring};

/// A file that is given to another process and stays open here.
#[derive(Clone, Debug)]
pub enum LentFile {
    /// An eventfd, or whatever else is shared as it is.
    Shared(Signal),
    /// The file of a memory region.
    Region(Arc<Region>),
    /// The file of a dirty log.
    Log(Arc<DirtyLog>),
    /// A socket that listens.
    Listener(Arc<UnixListener>),
}

impl AsFd for LentFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Shared(file) => file.as_fd(),
            Self::Region(region) => region.descriptor(),
            Self::Log(log) => log.descriptor(),
            Self::Listener(listener) => listener.as_fd(),
        }
    }
}

/// A request of a frontend's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Request {
    /// Its number.
    pub code: u32,
    /// Its body, as the protocol has it.
    pub body: Vec<u8>,
    /// How many files come with it.
    pub files: usize,
}

/// A request with its files.
#[derive(Debug)]
pub struct Told<F> {
    /// The request.
    pub request: Request,
    /// Its files.
    pub files: Vec<F>,
}

/// What has to be known of a session so that another process can go on with it.
#[derive(Debug)]
pub struct Heritage<F> {
    /// What the frontend told.
    pub told: Vec<Told<F>>,
    /// Where each ring stands.
    pub bases: Vec<u16>,
    /// What came of a message that is not whole yet.
    pub unread: Vec<u8>,
    /// The files of that.
    pub unread_files: Vec<F>,
    /// What of replies is not sent yet.
    pub unsent: Vec<u8>,
}

impl Told<LentFile> {
    fn new(request: FrontendReq, words: &[u64], files: Vec<LentFile>) -> Self {
        let body = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        Self { request: Request { code: request.into(), body, files: files.len() }, files }
    }
}

impl Told<OwnedFd> {
    /// The message, to be served as if it had come from the frontend.
    pub(super) fn into_message(self, disposal: &Disposal) -> Message {
        let Request { code, body, .. } = self.request;
        let header = Header { code, flags: VERSION, size: u32::try_from(body.len()).unwrap_or(u32::MAX) };
        let rule = RULES.iter().find(|rule| u32::from(rule.request) == code);
        let files = self.files.into_iter().map(|file| PeerFile::new(file, disposal.clone())).collect();
        Message { header, rule, body, files }
    }
}

/// Two numbers of 32 bits, as they stand one behind the other.
fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

fn of_region(spec: RegionSpec) -> [u64; 4] {
    [spec.guest_address, spec.size, spec.user_address, spec.file_offset]
}

impl Device {
    /// What the frontend told, in as few messages as say it, in the order in which they are to be served.
    #[must_use]
    pub fn told(&self) -> Vec<Told<LentFile>> {
        let mut told = vec![Told::new(FrontendReq::SET_OWNER, &[], Vec::new())];
        let mut tell = |request, words: &[u64]| told.push(Told::new(request, words, Vec::new()));
        if let Some(protocol) = self.protocol() {
            tell(FrontendReq::SET_PROTOCOL_FEATURES, &[protocol.bits()]);
        }
        if self.features() != 0 {
            tell(FrontendReq::SET_FEATURES, &[self.features()]);
        }
        // A frontend may have told more than it stands by now.
        if let Some(mtu) = self.mtu().filter(|_| self.has(Protocol::MTU)) {
            tell(FrontendReq::NET_SET_MTU, &[u64::from(mtu)]);
        }
        told.extend(self.told_memory());
        for (index, ring) in (0..).zip(self.rings()) {
            told.extend(told_ring(index, ring));
        }
        if self.status() != 0 && self.has(Protocol::STATUS) {
            told.push(Told::new(FrontendReq::SET_STATUS, &[u64::from(self.status())], Vec::new()));
        }
        told
    }

    fn told_memory(&self) -> Vec<Told<LentFile>> {
        let regions = self.memory().regions_of();
        let file = |region: &Arc<Region>| LentFile::Region(Arc::clone(region));
        let mut told = Vec::new();
        if self.has(Protocol::CONFIGURE_MEM_SLOTS) {
            let single = |region: &Arc<Region>| {
                let words = [[0].as_slice(), &of_region(region.spec())].concat();
                Told::new(FrontendReq::ADD_MEM_REG, &words, vec![file(region)])
            };
            told.extend(regions.iter().map(single));
        } else if !regions.is_empty() {
            let count = pair(u32::try_from(regions.len()).unwrap_or(u32::MAX), 0);
            let specs = regions.iter().flat_map(|region| of_region(region.spec()));
            let words: Vec<u64> = std::iter::once(count).chain(specs).collect();
            told.push(Told::new(FrontendReq::SET_MEM_TABLE, &words, regions.iter().map(file).collect()));
        }
        if let Some(log) = self.log().filter(|_| self.has(Protocol::LOG_SHMFD)) {
            let RegionSpec { size, file_offset, .. } = log.spec();
            let files = vec![LentFile::Log(Arc::clone(log))];
            told.push(Told::new(FrontendReq::SET_LOG_BASE, &[size, file_offset], files));
        }
        told
    }
}

/// A ring that the guest broke is told as a whole one: it breaks once more, if it is still broken.
fn told_ring(index: u32, ring: &Ring) -> Vec<Told<LentFile>> {
    let mut told = Vec::new();
    let mut tell = |request, words: &[u64], file: Option<&Signal>| {
        told.push(Told::new(request, words, file.cloned().map(LentFile::Shared).into_iter().collect()));
    };
    if ring.size != 0 {
        tell(FrontendReq::SET_VRING_NUM, &[pair(index, u32::from(ring.size))], None);
    }
    tell(FrontendReq::SET_VRING_BASE, &[pair(index, u32::from(ring.base))], None);
    if let Some(Addresses { descriptor, available, used, used_log }) = ring.addresses {
        // VHOST_VRING_F_LOG.
        let flags = u32::from(used_log.is_some());
        let words = [pair(index, flags), descriptor, used, available, used_log.unwrap_or(0)];
        tell(FrontendReq::SET_VRING_ADDR, &words, None);
    }
    for (request, signal) in
        [(FrontendReq::SET_VRING_CALL, &ring.call), (FrontendReq::SET_VRING_ERR, &ring.error)]
    {
        if let Some(signal) = signal {
            tell(request, &[u64::from(index)], Some(signal));
        }
    }
    match &ring.kick {
        Kick::Stopped => {}
        Kick::Polled => tell(FrontendReq::SET_VRING_KICK, &[u64::from(index) | NO_FILE], None),
        Kick::Signal(signal) => tell(FrontendReq::SET_VRING_KICK, &[u64::from(index)], Some(signal)),
    }
    if ring.enabled {
        tell(FrontendReq::SET_VRING_ENABLE, &[pair(index, 1)], None);
    }
    told
}

/// Another descriptor of a file that came with a message.
pub(super) fn lend(file: &PeerFile) -> io::Result<LentFile> {
    Ok(LentFile::Shared(Arc::new(file.try_clone()?)))
}
