//! Hints change no verdict, whatever happened since they were taken.

use super::*;

/// Both directions of flows, looked up with hints that were taken now.
fn hints(table: &Conntrack, packets: &[Packet]) -> Vec<Hint> {
    let mut hints: Vec<_> = packets.iter().map(|packet| table.hint(zone(1), packet)).collect();
    table.look_ahead(&mut hints);
    hints
}

fn assert_alike(table: &Conntrack, packets: &[Packet], hints: &[Hint], seconds: u32) {
    for (packet, hint) in packets.iter().zip(hints) {
        let plain = table.look_up(zone(1), packet, at(seconds));
        assert_eq!(table.look_up_hinted(zone(1), packet, *hint, at(seconds)), plain, "{packet:?}");
    }
}

#[test]
fn a_hint_names_the_entry_of_nearly_every_connection() {
    let table = table();
    let packets: Vec<_> = (0..200).flat_map(|flow| [udp(flow, false), udp(flow, true)]).collect();
    packets.iter().step_by(2).for_each(|packet| {
        table.open(zone(1), packet, port(1), 1, at(0)).unwrap();
    });
    let hints = hints(&table, &packets);
    let right = packets.iter().zip(&hints).filter(|(packet, hint)| {
        let Verdict::Established(found) = table.look_up(zone(1), packet, at(0)) else { return false };
        hint.candidate == Some((found.id.entry, found.direction))
    });
    // A slot of another tuple has the same tag once in 256.
    let right = right.count();
    assert!(right > 350, "{right} of 400");
    assert_alike(&table, &packets, &hints, 0);
}

#[test]
fn a_hint_that_is_out_of_date_does_not_matter() {
    let table = table();
    let packets: Vec<_> = (0..300).map(|flow| udp(flow, flow % 3 == 0)).collect();
    let before = hints(&table, &packets);
    for flow in 0..200 {
        table.open(zone(1), &udp(flow, false), port(1), 1, at(0)).unwrap();
    }
    assert_alike(&table, &packets, &before, 0);
    let opened = hints(&table, &packets);
    assert_alike(&table, &packets, &opened, timeouts::DATAGRAM_UNREPLIED_S + 1);
    assert_eq!(table.clear(&Filter::default(), at(0)), 200);
    assert_alike(&table, &packets, &opened, 0);
    // The entries have other connections now.
    for flow in 100..300 {
        table.open(zone(1), &udp(flow, true), port(1), 1, at(0)).unwrap();
    }
    assert_alike(&table, &packets, &opened, 0);
}

#[test]
fn errors_and_packets_without_connections_have_hints_too() {
    let table = table();
    let request = icmp(false, 8, IcmpMessage::Request(7));
    table.pass(&request, 0);
    let packets = [
        icmp(true, 0, IcmpMessage::Reply(7)),
        icmp(true, 0, IcmpMessage::Reply(8)),
        icmp(true, 5, IcmpMessage::Other),
        between(address("10.0.0.1"), address("10.0.0.2"), 17, Transport::Fragment),
    ];
    let hints = hints(&table, &packets);
    assert!(hints[0].candidate.is_some() && hints[2].candidate.is_none() && hints[3].candidate.is_none());
    assert_alike(&table, &packets, &hints, 0);
}
