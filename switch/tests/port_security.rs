//! Port security in the data path: what is refused is neither delivered, learned nor replayed, in any order and with the
//! flow cache as without it.
#![expect(clippy::unwrap_used, reason = "a test may stop at its own mistakes")]

use std::sync::Arc;

use proptest::prelude::*;
use viaduct_switch::security::{AddressPair, PortSecurity, SourceGuard, Zone};
use viaduct_switch::{
    Claims, DropReason, Egress, Frame, Head, Limits, MacAddress, Metadata, Nanos, NetworkIndex,
    NetworkSettings, Policy, PortIndex, PortPolicy, StormLimits, Switch, WorkerState,
};

fn port(index: usize) -> PortIndex {
    PortIndex::new(index).unwrap()
}

fn mac(last: u8) -> MacAddress {
    MacAddress([2, 0, 0, 0, 0, last])
}

/// Notes the positions of the frames that leave.
#[derive(Default)]
struct Sent(Vec<usize>);

impl Egress<()> for Sent {
    fn send(&mut self, _: PortIndex, slot: usize, _: &Frame<()>) {
        self.0.push(slot);
    }

    fn flood(&mut self, _: NetworkIndex, _: &[PortIndex], slot: usize, _: &Frame<()>) {
        self.0.push(slot);
    }
}

struct Bench {
    switch: Switch,
    worker: WorkerState,
    policy: Arc<Policy>,
}

impl Bench {
    /// Port 0 is guarded: station 1 with 10.0.0.1, and 10.0.0.3 as station 3. Station 2 is at port 1.
    fn new(flow_entries: usize) -> Self {
        let network = NetworkIndex::new(0).unwrap();
        let pair = AddressPair { prefix: "10.0.0.3".parse().unwrap(), mac: Some(mac(3)) };
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        let station = PortSecurity { addresses, pairs: vec![pair], ..PortSecurity::new(Zone(0), mac(1)) };
        let guards = [Some(Arc::new(SourceGuard::new(&station))), None];
        let ports = guards.into_iter().enumerate().map(|(index, guard)| {
            (
                port(index),
                PortPolicy { guard, storm: StormLimits::UNLIMITED, ..PortPolicy::new(network, 1500) },
            )
        });
        let policy = Arc::new(Policy::compile(ports, [(network, NetworkSettings::default())]).unwrap());
        let switch = Switch::new(7, Limits::default());
        switch.set_verification(true);
        let worker = WorkerState::with_flow_entries(Arc::clone(&policy), flow_entries);
        Self { switch, worker, policy }
    }

    /// Which frames of a burst leave.
    fn burst(&mut self, from: usize, frames: &[Vec<u8>]) -> Vec<usize> {
        let make = |bytes: &Vec<u8>| {
            let meta = Metadata::new(port(from), u32::try_from(bytes.len()).unwrap(), Claims::default());
            Frame { head: Head::from_bytes(bytes), meta, payload: () }
        };
        let (mut frames, mut sent): (Vec<_>, _) = (frames.iter().map(make).collect(), Sent::default());
        self.switch.process(&mut self.worker, Nanos(1_000_000_000), &mut frames, &mut sent);
        assert!(self.switch.flow_mismatch().is_none(), "{:?}", self.switch.flow_mismatch());
        sent.0
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.switch.counters().port(port(0)).drops(reason)
    }

    /// The stations that are known at port 0.
    fn learned(&self) -> Vec<MacAddress> {
        let known = self.switch.fdb(Nanos(1_000_000_000), &self.policy);
        let mut own: Vec<_> =
            known.iter().filter(|entry| entry.port == port(0)).map(|entry| entry.mac).collect();
        own.sort();
        own
    }
}

/// A datagram from one station and address to station 2, with a priority tag or without.
fn datagram(from: u8, address: u8, is_tagged: bool) -> Vec<u8> {
    let tag: &[u8] = if is_tagged { &[0x81, 0, 0x60, 0] } else { &[] };
    let header = [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, address, 10, 0, 0, 2];
    let udp = [0, 9, 0, 9, 0, 8, 0, 0];
    [&mac(2).0[..], &mac(from).0, tag, &[8, 0], &header, &udp, &[0; 18]].concat()
}

#[test]
fn what_is_refused_stands_between_frames_that_are_replayed() {
    let mut bench = Bench::new(64);
    assert_eq!(bench.burst(1, &[[&mac(1).0[..], &mac(2).0, &[0x88, 0xb5], &[0; 46]].concat()]), [0]);
    let frames = [(1, 1), (1, 1), (1, 2), (1, 1), (3, 3), (1, 3), (3, 3), (3, 1), (2, 2), (1, 1)];
    let frames = frames.map(|(station, address)| datagram(station, address, false));
    for _ in 0..3 {
        assert_eq!(bench.burst(0, &frames), [0, 1, 3, 4, 6, 9]);
    }
    assert_eq!((bench.drops(DropReason::SpoofIpv4), bench.drops(DropReason::SpoofMac)), (9, 3));
    assert_eq!(bench.learned(), [mac(1), mac(3)], "station 2 is not learned at port 0");
    let tagged = [datagram(1, 1, true), datagram(1, 2, true), datagram(1, 1, false)];
    assert_eq!(bench.burst(0, &tagged), [0, 2]);
    assert_eq!(bench.burst(1, &[datagram(9, 9, false)]), [0; 0], "its own address is behind it");
    assert_eq!(bench.burst(1, &[[&mac(1).0[..], &datagram(9, 9, false)[6..]].concat()]), [0], "not guarded");
}

#[test]
fn what_cannot_be_read_is_refused_by_name() {
    let mut bench = Bench::new(64);
    let mut short = datagram(1, 1, false);
    short[14] = 0x4f;
    let mut length = datagram(1, 1, false);
    length[12..14].copy_from_slice(&[0, 46]);
    let runt = vec![2; 13];
    let stub = [&mac(2).0[..], &mac(1).0, &[8, 0]].concat();
    assert_eq!(bench.burst(0, &[short, length, runt, stub]), [0; 0]);
    let reasons = [DropReason::Unreadable, DropReason::SpoofHidden, DropReason::Runt];
    assert_eq!(reasons.map(|reason| bench.drops(reason)), [2, 1, 1]);
}

proptest! {
    #[test]
    fn the_flow_cache_changes_nothing(
        frames in prop::collection::vec((1..5_u8, 1..5_u8, any::<bool>()), 1..120),
    ) {
        let (mut cached, mut uncached) = (Bench::new(64), Bench::new(0));
        let own = |station, address| matches!((station, address), (1, 1) | (3, 3));
        for frames in frames.chunks(20) {
            let expected: Vec<usize> =
                (0..frames.len()).filter(|slot| own(frames[*slot].0, frames[*slot].1)).collect();
            let bytes: Vec<_> =
                frames.iter().map(|(station, address, tag)| datagram(*station, *address, *tag)).collect();
            prop_assert_eq!(&cached.burst(0, &bytes), &expected);
            prop_assert_eq!(&uncached.burst(0, &bytes), &expected);
        }
        prop_assert!(cached.learned().iter().all(|mac| [1, 3].contains(&mac.0[5])));
    }
}
