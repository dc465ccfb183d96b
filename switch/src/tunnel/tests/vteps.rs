//! Which VTEPs there are, and how long.

use super::*;

#[test]
fn vteps_that_nobody_named_are_taken_or_not_as_the_network_wants() {
    for takes_unknown in [true, false] {
        let kinds = Kinds { takes_unknown, ..PLAIN };
        let (stranger, mut host) = (Host::new(PLAIN, 3, 2), Host::new(kinds, 2, 1));
        let whole = stranger.wrap(stranger.peer, &inner(0x33, MacAddress::BROADCAST));
        let receivers = host.take(UPLINK, &whole).len();
        assert_eq!(
            (receivers, host.drops(UPLINK, DropReason::TunnelUnknownVtep)),
            match takes_unknown {
                true => (2, 0),
                false => (0, 1),
            }
        );
        let known: Vec<_> = host.switch.vteps().entries().iter().map(|entry| entry.address).collect();
        assert_eq!(known.contains(&stranger.local), takes_unknown);
    }
}

#[test]
fn a_vtep_that_is_silent_gives_its_place_back_and_a_configured_one_does_not() {
    let vteps = Vteps::default();
    let mut recent = RecentVteps::default();
    let key = |number: u8| (EndpointIndex(0), vtep_address(PLAIN, number));
    let configured = vteps.configure(key(1).0, key(1).1, |_| ()).unwrap();
    let heard = vteps.hear(&mut recent, key(2), 5).unwrap();
    vteps.expire(605, |_| panic!("too early"));
    let mut gone = Vec::new();
    vteps.expire(606, |port| gone.push(port));
    assert_eq!((gone, vteps.get(heard), vteps.get(configured)), (vec![heard], None, Some(key(1))));
    // It is heard again, and nothing of before is believed.
    assert!(vteps.hear(&mut recent, key(2), 700).is_ok());
    assert_eq!(vteps.entries().len(), 2);
}

#[test]
fn the_table_of_vteps_is_bounded() {
    let (vteps, mut recent) = (Vteps::default(), RecentVteps::default());
    let key = |number: u32| (EndpointIndex(0), Address::from(IpAddr::from(number.to_be_bytes())));
    let taken = (0..5000).filter(|number| vteps.hear(&mut recent, key(*number), 1).is_ok()).count();
    assert_eq!((taken, vteps.entries().len()), (VTEPS_MAX, VTEPS_MAX));
    assert_eq!(vteps.hear(&mut recent, key(9999), 1), Err(DropReason::TunnelTableFull));
    // One that is written down has the place of one that was heard.
    let mut gone = Vec::new();
    let port = vteps.configure(EndpointIndex(1), key(0).1, |port| gone.push(port));
    assert!(port.is_some() && gone == [port.unwrap()] && vteps.entries().len() == VTEPS_MAX);
}

#[test]
fn a_place_that_was_given_back_is_nobodys_for_a_while() {
    let (vteps, mut recent) = (Vteps::default(), RecentVteps::default());
    let key = |number: u32| (EndpointIndex(0), Address::from(IpAddr::from(number.to_be_bytes())));
    (0..1024).for_each(|number| assert!(vteps.hear(&mut recent, key(number), 1).is_ok()));
    let mut gone = Vec::new();
    vteps.expire(700, |port| gone.push(port));
    assert!(!gone.is_empty());
    assert_eq!(vteps.hear(&mut recent, key(5000), 709), Err(DropReason::TunnelTableFull));
    assert_eq!(vteps.hear(&mut recent, key(5000), 710), Ok(gone[0]));
    // Who is written down waits for none.
    vteps.expire(800, |port| gone.push(port));
    assert!(vteps.configure(key(5001).0, key(5001).1, |_| ()).is_some());
}
