//! Which interfaces ports wait for, in which network namespaces, and what the kernel says about them.

use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};

use event_manager::{EventOps, EventSet, Events};
use tracing::warn;
use viaduct_switch::PortIndex;

use crate::config::Interface;
use crate::control::token::Token;
use crate::link::{Link, LinkWatcher, NamespaceId};

/// The namespaces of all ports that are interfaces; each is watched while it has such a port.
#[derive(Debug, Default)]
pub(super) struct Links {
    /// A namespace keeps its place here while it is watched: events name it.
    slots: Vec<Option<Namespace>>,
}

/// One network namespace.
#[derive(Debug)]
struct Namespace {
    /// Its file; `None` is the daemon's own.
    path: Option<PathBuf>,
    /// The ports by their interfaces' names.
    ports: BTreeMap<String, PortIndex>,
    watched: Watched,
}

/// How far watching a namespace has come.
#[derive(Debug)]
enum Watched {
    /// It is, as long as its file names it.
    Yes(LinkWatcher, Option<NamespaceId>),
    /// It is not there, or cannot be watched.
    No(String),
}

impl Namespace {
    fn new(path: Option<&Path>) -> Self {
        let watched = Watched::No("the network namespace was not looked for yet".to_owned());
        Self { path: path.map(Path::to_owned), ports: BTreeMap::new(), watched }
    }

    /// The namespace that the file names now.
    fn identity(&self) -> Option<NamespaceId> {
        NamespaceId::of(self.path.as_deref()?).ok()
    }

    /// Begins to watch; what keeps it from that is noted.
    fn begin(&mut self, slot: usize, ops: &mut EventOps) {
        let identity = self.identity();
        let watcher = LinkWatcher::open(self.path.as_deref()).and_then(|mut watcher| {
            self.ports.keys().try_for_each(|name| watcher.watch(name))?;
            watch(&watcher, slot, ops).map_err(std::io::Error::other)?;
            Ok(watcher)
        });
        self.watched = match watcher {
            Ok(watcher) => Watched::Yes(watcher, identity),
            Err(error) => Watched::No(match &self.path {
                Some(path) => format!(
                    "cannot watch the network namespace {}: {error}; it is waited for",
                    path.display()
                ),
                None => format!("cannot watch the machine's interfaces: {error}; raise LimitNOFILE="),
            }),
        };
    }

    /// Lets go, so that a namespace which nobody else has can go too.
    fn end(&mut self, why: &str, ops: &mut EventOps) {
        if let Watched::Yes(watcher, _) = std::mem::replace(&mut self.watched, Watched::No(why.to_owned())) {
            unwatch(watcher.as_raw_fd(), ops);
        }
    }
}

impl Links {
    /// Watches the interface for a port.
    pub(super) fn add(&mut self, interface: &Interface, port: PortIndex, ops: &mut EventOps) {
        let slot = self.slot(interface.netns.as_deref());
        let Some(namespace) = &mut self.slots[slot] else { return };
        namespace.ports.insert(interface.name.clone(), port);
        let Watched::Yes(watcher, _) = &mut namespace.watched else { return namespace.begin(slot, ops) };
        if let Err(error) = watcher.watch(&interface.name) {
            warn!("cannot ask about {}: {error}", interface.name);
        }
    }

    /// Forgets the interface.
    pub(super) fn remove(&mut self, interface: &Interface, ops: &mut EventOps) {
        let slot = self.slot(interface.netns.as_deref());
        let Some(namespace) = &mut self.slots[slot] else { return };
        namespace.ports.remove(&interface.name);
        if let Watched::Yes(watcher, _) = &mut namespace.watched {
            watcher.unwatch(&interface.name);
        }
        if namespace.ports.is_empty() {
            namespace.end("", ops);
            self.slots[slot] = None;
        }
    }

    /// Asks for the interface anew; gives the ports of its namespace whose interfaces changed.
    pub(super) fn look_again(&mut self, interface: &Interface) -> Vec<PortIndex> {
        let of = |namespace: &&mut Namespace| namespace.path == interface.netns;
        let Some(namespace) = self.slots.iter_mut().flatten().find(of) else { return Vec::new() };
        let Watched::Yes(watcher, _) = &mut namespace.watched else { return Vec::new() };
        // What goes wrong here goes wrong with the next event too, which is where it is told.
        let changed = watcher.look_again(&interface.name).and_then(|()| watcher.read()).unwrap_or_default();
        changed.iter().filter_map(|name| namespace.ports.get(name).copied()).collect()
    }

    /// The interface, if it is there.
    pub(super) fn link(&self, interface: &Interface) -> Option<&Link> {
        match &self.namespace(interface)?.watched {
            Watched::Yes(watcher, _) => watcher.link(&interface.name),
            Watched::No(_) => None,
        }
    }

    /// Why nobody can know whether the interface is there.
    pub(super) fn missing(&self, interface: &Interface) -> Option<&str> {
        match &self.namespace(interface)?.watched {
            Watched::Yes(..) => None,
            Watched::No(why) => Some(why),
        }
    }

    /// Takes note of what the kernel said about a namespace; gives the ports whose interfaces changed.
    pub(super) fn read(&mut self, slot: usize, ops: &mut EventOps) -> Vec<PortIndex> {
        let Some(Some(namespace)) = self.slots.get_mut(slot) else { return Vec::new() };
        let Watched::Yes(watcher, _) = &mut namespace.watched else { return Vec::new() };
        match watcher.read() {
            Ok(changed) => changed.iter().filter_map(|name| namespace.ports.get(name).copied()).collect(),
            Err(error) => {
                namespace.end(&format!("the kernel tells no more of interfaces: {error}"), ops);
                namespace.ports.values().copied().collect()
            }
        }
    }

    /// Whether there is something that no event tells: namespaces by their files, and those that are not watched.
    pub(super) fn need_looking_after(&self) -> bool {
        self.slots
            .iter()
            .flatten()
            .any(|namespace| namespace.path.is_some() || matches!(namespace.watched, Watched::No(_)))
    }

    /// Looks whether files still name the same namespaces, and for those that are not watched; gives the ports for
    /// which something changed. A namespace of which all that is left are our sockets must not live on by them.
    pub(super) fn look_after(&mut self, ops: &mut EventOps) -> Vec<PortIndex> {
        let mut changed = Vec::new();
        for (slot, namespace) in self.slots.iter_mut().enumerate() {
            let Some(namespace) = namespace else { continue };
            if let Watched::Yes(_, identity) = &namespace.watched {
                if *identity == namespace.identity() {
                    continue;
                }
                namespace.end("the network namespace is gone; it is waited for", ops);
                changed.extend(namespace.ports.values());
            }
            namespace.begin(slot, ops);
            if matches!(namespace.watched, Watched::Yes(..)) {
                changed.extend(namespace.ports.values());
            }
        }
        changed.dedup();
        changed
    }

    fn namespace(&self, interface: &Interface) -> Option<&Namespace> {
        self.slots.iter().flatten().find(|namespace| namespace.path == interface.netns)
    }

    /// The place of a namespace, which gets one if it has none.
    fn slot(&mut self, path: Option<&Path>) -> usize {
        let of = |namespace: &Option<Namespace>| {
            namespace.as_ref().is_some_and(|namespace| namespace.path.as_deref() == path)
        };
        if let Some(slot) = self.slots.iter().position(of) {
            return slot;
        }
        let slot = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(Namespace::new(path));
        slot
    }
}

fn watch(watcher: &LinkWatcher, slot: usize, ops: &mut EventOps) -> Result<(), event_manager::Error> {
    let data = Token::Links(u16::try_from(slot).unwrap_or(u16::MAX)).to_data();
    ops.add(Events::with_data_raw(watcher.as_raw_fd(), data, EventSet::IN))
}

fn unwatch(descriptor: RawFd, ops: &mut EventOps) {
    if let Err(error) = ops.remove(Events::empty_raw(descriptor)) {
        warn!("cannot stop watching interfaces: {error}");
    }
}
