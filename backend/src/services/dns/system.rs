//! The host's own name servers: `/etc/resolv.conf`, where a network names none.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Where the host's name servers are listed (resolv.conf(5)).
const PATH: &str = "/etc/resolv.conf";

/// A name server's port (RFC 1035, 4.2).
const PORT: u16 = 53;

/// How long what the file said counts before it is read again.
const FRESH: Duration = Duration::from_secs(5);

/// The most name servers that are asked (resolv.conf(5), MAXNS).
const SERVERS_MAX: usize = 3;

/// The longest file that is read, in bytes.
const FILE_MAX: usize = 64 << 10;

/// The file, and what it said last.
#[derive(Debug)]
pub(super) struct ResolvConf {
    path: PathBuf,
    read: Mutex<Option<(Instant, Vec<SocketAddr>)>>,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self::at(Path::new(PATH))
    }
}

impl ResolvConf {
    /// The file at `path`.
    pub(super) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), read: Mutex::new(None) }
    }

    /// The servers that the file lists now, give or take [`FRESH`].
    pub(super) fn servers(&self) -> Vec<SocketAddr> {
        let mut read = self.read.lock();
        if let Some((at, servers)) = &*read
            && at.elapsed() < FRESH
        {
            return servers.clone();
        }
        let servers = match std::fs::read(&self.path) {
            Ok(bytes) => parse(&String::from_utf8_lossy(&bytes[..bytes.len().min(FILE_MAX)])),
            Err(error) => {
                tracing::debug!(path = %self.path.display(), %error, "the host's name servers are not known");
                Vec::new()
            }
        };
        *read = Some((Instant::now(), servers.clone()));
        servers
    }
}

/// The first servers of a file. Those with a zone (`fe80::1%eth0`) are passed over.
fn parse(text: &str) -> Vec<SocketAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let address = words.next().filter(|word| *word == "nameserver").and_then(|_| words.next())?;
        Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, PORT))
    };
    text.lines().filter_map(server).take(SERVERS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 1.1.1.1\nsearch home.lan\nnameserver 192.168.99.1 # first\n nameserver\tfd00::1\n\
            nameserver fe80::1%eth0\nnameserver nonsense\nnameserver\nnameserver 10.0.0.3\nnameserver 10.0.0.4\n";
        let expected = ["192.168.99.1:53", "[fd00::1]:53", "10.0.0.3:53"].map(|text| text.parse().unwrap());
        assert_eq!(parse(text), expected);
        let nowhere = ResolvConf::at(Path::new("/nonexistent/resolv.conf"));
        assert_eq!(nowhere.servers(), []);
    }
}
