//! The corpus of the fuzzer (`switch/fuzz`), which real frames began and runs of the fuzzer made complete: what holds for any bytes holds
//! for each of these.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod host;
mod judge;
mod reader;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use viaduct_switch::tunnel::Kind;

use judge::judge;

#[test]
fn every_frame_of_the_corpus_is_taken_as_another_reader_takes_it() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/decapsulation");
    let files = fs::read_dir(&corpus).unwrap_or_else(|error| panic!("{}: {error}", corpus.display()));
    let mut came: BTreeMap<(Kind, bool), usize> = BTreeMap::new();
    for file in files {
        let path = file.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        eprintln!("{}", path.display());
        judge(&bytes).into_iter().for_each(|way| *came.entry(way).or_default() += 1);
    }
    // If addresses or numbers change here, the corpus has to be made anew: else it would say nothing.
    for way in host::KINDS.into_iter().flat_map(|kind| [(kind, false), (kind, true)]) {
        assert!(came.get(&way).is_some_and(|count| *count >= 5), "by {way:?} came: {came:?}");
    }
}
