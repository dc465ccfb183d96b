//! What the daemon has to be able to do, as its configuration says at the start.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::config::{Config, Interface, NAMED_NAMESPACES, Role};

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Grants {
    /// Folders in which files and sockets are made and removed.
    pub(super) changed: BTreeSet<PathBuf>,
    /// Folders and files that are read.
    pub(super) read: BTreeSet<PathBuf>,
    /// Devices that are opened.
    pub(super) devices: Vec<PathBuf>,
    /// Whether ports may be in other network namespaces.
    pub(super) namespaces: bool,
    /// A port's network namespace that is told by a process: Landlock lets nobody look at those of others.
    pub(super) process: Option<PathBuf>,
}

/// Read at any time: groups of sockets, name servers, interfaces, routes, the process itself. Of the latter three the whole file
/// system is named, since its folders are not the same ones for ever.
const READ: [&str; 3] = ["/etc", "/proc", "/sys"];

/// Where the file of name servers may lead to.
const NAME_SERVERS: &str = "/etc/resolv.conf";

impl Grants {
    /// What any of `configs`, the first of which was read from `file`, needs. Folders of sockets and of the state are made if they are
    /// missing: what does not exist cannot be granted.
    pub(super) fn of(configs: &[&Config], file: &Path) -> Self {
        let namespaces: BTreeSet<PathBuf> =
            configs.iter().flat_map(|config| interfaces(config)).filter_map(|it| it.netns).collect();
        let process = namespaces.iter().find(|path| path.starts_with("/proc")).cloned();
        let said = configs.iter().find_map(|config| config.switch.namespaces);
        let enters = said.unwrap_or(!namespaces.is_empty());
        let named = namespaces.iter().filter_map(|path| path.parent().map(Path::to_owned));
        let places: Vec<PathBuf> =
            named.chain([PathBuf::from(NAMED_NAMESPACES)]).filter(|_| enters).collect();
        // Where it is missing, the first name to come brings it: too late for us.
        places.iter().for_each(|place| drop(std::fs::create_dir_all(place)));
        let read = READ
            .map(PathBuf::from)
            .into_iter()
            .chain(folders_of(file))
            .chain(folders_of(Path::new(NAME_SERVERS)));
        Self {
            changed: configs
                .iter()
                .flat_map(|config| changed(config))
                .inspect(|folder| drop(std::fs::create_dir_all(folder)))
                .collect(),
            read: read.chain(places).collect(),
            devices: vec![PathBuf::from("/dev/net/tun")],
            namespaces: enters,
            process,
        }
    }
}

fn interfaces(config: &Config) -> impl Iterator<Item = Interface> {
    let ports = config.ports.values().filter_map(|port| port.interface().cloned());
    ports.chain(config.uplinks.values().flat_map(|uplink| uplink.interfaces().collect::<Vec<_>>()))
}

fn changed(config: &Config) -> impl Iterator<Item = PathBuf> {
    let ends = config.ports.values().filter_map(|port| port.vhost_user());
    let sockets = ends.filter(|end| end.role == Role::Server).filter_map(|end| end.socket.parent());
    let own = [&config.switch.runtime_dir, &config.switch.state_dir];
    own.into_iter().map(PathBuf::as_path).chain(sockets).map(Path::to_owned)
}

/// The folder of a file that others replace by renaming, and that of the file to which it may lead; where that is still to come, the
/// nearest folder above it that is there.
fn folders_of(file: &Path) -> impl Iterator<Item = PathBuf> {
    let real = |path: &Path| path.canonicalize().ok();
    let folder = file
        .parent()
        .and_then(|folder| real(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }));
    let leads_to = real(file).or_else(|| Some(file.parent()?.join(file.read_link().ok()?)));
    let above = |file: PathBuf| file.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_owned);
    folder.into_iter().chain(leads_to.and_then(above))
}
