//! Random events beside a plain model, and random bytes.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Event {
    Join { port: usize, group: u8 },
    Leave { port: usize, group: u8 },
    Query,
    Wait(u32),
    Data { from: usize, group: u8 },
}

fn event() -> impl Strategy<Value = Event> {
    let (port, group) = (1..8_usize, 0..6_u8);
    prop_oneof![
        4 => (port.clone(), group.clone()).prop_map(|(port, group)| Event::Join { port, group }),
        1 => (port.clone(), group.clone()).prop_map(|(port, group)| Event::Leave { port, group }),
        2 => Just(Event::Query),
        2 => (1..130_u32).prop_map(Event::Wait),
        4 => (0..8_usize, group).prop_map(|(from, group)| Event::Data { from, group }),
    ]
}

proptest! {
    /// Beside a plain model: who wants a group and said so in time gets its frames, always; and where the
    /// switch does not flood, nobody gets them who neither wants them nor wanted them a moment ago.
    #[test]
    fn nobody_who_said_so_goes_without_and_nobody_else_is_bothered(
        events in prop::collection::vec(event(), 1..120),
        tight: bool,
    ) {
        let limits = GroupLimits { groups: 8, memberships: 16, memberships_per_port_max: 1000 };
        let limits = if tight { limits } else { GroupLimits::default() };
        let mut bench = Bench::with(limits, Some(MulticastSettings::default()));
        bench.now_s = 10;
        // By port and group, the second until which the membership holds.
        let mut wanted: BTreeMap<(usize, u8), u32> = BTreeMap::new();
        for event in events {
            bench.expire();
            let now_s = bench.now_s;
            wanted.retain(|_, &mut until_s| until_s > now_s);
            match event {
                Event::Join { port, group } => {
                    bench.try_send(port, &igmp_2(0x16, [239, 0, 0, group]));
                    wanted.insert((port, group), now_s + 260);
                }
                Event::Leave { port, group } => {
                    bench.try_send(port, &igmp_2(0x17, [239, 0, 0, group]));
                    if let Some(until_s) = wanted.get_mut(&(port, group)) {
                        *until_s = (*until_s).min(now_s + 3);
                    }
                }
                Event::Query => {
                    bench.send(ROUTER, &igmp_query([10, 0, 0, 1], 10, 2));
                    // Hosts answer.
                    for (&(port, group), until_s) in &mut wanted {
                        if *until_s > now_s + 3 {
                            bench.try_send(port, &igmp_2(0x16, [239, 0, 0, group]));
                            *until_s = now_s + 260;
                        }
                    }
                }
                Event::Wait(seconds) => bench.now_s += seconds,
                Event::Data { from, group } => {
                    let (sent, _) = bench.try_send(from, &data([239, 0, 0, group]));
                    let members = (1..8).filter(|&port| port != from && wanted.contains_key(&(port, group)));
                    let members: Vec<_> = members.collect();
                    let evicted = bench.counted().evicted > 0;
                    prop_assert!(evicted || members.iter().all(|port| sent.contains(port)), "{sent:?} {members:?}");
                    let all = 8 - 1;
                    let only = |port: &usize| *port == ROUTER || members.contains(port);
                    prop_assert!(sent.len() == all || sent.iter().all(only), "{sent:?} {members:?}");
                    prop_assert!(sent.iter().all(|&port| port < 8 && port != from));
                }
            }
            let counted = bench.counted();
            let ended = counted.expired + counted.evicted + counted.forgotten;
            let groups = bench.switch.groups(Nanos::from_seconds(bench.now_s));
            let held: usize = groups.iter().map(|group| group.ports.len()).sum();
            prop_assert_eq!(counted.joined - ended, held as u64);
        }
    }

    /// Whatever hosts send where messages are read: no panic, and the switch goes on.
    #[test]
    fn any_bytes_behind_a_multicast_address_do_no_harm(
        frames in prop::collection::vec((1..8_usize, any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 1..40),
    ) {
        let mut bench = Bench::asked();
        for (from, is_4, bytes) in frames {
            let head: &[u8] = if is_4 {
                &[1, 0, 0x5e, 1, 2, 3, 2, 0, 0, 0, 0, 1, 8, 0, 0x46, 0]
            } else {
                &[0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 1, 0x86, 0xdd, 0x60]
            };
            bench.try_send(from, &[head, &bytes].concat());
        }
        bench.send(1, &igmp_2(0x16, GROUP));
        prop_assert_eq!(bench.send(5, &data(GROUP)), [0, 1]);
    }
}
