//! Rules of security groups by every kind that there is: direction, version of IP, protocol and remote. For each, what it
//! names passes, and what differs in one thing does not. The frames go through real rings; who is in which group changes by
//! `viaduct port set` in between.

use std::fmt::Write as _;

use viaduct_tests::stations::{Body, Family, Stations};

/// What a rule can be about: its words in the file, and what it names. `None`: everything.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Any,
    Tcp,
    Udp,
    Sctp,
    Icmp,
    /// A protocol without ports: another one each time, since all that two stations say by one is one connection.
    Portless,
}

/// Whom a rule can be about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Remote {
    Any,
    Prefix,
    Group,
    AddressGroup,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    is_ingress: bool,
    family: Family,
    kind: Kind,
    remote: Remote,
    protocol: u8,
}

const KINDS: [Kind; 6] = [Kind::Any, Kind::Tcp, Kind::Udp, Kind::Sctp, Kind::Icmp, Kind::Portless];
const REMOTES: [Remote; 4] = [Remote::Any, Remote::Prefix, Remote::Group, Remote::AddressGroup];
const STATIONS: [(&str, u8); 3] = [("vm", 2), ("friend", 3), ("stranger", 4)];

impl Case {
    fn all() -> impl Iterator<Item = Self> {
        let ways = [true, false].into_iter();
        let families = ways.flat_map(|way| Family::BOTH.map(|family| (way, family)));
        let kinds = families.flat_map(|(way, family)| KINDS.map(|kind| (way, family, kind)));
        let remotes = kinds.flat_map(|(way, family, kind)| REMOTES.map(|remote| (way, family, kind, remote)));
        // From the first number that has no owner (IANA, Protocol Numbers).
        remotes.zip(148..).map(|((is_ingress, family, kind, remote), protocol)| Self {
            is_ingress,
            family,
            kind,
            remote,
            protocol,
        })
    }

    /// The rule in the file.
    fn rule(&self) -> String {
        let direction = if self.is_ingress { "ingress" } else { "egress" };
        let kind = match (self.kind, self.family) {
            (Kind::Any, _) => "",
            (Kind::Tcp, _) => ", protocol = 'tcp', ports = 80",
            (Kind::Udp, _) => ", protocol = 'udp', ports = '50-60'",
            (Kind::Sctp, _) => ", protocol = 132, ports = 80",
            (Kind::Icmp, Family::V4) => ", protocol = 'icmp', type = 8",
            (Kind::Icmp, Family::V6) => ", protocol = 'icmpv6', type = 128",
            (Kind::Portless, _) => &format!(", protocol = {}", self.protocol),
        };
        let remote = match (self.remote, self.family) {
            (Remote::Any, _) => "",
            (Remote::Prefix, Family::V4) => ", remote = '10.0.0.3/32'",
            (Remote::Prefix, Family::V6) => ", remote = 'fd00::3/128'",
            (Remote::Group, _) => ", remote_group = 'friends'",
            (Remote::AddressGroup, _) => ", remote_address_group = 'known'",
        };
        format!("{{ direction = '{direction}', ethertype = '{}'{kind}{remote} }}", self.family.name())
    }

    /// What the rule names; `number` tells apart what is sent.
    fn named(&self, number: u16) -> Body {
        match self.kind {
            Kind::Any | Kind::Tcp => Body::Syn(number, 80),
            Kind::Udp => Body::Udp(number, 55),
            Kind::Sctp => Body::Sctp(number, 80),
            Kind::Icmp => Body::ping(self.family, number),
            Kind::Portless => Body::Other(self.protocol),
        }
    }

    /// What it does not name, next to it.
    fn others(&self, number: u16) -> Vec<Body> {
        match self.kind {
            Kind::Any => vec![],
            Kind::Tcp => vec![Body::Syn(number, 79), Body::Syn(number, 81), Body::Udp(number, 80)],
            Kind::Udp => vec![Body::Udp(number, 49), Body::Udp(number, 61), Body::Syn(number, 55)],
            Kind::Sctp => vec![Body::Sctp(number, 81), Body::Syn(number, 80)],
            Kind::Icmp => vec![Body::Icmp(13, 0, [1, 1, 0, 1], vec![0; 12]), Body::Udp(number, 8)],
            Kind::Portless => vec![Body::Other(47), Body::Udp(number, self.protocol.into())],
        }
    }
}

fn config() -> String {
    let mut text = "[network.lab]\n[group.friends]\nrules = [{ direction = 'ingress' }]\n\
                    [address_group.known]\naddresses = ['10.0.0.3', 'fd00::3']\n\
                    [port.friend]\nnetwork = 'lab'\nmac = '02:00:00:00:00:03'\ngroups = ['friends']\n\
                    addresses = ['10.0.0.3', 'fd00::3']\n\
                    [port.stranger]\nnetwork = 'lab'\nmac = '02:00:00:00:00:04'\n\
                    [group.nothing]\negress = 'rules'\n\
                    [port.vm]\nnetwork = 'lab'\nmac = '02:00:00:00:00:02'\ngroups = ['nothing']\n\
                    addresses = ['10.0.0.2', 'fd00::2']\n"
        .to_owned();
    for (number, case) in Case::all().enumerate() {
        let _ = write!(text, "[group.case{number}]\negress = 'rules'\nrules = [{}]\n", case.rule());
    }
    text
}

/// Whether the packet comes through between the port with the rule and another one, in this direction.
fn passes(stage: &mut Stations, is_ingress: bool, family: Family, peer: &'static str, body: &Body) -> bool {
    let (from, to) = if is_ingress { (peer, "vm") } else { ("vm", peer) };
    stage.passes(family, from, to, body)
}

#[test]
fn a_rule_of_each_kind_lets_through_what_it_names_and_nothing_next_to_it() {
    let mut stage = Stations::new(&config(), &STATIONS);
    let mut number = 1000;
    for (index, case) in Case::all().enumerate() {
        stage.set_groups("vm", &format!("case{index}"));
        let Case { is_ingress, family, remote, .. } = case;
        let mut next = || {
            number += 1;
            number
        };
        // What must not pass comes first: nothing is there yet to which it could belong.
        for body in case.others(next()) {
            assert!(!passes(&mut stage, is_ingress, family, "friend", &body), "{case:?} {body:?}");
        }
        let body = case.named(next());
        assert!(!passes(&mut stage, !is_ingress, family, "friend", &body), "{case:?}: the other direction");
        let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
        let foreign = Case { family: other, ..case }.named(next());
        assert!(!passes(&mut stage, is_ingress, other, "friend", &foreign), "{case:?}: the other version");
        let (named, strange) = (case.named(next()), case.named(next()));
        assert_eq!(
            passes(&mut stage, is_ingress, family, "stranger", &strange),
            remote == Remote::Any,
            "{case:?}: a stranger"
        );
        assert!(passes(&mut stage, is_ingress, family, "friend", &named), "{case:?}: {}", case.rule());
        // Once out of the group, the very same packet belongs to nothing any more.
        stage.set_groups("vm", "nothing");
        assert!(
            !passes(&mut stage, is_ingress, family, "friend", &named),
            "{case:?}: after it left the group"
        );
    }
    let drops = ["group-ingress", "group-egress"].map(|reason| stage.dropped("vm", reason));
    assert!(drops.iter().all(|count| *count > 100), "{drops:?}");
}
