//! Capabilities (capabilities(7)): what is kept, and that nothing comes back.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

use super::grants::Grants;

/// What ports may need that come while the daemon runs: groups of their sockets, sockets of others, packet sockets, AF_XDP and
/// TAP devices.
const ALWAYS: [Capability; 6] = [
    Capability::CAP_CHOWN,
    Capability::CAP_DAC_OVERRIDE,
    Capability::CAP_NET_RAW,
    Capability::CAP_NET_ADMIN,
    Capability::CAP_BPF,
    Capability::CAP_IPC_LOCK,
];

/// Gives up all but what `grants` need, in the calling thread and those that it starts; gives the names of what is left.
pub(super) fn keep(grants: &Grants) -> Result<Vec<String>, String> {
    keep_only(grants).map_err(|error| error.to_string())
}

fn keep_only(grants: &Grants) -> Result<Vec<String>, CapsError> {
    let mut wanted: CapsHashSet = ALWAYS.into_iter().collect();
    if grants.namespaces {
        wanted.insert(Capability::CAP_SYS_ADMIN);
    }
    if grants.namespaces && grants.process.is_some() {
        wanted.insert(Capability::CAP_SYS_PTRACE);
    }
    let bounded = bound(&wanted);
    let kept: CapsHashSet = caps::read(None, CapSet::Permitted)?.intersection(&wanted).copied().collect();
    set(&kept)?;
    bounded?;
    let mut names: Vec<String> = kept.iter().map(ToString::to_string).collect();
    names.sort();
    Ok(names)
}

/// What is outside of the bounding set can never be had. Who has no CAP_SETPCAP has few others, either.
fn bound(wanted: &CapsHashSet) -> Result<(), CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(wanted) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    Ok(())
}

/// Gives up all, in the calling thread.
pub(super) fn give_up() -> Result<(), String> {
    set(&CapsHashSet::new()).map_err(|error| error.to_string())
}

/// What is effective may never be more than what is permitted.
fn set(kept: &CapsHashSet) -> Result<(), CapsError> {
    caps::clear(None, CapSet::Ambient)?;
    caps::set(None, CapSet::Effective, kept)?;
    caps::set(None, CapSet::Permitted, kept)?;
    caps::clear(None, CapSet::Inheritable)
}
