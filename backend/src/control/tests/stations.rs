//! Stations that are fed: whatever is asked for in whatever order, the tables are what a model of them says.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config as Cases, TestRunner};
use viaduct_switch::MacAddress;
use viaduct_switch::packet::Address;

use super::*;
use crate::config::StaticStation;
use crate::control::{ADDRESSES_MAX, FeedRequest, Selection, StationChange, StationError, Tables};
use crate::model::{Fed, StationPage};

const UPLINK: &str = "[uplink.isp]\ninterface = 'nowhere0'\naddress = '192.0.2.1/24'\n";
const BLUE: &str = "[network.blue]\nsubnets = ['10.0.0.254/24']\narp_suppression = true\noverlay = { kind = 'vxlan', vni = 7, uplink = 'isp' }\n";

/// Files that are applied one after the other, and what they say of stations 1 to 6.
const FILES: [&str; 7] = [
    BLUE,
    "[network.blue]\nsubnets = ['10.0.0.254/24']\noverlay = { kind = 'vxlan', vni = 7, uplink = 'isp', known_vteps_only = true }\n\
     [[network.blue.static]]\nmac = '52:54:00:00:00:01'\naddress = '10.0.0.1'\nvtep = '192.0.2.2'\n",
    "[network.blue]\nsubnets = ['10.0.0.254/24']\narp_suppression = true\noverlay = { kind = 'vxlan', vni = 7, uplink = 'isp', \
     peers = ['192.0.2.3'] }\n[port.vm]\nnetwork = 'blue'\nmac = '52:54:00:00:00:02'\n",
    "[network.blue]\nsubnets = ['10.0.0.254/24']\narp_suppression = true\noverlay = { kind = 'geneve', vni = 9, uplink = 'isp' }\n\
     [network.red]\noverlay = { kind = 'geneve', vni = 10, uplink = 'isp' }\n",
    "[network.blue]\nsubnets = ['10.0.0.3/24']\narp_suppression = true\noverlay = { kind = 'vxlan', vni = 7, uplink = 'isp' }\n",
    "[network.blue]\n",
    "[network.red]\noverlay = { kind = 'vxlan', vni = 7, uplink = 'isp' }\n",
];

type Stations = BTreeMap<MacAddress, (Vec<IpAddr>, IpAddr)>;

#[derive(Clone, Debug)]
enum Step {
    Apply(usize),
    Change { what: u8, stations: Vec<StaticStation>, is_stale: bool, number: Option<u64> },
}

/// What should be.
#[derive(Debug, Default)]
struct Model {
    file: usize,
    generation: u64,
    stations: Stations,
}

fn mac(number: u8) -> MacAddress {
    MacAddress([0x52, 0x54, 0, 0, 0, number])
}

fn address(number: u8) -> IpAddr {
    [10, 0, 0, number].into()
}

fn station(number: u8, addresses: &[u8], vtep: u8) -> StaticStation {
    let addresses = addresses.iter().map(|number| address(*number)).collect();
    StaticStation { mac: mac(number), addresses, vtep: [192, 0, 2, vtep].into() }
}

impl Model {
    fn is_overlay(&self) -> bool {
        self.file < 5
    }

    /// The station that the file has.
    fn written(&self) -> Stations {
        let station = (vec![address(1)], [192, 0, 2, 2].into());
        if self.file == 1 { [(mac(1), station)].into() } else { Stations::new() }
    }

    fn allows(&self, mac_: MacAddress, addresses: &[IpAddr], vtep: IpAddr) -> bool {
        let is_written = self.written().iter().any(|(other, (theirs, _))| {
            *other == mac_ || theirs.iter().any(|address| addresses.contains(address))
        });
        let is_local = self.file == 2 && mac_ == mac(2);
        let is_gateways = self.file == 4 && addresses.contains(&address(3));
        !(is_written || is_local || is_gateways || vtep == IpAddr::from([192, 0, 2, 1]))
    }

    fn apply(&mut self, file: usize) {
        self.file = file;
        let before = std::mem::take(&mut self.stations);
        let count = before.len();
        if !self.is_overlay() {
            let is_network = FILES[file].contains("[network.blue]");
            self.generation = if is_network { self.generation + u64::from(count > 0) } else { 0 };
            return;
        }
        let stays = before.into_iter().filter(|(mac, (addresses, vtep))| self.allows(*mac, addresses, *vtep));
        self.stations = stays.collect();
        self.generation += u64::from(self.stations.len() < count);
    }

    /// Whether it may be done, and then it is.
    fn change(&mut self, step: &Step) -> bool {
        let Step::Change { what, stations, is_stale, number } = step else { return false };
        if !self.is_overlay() || *is_stale || number.is_some_and(|number| number <= self.generation) {
            return false;
        }
        let mut after = if *what == 0 { Stations::new() } else { self.stations.clone() };
        let mut named = BTreeSet::new();
        for StaticStation { mac, addresses, vtep } in stations {
            if *what == 2 {
                if !self.stations.contains_key(mac) {
                    return false;
                }
                after.remove(mac);
                continue;
            }
            let is_same = self.stations.get(mac) == Some(&(addresses.clone(), *vtep));
            if !named.insert(*mac) || !(is_same || self.allows(*mac, addresses, *vtep)) {
                return false;
            }
            after.insert(*mac, (addresses.clone(), *vtep));
        }
        let mut owned = BTreeSet::new();
        if !after.values().flat_map(|(addresses, _)| addresses).all(|address| owned.insert(*address)) {
            return false;
        }
        let is_other = after != self.stations;
        self.stations = after;
        self.generation = number.unwrap_or(self.generation + u64::from(is_other));
        true
    }
}

impl Lab {
    fn feed(
        &self,
        change: StationChange,
        generation: Option<u64>,
        expected: Expected,
    ) -> Result<Fed, StationError> {
        self.handle.feed(FeedRequest { network: "blue".to_owned(), change, generation, expected })
    }

    fn place(&self, stations: &[StaticStation]) -> Result<Fed, StationError> {
        self.feed(StationChange::Set(stations.to_vec()), None, Expected::Any)
    }

    fn apply_file(&self, file: usize) {
        self.handle.apply(self.parse(&(UPLINK.to_owned() + FILES[file])), false).unwrap();
    }

    /// All of a network, by pages of two.
    fn pages(&self) -> Result<StationPage, StationError> {
        let page = |from| self.handle.stations("blue".to_owned(), from, 2);
        let mut all = page(None)?;
        while let Some(next) = all.next.take() {
            let page = page(Some(next.parse().unwrap()))?;
            all.stations.extend(page.stations);
            all.next = page.next;
        }
        Ok(all)
    }

    /// What the switch itself knows is what the model says.
    fn check(&self, model: &Model) {
        let tables = self.handle.tables().unwrap();
        let written = model.written();
        let all: Stations = written.clone().into_iter().chain(model.stations.clone()).collect();
        let Ok(page) = self.pages() else { panic!("{:?}", self.pages()) };
        let told: Vec<_> =
            page.stations.iter().map(|one| (one.mac.clone(), one.address.clone(), one.vtep)).collect();
        let wanted = |(mac, (addresses, vtep)): (&MacAddress, &(Vec<IpAddr>, IpAddr))| {
            (mac.to_string(), addresses.clone(), *vtep)
        };
        assert_eq!(told, all.iter().map(wanted).collect::<Vec<_>>());
        assert_eq!((page.generation, page.fed), (model.generation, model.stations.len()));
        let network = tables.networks["blue"];
        let vteps: BTreeMap<_, IpAddr> = tables
            .switch
            .vteps()
            .entries()
            .into_iter()
            .filter(|entry| entry.is_configured)
            .map(|entry| (entry.port, entry.address.into()))
            .collect();
        let fdb = tables.switch.fdb(tables.now, &tables.policy);
        let known: BTreeMap<MacAddress, IpAddr> = fdb
            .iter()
            .filter(|entry| entry.network == network)
            .map(|entry| (entry.mac, vteps[&entry.port]))
            .collect();
        assert_eq!(known, all.iter().map(|(mac, (_, vtep))| (*mac, *vtep)).collect());
        let suppresses = !matches!(model.file, 1);
        for number in 1..=6 {
            let key = Address::from(address(number));
            let owner = all.iter().find(|(_, (addresses, _))| addresses.contains(&address(number)));
            let owner = owner.map(|(mac, _)| *mac).filter(|_| suppresses);
            assert_eq!(
                tables.switch.suppression().get(network, key, tables.now.seconds()),
                owner,
                "{number}"
            );
        }
        let mut named: BTreeSet<IpAddr> = all.values().map(|(_, vtep)| *vtep).collect();
        named.extend((model.file == 2).then(|| IpAddr::from([192, 0, 2, 3])));
        assert_eq!(vteps.values().copied().collect::<BTreeSet<_>>(), named);
    }
}

fn stations() -> impl Strategy<Value = Vec<StaticStation>> {
    let addresses = vec(select(vec![1_u8, 2, 3, 4, 5, 6]), 0..3).prop_map(|mut addresses| {
        addresses.sort_unstable();
        addresses.dedup();
        addresses
    });
    let one = (1..7_u8, addresses, select(vec![2_u8, 2, 3, 3, 4, 4, 5, 1]));
    vec(one.prop_map(|(number, addresses, vtep)| station(number, &addresses, vtep)), 0..4)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..3_u8, stations(), prop::bool::weighted(0.1), prop::option::weighted(0.2, 0..40_u64));
    let change = change.prop_map(|(what, stations, is_stale, number)| Step::Change {
        what,
        stations,
        is_stale,
        number,
    });
    vec(prop_oneof![1 => (0..FILES.len()).prop_map(Step::Apply), 5 => change], 1..24)
}

#[test]
fn any_order_of_changes_and_files_comes_to_what_a_model_says() {
    let lab = Lab::start(&[]);
    let run = |steps: Vec<Step>| {
        lab.handle.apply(lab.parse("[network.none]\n"), false).unwrap();
        lab.apply_file(0);
        let mut model = Model::default();
        for step in &steps {
            match step {
                Step::Apply(file) => {
                    lab.apply_file(*file);
                    model.apply(*file);
                }
                Step::Change { what, stations, is_stale, number } => {
                    let change = match what {
                        0 => StationChange::Replace(stations.clone()),
                        1 => StationChange::Set(stations.clone()),
                        _ => StationChange::Remove(stations.iter().map(|station| station.mac).collect()),
                    };
                    let expected = Expected::OneOf(vec![model.generation + u64::from(*is_stale)]);
                    let done = lab.feed(change, *number, expected);
                    assert_eq!(done.is_ok(), model.change(step), "{step:?}: {done:?}");
                }
            }
            if model.is_overlay() {
                lab.check(&model);
            } else {
                assert!(lab.pages().is_err());
            }
        }
        Ok(())
    };
    let cases = Cases { cases: 150, failure_persistence: None, ..Cases::default() };
    TestRunner::new(cases).run(&steps(), run).unwrap();
}

#[test]
fn what_cannot_be_fed_is_refused_by_name_and_changes_nothing() {
    let lab = Lab::start(&[]);
    let text = UPLINK.to_owned()
        + FILES[1]
        + "[port.vm]\nnetwork = 'blue'\nmac = '52:54:00:00:00:02'\n[network.plain]\n";
    lab.handle.apply(lab.parse(&text), false).unwrap();
    lab.place(&[station(9, &[9], 2)]).unwrap();
    let v6 = StaticStation { vtep: "2001:db8::2".parse().unwrap(), ..station(4, &[], 2) };
    let group = StaticStation { vtep: [239, 1, 1, 1].into(), ..station(4, &[], 2) };
    let far = StaticStation { addresses: vec![[10, 9, 0, 1].into()], ..station(4, &[], 2) };
    let many = StaticStation { addresses: (10..30).map(address).collect(), ..station(4, &[], 2) };
    for (wrong, expected) in [
        (station(1, &[], 2), "station 52:54:00:00:00:01 is written in the file"),
        (station(4, &[1], 2), "the address 10.0.0.1 is a station's in the file"),
        (station(2, &[], 2), "is on this machine, at port vm"),
        (station(4, &[9], 2), "the address 10.0.0.9 is that of station 52:54:00:00:00:09"),
        (
            station(4, &[254], 2),
            "found address 10.0.0.254, expected an address that is not that of the network's gateway",
        ),
        (station(4, &[255], 2), "expected the address of a station, 10.0.0.1 to 10.0.0.254"),
        (far, "expected an address in 10.0.0.0/24"),
        (station(4, &[], 1), "found vtep 192.0.2.1, expected another machine's address"),
        (v6, "expected an address of IPv4"),
        (group, "expected the address of one machine"),
        (many, "20 addresses of one station are more than the 16"),
    ] {
        let error = lab.place(&[station(8, &[8], 2), wrong]).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("nothing was changed"), "{error}");
    }
    let error = lab.place(&[station(8, &[8], 2), station(8, &[], 2)]).unwrap_err().to_string();
    assert!(error.contains("station 52:54:00:00:00:08 stands there twice"), "{error}");
    let error = lab.feed(StationChange::Remove(vec![mac(9), mac(1)]), None, Expected::Any).unwrap_err();
    assert_eq!(error, StationError::NoStation(mac(1)));
    let error = lab.feed(StationChange::Set(Vec::new()), Some(1), Expected::Any).unwrap_err().to_string();
    assert!(error.contains("have generation 1 already, which is not before 1"), "{error}");
    let error = lab.feed(StationChange::Set(Vec::new()), Some(u64::MAX), Expected::Any).unwrap_err();
    assert!(error.to_string().contains("expected 4503599627370496 at most; nothing was changed"), "{error}");
    for (network, expected) in [("plain", "has no `overlay`"), ("x", "there is no network x")] {
        let error = lab.handle.stations(network.to_owned(), None, 9).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let page = lab.pages().unwrap();
    assert_eq!((page.generation, page.fed, page.written, page.stations.len()), (1, 1, 1, 2));
}

#[test]
fn there_is_an_end_to_what_is_fed_and_a_change_costs_what_it_changes() {
    let lab = Lab::start(&[]);
    lab.apply_file(0);
    let many = |first: u32, count: u32, vteps: u32| {
        let station = |number: u32| {
            let [_, b, c, d] = number.to_be_bytes();
            let vtep = IpAddr::from((0xc633_0000 + number % vteps).to_be_bytes());
            StaticStation { mac: MacAddress([0x52, 0x54, 1, b, c, d]), addresses: Vec::new(), vtep }
        };
        (first..first + count).map(station).collect::<Vec<_>>()
    };
    let error = lab.feed(StationChange::Replace(many(0, 2000, 1025)), None, Expected::Any).unwrap_err();
    assert!(
        error.to_string().starts_with("1025 VTEPs, those that leave included, are more than the 1024"),
        "{error}"
    );
    let all = lab.feed(StationChange::Replace(many(0, 100_000, 1000)), None, Expected::Any).unwrap();
    assert_eq!((all.fed, all.added, all.without_room), (100_000, 100_000, 0));
    let error = lab.place(&many(100_000, 1, 1000)).unwrap_err().to_string();
    assert!(
        error.starts_with("100001 stations of all networks that are fed are more than the 100000"),
        "{error}"
    );
    let tables = lab.handle.tables().unwrap();
    assert_eq!(tables.switch.fdb(tables.now, &tables.policy).len(), 100_000);
    assert_eq!(pages(&tables), 100_000);
    let mut moved = many(5, 1, 1000);
    moved[0].vtep = [198, 51, 0, 9].into();
    let busy = busy_us(&lab.task);
    let count = 200;
    for round in 0..count {
        moved[0].vtep = [198, 51, 0, 9 + round % 2].into();
        assert_eq!(lab.place(&moved).unwrap().changed, 1);
    }
    let each = (busy_us(&lab.task) - busy) / u64::from(count);
    assert!(each < 2000, "moving one of 100,000 stations takes the control thread {each} us");
    lab.feed(StationChange::Replace(Vec::new()), None, Expected::Any).unwrap();
    let tables = lab.handle.tables().unwrap();
    assert_eq!(tables.switch.fdb(tables.now, &tables.policy), []);
    assert_eq!(tables.switch.vteps().entries(), []);
}

/// How many addresses all pages have together, each of which is told behind a VTEP.
fn pages(tables: &Tables) -> usize {
    let (mut known, mut from) = (BTreeSet::new(), Some(0));
    while let Some(place) = from {
        let page = tables.learned(&Selection::default(), place, usize::MAX).unwrap();
        assert!(page.addresses.len() <= ADDRESSES_MAX);
        assert!(page.addresses.iter().all(|entry| entry.port.starts_with("vtep ")));
        known.extend(page.addresses.into_iter().map(|entry| entry.mac));
        from = page.next;
    }
    known.len()
}
