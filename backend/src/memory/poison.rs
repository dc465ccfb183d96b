//! What happens when a guest's memory file, or another one that is mapped, shrinks under our mapping.
//!
//! Touching a page beyond the file's end raises SIGBUS. Theory of operation: every mapping is entered in a
//! fixed table of atomics; the handler, which may only do what is async-signal-safe, looks for the address
//! there, maps anonymous zero pages over the rest of the mapping and marks it as poisoned. The access then
//! goes on, on zeroes, and the control side takes the port down when it sees the mark. A SIGBUS elsewhere is
//! our own bug and ends the process as if there were no handler.

use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings that the table can hold: beyond it a mapping works, but its shrinking is fatal.
const SLOTS: usize = 65_536;

struct Slot {
    start: AtomicUsize,
    end: AtomicUsize,
    /// Bytes of the file's pages: a part of a huge one can't be replaced.
    page: AtomicUsize,
    poisoned: AtomicBool,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        page: AtomicUsize::new(0),
        poisoned: AtomicBool::new(false),
    }
}; SLOTS];

/// One past the highest slot that was ever used: what the handler has to look at.
static USED: AtomicUsize = AtomicUsize::new(0);

/// A mapping's place in the table, given back when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    slot: Option<usize>,
}

impl Entry {
    pub(crate) fn new(start: *mut u8, length: usize, page: u64) -> Self {
        let start = start.addr();
        let free =
            |slot: &Slot| slot.start.compare_exchange(0, start, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        let slot = TABLE.iter().position(free);
        if let Some((index, slot)) = slot.and_then(|index| TABLE.get(index).map(|slot| (index, slot))) {
            slot.poisoned.store(false, Ordering::Relaxed);
            slot.page.store(usize::try_from(page).unwrap_or(usize::MAX), Ordering::Relaxed);
            slot.end.store(start + length, Ordering::Release);
            USED.fetch_max(index + 1, Ordering::AcqRel);
        }
        Self { slot }
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.slot.and_then(|index| TABLE.get(index)).is_some_and(|slot| slot.poisoned.load(Ordering::Acquire))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.and_then(|index| TABLE.get(index)) {
            slot.end.store(0, Ordering::Release);
            slot.start.store(0, Ordering::Release);
        }
    }
}

/// Installs the SIGBUS handler; called once, before the first region is mapped.
pub fn install() -> io::Result<()> {
    // SAFETY: all-zero is a valid `sigaction`: no flags, empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = on_sigbus as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO;
    // SAFETY: `action` is complete, and `on_sigbus` does only what is async-signal-safe.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_sigbus(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t`, and SIGBUS fills in the address.
    let address = unsafe { (*info).si_addr() }.addr();
    let used = USED.load(Ordering::Acquire).min(SLOTS);
    let hit = TABLE[..used].iter().find(|slot| {
        let start = slot.start.load(Ordering::Acquire);
        start != 0 && start <= address && address < slot.end.load(Ordering::Acquire)
    });
    let covered = hit.is_some_and(|slot| cover(slot, address));
    if !covered {
        // SAFETY: async-signal-safe; the access is repeated on return and now ends the process.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
    }
}

/// Maps zeroes from the file's page that holds `address` to the mapping's end.
fn cover(slot: &Slot, address: usize) -> bool {
    let (start, end) = (slot.start.load(Ordering::Acquire), slot.end.load(Ordering::Acquire));
    slot.poisoned.store(true, Ordering::Release);
    let page = slot.page.load(Ordering::Relaxed).max(1);
    let from = (address & !(page - 1)).max(start);
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE;
    let to = ptr::with_exposed_provenance_mut(from);
    // SAFETY: [from, end) lies inside of a mapping that is in the table and so still ours; its old pages are
    // unusable, and nothing holds a reference into them.
    unsafe { libc::mmap(to, end - from, protection, flags, -1, 0) != libc::MAP_FAILED }
}
