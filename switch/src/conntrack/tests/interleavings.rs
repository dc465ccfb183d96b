//! An entry under loom, which runs each test in every order that the steps of its threads may take, with every value that a
//! load may see.
//!
//! `entry.rs` is the very file that the table runs, with all steps that take no lock: finding, changing the state, ending. The
//! table around it is one entry with its shard's lock, which holds the free list, and with what its port has of connections
//! that nobody answered; it opens and ends in the order of `open.rs`. The index is left out: it leads to entries and says
//! nothing, and whoever finds one looks whether it is the right one.
#![allow(dead_code, reason = "a model needs only parts of what the table uses")]
#![expect(clippy::duplicate_mod, reason = "compiled here over loom's types")]

#[path = "../entry.rs"]
mod entry;

use loom::sync::{Arc, Mutex};
use loom::thread;

use self::atomic::{AtomicU32, Ordering::Relaxed};
use self::entry::{Back, Entry, Expected, Front};
use super::super::{state, timeouts, tuple};
use super::{Direction, Plain, address, number, port, zone};
use state::{Class, Word};
use tuple::Tuple;

mod atomic {
    //! loom's types under the names of the real ones.
    pub(super) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
}

/// How often a thread may be interrupted where it need not be: with more, hardly anything is found (M. Musuvathi, S. Qadeer,
/// "Iterative Context Bounding for Systematic Testing of Multithreaded Programs", PLDI 2007).
const PREEMPTIONS: usize = 3;

fn explore(scenario: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.check(scenario);
}

/// A table of one entry.
#[derive(Default)]
struct Table {
    front: Front,
    back: Back,
    /// The shard: whether the entry is taken.
    taken: Mutex<bool>,
    /// Connections that nobody answered.
    embryonic: AtomicU32,
}

/// The tuple of a flow's original direction.
fn flow(client: u16) -> Tuple {
    Tuple {
        zone: zone(1),
        source: address("10.0.0.1"),
        destination: address("10.0.0.2"),
        protocol: number::TCP,
        source_port: client,
        destination_port: 80,
    }
}

impl Table {
    fn entry(&self) -> Entry<'_> {
        Entry { front: &self.front, back: &self.back }
    }

    /// Opens a connection, as `Conntrack::settle` does; says in which life.
    fn open(&self, client: u16) -> Option<u32> {
        let mut taken = self.taken.lock().unwrap();
        if std::mem::replace(&mut *taken, true) {
            return None;
        }
        let original = flow(client);
        self.front.fill(&original, &original.reversed(), port(7), [0; 2]);
        self.front.set_vouchers([Some(port(7)), None]);
        self.back.fill(1, 0);
        let word = self.back.word().born(Class::Tcp, false).with_syn(Direction::Original, None);
        self.embryonic.fetch_add(1, Relaxed);
        self.back.publish(word);
        Some(word.life())
    }

    /// Ends what lives there, or only what has this life, as `Conntrack::end` and `Conntrack::close` do; says whether.
    fn end(&self, life: Option<u32>) -> bool {
        let mut taken = self.taken.lock().unwrap();
        let word = self.back.word();
        if !word.is_live() || life.is_some_and(|life| life != word.life()) {
            return false;
        }
        let last = self.back.end();
        if !last.is_assured() {
            self.embryonic.fetch_sub(1, Relaxed);
        }
        *taken = false;
        true
    }

    fn find(&self, client: u16) -> Option<Word> {
        self.entry().holding(Direction::Original, &flow(client))
    }

    /// Changes the state, as `Conntrack::change` does; says whether the connection lived.
    fn change(&self, before: Word, after: Word) -> bool {
        let changed = self.entry().change(before, after);
        if let Ok(Some(holder)) = changed {
            assert_eq!(holder, port(7));
            self.embryonic.fetch_sub(1, Relaxed);
        }
        changed.is_ok()
    }

    fn embryonic(&self) -> u32 {
        self.embryonic.load(Relaxed)
    }
}

/// A table in which flow 1 is open.
fn opened() -> Arc<Table> {
    let table = Arc::new(Table::default());
    assert_eq!(table.open(1), Some(1));
    table
}

#[test]
fn a_reader_takes_no_connection_for_the_one_that_displaced_it() {
    explore(|| {
        let table = opened();
        let other = Arc::clone(&table);
        let displacer = thread::spawn(move || {
            assert!(other.end(None));
            assert_eq!(other.open(2), Some(3));
        });
        assert!(table.find(1).is_none_or(|word| word.life() == 1));
        assert!(table.find(2).is_none_or(|word| word.life() == 3));
        displacer.join().unwrap();
        assert!(table.find(1).is_none() && table.find(2).is_some_and(|word| word.life() == 3));
    });
}

#[test]
fn who_is_answered_while_it_is_displaced_is_counted_once() {
    explore(|| {
        let table = opened();
        let other = Arc::clone(&table);
        let displacer = thread::spawn(move || other.end(None));
        let answered = table.find(1).is_some_and(|word| table.change(word, word.assured()));
        assert!(displacer.join().unwrap());
        assert_eq!(table.embryonic(), 0, "answered: {answered}");
        assert!(table.find(1).is_none());
    });
}

#[test]
fn two_workers_whose_acknowledgements_open_a_connection_open_it_once() {
    explore(|| {
        let table = opened();
        let word = table.find(1).unwrap();
        assert!(table.change(word, word.with_syn(Direction::Reply, None)));
        let other = Arc::clone(&table);
        let reply = thread::spawn(move || {
            let word = other.find(1).unwrap();
            other.change(word, word.with_ack(Direction::Reply))
        });
        let word = table.find(1).unwrap();
        assert!(table.change(word, word.with_ack(Direction::Original)));
        assert!(reply.join().unwrap());
        assert!(table.find(1).unwrap().is_assured());
        assert_eq!(table.embryonic(), 0);
    });
}

#[test]
fn a_name_means_nothing_once_its_place_is_anothers() {
    explore(|| {
        let table = opened();
        let word = table.find(1).unwrap();
        let other = Arc::clone(&table);
        let displacer = thread::spawn(move || {
            assert!(other.end(None));
            assert_eq!(other.open(2), Some(3));
        });
        // It was looked up before; whether it lives shows when it is changed.
        table.change(word, word.assured());
        displacer.join().unwrap();
        let successor = table.find(2).unwrap();
        assert!(!successor.is_assured() && successor.life() == 3);
        assert_eq!(table.embryonic(), 1);
    });
}

#[test]
fn a_connection_that_expires_and_is_displaced_at_once_ends_once() {
    explore(|| {
        let table = opened();
        let other = Arc::clone(&table);
        let displacer = thread::spawn(move || {
            let ended = other.end(Some(1));
            (ended, other.open(2))
        });
        let expired = table.end(Some(1));
        let (displaced, successor) = displacer.join().unwrap();
        assert!(expired != displaced, "one of them ended it");
        assert_eq!(successor, Some(3), "and left its place");
        assert!(table.find(2).is_some());
        assert_eq!(table.embryonic(), 1);
    });
}

/// Whoever is judged anew gets other vouchers first and then a later generation: nobody sees that generation with those of before.
#[test]
fn a_generation_never_comes_with_the_vouchers_of_an_older_one() {
    explore(|| {
        let table = opened();
        let other = Arc::clone(&table);
        let judge = thread::spawn(move || {
            let _taken = other.taken.lock().unwrap();
            other.entry().set_judged([None, Some(port(9))], 2);
        });
        let (vouchers, generation) = table.entry().judged();
        assert!(
            generation < 2 || vouchers == [None, Some(port(9))],
            "{vouchers:?} by generation {generation}"
        );
        let expected = |ports| Expected::new(Direction::Original, zone(1), ports);
        let of_the_opener = table.entry().vouched_by(expected([Some(port(7)), None]));
        assert!(
            of_the_opener.is_none_or(|generation| generation == 1),
            "it vouches no longer by generation 2"
        );
        judge.join().unwrap();
        assert_eq!(table.entry().judged(), ([None, Some(port(9))], 2));
        assert_eq!(table.entry().vouched_by(expected([None, Some(port(9))])), Some(2));
    });
}

/// A segment of a flow's original direction, as a quick reading has it.
fn plain(client: u16) -> Plain {
    let mut head = Vec::new();
    let ip = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    ip.tcp(client, 80, 1, 1).ack(1).write(&mut head, &[]).unwrap();
    Plain::read(&head, u32::try_from(head.len()).unwrap()).unwrap()
}

#[test]
fn one_look_takes_no_connection_for_the_one_that_displaced_it() {
    let segments = [1, 2].map(plain);
    explore(move || {
        let table = opened();
        let other = Arc::clone(&table);
        let displacer = thread::spawn(move || {
            assert!(other.end(None));
            assert_eq!(other.open(2), Some(3));
        });
        let expected = Expected::new(Direction::Original, zone(1), [Some(port(7)), None]);
        let look = |segment: &Plain| {
            let judged = |entry: Entry<'_>| entry.vouched_for_plain(Direction::Original, segment, expected);
            table.entry().look_once(judged).map(|(word, _)| word.life())
        };
        let [one, two] = segments.each_ref().map(look);
        assert!(one.is_none_or(|life| life == 1) && two.is_none_or(|life| life == 3), "{one:?} {two:?}");
        displacer.join().unwrap();
        assert_eq!(segments.each_ref().map(look), [None, Some(3)]);
    });
}
