//! What was lent to us: a file of one line for each uplink.

use std::fs;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;

use serde::{Deserialize, Serialize};
use viaduct_switch::dhcp::Route;
use viaduct_switch::dhcp::client::Lease;
use viaduct_switch::{MacAddress, Nanos};

use super::WallClock;
use crate::durable::{beside, checked, line};

/// The longest file that is read, in bytes: far more than a DHCP message tells.
const FILE_MAX: usize = 64 << 10;

/// A lease of an uplink's as it is kept. The file is written beside itself and renamed, so that a process that is killed leaves one that
/// is whole; it is not waited for on the disk, since a lease that a power failure costs is had anew from its server.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnLease {
    /// The interface's address, to which it was lent.
    mac: String,
    address: Ipv4Addr,
    prefix: u8,
    server: Ipv4Addr,
    /// Destination, length of its prefix, router.
    routes: Vec<(Ipv4Addr, u8, Ipv4Addr)>,
    dns_servers: Vec<Ipv4Addr>,
    mtu: Option<u16>,
    renew_s: u64,
    rebind_s: u64,
    until_s: u64,
}

impl OwnLease {
    /// A lease of the interface with this address.
    pub(crate) fn of(lease: &Lease, mac: MacAddress, clock: WallClock) -> Self {
        let route = |route: &Route| (route.destination, route.prefix, route.router);
        Self {
            mac: mac.to_string(),
            address: lease.address,
            prefix: lease.prefix,
            server: lease.server,
            routes: lease.routes.iter().map(route).collect(),
            dns_servers: lease.dns_servers.clone(),
            mtu: lease.mtu,
            renew_s: clock.unix_s(lease.renew_at),
            rebind_s: clock.unix_s(lease.rebind_at),
            until_s: clock.unix_s(lease.until),
        }
    }

    /// The lease, unless it has ended or is another interface's. What is missing its server tells when it is asked again.
    pub(crate) fn lease(&self, mac: MacAddress, clock: WallClock, now: Nanos) -> Option<Lease> {
        let until = clock.moment(self.until_s).filter(|until| *until > now)?;
        let is_right = self.mac == mac.to_string() && (1..=32).contains(&self.prefix);
        let route = |&(destination, prefix, router): &(Ipv4Addr, u8, Ipv4Addr)| {
            (prefix <= 32).then_some(Route { destination, prefix, router })
        };
        // What should have been done by now is done now.
        let moment = |unix_s| clock.moment(unix_s).unwrap_or(now).clamp(now, until);
        is_right.then(|| Lease {
            address: self.address,
            prefix: self.prefix,
            server: self.server,
            routes: self.routes.iter().filter_map(route).collect(),
            dns_servers: self.dns_servers.clone(),
            domain: None,
            search: Vec::new(),
            ntp_servers: Vec::new(),
            mtu: self.mtu,
            renew_at: moment(self.renew_s),
            rebind_at: moment(self.rebind_s),
            until,
        })
    }

    /// What a file says; `None`: there is none, or it is damaged.
    pub(crate) fn read(path: &Path) -> Option<Self> {
        let content = fs::read(path).ok().filter(|content| content.len() <= FILE_MAX)?;
        serde_json::from_str(checked(content.strip_suffix(b"\n")?)?).ok()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// If that is refused: then the one that was there is there still.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            // Should that fail, opening says why.
            let _ = fs::create_dir_all(folder);
        }
        let (mut file, temporary) = beside(path)?;
        file.write_all(line(self).as_bytes())?;
        fs::rename(temporary, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 9]);

    fn lease() -> Lease {
        let gateway = Ipv4Addr::new(192, 0, 2, 1);
        Lease {
            address: [192, 0, 2, 50].into(),
            prefix: 24,
            server: gateway,
            routes: vec![Route { destination: Ipv4Addr::UNSPECIFIED, prefix: 0, router: gateway }],
            dns_servers: vec![gateway],
            domain: None,
            search: Vec::new(),
            ntp_servers: Vec::new(),
            mtu: Some(1400),
            renew_at: Nanos::from_seconds(1800),
            rebind_at: Nanos::from_seconds(3000),
            until: Nanos::from_seconds(3600),
        }
    }

    #[test]
    fn a_lease_comes_back_by_the_next_processs_clock() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state/uplink-isp.lease");
        assert_eq!(OwnLease::read(&path), None);
        let kept = OwnLease::of(&lease(), MAC, WallClock::new(Nanos(0), 1_790_000_000));
        kept.write(&path).unwrap();
        kept.write(&path).unwrap();
        assert_eq!(OwnLease::read(&path), Some(kept.clone()));
        // A process that began 2000 s later.
        let (clock, now) = (WallClock::new(Nanos(0), 1_790_002_000), Nanos::from_seconds(1));
        let expected = Lease {
            renew_at: now,
            rebind_at: Nanos::from_seconds(1000),
            until: Nanos::from_seconds(1600),
            ..lease()
        };
        assert_eq!(kept.lease(MAC, clock, now), Some(expected));
        assert_eq!(kept.lease(MAC, clock, Nanos::from_seconds(1600)), None, "it has ended");
        assert_eq!(kept.lease(MacAddress([2, 0, 0, 0, 0, 8]), clock, now), None, "another interface's");
    }

    #[test]
    fn a_damaged_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uplink-isp.lease");
        OwnLease::of(&lease(), MAC, WallClock::new(Nanos(0), 0)).write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(OwnLease::read(&path), None, "{length} bytes");
        }
        fs::write(&path, [&whole[..20], b"7", &whole[21..]].concat()).unwrap();
        assert_eq!(OwnLease::read(&path), None);
    }
}
