//! Where stations are: who moves, and who is written down.

use super::*;

#[test]
fn who_moves_is_found_at_his_first_frame_and_who_moves_all_the_time_is_told() {
    let mut host = Host::new(PLAIN, 2, 1);
    let (peer, stranger) = (Host::new(PLAIN, 1, 2), Host::new(PLAIN, 3, 2));
    let from_peer = peer.wrap(peer.peer, &inner(0x11, MacAddress::BROADCAST));
    let from_stranger = stranger.wrap(stranger.peer, &inner(0x11, MacAddress::BROADCAST));
    let asks = inner(0x22, mac(0x11));
    host.take(UPLINK, &from_peer);
    assert_eq!(host.take(GUEST, &asks)[0].0, host.peer);
    host.take(UPLINK, &from_stranger);
    let vteps = host.switch.vteps().entries();
    let elsewhere = vteps.iter().find(|entry| entry.address == stranger.local).unwrap().port;
    assert_eq!(host.take(GUEST, &asks)[0].0, elsewhere);
    // It comes here, and one that is heard here is behind no tunnel.
    host.take(OTHER, &inner(0x11, MacAddress::BROADCAST));
    assert_eq!(host.take(GUEST, &asks)[0].0, port(OTHER));
    let now = Nanos(0);
    assert_eq!(host.switch.duplicates(now), [], "two moves are mobility");
    for _ in 0..3 {
        let frame = inner(0x33, MacAddress::BROADCAST);
        host.take(UPLINK, &peer.wrap(peer.peer, &frame));
        assert_eq!(host.switch.duplicates(now), []);
        host.take(UPLINK, &stranger.wrap(stranger.peer, &frame));
    }
    let told = host.switch.take_new_duplicates(now, 9);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].mac, told[0].moves, told[0].ports), (mac(0x33), 5, [elsewhere, host.peer]));
    assert_eq!((host.switch.take_new_duplicates(now, 9), host.switch.duplicates(now)), (Vec::new(), told));
    assert_eq!(host.switch.fdb_counters().duplicates, 1);
}

#[test]
fn a_station_that_is_written_down_stays_where_it_is() {
    let mut host = Host::new(PLAIN, 2, 1);
    let stranger = Host::new(PLAIN, 3, 2);
    assert!(host.switch.set_station(network(TENANT), mac(0x11), host.peer));
    host.take(UPLINK, &stranger.wrap(stranger.peer, &inner(0x11, MacAddress::BROADCAST)));
    host.take(GUEST, &inner(0x11, MacAddress::BROADCAST));
    let asks = inner(0x22, mac(0x11));
    assert_eq!(host.take(OTHER, &asks), [(host.peer, asks.clone())]);
    host.switch.forget_station(network(TENANT), mac(0x11));
    assert_eq!(host.take(OTHER, &asks).len(), 2, "it is flooded again");
}
