//! What leaves, and how it is counted (the port transmit machine; IEEE 802.1D-2004, 17.26).

use super::super::port::Port;
use super::*;

/// What a port sends that has something to say and was changed like this, and the port then.
fn sent_by(alter: impl FnOnce(&mut Port)) -> (Option<Bpdu>, Port) {
    let mut tree = bridge(1);
    let port = &mut tree.ports[0];
    (port.role, port.selected_role, port.selected, port.updt_info) =
        (PortRole::Designated, PortRole::Designated, true, false);
    (port.new_info, port.tx_count, port.timers.hello_when, port.timers.tc_while) = (true, 0, 1000, 0);
    (port.send_rstp, port.proposing, port.tc_ack, port.agree) = (true, false, false, false);
    port.counters = PortCounters::default();
    alter(port);
    tree.effects = Effects::default();
    tree.transmit(0);
    (sent(&tree.effects, 1).first().copied(), tree.ports[0].clone())
}

#[test]
fn a_port_speaks_its_neighbours_version_and_counts_what_it_says_by_kind() {
    let counted = |role, send_rstp| {
        let (message, port) = sent_by(|port| {
            (port.role, port.selected_role, port.send_rstp, port.tc_ack) = (role, role, send_rstp, true);
            let counters = &mut port.counters;
            (counters.rst_sent, counters.configuration_sent, counters.notification_sent) = (10, 20, 30);
        });
        let counters = port.counters;
        let counts = [counters.rst_sent, counters.configuration_sent, counters.notification_sent];
        let kind = message.map(|message| match message {
            Bpdu::Configuration(message) => message.rapid.is_some(),
            Bpdu::Notification => false,
        });
        assert_eq!(port.tx_count, u8::from(kind.is_some()));
        (kind, counts, port.tc_ack)
    };
    for role in [PortRole::Root, PortRole::Designated, PortRole::Alternate, PortRole::Backup] {
        assert_eq!(counted(role, true), (Some(true), [11, 20, 30], false), "{role:?}");
    }
    assert_eq!(counted(PortRole::Designated, false), (Some(false), [10, 21, 30], false));
    assert_eq!(
        counted(PortRole::Root, false),
        (Some(false), [10, 20, 31], true),
        "TRANSMIT_TCN leaves tcAck"
    );
    assert_eq!(counted(PortRole::Alternate, false), (None, [10, 20, 30], true));
    assert_eq!(counted(PortRole::Disabled, true), (None, [10, 20, 30], true));
}

#[test]
fn a_notification_is_acknowledged_in_the_older_protocol_alone_and_once() {
    // txConfig() (17.21.19); an RST message has no such flag (9.3.3).
    for (send_rstp, tc_ack, expected) in [(false, true, true), (false, false, false), (true, true, false)] {
        let (message, port) = sent_by(|port| (port.send_rstp, port.tc_ack) = (send_rstp, tc_ack));
        let Some(Bpdu::Configuration(message)) = message else { panic!("{message:?}") };
        assert_eq!((message.acknowledged, port.tc_ack), (expected, false));
    }
}

#[test]
fn only_a_designated_port_proposes_and_only_while_it_does() {
    for (role, proposing, expected) in [
        (PortRole::Designated, true, true),
        (PortRole::Designated, false, false),
        (PortRole::Root, true, false),
        (PortRole::Alternate, true, false),
    ] {
        let (message, _) =
            sent_by(|port| (port.role, port.selected_role, port.proposing) = (role, role, proposing));
        let Some(Bpdu::Configuration(message)) = message else { panic!("{message:?}") };
        assert_eq!(message.rapid.unwrap().proposal, expected, "{role:?} {proposing}");
    }
}

#[test]
fn hellos_are_said_by_who_serves_a_link_and_changes_by_the_root_port_too() {
    // TRANSMIT_PERIODIC.
    for (role, tc_while, expected) in [
        (PortRole::Designated, 0, true),
        (PortRole::Root, 0, false),
        (PortRole::Root, 1, true),
        (PortRole::Alternate, 1, false),
        (PortRole::Backup, 0, false),
    ] {
        let (message, port) = sent_by(|port| {
            (port.role, port.selected_role, port.new_info) = (role, role, false);
            (port.timers.hello_when, port.timers.tc_while) = (0, tc_while);
        });
        assert_eq!((message, port.new_info), (None, expected), "{role:?} {tc_while}");
        assert_eq!(port.timers.hello_when, 2000);
    }
}

#[test]
fn flags_that_the_older_protocol_has_not_mean_nothing_in_its_messages() {
    // IEEE 802.1D-2004, 9.3.1: a configuration BPDU has two flags.
    let old = Configuration { rapid: None, ..from_root() };
    for flags in [0x00, 0x04, 0x08, 0x0c, 0x7e] {
        let mut bytes = frame(old);
        bytes[21] = flags;
        assert_eq!(Bpdu::parse(&bytes), Ok(Bpdu::Configuration(old)), "{flags:#x}");
    }
}

#[test]
fn a_bridge_that_changes_its_version_speaks_the_other_one_at_once() {
    let mut tree = bridge(1);
    let old = TreeSettings { version: Version::Stp, ..TreeSettings::default() };
    let effects = tree.configure(old, at(5000)).unwrap();
    assert_eq!(only(&effects, 1).rapid, None);
    let effects = tree.configure(TreeSettings::default(), at(10_000)).unwrap();
    assert!(only(&effects, 1).rapid.is_some());
}
