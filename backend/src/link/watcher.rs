//! Listens to what the kernel says about the links of one network namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::message::{Message, messages, query};
use super::{Link, within};

/// The multicast group of changes of links (linux/rtnetlink.h).
const RTMGRP_LINK: u32 = 1;

/// The kernel itself.
const KERNEL: SocketAddrNetlink = SocketAddrNetlink::new(0, 0);

/// More than the longest message about one link.
const BUFFER_SIZE: usize = 32 << 10;

/// Datagrams that are read at once at most: who makes links come and go without end must not hold up the caller.
const DATAGRAMS_MAX: usize = 256;

/// The links of one network namespace about which it was asked, by the names that the asker gave them.
///
/// A link that is renamed keeps its place, until another one takes the name.
#[derive(Debug)]
pub struct LinkWatcher {
    socket: OwnedFd,
    links: BTreeMap<String, Option<Link>>,
    changed: BTreeSet<String>,
    sequence: u32,
    /// The question that waits for its answer: its sequence number, and the watched name.
    asked: Option<(u32, String)>,
}

impl AsRawFd for LinkWatcher {
    /// Readable when [`LinkWatcher::read`] has something to do.
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl LinkWatcher {
    /// Listens in the network namespace that the file names, or in the caller's own.
    ///
    /// # Errors
    /// There is no such namespace, it may not be entered, or there are too many descriptors.
    pub fn open(namespace: Option<&Path>) -> io::Result<Self> {
        let socket = within(namespace, || -> io::Result<OwnedFd> {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
            rustix::net::bind(&socket, &SocketAddrNetlink::new(0, RTMGRP_LINK))?;
            Ok(socket)
        })?;
        Ok(Self { socket, links: BTreeMap::new(), changed: BTreeSet::new(), sequence: 0, asked: None })
    }

    /// Watches the link of this name from now on, whether it is there or not.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn watch(&mut self, name: &str) -> io::Result<()> {
        self.links.insert(name.to_owned(), None);
        self.ask(name)
    }

    /// Asks for the link of this name, which is watched, at once. What else the kernel said meanwhile waits for
    /// [`LinkWatcher::read`].
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn look_again(&mut self, name: &str) -> io::Result<()> {
        self.ask(name)
    }

    /// Forgets the link of this name.
    pub fn unwatch(&mut self, name: &str) {
        self.links.remove(name);
        self.changed.remove(name);
    }

    /// Whether no link is watched.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.links.is_empty()
    }

    /// The watched link of this name, if it is there.
    #[must_use]
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.get(name)?.as_ref()
    }

    /// Takes note of what the kernel said; gives the names of the watched links that are otherwise than before.
    ///
    /// # Errors
    /// The kernel cannot be asked again after it had more to say than there was room for.
    pub fn read(&mut self) -> io::Result<Vec<String>> {
        if self.drain()? {
            self.ask_all()?;
        }
        Ok(std::mem::take(&mut self.changed).into_iter().collect())
    }

    fn ask_all(&mut self) -> io::Result<()> {
        let names: Vec<String> = self.links.keys().cloned().collect();
        names.iter().try_for_each(|name| self.ask(name))
    }

    /// Asks for one watched link, which may have another name by now. The kernel answers before the question's system
    /// call returns, so that the answer is read here.
    fn ask(&mut self, name: &str) -> io::Result<()> {
        let Some(known) = self.links.get(name) else { return Ok(()) };
        let current = known.as_ref().map_or(name, |known| known.name.as_str()).to_owned();
        self.question(name, &current)?;
        if self.link(name).is_none() && current != name {
            self.question(name, name)?;
        }
        Ok(())
    }

    /// What is lost of the answer comes with the link's next change.
    fn question(&mut self, name: &str, current: &str) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.asked = Some((self.sequence, name.to_owned()));
        let question = query(current, self.sequence);
        rustix::net::sendto(&self.socket, &question, SendFlags::empty(), &KERNEL)?;
        self.drain()?;
        self.asked = None;
        Ok(())
    }

    /// Reads what is there; `true` if something was lost.
    fn drain(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; BUFFER_SIZE];
        let mut lost = false;
        for _ in 0..DATAGRAMS_MAX {
            match rustix::net::recvfrom(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC) {
                Ok((_, length, sender)) => {
                    let sender = sender.and_then(|sender| SocketAddrNetlink::try_from(sender).ok());
                    if sender.is_some_and(|sender| sender.pid() == KERNEL.pid()) {
                        lost |= length > buffer.len();
                        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
                        self.note_all(&datagram);
                    }
                }
                // netlink(7): messages were dropped because there was no room for them.
                Err(Errno::NOBUFS) => lost = true,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(lost),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(lost)
    }

    fn note_all(&mut self, datagram: &[u8]) {
        for (sequence, message) in messages(datagram) {
            match message {
                Message::New(link) => self.note(&link),
                Message::Gone(index) => self.forget(index),
                Message::Refused => self.refused(sequence),
            }
        }
    }

    fn note(&mut self, link: &Link) {
        // A name that is watched itself goes before the memory of an earlier name.
        let is_named = self.links.contains_key(&link.name);
        for (name, known) in &mut self.links {
            let same = known.as_ref().is_some_and(|known| known.index == link.index);
            let now = match (*name == link.name, same) {
                (true, _) => Some(link.clone()),
                (false, true) => Some(link.clone()).filter(|_| !is_named),
                (false, false) => continue,
            };
            if *known != now {
                *known = now;
                self.changed.insert(name.clone());
            }
        }
    }

    fn forget(&mut self, index: u32) {
        for (name, known) in &mut self.links {
            if known.take_if(|known| known.index == index).is_some() {
                self.changed.insert(name.clone());
            }
        }
    }

    /// The kernel knows no such link.
    fn refused(&mut self, sequence: u32) {
        let Some((_, name)) = self.asked.as_ref().filter(|(asked, _)| *asked == sequence) else { return };
        if self.links.get_mut(name).and_then(Option::take).is_some() {
            self.changed.insert(name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
