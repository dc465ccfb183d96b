//! Where packed rings stand, written down so that it outlives this process.
//!
//! A split ring's used index lies in the guest's memory, and QEMU starts the ring from there when a backend has gone
//! without a word. A packed ring holds no such number, and QEMU starts it where it last heard of it: long ago. So each
//! port has a small file, mapped and shared with the kernel, in which its packed rings note where they are: what is
//! about to be shown to the driver, with all its used descriptors, before it is written to the ring; and that it is
//! done afterwards. A process that is killed in between is found out by its successor, who writes them again: that
//! changes nothing where they stand already. Nothing is sent twice or lost but the one burst that was under way.
//!
//! A note is believed only about the same ring: the same file of memory, the same addresses, size and features; and
//! only if what stands in the ring agrees with it. When a ring is stopped in good order, the frontend is told where it
//! stands, and the note is closed.
//!
//! Guests have no access to the file, and nothing that it says is used unchecked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::FallocateFlags;
use vm_memory::{FileOffset, MmapRegion, mmap::MmapRegionBuilder};

use super::packed::{Entry, SHADOW_ENTRIES};
use crate::memory::PoisonEntry;

/// "This page is in force", and the layout's version.
const MAGIC: u64 = 0x5649_4144_5250_0001;
/// Words before the entries: magic, the note, and what ring it is about.
const HEAD_WORDS: usize = 2 + IDENTITY_WORDS;
const IDENTITY_WORDS: usize = 7;
/// Bytes of a ring's page: whole pages of memory, of which a ring touches what it uses.
const PAGE_LEN: usize = (HEAD_WORDS * 8 + SHADOW_ENTRIES * size_of::<Entry>()).next_multiple_of(4096);

/// What ring a note is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Device and inode of the file that the ring's memory comes from.
    pub file: (u64, u64),
    /// Addresses of the descriptor ring, the driver area and the device area, in the frontend's address space.
    pub addresses: [u64; 3],
    /// Descriptors.
    pub size: u16,
    /// Features in force, but for dirty logging.
    pub features: u64,
}

impl Identity {
    fn words(&self) -> [u64; IDENTITY_WORDS] {
        let ((device, inode), [descriptor, driver, area]) = (self.file, self.addresses);
        [device, inode, descriptor, driver, area, u64::from(self.size), self.features]
    }
}

/// Where a ring stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Note {
    /// Where the used descriptors go that are about to be shown: as many as `count` says, none when all is done.
    pub(super) start: u16,
    pub(super) count: u16,
    /// Where the ring goes on after them.
    pub(super) end: u16,
    /// Where the last used descriptor stands that was shown before them.
    pub(super) last: u16,
}

impl Note {
    fn to_word(self) -> u64 {
        [self.last, self.end, self.count, self.start]
            .iter()
            .fold(0, |word, part| word << 16 | u64::from(*part))
    }

    #[expect(clippy::cast_possible_truncation, reason = "the fields are cut out of the word")]
    fn from_word(word: u64) -> Self {
        let part = |shift: u32| (word >> shift) as u16;
        Self { start: part(0), count: part(16), end: part(32), last: part(48) }
    }
}

/// The notes of one port's rings.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    rings: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The rings' pages keep it: without rings there is no mapping.
    map: Weak<Map>,
    told: bool,
}

/// The file's mapping.
#[derive(Debug)]
struct Map {
    /// Dropped before the mapping. Should somebody cut the file, the rings go on without notes.
    _poison: PoisonEntry,
    region: MmapRegion,
}

impl Ledger {
    /// The notes of a port with `rings` rings, in a file at `path` that is made when a packed ring needs it.
    #[must_use]
    pub fn at(path: PathBuf, rings: usize) -> Self {
        Self { inner: Arc::new(Inner { path, rings, state: Mutex::default() }) }
    }

    /// The file's name for the port `name`, in the folder of sockets.
    #[must_use]
    pub fn path_in(folder: &Path, name: &str) -> PathBuf {
        folder.join(format!("{name}.rings"))
    }

    /// The page of ring `index`. Without one the ring runs all the same, and is lost when this process is killed; the
    /// log says so once.
    pub(crate) fn page(&self, index: u16) -> Option<Page> {
        match self.map(true) {
            Ok(map) => Page::of(map, usize::from(index), self.inner.rings),
            Err(error) => {
                let mut state = self.inner.state.lock();
                if !std::mem::replace(&mut state.told, true) {
                    let path = self.inner.path.display();
                    tracing::warn!(
                        "cannot keep {path}: {error}; should the switch be killed, guests with packed rings on this \
                         port have to be restarted; make the folder writable, or set packed=off in QEMU"
                    );
                }
                None
            }
        }
    }

    /// Closes the note about ring `index`: whoever starts it next knows where.
    pub fn close(&self, index: usize) {
        let map = self.map(false).ok();
        if let Some(page) = map.and_then(|map| Page::of(map, index, self.inner.rings)) {
            page.close();
        }
    }

    /// Removes the file of a port that is gone.
    pub fn remove(&self) {
        *self.inner.state.lock() = State::default();
        // It is there only if the port ever had a packed ring; what is no file may be another port's socket.
        if std::fs::symlink_metadata(&self.inner.path).is_ok_and(|metadata| metadata.is_file()) {
            let _ = std::fs::remove_file(&self.inner.path);
        }
    }

    fn map(&self, create: bool) -> io::Result<Arc<Map>> {
        let mut state = self.inner.state.lock();
        if let Some(map) = state.map.upgrade() {
            return Ok(map);
        }
        let length = self.inner.rings * PAGE_LEN;
        let file = open(&self.inner.path, length, create)?;
        let region: MmapRegion = MmapRegionBuilder::new(length)
            .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
            .with_mmap_flags(libc::MAP_SHARED)
            .with_file_offset(FileOffset::new(file, 0))
            .build()
            .map_err(io::Error::other)?;
        let _poison = PoisonEntry::new(region.as_ptr(), length, 4096);
        let map = Arc::new(Map { _poison, region });
        state.map = Arc::downgrade(&map);
        Ok(map)
    }
}

/// Opens the file, which must be ours alone, and has room made for `length` bytes. It never becomes shorter: a ring's
/// page stays valid when the number of queues changes, and is mapped elsewhere for a moment.
fn open(path: &Path, length: usize, create: bool) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(create).mode(0o600).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let own = metadata.is_file() && metadata.uid() == rustix::process::geteuid().as_raw();
    if !own || metadata.mode() & 0o077 != 0 {
        return Err(io::Error::other("it is there already and not ours alone"));
    }
    if metadata.len() < length as u64 {
        reserve(&file, length as u64)?;
    }
    Ok(file)
}

/// Lengthens the file by bytes that the file system has put aside: without them a store on a full one ends the process.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, length) {
        // Not every file system knows how.
        Err(rustix::io::Errno::OPNOTSUPP) => file.set_len(length),
        result => result.map_err(io::Error::from),
    }
}

/// One ring's page.
pub(crate) struct Page {
    words: *mut u64,
    /// Keeps what `words` points into.
    _map: Arc<Map>,
}

// SAFETY: `words` leads into the mapping that `_map` keeps, and is only used atomically.
unsafe impl Send for Page {}

impl Page {
    fn of(map: Arc<Map>, index: usize, rings: usize) -> Option<Self> {
        if index >= rings {
            return None;
        }
        // SAFETY: the mapping has a page of PAGE_LEN bytes for each of `rings` rings.
        let words = unsafe { map.region.as_ptr().add(index * PAGE_LEN) }.cast();
        Some(Self { words, _map: map })
    }

    fn word(&self, index: usize) -> &AtomicU64 {
        debug_assert!(index < PAGE_LEN / 8);
        // SAFETY: below the page's words, which are mapped, aligned and only used atomically.
        unsafe { AtomicU64::from_ptr(self.words.add(index)) }
    }

    fn close(&self) {
        self.word(0).store(0, Ordering::Release);
    }

    /// The note about this very ring, with the entries that were about to be shown.
    pub(super) fn read(&self, identity: &Identity) -> Option<(Note, Vec<Entry>)> {
        let same =
            || (2..).zip(identity.words()).all(|(at, word)| self.word(at).load(Ordering::Relaxed) == word);
        if self.word(0).load(Ordering::Acquire) != MAGIC || !same() {
            return None;
        }
        let note = Note::from_word(self.word(1).load(Ordering::Acquire));
        let count = usize::from(note.count);
        let entry = |number: usize| {
            let at = HEAD_WORDS + 2 * number;
            let [word, slot] = [at, at + 1].map(|at| self.word(at).load(Ordering::Relaxed));
            Entry { word, slot }
        };
        (count <= SHADOW_ENTRIES).then(|| (note, (0..count).map(entry).collect()))
    }

    /// Begins to keep notes about a ring, or goes on with those that there are: without a moment in between in which a
    /// kill would leave none.
    pub(super) fn begin(&self, identity: &Identity, note: Note) {
        if self.read(identity).is_some() {
            return self.word(1).store(note.to_word(), Ordering::Release);
        }
        self.close();
        for (at, word) in (2..).zip(identity.words()) {
            self.word(at).store(word, Ordering::Release);
        }
        self.word(1).store(note.to_word(), Ordering::Release);
        self.word(0).store(MAGIC, Ordering::Release);
    }

    /// Notes that these entries are about to be shown to the driver. The stores stay in this order: whoever reads the
    /// note after this process was killed finds the entries that it counts.
    #[inline]
    pub(super) fn announce(&self, note: Note, entries: &[Entry]) {
        for (number, entry) in entries.iter().enumerate().take(SHADOW_ENTRIES) {
            let at = HEAD_WORDS + 2 * number;
            self.word(at).store(entry.word, Ordering::Relaxed);
            self.word(at + 1).store(entry.slot, Ordering::Relaxed);
        }
        self.word(1).store(note.to_word(), Ordering::Release);
        // Nothing of them is written to the ring before. A process that is killed has done all up to some instruction, so
        // that the compiler's order is the only one that counts.
        compiler_fence(Ordering::SeqCst);
    }

    /// Notes that they were, the last of them at `last`.
    #[inline]
    pub(super) fn done(&self, note: Note, last: u16) {
        let note = Note { start: note.end, count: 0, last, ..note };
        self.word(1).store(note.to_word(), Ordering::Release);
        // The next entries are not noted before.
        compiler_fence(Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity { file: (1, 2), addresses: [3, 4, 5], size: 6, features: 7 }
    }

    #[test]
    fn a_note_outlives_its_writer_and_counts_for_its_ring_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = Ledger::path_in(folder.path(), "vm1");
        let note = Note { start: 9, count: 2, end: 0x8001, last: 10 };
        let entries = [Entry { word: 1, slot: 2 }, Entry { word: 3, slot: 4 }];
        let first = Ledger::at(path.clone(), 4);
        let page = first.page(3).unwrap();
        page.begin(&identity(), Note::default());
        page.announce(note, &entries);
        drop((page, first));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let ledger = Ledger::at(path.clone(), 4);
        let page = ledger.page(3).unwrap();
        let (found, written) = page.read(&identity()).unwrap();
        assert_eq!((found, written.len(), written[1].slot), (note, 2, 4));
        page.done(note, 11);
        assert_eq!(
            page.read(&identity()).unwrap().0,
            Note { start: 0x8001, count: 0, end: 0x8001, last: 11 }
        );
        for other in [
            Identity { file: (1, 3), ..identity() },
            Identity { addresses: [3, 4, 6], ..identity() },
            Identity { size: 7, ..identity() },
            Identity { features: 0, ..identity() },
        ] {
            assert!(page.read(&other).is_none(), "{other:?}");
        }
        assert!(ledger.page(2).unwrap().read(&identity()).is_none());
        assert!(ledger.page(4).is_none());
        ledger.close(3);
        assert!(page.read(&identity()).is_none());
        ledger.remove();
        assert!(!path.exists());
    }

    #[test]
    fn more_or_fewer_queues_leave_the_other_rings_notes() {
        let folder = tempfile::tempdir().unwrap();
        let path = Ledger::path_in(folder.path(), "vm1");
        Ledger::at(path.clone(), 2).page(1).unwrap().begin(&identity(), Note::default());
        for rings in [8, 2, 4] {
            assert!(Ledger::at(path.clone(), rings).page(1).unwrap().read(&identity()).is_some(), "{rings}");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 8 * PAGE_LEN as u64);
    }

    #[test]
    fn a_file_that_is_cut_ends_nothing_but_the_notes() {
        crate::memory::install_poison_handler().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rings");
        let page = Ledger::at(path.clone(), 2).page(1).unwrap();
        page.begin(&identity(), Note::default());
        OpenOptions::new().write(true).open(&path).unwrap().set_len(0).unwrap();
        page.announce(Note::default(), &[Entry::default(); SHADOW_ENTRIES]);
        assert!(page.read(&identity()).is_none());
    }

    #[test]
    fn a_file_that_is_not_ours_alone_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.rings");
        let other = folder.path().join("other");
        std::fs::write(&other, "text").unwrap();
        std::os::unix::fs::symlink(&other, &path).unwrap();
        assert!(Ledger::at(path.clone(), 2).page(0).is_none());
        std::fs::remove_file(&path).unwrap();
        std::fs::hard_link(&other, &path).unwrap();
        assert!(Ledger::at(path, 2).page(0).is_none(), "others may read it");
        assert_eq!(std::fs::read(&other).unwrap(), b"text");
        assert!(Ledger::at(folder.path().join("no/such"), 2).page(0).is_none());
    }
}
