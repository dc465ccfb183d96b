//! The protocols between threads under loom, which runs each test in every order that the steps of its threads may
//! take, with every value that a load may see.
//!
//! `mailbox`, `turn` and `watch` are the very files that the switch runs. The loops around them are workers with
//! everything left out that does not touch another thread. What a guest's ring and its eventfds do is modelled:
//! `ring` below has the indices and event fields of a split ring (virtio 1.2, 2.7), `Bell` an epoll instance with
//! edge-triggered eventfds that are never read.
#![allow(dead_code, unreachable_pub, reason = "a model needs only parts of what the switch uses")]
#![expect(clippy::duplicate_mod, reason = "compiled here over loom's types")]

#[path = "mailbox.rs"]
mod mailbox;
#[path = "turn.rs"]
mod turn;
#[path = "watch.rs"]
mod watch;

use std::time::Duration;

use loom::cell::UnsafeCell;
use loom::thread;

use self::mailbox::{Acknowledge, Answer, Answers, Mailbox, Postbox, mailbox};
use self::primitives::{Arc, AtomicBool, AtomicU16, Bell, Mutex, Ordering, fence, into_inner, lock};

mod primitives {
    //! loom's types under the names of the real ones.

    use std::collections::VecDeque;
    use std::time::Duration;

    pub(super) use loom::hint::spin_loop;
    pub(super) use loom::sync::atomic::{AtomicBool, AtomicI32, AtomicU16, AtomicU64, Ordering, fence};
    pub(super) use loom::sync::{Arc, Mutex, MutexGuard};
    pub(super) use std::sync::mpsc::RecvTimeoutError;

    pub(super) const TRIES: u32 = 1;

    pub(super) fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        mutex.try_lock().ok()
    }

    pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }

    pub(super) fn into_inner<T>(shared: Arc<T>) -> Option<T> {
        Arc::try_unwrap(shared).ok()
    }

    /// An epoll instance and the eventfds in it: an event stays ready until a wait has reported it.
    #[derive(Clone)]
    pub(super) struct Bell(Arc<(Mutex<bool>, loom::sync::Condvar)>);

    impl Bell {
        pub(super) fn new() -> Self {
            Self(Arc::new((Mutex::new(false), loom::sync::Condvar::new())))
        }

        pub(super) fn ring(&self) {
            *lock(&self.0.0) = true;
            self.0.1.notify_one();
        }

        /// epoll_wait without a timeout.
        pub(super) fn wait(&self) {
            let mut ready = lock(&self.0.0);
            while !std::mem::take(&mut *ready) {
                ready = self.0.1.wait(ready).unwrap();
            }
        }
    }

    struct Queue<T> {
        sent: VecDeque<T>,
        senders: usize,
    }

    type Shared<T> = Arc<(Mutex<Queue<T>>, loom::sync::Condvar)>;

    pub(super) struct Sender<T>(Shared<T>);
    pub(super) struct Receiver<T>(Shared<T>);

    pub(super) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let queue = Queue { sent: VecDeque::new(), senders: 1 };
        let shared = Arc::new((Mutex::new(queue), loom::sync::Condvar::new()));
        (Sender(shared.clone()), Receiver(shared))
    }

    impl<T> Sender<T> {
        pub(super) fn send(&self, value: T) -> Result<(), T> {
            lock(&self.0.0).sent.push_back(value);
            self.0.1.notify_one();
            Ok(())
        }
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            lock(&self.0.0).senders += 1;
            Self(self.0.clone())
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            lock(&self.0.0).senders -= 1;
            self.0.1.notify_one();
        }
    }

    impl<T> Receiver<T> {
        pub(super) fn try_recv(&self) -> Result<T, ()> {
            lock(&self.0.0).sent.pop_front().ok_or(())
        }
    }

    /// Nobody is ever too late here.
    pub(super) fn receive<T>(receiver: &Receiver<T>, _: Duration) -> Result<T, RecvTimeoutError> {
        let mut queue = lock(&receiver.0.0);
        loop {
            match queue.sent.pop_front() {
                Some(value) => return Ok(value),
                None if queue.senders == 0 => return Err(RecvTimeoutError::Disconnected),
                None => queue = receiver.0.1.wait(queue).unwrap(),
            }
        }
    }
}

/// Tries all orders with at most this many involuntary changes from thread to thread, which bounds the time.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(model);
}

/// A transmit ring as it moves with messages: whoever has it reads and writes memory that is behind it.
struct Ring {
    memory: Arc<UnsafeCell<u32>>,
}

impl Ring {
    /// A burst. loom fails the test if another thread may be at the same memory meanwhile.
    fn serve(&self) {
        // SAFETY: what is tested.
        self.memory.with_mut(|served| unsafe { *served += 1 });
    }
}

enum Message {
    Attach(Ring, Acknowledge<Option<Ring>>),
    Detach(Acknowledge<Option<Ring>>),
    Stop,
}

/// `Worker::run`: messages, a burst of each ring, sleep.
fn work(mailbox: Mailbox<Message>, bell: Bell) {
    let mut ring: Option<Ring> = None;
    loop {
        if mailbox.has_some() {
            while let Some(message) = mailbox.take() {
                match message {
                    Message::Attach(given, acknowledge) => {
                        ring = Some(given);
                        acknowledge.done(None);
                    }
                    Message::Detach(acknowledge) => acknowledge.done(ring.take()),
                    Message::Stop => return,
                }
            }
        }
        ring.iter().for_each(Ring::serve);
        bell.wait();
    }
}

fn start() -> (Postbox<Message>, thread::JoinHandle<()>) {
    let bell = Bell::new();
    let (postbox, mailbox) = mailbox(bell.clone());
    (postbox, thread::spawn(move || work(mailbox, bell)))
}

/// `Dataplane::ask` for one worker.
fn ask(
    worker: &Postbox<Message>,
    message: impl FnOnce(Acknowledge<Option<Ring>>) -> Message,
) -> Option<Ring> {
    let mut answers = Answers::new();
    worker.post(message(answers.one_more().unwrap()));
    let mut given = None;
    loop {
        match answers.next(Duration::ZERO) {
            Answer::Given(ring) => given = ring,
            Answer::Late => {}
            Answer::Complete => return given,
        }
    }
}

#[test]
fn a_message_posted_while_the_worker_goes_to_sleep_is_not_missed() {
    explore(4, || {
        let (postbox, worker) = start();
        assert!(ask(&postbox, Message::Detach).is_none());
        postbox.post(Message::Stop);
        worker.join().unwrap();
    });
}

#[test]
fn a_ring_is_used_by_one_worker_at_a_time_and_given_back_after_its_last_use() {
    explore(2, || {
        let memory = Arc::new(UnsafeCell::new(0));
        let (first, first_thread) = start();
        let (second, second_thread) = start();
        let ring = Ring { memory: memory.clone() };
        ask(&first, |acknowledge| Message::Attach(ring, acknowledge));
        // The hand-over of a ring that moves: detached here, attached there.
        let ring = ask(&first, Message::Detach).unwrap();
        ask(&second, |acknowledge| Message::Attach(ring, acknowledge));
        let ring = ask(&second, Message::Detach).unwrap();
        // And back at the control thread, which reads its position.
        ring.serve();
        // SAFETY: what is tested.
        let served = memory.with(|served| unsafe { *served });
        assert!((1..=5).contains(&served));
        first.post(Message::Stop);
        second.post(Message::Stop);
        first_thread.join().unwrap();
        second_thread.join().unwrap();
    });
}

#[test]
fn a_worker_that_is_gone_keeps_nobody_waiting() {
    explore(3, || {
        let (postbox, worker) = start();
        let mut answers = Answers::<Option<Ring>>::new();
        drop(answers.one_more());
        assert!(matches!(answers.next(Duration::ZERO), Answer::Complete));
        postbox.post(Message::Stop);
        worker.join().unwrap();
    });
}

#[test]
fn a_receive_queue_has_one_writer_at_a_time_and_is_whole_after_the_last_detach() {
    explore(3, || {
        let outlet = Arc::new(Mutex::new(0));
        let mut answers = Answers::new();
        let threads = [0, 1].map(|_| {
            let (outlet, acknowledge) = (outlet.clone(), answers.one_more().unwrap());
            thread::spawn(move || {
                let guard = turn::at_once(&outlet);
                *guard.unwrap_or_else(|| turn::patiently(&outlet)) += 1;
                // Detached: let go of, then acknowledged.
                drop(outlet);
                acknowledge.done(());
            })
        });
        while let Answer::Given(()) = answers.next(Duration::ZERO) {}
        let queue = into_inner(outlet).expect("no worker has it any more");
        assert_eq!(queue.into_inner().unwrap(), 2);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_stuck_write_is_never_taken_for_another_one() {
    explore(4, || {
        let watch = Arc::new(watch::WriteWatch::default());
        let worker = {
            let watch = watch.clone();
            thread::spawn(move || {
                for number in 1..=3 {
                    watch.begin(number, i32::from(number));
                    watch.end();
                }
            })
        };
        let (before, stuck) = watch.stuck_since(0);
        assert_eq!(stuck, None);
        if let (now, Some((port, descriptor))) = watch.stuck_since(before) {
            let number = u16::try_from(now.div_ceil(2)).unwrap();
            assert_eq!((port, descriptor), (number, i32::from(number)));
        }
        worker.join().unwrap();
    });
}

/// The indices of a ring, and the fields by which each side says when it wants to be told.
struct Indices {
    /// Made available by the driver; in the other direction, used by the device.
    index: AtomicU16,
    /// The event index of the reader (`avail_event`, `used_event`).
    event: AtomicU16,
    /// Instead of it: the reader's flag that it wants no notification.
    suppressed: AtomicBool,
}

/// Which part of the protocol is left out, to see that the model would notice.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Flaw {
    None,
    /// The reader does not look again after it armed.
    NoSecondLook,
    /// No fence between arming and the second look.
    NoReaderFence,
    /// No fence between the index and the look at the event.
    NoWriterFence,
}

impl Indices {
    /// One more entry; whether the reader has to be told (virtio 1.2, 2.7.7.2 and 2.7.10).
    fn add(&self, by_event: bool, flaw: Flaw) -> bool {
        let before = self.index.load(Ordering::Relaxed);
        let now = before.wrapping_add(1);
        self.index.store(now, Ordering::Release);
        if flaw != Flaw::NoWriterFence {
            fence(Ordering::SeqCst);
        }
        if by_event {
            let event = self.event.load(Ordering::Relaxed);
            now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
        } else {
            !self.suppressed.load(Ordering::Relaxed)
        }
    }

    /// `Core::arm`: says whether entries came in meanwhile.
    fn arm(&self, seen: u16, by_event: bool, flaw: Flaw) -> bool {
        if by_event {
            self.event.store(seen, Ordering::Relaxed);
        } else {
            self.suppressed.store(false, Ordering::Relaxed);
        }
        if flaw != Flaw::NoReaderFence {
            fence(Ordering::SeqCst);
        }
        flaw != Flaw::NoSecondLook && self.index.load(Ordering::Acquire) != seen
    }

    /// `Core::disarm`.
    fn disarm(&self, by_event: bool) {
        if !by_event {
            self.suppressed.store(true, Ordering::Relaxed);
        }
    }

    /// What a worker does with an inlet until it has taken `count` entries: polled, armed, asleep, woken.
    fn take(&self, count: u16, by_event: bool, flaw: Flaw, bell: &Bell) {
        let mut seen = 0;
        while seen < count {
            let found = self.index.load(Ordering::Acquire);
            if found == seen && !self.arm(seen, by_event, flaw) {
                bell.wait();
            }
            self.disarm(by_event);
            seen = self.index.load(Ordering::Acquire);
        }
    }
}

/// A ring whose reader never armed it yet: its event index lies behind.
fn unarmed() -> Arc<Indices> {
    Arc::new(Indices {
        index: AtomicU16::new(0),
        event: AtomicU16::new(0xff00),
        suppressed: AtomicBool::new(true),
    })
}

/// A writer who adds two entries and tells the reader only if asked to. A lost wake-up is a reader asleep for ever,
/// which loom reports as a deadlock.
fn entries_and_wake_ups(by_event: bool) {
    explore(4, move || {
        let (ring, bell) = (unarmed(), Bell::new());
        let reader = {
            let (ring, bell) = (ring.clone(), bell.clone());
            thread::spawn(move || ring.take(2, by_event, Flaw::None, &bell))
        };
        for _ in 0..2 {
            if ring.add(by_event, Flaw::None) {
                bell.ring();
            }
        }
        reader.join().unwrap();
    });
}

#[test]
fn no_wake_up_is_lost_with_an_event_index() {
    entries_and_wake_ups(true);
}

#[test]
fn no_wake_up_is_lost_with_flags() {
    entries_and_wake_ups(false);
}

/// Whether a reader who armed could go to sleep beside an entry that nobody tells it of.
fn may_lose_a_wake_up(by_event: bool, flaw: Flaw) -> bool {
    let lost = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let found = std::sync::Arc::clone(&lost);
    explore(4, move || {
        let ring = unarmed();
        let reader = {
            let ring = ring.clone();
            thread::spawn(move || ring.index.load(Ordering::Acquire) == 0 && !ring.arm(0, by_event, flaw))
        };
        let told = ring.add(by_event, flaw);
        let asleep = reader.join().unwrap();
        found.fetch_or(asleep && !told, Ordering::Relaxed);
    });
    lost.load(Ordering::Relaxed)
}

#[test]
fn the_model_notices_each_part_of_the_protocol_that_is_left_out() {
    for by_event in [false, true] {
        assert!(!may_lose_a_wake_up(by_event, Flaw::None));
        for flaw in [Flaw::NoSecondLook, Flaw::NoReaderFence, Flaw::NoWriterFence] {
            assert!(may_lose_a_wake_up(by_event, flaw), "{flaw:?}, by event: {by_event}");
        }
    }
}

/// The kick of a ring: an eventfd that is never read, so that whoever adds it to an epoll instance after the first
/// kick gets an event at once.
struct Kick(Mutex<(bool, Option<Bell>)>);

impl Kick {
    fn write(&self) {
        let mut kick = lock(&self.0);
        kick.0 = true;
        kick.1.iter().for_each(Bell::ring);
    }

    fn listen(&self, bell: Option<Bell>) {
        let mut kick = lock(&self.0);
        kick.1 = bell;
        if let (true, Some(bell)) = &*kick {
            bell.ring();
        }
    }
}

#[test]
fn a_kick_that_comes_during_a_hand_over_is_not_lost() {
    explore(3, || {
        let ring = unarmed();
        let kick = Arc::new(Kick(Mutex::new((false, None))));
        let driver = {
            let (ring, kick) = (ring.clone(), kick.clone());
            thread::spawn(move || {
                if ring.add(true, Flaw::None) {
                    kick.write();
                }
            })
        };
        // The worker that had the ring listened, armed it, and lets go of it.
        let old = Bell::new();
        kick.listen(Some(old.clone()));
        let seen = ring.index.load(Ordering::Acquire);
        ring.arm(seen, true, Flaw::None);
        kick.listen(None);
        // The one that gets it listens, then polls it before it sleeps.
        let new = Bell::new();
        let worker = {
            let (ring, kick) = (ring.clone(), kick.clone());
            thread::spawn(move || {
                kick.listen(Some(new.clone()));
                ring.take(1, true, Flaw::None, &new);
            })
        };
        worker.join().unwrap();
        driver.join().unwrap();
    });
}
