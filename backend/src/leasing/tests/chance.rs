//! Whatever happens, what is lent stands in the file.

use proptest::prelude::*;

use super::*;
use crate::leases::LeaseFile;

#[derive(Clone, Debug)]
enum Act {
    Lend { number: usize },
    Renew { number: usize, last: u8 },
    Release { number: usize, last: u8 },
    Disk { is_full: bool },
    Restart,
    Renumber { shift: usize },
    Garbage { number: usize, bytes: Vec<u8> },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        5 => (1..10_usize).prop_map(|number| Act::Lend { number }),
        3 => (1..10_usize, 98..122_u8).prop_map(|(number, last)| Act::Renew { number, last }),
        2 => (1..10_usize, 98..122_u8).prop_map(|(number, last)| Act::Release { number, last }),
        2 => any::<bool>().prop_map(|is_full| Act::Disk { is_full }),
        1 => Just(Act::Restart),
        1 => (0..9_usize).prop_map(|shift| Act::Renumber { shift }),
        1 => (1..10_usize, proptest::collection::vec(any::<u8>(), 0..400))
            .prop_map(|(number, bytes)| Act::Garbage { number, bytes }),
    ]
}

/// The same ports with other numbers.
fn renumbered(shift: usize) -> Plan {
    let mut plan = plan();
    let names: Vec<String> = plan.ports.values().cloned().collect();
    plan.ports = names.into_iter().enumerate().map(|(at, name)| (port((at + shift) % 9 + 1), name)).collect();
    plan.networks.iter_mut().for_each(|network| network.v4.as_mut().unwrap().wide_ports.clear());
    plan
}

/// Does it, and says what was promised.
fn play(lab: &mut Lab, now: u32, act: &Act) -> Option<(Ipv4Addr, u32)> {
    let promise = |answer: Message| {
        let is_lent = answer.kind() == Ok(MessageType::Ack) && !answer.yiaddr.is_unspecified();
        let lease_s = answer.options.u32(code::LEASE_TIME).unwrap();
        is_lent.then(|| (answer.yiaddr, now + lease_s.unwrap()))
    };
    let from = |number, kind, last| Message { ciaddr: [10, 0, 0, last].into(), ..message(number, kind) };
    match act {
        Act::Lend { number } => {
            let address = lab.lent(now, *number)?;
            Some((address, now + 3600))
        }
        Act::Renew { number, last } => {
            lab.ask(now, *number, &from(*number, MessageType::Request, *last)).and_then(promise)
        }
        Act::Release { number, last } => {
            assert_eq!(lab.ask(now, *number, &from(*number, MessageType::Release, *last)), None);
            None
        }
        Act::Disk { is_full } => {
            lab.leasing.journal.set_full(*is_full);
            None
        }
        Act::Restart => {
            let mut leasing = Leasing::open(&lab.path(), at(now), UNIX_S + u64::from(now));
            leasing.configure(renumbered(0), at(now)).unwrap();
            lab.leasing = leasing;
            None
        }
        Act::Renumber { shift } => {
            lab.leasing.configure(renumbered(*shift), at(now)).unwrap();
            None
        }
        Act::Garbage { number, bytes } => {
            let mut frame = broadcast(&message(*number, MessageType::Discover));
            frame.truncate(42);
            frame.extend(bytes);
            assert_eq!(lab.leasing.receive(network(0), port(*number), &frame, at(now), &mut |_| false), None);
            None
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn every_promise_stands_in_the_file_and_nobody_has_two(acts in proptest::collection::vec((act(), 0..200_u32), 1..40)) {
        let mut lab = Lab::new();
        lab.leasing.configure(renumbered(0), at(0)).unwrap();
        let mut now = 0;
        for (act, passes_s) in acts {
            now += passes_s;
            lab.leasing.advance(at(now));
            let promise = play(&mut lab, now, &act);
            let unix_s = UNIX_S + u64::from(now);
            let copy = lab.folder.path().join("copy");
            std::fs::copy(lab.path(), &copy).unwrap();
            let (file, _) = LeaseFile::open(&copy, unix_s).unwrap();
            if let Some((address, until)) = promise {
                let record = file.record("home", address.into()).unwrap();
                prop_assert!(record.until_s >= UNIX_S + u64::from(until));
            }
            for lease in lab.leasing.leases().iter().filter(|lease| lease.state == LeaseState::Bound) {
                let record = file.record("home", lease.address).unwrap();
                prop_assert_eq!((&record.port, record.until_s), (lease.port.as_ref().unwrap(), lease.until_s));
            }
        }
    }
}
