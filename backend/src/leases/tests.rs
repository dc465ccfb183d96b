use std::fs;

use super::*;
use proptest::prelude::*;

fn record(last: u8, until_s: u64) -> Record {
    Record {
        network: "home".into(),
        address: IpAddr::from([10, 0, 0, last]),
        port: "vm1".into(),
        client: "0152540000000a".into(),
        mac: "52:54:00:00:00:0a".into(),
        host_name: last.is_multiple_of(2).then(|| "guest".to_owned()),
        until_s,
        noted_s: 0,
    }
}

fn open(path: &Path) -> (LeaseFile, Vec<LeaseFileWarning>) {
    LeaseFile::open(path, 100).unwrap()
}

fn known(file: &LeaseFile) -> Vec<Record> {
    file.records().cloned().collect()
}

#[test]
fn what_was_noted_is_there_when_it_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases");
    let (mut file, warnings) = open(&path);
    assert!(warnings.is_empty());
    for last in 1..=5 {
        file.put(record(last, 1000)).unwrap();
    }
    file.put(record(2, 2000)).unwrap();
    file.remove("home", record(3, 0).address).unwrap();
    file.remove("other", record(4, 0).address).unwrap();
    file.unsynced().unwrap().sync_data().unwrap();
    assert!(file.unsynced().is_none());
    // It is not closed: a process that is killed closes nothing, either.
    let (again, warnings) = open(&path);
    let expected = [record(1, 1000), record(2, 2000), record(4, 1000), record(5, 1000)];
    assert_eq!((known(&again), warnings), (expected.to_vec(), vec![]));
    assert_eq!(known(&again), known(&file));
    let (late, _) = LeaseFile::open(&path, 1000).unwrap();
    assert_eq!(known(&late), [record(2, 2000)]);
}

#[test]
fn a_file_that_was_cut_anywhere_holds_what_stood_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases");
    let (mut file, _) = open(&path);
    for last in 1..=3 {
        file.put(record(last, 1000)).unwrap();
    }
    let whole = fs::read(&path).unwrap();
    let ends: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] == b'\n').map(|at| at + 1).collect();
    for length in 0..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let (cut, warnings) = open(&path);
        let lines = ends.iter().filter(|end| **end <= length).count();
        assert_eq!(known(&cut).len(), lines.saturating_sub(1), "{length}");
        let is_cut = length > 0 && !ends.contains(&length);
        let expected: Vec<_> =
            is_cut.then_some(LeaseFileWarning::Cut { line: lines + 1 }).into_iter().collect();
        assert_eq!(warnings, expected, "{length}");
        // It was written anew: the damage is gone.
        assert_eq!(open(&path).1, []);
    }
}

#[test]
fn a_clock_that_was_set_back_or_began_anew_makes_no_lease_last_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases");
    let (mut file, _) = LeaseFile::open(&path, 0).unwrap();
    // An hour from the moment when it is noted.
    file.put(Record { noted_s: 1_790_000_000, ..record(1, 1_790_003_600) }).unwrap();
    let left = |now_s: u64| {
        let (file, _) = LeaseFile::open(&path, now_s).unwrap();
        file.records().map(|record| record.until_s - now_s).collect::<Vec<_>>()
    };
    assert_eq!(left(1_790_000_100), [3500], "the clock goes on");
    // Nobody knows how long ago it was noted: it lasts as it did then, also by a clock that begins anew, and the file says so.
    assert_eq!(left(1_789_990_000), [3600]);
    assert_eq!(left(1_789_990_600), [3000]);
    assert_eq!(left(5), [3600]);
    assert_eq!(left(3000), [605]);
    assert_eq!(left(1_790_000_100), [0; 0], "a leap ahead ends it");
}

#[test]
fn a_damaged_line_costs_that_line_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases");
    let (mut file, _) = open(&path);
    for last in 1..=3 {
        file.put(record(last, 1000)).unwrap();
    }
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let third = second + whole[second..].iter().position(|byte| *byte == b'\n').unwrap();
    for at in second..third {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(&path, &damaged).unwrap();
        let (file, warnings) = open(&path);
        assert_eq!(known(&file), [record(2, 1000), record(3, 1000)], "{at}");
        assert_eq!(warnings.first(), Some(&LeaseFileWarning::Damaged { line: 2 }));
    }
}

#[test]
fn a_line_behind_one_that_was_written_in_part_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases");
    let (mut file, _) = open(&path);
    file.file.write_all(b"0123").unwrap();
    file.is_torn = true;
    file.put(record(1, 1000)).unwrap();
    file.put(record(2, 1000)).unwrap();
    let (again, warnings) = open(&path);
    assert_eq!(known(&again).len(), 2);
    assert_eq!(warnings, [LeaseFileWarning::Damaged { line: 2 }]);
}

/// Where everything that is written finds the disk full.
fn full(path: &Path) -> LeaseFile {
    let (mut file, _) = open(path);
    file.put(record(1, 1000)).unwrap();
    file.set_full(true);
    file
}

#[test]
fn what_cannot_be_written_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = full(&folder.path().join("leases"));
    let error = file.put(record(1, 2000)).unwrap_err().to_string();
    assert!(error.starts_with("cannot write the lease file") && error.contains("No space left"), "{error}");
    assert!(file.put(record(2, 2000)).is_err() && file.remove("home", record(1, 0).address).is_err());
    assert!(file.probe().is_err());
    assert_eq!(known(&file), [record(1, 1000)]);
    assert_eq!(file.record("home", record(1, 0).address), Some(&record(1, 1000)));
}

#[test]
fn a_file_of_another_kind_or_version_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases");
    for content in ["something else\n", "00000000 {\"viaduct_leases\":1}\n", "\n"] {
        fs::write(&path, content).unwrap();
        let error = LeaseFile::open(&path, 0).unwrap_err();
        assert!(matches!(error, LeaseFileError::Version { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    let error = LeaseFile::open(&folder.path().join("no/leases"), 0).unwrap_err();
    assert!(error.to_string().starts_with("cannot write the lease file"), "{error}");
}

#[test]
fn a_file_does_not_grow_without_bound() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("leases");
    let (mut file, _) = open(&path);
    let mut longest = 0;
    for until_s in 1000..7000 {
        file.put(record(1, until_s)).unwrap();
        file.put(record(1, until_s)).unwrap();
        file.tidy().unwrap();
        longest = longest.max(fs::metadata(&path).unwrap().len());
    }
    let line = line::of_record(&record(1, 6999)).len() as u64;
    assert!(longest <= line * (STALE_MIN as u64 + 5), "{longest}");
    assert_eq!(known(&open(&path).0), [record(1, 6999)]);
    assert!(!path.with_extension("new").exists());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_file_is_read_without_a_crash(mut lines in proptest::collection::vec(any::<u8>(), 0..300)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("leases");
        let mut content = line::first().into_bytes();
        content.append(&mut lines);
        fs::write(&path, content).unwrap();
        prop_assert_eq!(open(&path).0.records().count(), 0);
    }
}
