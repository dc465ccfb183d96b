//! Files, TCP ports, signals: what is left of them by Landlock (landlock(7)).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use tracing::{info, warn};

use super::grants::Grants;

/// What is asked for; a kernel that has less does what it can. Later versions also restrict connecting to sockets, which may
/// be anywhere.
const VERSION: ABI = ABI::V7;

/// What came of it.
#[derive(Debug)]
pub(super) struct Enforced {
    how: Result<How, String>,
    /// Where files can be made, if that is restricted.
    changed: BTreeSet<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    /// All of it.
    Whole,
    /// As far as the kernel can.
    Partly,
}

/// A file that cannot be made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{} is in none of the folders in which the daemon, once it runs, can make files: {folders}. Take one of these, or start the daemon \
     again with this file (guests carry on by themselves)",
    path.display()
)]
pub struct Outside {
    path: PathBuf,
    folders: String,
}

/// Leaves to the calling thread, and those that it starts, what `grants` say.
pub(super) fn enter(grants: &Grants) -> Enforced {
    if let Some(process) = &grants.process {
        let how = Err(format!(
            "a port's network namespace is {}, and Landlock lets nobody look at other processes; `ip netns attach` gives a \
             namespace a name",
            process.display()
        ));
        return Enforced { how, changed: BTreeSet::new() };
    }
    let status = rules(grants).and_then(RulesetCreated::restrict_self).map(|status| status.ruleset);
    let how = match status {
        Ok(RulesetStatus::FullyEnforced) => Ok(How::Whole),
        Ok(RulesetStatus::PartiallyEnforced) => Ok(How::Partly),
        Ok(RulesetStatus::NotEnforced) => {
            Err("this kernel has none (Linux 5.13 or later, with lsm=landlock,...)".to_owned())
        }
        Err(error) => Err(error.to_string()),
    };
    let changed = if how.is_ok() { grants.changed.clone() } else { BTreeSet::new() };
    Enforced { how, changed }
}

fn rules(grants: &Grants) -> Result<RulesetCreated, RulesetError> {
    // No program, even where files can be made.
    let changed = AccessFs::from_all(VERSION) & !(AccessFs::Execute | AccessFs::IoctlDev);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::IoctlDev;
    everything()?
        .create()?
        .add_rules(path_beneath_rules(&grants.changed, changed))?
        .add_rules(path_beneath_rules(&grants.read, read))?
        .add_rules(path_beneath_rules(&grants.devices, device))
}

/// All that can be restricted and is not needed as it is: sockets of services connect to wherever other servers are, and
/// all that listens listens already.
fn everything() -> Result<Ruleset, RulesetError> {
    let ruleset =
        Ruleset::default().handle_access(AccessFs::from_all(VERSION))?.handle_access(AccessNet::BindTcp)?;
    // A service manager whose socket has no path has to be heard from, too.
    let abstract_manager =
        std::env::var_os("NOTIFY_SOCKET").is_some_and(|socket| socket.as_encoded_bytes().starts_with(b"@"));
    if abstract_manager { ruleset.scope(Scope::Signal) } else { ruleset.scope(Scope::from_all(VERSION)) }
}

/// Where a file would be made, by the folders above it that are there already.
fn real(path: &Path) -> PathBuf {
    let found = path.ancestors().skip(1).find_map(|above| Some((above, above.canonicalize().ok()?)));
    let rest = found.as_ref().and_then(|(above, _)| path.strip_prefix(above).ok());
    match (&found, rest) {
        (Some((_, real)), Some(rest)) => real.join(rest),
        _ => path.to_owned(),
    }
}

impl Enforced {
    /// Leaves nothing to the calling thread.
    pub(super) fn give_up(&self) -> Result<(), String> {
        if self.how.is_err() {
            return Ok(());
        }
        let nothing =
            everything().and_then(|all| all.handle_access(AccessNet::ConnectTcp)).and_then(Ruleset::create);
        nothing.and_then(RulesetCreated::restrict_self).map(drop).map_err(|error| error.to_string())
    }

    pub(super) fn tell(&self) {
        match &self.how {
            Ok(how) => {
                let part = if *how == How::Whole { "" } else { ", as far as this kernel can" };
                info!("confined: files are changed only in {}{part} (Landlock)", self.folders());
                for missing in self.changed.iter().filter(|folder| !folder.is_dir()) {
                    warn!(
                        "{} is not there and cannot be made, so that nothing can be kept in it, even if it comes: make it, let the \
                         daemon write there, and start the daemon again",
                        missing.display()
                    );
                }
            }
            Err(why) => warn!("not confined to its files: Landlock: {why}"),
        }
    }

    fn folders(&self) -> String {
        let folders: Vec<String> = self.changed.iter().map(|folder| folder.display().to_string()).collect();
        folders.join(", ")
    }

    /// Whether a file can be made at `path`.
    pub(super) fn check(&self, path: &Path) -> Result<(), Outside> {
        // Folders have several names where there are links, as /var/run and /run; what is granted is the folder.
        let place = real(path);
        let granted = self.how.is_err()
            || self
                .changed
                .iter()
                .filter_map(|folder| folder.canonicalize().ok())
                .any(|folder| place.starts_with(folder));
        if granted { Ok(()) } else { Err(Outside { path: path.to_owned(), folders: self.folders() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_same_by_all_its_names_and_a_link_in_it_may_lead_out() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for folder in ["run", "run/viaduct", "elsewhere"] {
            std::fs::create_dir(at(folder)).unwrap();
        }
        std::os::unix::fs::symlink(at("run"), at("var-run")).unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("run/viaduct/out")).unwrap();
        let enforced = |folder: &str| Enforced { how: Ok(How::Whole), changed: [at(folder)].into() };
        for (granted, path) in [
            ("run/viaduct", "run/viaduct/a.sock"),
            ("run/viaduct", "var-run/viaduct/a.sock"),
            ("var-run/viaduct", "run/viaduct/a.sock"),
            ("run/viaduct", "var-run/viaduct/new/folder/a.sock"),
        ] {
            assert_eq!(enforced(granted).check(&at(path)), Ok(()), "{path}");
        }
        for path in ["run/a.sock", "elsewhere/a.sock", "run/viaduct/out/a.sock", "run/viaduct/../a.sock"] {
            assert!(enforced("run/viaduct").check(&at(path)).is_err(), "{path}");
        }
        let unconfined = Enforced { how: Err(String::new()), changed: BTreeSet::new() };
        assert_eq!(unconfined.check(&at("elsewhere/a.sock")), Ok(()));
    }
}
