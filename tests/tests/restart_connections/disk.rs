//! A disk that gets full, and one that nobody may write: what was kept before stays, and frames go on.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use viaduct_tests::control_plane;
use viaduct_tests::deadline::wait_until;
use viaduct_tests::disk::Disk;
use viaduct_tests::town::{LIMIT, OUTSIDE, Station, ask, with_stations};

use super::stations::STATIONS;
use super::{ALSO, Lab, NUMBERS, Session, config, progress};

/// How warnings of a disk that nobody can write name what is not kept.
const NOT_KEPT: [&str; 3] = [
    "a restart would end connections that opened since",
    "DHCP servers are silent",
    "stations have to be fed anew",
];

/// A lab whose state is on a small disk of its own: connections, leases and stations.
struct Kept {
    lab: Lab,
    disk: Disk,
    /// A connection through NAT, which says where it stands.
    numbers: Session,
}

impl Kept {
    fn new() -> Self {
        let mut lab = Lab::new();
        // The process may only go where it found its folders.
        lab.daemon.kill();
        let disk = Disk::mount(lab.daemon.directory().join("state"), "size=256k");
        let more = "dhcp = { range = \"10.0.0.100-10.0.0.199\" }\n\
            [network.tenant]\noverlay = { kind = \"vxlan\", vni = 105, uplink = \"isp\" }\n[group.client]";
        let text = config(ALSO).replace("[group.client]", more);
        let text = lab.daemon.whole_config(&with_stations(text, &[&lab.vm1, &lab.vm2]));
        fs::write(lab.daemon.config_path(), text).unwrap();
        lab.daemon.restart();
        lab.vm1.await_reach(OUTSIDE);
        let numbers = lab.session("numbers", &lab.vm1.namespace, NUMBERS, (OUTSIDE, "2222"));
        Self { lab, disk, numbers }
    }

    /// Waits until more numbers came back: of the one connection, from the one place, as its client checks.
    fn goes_on(&self, when: &str) {
        let (before, _) = progress(&self.numbers);
        wait_until(&format!("numbers to come back {when}"), LIMIT, || {
            progress(&self.numbers).0 > before + 200
        });
    }

    /// Feeds a hundred stations: a line that is longer than a page.
    fn feed(&self, generation: u64) {
        let mac = |last: u64| format!("52:54:00:00:{:02}:{last:02x}", generation / 100);
        let stations: Vec<Value> =
            (0..100).map(|last| json!({ "mac": mac(last), "vtep": "192.168.99.2" })).collect();
        let body = json!({ "stations": stations, "generation": generation }).to_string();
        let (status, _, told) = control_plane::ask(&self.lab.daemon, ("POST", STATIONS), None, &body);
        assert_eq!(status, 200, "{told}");
    }

    /// Generation and number of the stations that are known.
    fn fed(&self) -> (u64, usize) {
        let (_, generation, told) = control_plane::ask(&self.lab.daemon, ("GET", STATIONS), None, "");
        (generation, told["stations"].as_array().unwrap().len())
    }

    fn await_fed(&self, generation: u64) {
        let (file, said) = (self.disk.path().join("stations"), format!("\"generation\":{generation},"));
        wait_until(&format!("{said} to be kept"), LIMIT, || {
            fs::read_to_string(&file).is_ok_and(|text| text.contains(&said))
        });
    }

    /// Whether a station gets an address: the one that its port has.
    fn leases(&self, station: &Station) -> bool {
        station.namespace.succeeds("busybox udhcpc -f -q -n -t 1 -T 1 -i eth0 -s /bin/true")
    }

    /// The addresses that are lent.
    fn lent(&self) -> Vec<String> {
        let (_, _, told) = control_plane::ask(&self.lab.daemon, ("GET", "/v1/leases"), None, "");
        let addresses =
            told.as_array().unwrap().iter().map(|lease| lease["address"].as_str().unwrap().to_owned());
        addresses.collect()
    }

    /// Why connections are not kept.
    fn problem(&self) -> Option<String> {
        self.lab.restored()["not_kept"].as_str().map(str::to_owned)
    }

    /// How often each was warned about.
    fn warned(&self) -> [usize; 3] {
        NOT_KEPT.map(|words| self.lab.daemon.log().matches(words).count())
    }

    /// All files, and what stands in them.
    fn files(&self) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(self.disk.path()).unwrap().map(|entry| entry.unwrap().path());
        let named =
            |file: PathBuf| (file.file_name().unwrap().to_str().unwrap().to_owned(), fs::read(file).unwrap());
        let mut files: Vec<_> = files.map(named).collect();
        files.sort();
        files
    }

    fn names(&self) -> Vec<String> {
        self.files().into_iter().map(|(name, _)| name).filter(|name| name != "ballast").collect()
    }

    /// Waits until the daemon says why it keeps nothing and warned `times` of each; frames go on, and nobody is promised an address.
    fn suffers(&self, reason: &str, times: [usize; 3]) {
        // New connections open all the while, and are carried.
        wait_until("the disk to be told of", LIMIT, || {
            assert!(ask(&self.lab.vm1.namespace, OUTSIDE, 5353).contains("hello"));
            self.problem().is_some()
        });
        let told = self.problem().unwrap();
        assert!(told.contains("state/connections") && told.contains(reason), "{told}");
        wait_until(&format!("warnings: {times:?}"), LIMIT, || self.warned() == times);
        self.goes_on(&format!("in spite of {reason}"));
        assert!(self.lab.vm2.reaches(OUTSIDE));
    }

    /// Waits until leases and stations are kept again, without anybody's doing.
    fn recovers(&self, generation: u64) {
        wait_until("addresses to be lent again", LIMIT, || self.leases(&self.lab.vm2));
        assert_eq!(self.lent(), ["10.0.0.11", "10.0.0.12"]);
        self.feed(generation);
        self.await_fed(generation);
    }

    /// Begins anew after a crash with what the disk has.
    fn crash(&mut self, meanwhile: impl FnOnce(&Disk)) {
        self.lab.daemon.kill();
        meanwhile(&self.disk);
        self.lab.daemon.restart();
        self.goes_on("after a crash");
    }
}

/// What is kept of connections, leases and stations cannot be: guests do not notice, but those who ask for an address; nothing is
/// half-written, and what was kept before still is.
#[test]
fn a_full_disk_and_a_read_only_one_are_told_of_and_frames_go_on() {
    let mut kept = Kept::new();
    assert!(kept.leases(&kept.lab.vm1), "with room there are leases");
    kept.feed(100);
    kept.await_fed(100);
    kept.goes_on("with room");
    kept.lab.await_kept();
    let names = kept.names();

    // It gets full. A lease has room in its file's last page; stations have some there, too, but not enough: a line is cut.
    kept.disk.fill();
    kept.feed(200);
    kept.suffers("No space left", [1, 0, 1]);
    assert_eq!((kept.fed(), kept.names()), ((200, 200), names.clone()), "no other files stay behind");
    // Who begins with such a disk has what was kept before.
    kept.crash(|_| ());
    assert_eq!(kept.fed(), (100, 100));
    kept.feed(300);
    assert!(!kept.leases(&kept.lab.vm2), "no promise that would be forgotten");
    kept.suffers("No space left", [2, 1, 2]);
    assert_eq!(kept.names(), names);
    kept.disk.make_room();
    kept.recovers(400);
    wait_until("connections to be kept again", LIMIT, || kept.problem().is_none());
    kept.lab.await_kept();

    // Nobody may write any more. (A file that is open for that keeps a disk from becoming read-only.)
    kept.crash(|disk| disk.remount("ro"));
    assert_eq!(kept.fed(), (400, 300));
    let files = kept.files();
    kept.feed(500);
    assert!(!kept.leases(&kept.lab.vm1));
    kept.suffers("Read-only file system", [3, 2, 3]);
    assert!(kept.files() == files, "nothing was written");
    kept.disk.remount_for(kept.lab.daemon.pid(), "rw");
    kept.recovers(600);
    kept.crash(|_| ());
    assert_eq!((kept.fed(), kept.lent().len(), kept.names()), ((600, 500), 2, names));
}
