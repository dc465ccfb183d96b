//! What must be right between ports: nothing that has to be unique is there twice.

use std::collections::HashMap;
use std::path::Path;

use super::port::default_mac;
use super::reader::TableReader;
use super::{Port, SwitchSettings, values};

/// A port together with where it stands in the file.
pub(super) struct Placed<'f> {
    pub(super) name: &'f str,
    pub(super) table: TableReader<'f>,
    pub(super) port: Port,
}

/// Notes every socket path and address that cannot be.
pub(super) fn check(ports: &[Placed<'_>], settings: &SwitchSettings) {
    check_sockets(ports, &settings.api_socket());
    check_addresses(ports);
}

fn check_sockets(ports: &[Placed<'_>], api_socket: &Path) {
    let mut first: HashMap<&Path, &Placed<'_>> = HashMap::new();
    for placed in ports {
        let socket = placed.port.socket.as_path();
        if let Some(other) = first.get(socket) {
            let expected = format!(
                "a path of its own: port.{} (line {}) has the same",
                other.name,
                other.table.line("socket")
            );
            placed.table.note("socket", socket.display().to_string(), expected);
        } else if socket == api_socket {
            let expected = "another path: there the API listens; give the port another name or a `socket`";
            placed.table.note("socket", socket.display().to_string(), expected.to_owned());
        } else if !values::fits_socket(socket) {
            let expected = "at most 106 bytes; write a shorter `socket` or runtime_dir";
            placed.table.note("socket", format!("{} bytes", socket.as_os_str().len()), expected.to_owned());
        } else {
            first.insert(socket, placed);
        }
    }
}

/// Two ports of one network must not have one address; in different networks they never meet.
fn check_addresses(ports: &[Placed<'_>]) {
    let mut first: HashMap<_, &Placed<'_>> = HashMap::new();
    // Written addresses first: the port whose address was made from its name is the one to change.
    let written = ports.iter().filter(|placed| placed.table.has("mac"));
    let made = ports.iter().filter(|placed| !placed.table.has("mac"));
    for placed in written.chain(made) {
        let key = (placed.port.network.as_str(), placed.port.mac);
        let Some(other) = first.get(&key) else {
            first.insert(key, placed);
            continue;
        };
        let free = default_mac(&format!("{}/{}", placed.port.network, placed.name));
        let expected = format!(
            "another address than port.{} (line {}) has in the same network, for example mac = \"{free}\"",
            other.name,
            other.table.line("mac")
        );
        placed.table.note("mac", placed.port.mac.to_string(), expected);
    }
}
