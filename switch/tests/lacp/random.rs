//! Cables that are pulled, plugged and silent at random, and random bytes.

use proptest::prelude::*;

use super::*;

/// Something that happens to a network.
#[derive(Clone, Debug)]
enum Event {
    Pull(usize),
    Plug(usize),
    Silence(usize),
    Pass(u64),
    Lie(usize, usize, [u8; 110]),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..3usize).prop_map(Event::Pull),
        (0..3usize).prop_map(Event::Plug),
        (0..3usize).prop_map(Event::Silence),
        (0..8000u64).prop_map(Event::Pass),
        (0..2usize, 0..3usize, any::<[u8; 32]>()).prop_map(|(system, link, bytes)| {
            let mut body = [0; 110];
            body[..32].copy_from_slice(&bytes);
            Event::Lie(system, link, body)
        }),
    ]
}

impl Net {
    fn happen(&mut self, event: &Event) {
        match event {
            Event::Pull(cable) => self.plug(*cable, None),
            Event::Plug(cable) => self.plug(*cable, Some(GIGABIT)),
            Event::Silence(cable) => self.silent.push(*cable),
            Event::Pass(ms) => self.pass(ms * MS),
            Event::Lie(system, link, body) => {
                let mut frame = [0; 124];
                frame[..6].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 2]);
                frame[6..12].copy_from_slice(&[2, 0, 0, 0, 9, 9]);
                frame[12..14].copy_from_slice(&[0x88, 0x09]);
                frame[14..].copy_from_slice(body);
                frame[14..18].copy_from_slice(&[1, 1, 1, 20]);
                frame[36..38].copy_from_slice(&[2, 20]);
                frame[56..58].copy_from_slice(&[3, 16]);
                self.systems[*system].receive(*link, &frame, Nanos(self.now));
                self.collect();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn whatever_happened_all_links_are_back_when_the_network_is_well(
        events in prop::collection::vec(event(), 0..30), loss_percent in 0..40u64, seed: u64,
    ) {
        let mut net = Net::pair(settings(1), settings(2), 3);
        net.chance = Chance(seed);
        net.loss_percent = loss_percent;
        for event in &events {
            net.happen(event);
            for system in 0..2 {
                for link in 0..3 {
                    let status = net.status(system, link);
                    let collects = net.systems[system].collects(link);
                    prop_assert!(collects || !net.systems[system].distributes(link));
                    prop_assert!(status.enabled || !collects, "no carrier, but it collects");
                    prop_assert!(status.selected || !collects, "not in the group, but it collects");
                }
            }
        }
        for end in [0, 1].into_iter().flat_map(|system| (0..3).map(move |link| (system, link))) {
            prop_assert!(busiest_second(&net.sent_by(end)) <= 3, "more than three in a second");
        }
        net.loss_percent = 0;
        net.silent.clear();
        (0..3).for_each(|cable| net.plug(cable, Some(GIGABIT)));
        net.pass(20 * SECOND);
        prop_assert_eq!(net.distributing(0), [0, 1, 2]);
        prop_assert_eq!(net.distributing(1), [0, 1, 2]);
    }
}
