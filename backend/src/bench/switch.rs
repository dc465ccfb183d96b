//! A switch of our own: this very program, started for the run in a folder of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{Group, getgid};

use super::error::BenchError;
use super::process::{Folder, Process};
use crate::config::Polling;

/// How long the switch may take to make its sockets.
const START_WITHIN: Duration = Duration::from_secs(10);

/// A running switch with ports on one network.
#[derive(Debug)]
pub(super) struct Switch {
    process: Process,
    ports: usize,
    /// Removed when the process has ended.
    folder: Folder,
}

impl Switch {
    /// Starts one in a folder in `parent`, with `ports` ports and its worker on processor `cpu`; one at a time.
    pub(super) fn start(
        parent: &Path,
        ports: usize,
        cpu: usize,
        polling: Polling,
    ) -> Result<Self, BenchError> {
        let folder = Folder::at(parent.join("switch"))?;
        let file = folder.path().join("viaduct.toml");
        let text = configuration(folder.path(), ports, cpu, polling);
        fs::write(&file, text).map_err(BenchError::system(format!("write {}", file.display())))?;
        let program = std::env::current_exe().map_err(BenchError::system("find this program's own file"))?;
        let arguments = ["run".as_ref(), "--config".as_ref(), file.as_os_str()];
        let process = Process::start("viaduct", (&program, "viaduct"), arguments, folder.path())?;
        let mut switch = Self { process, ports, folder };
        let sockets: Vec<PathBuf> = switch.sockets();
        let ready = || sockets.iter().all(|socket| socket.exists()).then_some(());
        switch.process.await_ready(START_WITHIN, ready)?;
        Ok(switch)
    }

    /// The sockets of its ports.
    pub(super) fn sockets(&self) -> Vec<PathBuf> {
        (0..self.ports).map(|port| socket(self.folder.path(), port)).collect()
    }

    /// The process.
    pub(super) fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

fn socket(folder: &Path, port: usize) -> PathBuf {
    folder.join(format!("{port}.sock"))
}

/// Frames of 1518 bytes are longer than an MTU of 1500 allows, hence 9000.
fn configuration(folder: &Path, ports: usize, cpu: usize, polling: Polling) -> String {
    let folder_text = folder.display();
    let mut text = format!(
        "[switch]\nruntime_dir = \"{folder_text}\"\nstate_dir = \"{folder_text}/state\"\ncpus = [{cpu}]\n\
         polling = \"{}\"\n",
        polling.name()
    );
    // Only a member of a group may give files to it, and the benchmark may be run by anybody.
    if let Ok(Some(group)) = Group::from_gid(getgid()) {
        text.push_str(&format!("socket_group = \"{}\"\n", group.name));
    }
    text.push_str("[network.bench]\n");
    for port in 0..ports {
        let socket = socket(folder, port);
        text.push_str(&format!(
            "[port.p{port}]\nnetwork = \"bench\"\nmtu = 9000\nsocket = \"{}\"\n",
            socket.display()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ThisHost, parse};

    #[test]
    fn the_configuration_is_right() {
        let cpu = crate::bench::machine::processors()[0];
        let text = configuration(Path::new("/run/bench"), 3, cpu, Polling::Busy);
        let config = parse(text.as_bytes(), "bench.toml", &ThisHost).unwrap().config;
        assert_eq!((config.ports.len(), config.switch.polling), (3, Polling::Busy));
        assert_eq!(config.ports["p2"].vhost_user().unwrap().socket, Path::new("/run/bench/2.sock"));
    }
}
