//! Quality of service with real parts: stations behind veth pairs, iperf3, and the daemon between them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod changes;
mod finding;
mod marking;
mod policing;
mod shaping;
mod sparse;

use std::time::Duration;

use viaduct_tests::daemon::Daemon;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::namespace::{Namespace, cable};
use viaduct_tests::process::Process;

const LIMIT: Duration = Duration::from_secs(10);

/// The station `name`'s port, with more lines.
fn port(name: &str, more: &str) -> String {
    format!("[port.{name}]\nnetwork = \"lab\"\ntype = \"veth\"\ninterface = \"veth-{name}\"\n{more}")
}

/// Stations a, b and c, which are 10.0.1.1 to 10.0.1.3; iperf3 listens at c.
struct Stage {
    daemon: Daemon,
    stations: [Namespace; 3],
    servers: Vec<Process>,
    folder: tempfile::TempDir,
    host: Namespace,
}

impl Stage {
    /// A daemon with this configuration, which has a port for each station, and a server at each of these ports of c.
    fn new(config: &str, ports: &[u16]) -> Self {
        let host = Namespace::new("host");
        let daemon = Daemon::start_in(&host, config);
        let stations = ["a", "b", "c"].map(Namespace::new);
        for (number, (name, station)) in ["a", "b", "c"].iter().zip(&stations).enumerate() {
            cable((&host, &format!("veth-{name}")), (station, "eth0"));
            station.ip(&format!("address add 10.0.1.{}/24 dev eth0", number + 1));
            daemon.wait_for_state(name, "attached");
        }
        let folder = tempfile::tempdir().unwrap();
        let mut stage = Self { daemon, stations, servers: Vec::new(), folder, host };
        stage.servers = ports.iter().map(|port| stage.serve(2, *port)).collect();
        stage
    }

    /// An iperf3 server at a station.
    fn serve(&self, station: usize, port: u16) -> Process {
        let station = &self.stations[station];
        let mut server = station.command("iperf3");
        server.args(["--server", "--port", &port.to_string()]);
        let process = Process::spawn(&format!("iperf3-{port}"), &server, self.folder.path());
        let listens = format!("ss -Hltn sport = :{port} | grep -q .");
        wait_until("iperf3 to listen", LIMIT, || station.succeeds(&listens));
        process
    }
}
