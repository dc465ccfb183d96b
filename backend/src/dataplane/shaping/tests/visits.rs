//! What leaves when: in turns that are bounded, by any kind of way out, and as whoever comes back or goes wants it.

use viaduct_switch::bond::{HashPolicy, LinkSet};
use viaduct_switch::qos::FqCodelPlan;
use viaduct_switch::{Priority, TakenTag, Trunk, VlanId};

use super::*;

/// Bytes of a frame of these tests.
const FRAME: usize = 1054;

fn packet(number: u32) -> Vec<u8> {
    tcp(FRAME - 54, 0, number)
}

fn numbers(got: &[Got]) -> Vec<u32> {
    got.iter().map(number).collect()
}

/// A lab with so many trees before a port each, in each of which so many frames are overdue; their numbers begin at 1.
fn overdue(trees: usize, frames: u32) -> Lab {
    let mut lab = Lab::new(trees + 1);
    let plan = bucket(8_000, 1600, 10_000);
    lab.shape_all(&(1..=trees).map(|index| (plan.clone(), vec![index])).collect::<Vec<_>>());
    for index in 1..=trees {
        (0..=frames).for_each(|frame| lab.send(index, &packet(frame), Claims::default()));
    }
    assert_eq!(lab.take().len(), trees, "the first one of each had tokens");
    let free = of_queue(QueuePlan::Fifo(FifoPlan { frames: 10_000, ..FifoPlan::default() }));
    lab.trees.iter().for_each(|(tree, _)| tree.reconfigure(&free, lab.now, &lab.switch).unwrap());
    lab.read_messages();
    lab
}

#[test]
fn a_round_lets_no_more_depart_than_its_budget_and_all_trees_have_their_turns() {
    const TREES: usize = 64;
    let mut lab = overdue(TREES, 200);
    let (mut departed, mut all, mut may) = ([0_u32; TREES + 1], 0, 0);
    for round in 0_u64.. {
        lab.round();
        let got = lab.take();
        let bytes: usize = got.iter().map(|got| got.bytes.len()).sum();
        all += bytes;
        // The last turn is a whole one, at the expense of the next round.
        assert!(bytes <= (320 << 10) + FRAME, "{bytes} bytes in round {round}");
        may += 256 << 10;
        assert!(all <= may + (64 << 10) + FRAME, "{all} bytes until round {round}");
        for got in &got {
            departed[got.port] += 1;
            assert_eq!(number(got), departed[got.port]);
        }
        // Nobody has a second turn before all others had one: one has 64 KiB.
        let (least, most) = (departed[1..].iter().min().unwrap(), departed[1..].iter().max().unwrap());
        assert!(most - least <= 65, "{departed:?}");
        if *least == 200 {
            break;
        }
        assert!(round < 200, "{departed:?}");
        lab.set_now(lab.now + Nanos(1000));
    }
    assert_eq!(lab.drops(1, DropReason::QueueFull), 0);
}

#[test]
fn what_is_brought_to_many_trees_lets_no_more_of_the_others_depart_than_a_round_may() {
    let mut lab = overdue(64, 200);
    for index in 1..=64 {
        lab.send(index, &packet(201), Claims::default());
    }
    let bytes: usize = lab.take().iter().map(|got| got.bytes.len()).sum();
    assert!(bytes <= (256 << 10) + FRAME, "{bytes}");
}

#[test]
fn a_port_that_comes_back_gets_what_was_set_aside_bit_by_bit_and_in_order() {
    let mut lab = Lab::new(3);
    let tree = lab.shape(&bucket(8_000_000, 1600, 10_000), &[1, 2]);
    (0..500).for_each(|frame| lab.send(1, &packet(frame), Claims::default()));
    lab.outlets[1] = None;
    lab.take();
    lab.send(2, &packet(0), Claims::default());
    lab.run(Nanos::from_seconds(1));
    assert_eq!(numbers(&lab.take()), [0], "another port's frames go on");
    lab.plug(1, 1, None);
    lab.send(1, &packet(500), Claims::default());
    let mut first = lab.take();
    let bytes: usize = first.iter().map(|got| got.bytes.len()).sum();
    assert!(bytes <= (256 << 10) + FRAME, "{bytes} bytes at once");
    lab.run(Nanos::from_seconds(2));
    first.extend(lab.take());
    // One had passed before.
    assert_eq!(numbers(&first), (1..=500).collect::<Vec<_>>());
    assert!(tree.is_empty());
}

#[test]
fn what_is_given_up_takes_nothing_from_those_who_share_its_tree() {
    let mut lab = Lab::new(3);
    let tree = lab.shape(&bucket(8_000_000, 1600, 1000), &[1, 2]);
    (0..500).for_each(|frame| lab.send(1, &packet(frame), Claims::default()));
    lab.send(2, &packet(0), Claims::default());
    lab.take();
    let mut lost = 0;
    tree.purge(|of, _| of == port(1), |_| lost += 1);
    lab.read_messages();
    assert_eq!((lost, tree.report(lab.now).root.backlog.frames), (499, 1));
    lab.run(Nanos::from_millis(2));
    let got = lab.take();
    assert_eq!(got.iter().map(|got| got.port).collect::<Vec<_>>(), [2], "after the time of one frame");
    assert!(tree.is_empty());
}

#[test]
fn a_tree_that_should_be_gone_lets_more_go_than_comes() {
    let mut lab = Lab::new(2);
    let tree = lab.shape(&bucket(1_000_000, 70_000, 10_000), &[1]);
    for frame in 0..5000 {
        lab.send(1, &packet(frame), Claims::default());
    }
    let passing = of_queue(QueuePlan::Fifo(FifoPlan { frames: 16_384, bytes: u64::MAX }));
    tree.set_ending(Ending::AtOnce, None);
    tree.reconfigure(&passing, lab.now, &lab.switch).unwrap();
    // Without a round of the owner: the most that a burst brings, again and again.
    let mut sent = 5000;
    while !tree.is_empty() {
        for _ in 0..124 {
            lab.send(1, &packet(sent), Claims::default());
            sent += 1;
        }
        assert!(sent < 20_000, "{:?}", tree.report(lab.now).root.backlog);
    }
    assert_eq!(numbers(&lab.take()), (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_mark_in_place_of_a_drop_is_in_the_packet_that_leaves_and_its_checksum_is_right() {
    let mut lab = Lab::new(2);
    let queue = FqCodelPlan { ce_threshold: Some(Nanos::from_millis(2)), ..FqCodelPlan::default() };
    let plan =
        TbfPlan { rate: bits(8_000_000), burst: bytes(1600), peak: None, queue: QueuePlan::FqCodel(queue) };
    let tree = lab.shape(&of_queue(QueuePlan::Tbf(Box::new(plan))), &[1]);
    // ECT(0): a transport that knows of marks (RFC 3168, 5).
    for frame in 0..10 {
        lab.send(1, &with_header_sum(tcp(1000, 2, frame)), Claims::default());
    }
    lab.run(Nanos::from_seconds(1));
    let got = lab.take();
    assert_eq!(got.len(), 10);
    let marked: Vec<bool> = got.iter().map(|got| got.bytes[15] & 3 == 3).collect();
    assert_eq!(marked.iter().filter(|marked| **marked).count() as u64, tree.report(lab.now).root.marked);
    assert!(!marked[0] && marked[9], "{marked:?}");
    assert!(got.iter().all(|got| header_sum(&got.bytes) == 0xffff), "a header's checksum is wrong");
    // What may not be marked is not.
    lab.send(1, &with_header_sum(tcp(1000, 0, 0)), Claims::default());
    (0..10).for_each(|frame| lab.send(1, &with_header_sum(tcp(1000, 0, frame)), Claims::default()));
    lab.run(Nanos::from_seconds(2));
    assert!(lab.take().iter().all(|got| got.bytes[15] & 3 == 0));
}

/// The one's complement sum of a packet's IPv4 header.
fn header_sum(frame: &[u8]) -> u16 {
    let words = frame[14..34].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
    u16::try_from(fold(fold(words.sum::<u32>()))).unwrap()
}

fn with_header_sum(mut frame: Vec<u8>) -> Vec<u8> {
    let sum = !header_sum(&frame);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame
}

#[test]
fn frames_leave_by_a_trunk_with_their_networks_tags_which_count() {
    let mut lab = Lab::new(2);
    let trunk = Trunk { networks: vec![network(0), network(1)], ..Trunk::default() };
    let settings = |vlan| NetworkSettings { vlan: VlanId::new(vlan), ..NetworkSettings::default() };
    let ports = [(port(0), PortPolicy::new(network(0), 1500)), (port(1), PortPolicy::trunk(trunk, 1500))];
    let networks = [(network(0), settings(5)), (network(1), settings(6))];
    lab.policy = Policy::compile(ports, networks).unwrap();
    let tree = lab.shape(&bucket(8_000_000, 1600, 1000), &[1]);
    for frame in 0..6 {
        let tag = TakenTag { network: network(frame as usize % 2), priority: Some(Priority::default()) };
        lab.send_as(1, &packet(frame), Claims::default(), Some(tag));
    }
    lab.run(Nanos::from_seconds(1));
    let got = lab.take();
    for (frame, got) in (0..).zip(&got) {
        assert_eq!(got.bytes.len(), FRAME + 4);
        assert_eq!(got.bytes[12..16], [0x81, 0, 0, 5 + frame % 2]);
        assert_eq!(got.bytes[16..18], [8, 0]);
    }
    assert_eq!(got.len(), 6);
    assert_eq!(tree.report(lab.now).root.sent.bytes, 6 * (FRAME as u64 + 4));
}

/// Sends frames of some flows by a tree to port 1, whose queues are these many; gives the queues of each flow.
fn queues_of_flows(lab: &mut Lab) -> Vec<Vec<usize>> {
    lab.shape(&bucket(8_000_000, 1600, 1000), &[1]);
    for frame in 0..200 {
        let mut bytes = packet(frame / 20);
        bytes[34..36].copy_from_slice(&(u16::try_from(frame % 20).unwrap() * 97).to_be_bytes());
        lab.send(1, &bytes, Claims::default());
    }
    lab.run(Nanos::from_seconds(1));
    let got = lab.take();
    assert_eq!(got.len(), 200);
    let mut queues = vec![Vec::new(); 20];
    for got in got {
        let flow = usize::from(u16::from_be_bytes([got.bytes[34], got.bytes[35]]) / 97);
        assert_eq!(number(&got) as usize, queues[flow].len(), "flow {flow}");
        queues[flow].push(got.queue);
    }
    queues
}

#[test]
fn each_flow_leaves_in_order_by_one_queue_of_several_and_all_are_used() {
    let mut lab = Lab::new(2);
    lab.plug(1, 4, None);
    let queues = queues_of_flows(&mut lab);
    assert!(queues.iter().all(|queues| queues.iter().all(|queue| *queue == queues[0])), "{queues:?}");
    let used: std::collections::HashSet<usize> = queues.iter().map(|queues| queues[0]).collect();
    assert!(used.len() >= 3, "{used:?}");
}

#[test]
fn each_flow_leaves_in_order_by_one_link_of_a_bond_and_by_none_that_does_not_send() {
    let mut lab = Lab::new(2);
    let bond = BondLinks::new(HashPolicy::Layer3And4, 1);
    bond.set(LinkSet(0b101), LinkSet(0b101));
    lab.plug(1, 3, Some(bond));
    let queues = queues_of_flows(&mut lab);
    assert!(queues.iter().all(|queues| queues.iter().all(|queue| *queue == queues[0])), "{queues:?}");
    let used: std::collections::BTreeSet<usize> = queues.iter().map(|queues| queues[0]).collect();
    assert_eq!(used.into_iter().collect::<Vec<_>>(), [0, 2]);
}
