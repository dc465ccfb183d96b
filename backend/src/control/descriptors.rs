//! Open files: every port needs some, and the usual limit is made for other programs.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::config::{Config, Port};

/// What the process needs without any port: event loops, workers, signals, the API and its clients.
const OWN: u64 = 128;
/// A port's listener, its session's socket and the two ends of the session's relay.
const PER_PORT: u64 = 4;
/// A queue pair's two rings, each with the eventfds kick, call and error.
const PER_QUEUE_PAIR: u64 = 6;
/// Regions of a guest's memory, a file each: QEMU has one or two for RAM, and one for each DIMM plugged in later.
const REGIONS_USUAL: u64 = 4;
/// An interface's sockets, and what its network namespace is watched by.
const PER_INTERFACE: u64 = 4;

/// Makes the limit as high as this process may; 1024, the usual one, is enough for some dozens of ports.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!("cannot raise the limit of open files: {error}; many ports may not work");
    }
}

/// Tells in the log if the limit is low for a configuration.
pub(super) fn check(config: &Config) {
    let limit = getrlimit(Resource::Nofile).current;
    if let Some(told) = shortage(config, limit) {
        warn!("{told}");
    }
}

/// What to say if `limit` open files may not be enough.
fn shortage(config: &Config, limit: Option<u64>) -> Option<String> {
    let (limit, needed) = (limit?, needed(config));
    let advised = needed.next_power_of_two().max(65_536);
    (needed > limit).then(|| {
        format!(
            "{} ports need about {needed} open files when all their guests run, and this process may have {limit}: \
             set LimitNOFILE={advised} in the unit, or ulimit -Hn {advised} before the start",
            config.ports.len()
        )
    })
}

fn needed(config: &Config) -> u64 {
    let guest = |queues: u16| PER_PORT + PER_QUEUE_PAIR * u64::from(queues) + REGIONS_USUAL;
    let port = |port: &Port| port.vhost_user().map_or(PER_INTERFACE, |end| guest(end.queues));
    let uplinks = PER_INTERFACE * config.uplinks.len() as u64;
    OWN + uplinks + config.ports.values().map(port).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{PlainHost, parse};

    #[test]
    fn a_limit_that_is_too_low_is_told_with_one_that_is_not() {
        let ports: String = (0..100).map(|n| format!("[port.p{n}]\nnetwork = 'lab'\nqueues = 2\n")).collect();
        let text = format!("[network.lab]\n{ports}");
        let config = parse(text.as_bytes(), "x", &PlainHost).unwrap().config;
        assert_eq!(needed(&config), 128 + 100 * (4 + 12 + 4));
        let uplink = format!("{text}[uplink.wan]\ninterface = 'eth1'\n");
        assert_eq!(needed(&parse(uplink.as_bytes(), "x", &PlainHost).unwrap().config), needed(&config) + 4);
        assert_eq!(shortage(&config, Some(4096)), None);
        assert_eq!(shortage(&config, None), None);
        let told = shortage(&config, Some(1024)).unwrap();
        assert!(told.contains("100 ports") && told.contains("LimitNOFILE=65536"), "{told}");
    }
}
