//! By which number a frame's flow chooses its link.

use crate::flow_hash::{address_hash, flow_hash, station_hash};

/// What of a frame counts. Up to two VLAN tags are passed over. What a policy does not find in a frame, it does without:
/// a fragment has no ports, and what is no IP packet goes by its stations.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HashPolicy {
    /// The Ethernet addresses.
    Layer2,
    /// The Ethernet and the IP addresses.
    #[default]
    Layer2And3,
    /// The IP addresses and the ports of TCP and UDP. All fragments of a datagram go one way, but those of a flow that
    /// sends whole datagrams as well go another one than these, and IEEE 802.1AX wants that no flow does so.
    Layer3And4,
}

impl HashPolicy {
    /// The number for a frame that begins with `head`, the same for both directions. `seed` keeps guests from choosing
    /// flows that all go one way.
    #[must_use]
    pub fn hash(self, head: &[u8], seed: u64) -> u32 {
        match self {
            Self::Layer2 => station_hash(head, seed),
            Self::Layer2And3 => station_hash(head, seed) ^ address_hash(head, seed).unwrap_or(0),
            Self::Layer3And4 => flow_hash(head, seed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP datagram between these stations, addresses and ports (the last byte of each), behind these tags.
    fn datagram(stations: [u8; 2], addresses: [u8; 2], ports: [u8; 2], tags: &[[u8; 2]]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, stations[1], 2, 0, 0, 0, 0, stations[0]];
        tags.iter().for_each(|tag| frame.extend([tag[0], tag[1], 0, 7]));
        frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend([10, 0, 0, addresses[0], 10, 0, 0, addresses[1]]);
        frame.extend([0, ports[0], 0, ports[1], 0, 8, 0, 0]);
        frame
    }

    #[test]
    fn each_policy_looks_at_its_own_layers() {
        let base = datagram([1, 2], [1, 2], [1, 2], &[]);
        let other = [
            datagram([1, 3], [1, 2], [1, 2], &[]),
            datagram([1, 2], [1, 3], [1, 2], &[]),
            datagram([1, 2], [1, 2], [1, 3], &[]),
        ];
        let differs =
            |policy: HashPolicy| other.each_ref().map(|frame| policy.hash(frame, 5) != policy.hash(&base, 5));
        assert_eq!(differs(HashPolicy::Layer2), [true, false, false]);
        assert_eq!(differs(HashPolicy::Layer2And3), [true, true, false]);
        assert_eq!(differs(HashPolicy::Layer3And4), [false, true, true]);
    }

    #[test]
    fn stations_and_addresses_together_spread_as_evenly_as_either() {
        let hash = |host| HashPolicy::Layer2And3.hash(&datagram([1, host], [1, host], [1, 2], &[]), 5);
        let in_first_quarter = (0..=255).filter(|host| hash(*host) >> 30 == 0).count();
        assert!((32..=96).contains(&in_first_quarter), "{in_first_quarter} of 256");
    }

    #[test]
    fn tags_hide_nothing_and_both_directions_go_alike() {
        let base = datagram([1, 2], [3, 4], [5, 6], &[]);
        for policy in [HashPolicy::Layer2, HashPolicy::Layer2And3, HashPolicy::Layer3And4] {
            let expected = policy.hash(&base, 5);
            assert_eq!(policy.hash(&datagram([2, 1], [4, 3], [6, 5], &[]), 5), expected);
            for tags in [&[[0x81, 0]][..], &[[0x88, 0xa8], [0x81, 0]]] {
                assert_eq!(policy.hash(&datagram([1, 2], [3, 4], [5, 6], tags), 5), expected);
            }
            assert_ne!(policy.hash(&base, 6), expected, "another seed");
        }
    }

    #[test]
    fn fragments_go_by_their_addresses_and_others_by_their_stations() {
        let mut fragments = [[1, 2], [9, 9]].map(|ports| datagram([1, 2], [3, 4], ports, &[]));
        fragments[0][20] = 0x20;
        fragments[1][21] = 0xb9;
        let [first, last] = fragments.each_ref().map(|frame| HashPolicy::Layer3And4.hash(frame, 5));
        assert_eq!(first, last);
        let arp = |station| [vec![0xff; 6], vec![2, 0, 0, 0, 0, station], vec![8, 6], vec![0; 46]].concat();
        for policy in [HashPolicy::Layer2, HashPolicy::Layer2And3, HashPolicy::Layer3And4] {
            assert_eq!(policy.hash(&arp(1), 5), policy.hash(&arp(1), 5));
            assert_ne!(policy.hash(&arp(1), 5), policy.hash(&arp(2), 5));
            let _ = policy.hash(&[], 5);
        }
    }
}
