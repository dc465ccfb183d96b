//! Established connections and mappings of NAT that outlive the process: a file of blocks with checksums.
//!
//! ```text
//!   state_dir/connections
//!     head         version, the machine's boot, names of networks and ports with their numbers in what follows
//!     connections  when they were read, and some hundreds of them        ┐ as many blocks
//!     mappings     the same                                              ┘ as it takes
//!     end          how many there were
//! ```
//!
//! **What survives.** Connections that are open in both directions, and mappings. A thread of its own ([`Keeper`]) reads them from the
//! table, without a lock that a frame waits for, when something has opened or ended, once a second at most, and writes the whole file
//! beside the old one, which it then replaces. So a process that is killed leaves one whole file, and what opened within
//! the last second is lost, as are numbers of TCP, which the switch learns from the next segments
//! ([`viaduct_switch::conntrack::Record`]). A process that is told to end writes once more.
//!
//! **Bounds.** A guest that opens connections without end makes this thread work, and nobody else: it takes at most a twentieth of a
//! processor, and writes at most 4 MiB/s on average, so that a large table is written less often. The file has at most about 150 bytes for
//! each connection for which there is room (`switch.connections`): 38 MiB by default.
//!
//! **Takeovers.** What another process shall go on with is written in two parts: everything while the switch runs, and, once nothing is
//! carried any more, what is not in that, as `connections.rest`. So the pause grows with what opened within it, but for a look at each place
//! of the table. What ended in between is restored as well, and ends with its time.
//!
//! **Clocks.** Ages count from the machine's start (`/proc/uptime`, which goes on while the machine sleeps); what the wall clock says
//! matters to nobody. After the machine has started anew (`boot_id`) nothing is restored: guests and containers started anew as well.
//! For the same reason nothing is synced to the disk: what is with the kernel outlives the process.
//!
//! **A disk that hangs.** Each write has a temporary name of its own (`temporary`). One that takes longer than a takeover may wait is given
//! up: it ends by itself, and takes no file's place then. What is left of such names goes with the next start.
//!
//! **By name.** Numbers of ports and networks are the process's own; the successor gives what it restores its own numbers. What
//! belongs to a port or network that is no more is not restored. VTEPs, which come and go, count as their uplink.
//!
//! **What is damaged does not count**, and nothing else: each block has a checksum over its place, kind and content.
//!
//! **Why not a database.** All of it is in a table already, and is read once, by the next process. Keeping a second table of it up to date would
//! take a write for each change of each connection, or a comparison of both tables; writing it anew takes neither, some
//! milliseconds for 100,000 connections, and no library.

mod block;
mod clock;
mod error;
mod file;
mod keeper;
mod record;
mod renumbering;
mod temporary;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub(crate) use clock::BootClock;
pub(crate) use error::KeptError;
pub(crate) use file::{Kept, read};
pub(crate) use keeper::Keeper;
pub(crate) use renumbering::{Names, Renumbering};

/// Where connections are kept in a `state_dir`.
#[must_use]
pub(crate) fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join("connections")
}

/// Where a process that hands over writes what the file of connections at `path` does not have yet.
#[must_use]
pub(crate) fn rest_of(path: &Path) -> PathBuf {
    path.with_extension("rest")
}
