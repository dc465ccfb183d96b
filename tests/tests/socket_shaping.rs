//! Rates with real sleep: how exact they are, what it takes of a processor, and that nobody else notices.
//!
//! `VIADUCT_SHAPING_SECONDS=10 cargo test -p viaduct-tests --test socket_shaping -- --nocapture --test-threads=1` measures all rates and
//! frames for so long; without it a few for two seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use viaduct_tests::daemon::{Daemon, is_release};
use viaduct_tests::deadline::wait_until;
use viaduct_tests::driver::features::{EVENT_IDX, MODERN, OFFLOADS};
use viaduct_tests::driver::header::NetHeader;
use viaduct_tests::driver::nic::{Nic, NicOptions};
use viaduct_tests::stream::{frame, mac};
use viaduct_tests::superframe::{Kind, SuperFrame};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Data of a super-frame, and of its segments.
const DATA: usize = 64_000;
const SEGMENT: u16 = 1440;

/// How far a rate may be off.
const TOLERANCE: f64 = 0.01;

/// How often a rate is measured: what else the machine has to do makes it too low for a while, and never too high.
const TRIES: usize = 6;

/// What is sent, and under which name.
struct Sent {
    name: &'static str,
    header: NetHeader,
    bytes: Vec<u8>,
    /// Bytes on the wire.
    wire: u64,
    /// So many are under way at most.
    window: u64,
}

impl Sent {
    fn plain(name: &'static str, length: usize, window: u64) -> Self {
        let bytes = frame(mac(1), mac(0), 1, length);
        Self { name, header: NetHeader::default(), bytes, wire: length as u64, window }
    }

    /// A super-frame, which leaves whole where a burst takes it.
    fn super_frame() -> Self {
        let SuperFrame { header, bytes, headers_len } =
            SuperFrame::new(Kind::Tcp4, mac(1), mac(0), &vec![7; DATA], SEGMENT);
        let segments = DATA.div_ceil(usize::from(SEGMENT));
        Self { name: "super-frames", header, wire: (DATA + segments * headers_len) as u64, bytes, window: 16 }
    }

    /// The same with less under way, so that it waits for a twentieth of a second.
    fn at(mut self, megabits: u32) -> Self {
        self.window = self.window.min((u64::from(megabits) * 50_000 / 8 / self.wire).max(2));
        self
    }

    fn all() -> [Self; 3] {
        [Self::plain("64 B", 60, 1500), Self::plain("1518 B", 1514, 1000), Self::super_frame()]
    }
}

fn config(rate: &str) -> String {
    let queue = "queue = { kind = \"fifo\", packets = 2000 }";
    format!(
        "[qos.held]\negress = {{ kind = \"tbf\", rate = \"{rate}\", {queue} }}\n\
         [network.lab]\n[port.a]\nnetwork = \"lab\"\nmtu = 9000\n[port.b]\nnetwork = \"lab\"\nqos = \"held\"\n\
         [port.c]\nnetwork = \"lab\"\n[port.d]\nnetwork = \"lab\"\n"
    )
}

/// A card of a guest that takes super-frames.
fn plug(daemon: &Daemon, port: &str) -> Nic {
    let options =
        NicOptions { features: MODERN | EVENT_IDX | OFFLOADS, queue_size: 1024, ..NicOptions::default() };
    Nic::connect(&daemon.socket(port), &NicOptions { send_buffers: 512, ..options }.with_frames_of(66_000))
}

/// Both ends of what is shaped: as many frames are under way as there may be, so that none is lost and some always wait.
struct Lane {
    from: Nic,
    to: Nic,
    sent: u64,
    /// Bytes on the wire that came.
    came: u64,
}

impl Lane {
    fn new(daemon: &Daemon, [from, to]: [(&str, u32); 2]) -> Self {
        let (mut sender, mut receiver) = (plug(daemon, from.0), plug(daemon, to.0));
        receiver.send(&frame([0xff; 6], mac(to.1), 1, 60));
        sender.expect_frame("where the receiver is");
        sender.send(&frame([0xff; 6], mac(from.1), 1, 60));
        receiver.expect_frame("where the sender is");
        Self { from: sender, to: receiver, sent: 0, came: 0 }
    }

    /// Takes what came, and sends as much.
    fn turn(&mut self, what: &Sent) {
        while let Some(received) = self.to.take() {
            // A piece of a super-frame has headers of its own.
            self.came += if received.bytes.len() == what.bytes.len() {
                what.wire
            } else {
                received.bytes.len() as u64
            };
        }
        let room =
            what.window.saturating_sub((self.sent * what.wire).saturating_sub(self.came).div_ceil(what.wire));
        for _ in 0..room {
            self.from.transmit[0].reclaim();
            if !self.from.transmit[0].try_put(what.header, &what.bytes) {
                break;
            }
            self.sent += 1;
        }
        self.from.transmit[0].ring.publish();
    }

    /// Takes what is under way, so that another kind may follow.
    fn finish(&mut self, what: Sent) {
        let all = self.sent * what.wire;
        let what = Sent { window: 0, ..what };
        wait_until("all that was sent", Duration::from_secs(5), || {
            self.turn(&what);
            self.came >= all
        });
        (self.sent, self.came) = (0, 0);
    }

    /// Keeps it going for a time, with a pause after each turn; gives bytes a second.
    fn run(&mut self, what: &Sent, time: Duration, pause: Duration) -> f64 {
        let (began, before) = (Instant::now(), self.came);
        while began.elapsed() < time {
            self.turn(what);
            std::thread::sleep(pause);
        }
        self.turn(what);
        (self.came - before) as f64 / began.elapsed().as_secs_f64()
    }
}

/// Measures a rate until it is right: too low it may be up to so many times, and too high never.
fn assert_exact(lane: &mut Lane, what: &Sent, megabits: u32, time: Duration) {
    let pause = Duration::from_micros(if megabits >= 1000 { 50 } else { 500 });
    // What may go at once is used up then.
    lane.run(what, Duration::from_millis(300), pause);
    // A frame at either end, and what leaves together.
    let edge = (2 * what.wire) as f64 * 8.0 / (f64::from(megabits) * 1e6 * time.as_secs_f64());
    let tolerance = TOLERANCE.max(edge);
    let mut shares = Vec::new();
    while shares.len() < TRIES {
        let share = lane.run(what, time, pause) * 8.0 / (f64::from(megabits) * 1e6);
        println!("{} at {megabits} mbit: {:+.3} %", what.name, (share - 1.0) * 100.0);
        assert!(share < 1.0 + tolerance, "{} at {megabits} mbit: {share:.4} of its rate", what.name);
        if share > 1.0 - tolerance {
            return;
        }
        shares.push(share);
    }
    panic!("{} at {megabits} mbit: {shares:?} of its rate", what.name);
}

#[test]
fn rates_hold_with_real_sleep_within_a_hundredth() {
    let long = std::env::var("VIADUCT_SHAPING_SECONDS").ok().map(|text| text.parse::<u64>().unwrap());
    let time = Duration::from_secs(long.unwrap_or(2));
    let daemon = Daemon::start(&config("1mbit"));
    let mut lane = Lane::new(&daemon, [("a", 0), ("b", 1)]);
    for megabits in [1, 10, 100, 1000] {
        daemon.apply(&config(&format!("{megabits}mbit")));
        for what in Sent::all() {
            // This driver writes some 200,000 frames a second: too few small ones for a thousand megabits.
            let is_too_much = megabits == 1000 && what.wire == 60;
            let is_wanted = [(10, 1514), (100, 60)].contains(&(megabits, what.wire));
            if !is_too_much && (long.is_some() || is_wanted) {
                let what = what.at(megabits);
                assert_exact(&mut lane, &what, megabits, time);
                lane.finish(what);
            }
        }
    }
}

/// What a test build may take of a processor instead of a hundredth: its code, of which next to nothing is optimized, takes five
/// times as long for a frame, and a wake has eight of them.
const OF_TEST_BUILD: f64 = 0.03;

/// Eight frames of 1.2 ms leave together.
const WAKES_PER_SECOND: f64 = 105.0;

/// What the daemon takes at most, all its threads together, of what two threads take that wake as often, copy each frame as often between
/// places as far from each other, tell somebody as often, and do nothing else. Where those take more than half a hundredth of a processor,
/// the machine is in a state in which wakes and memory cost a multiple, and a hundredth says nothing about the daemon.
const TO_BARE_WAKES: f64 = 2.0;

/// How often the control thread wakes.
const TICKS_PER_SECOND: f64 = 10.0;

/// Bytes from one buffer of a card to the next.
const BUFFER: usize = 66_000;

/// Starts a thread that wakes as often as departures do, and copies as many frames as leave then, as those that wait are: out of a ring, and
/// later into another one, about which it tells. Another one wakes for nothing. For so long; it gives the part of a processor that this took.
fn bare_wakes(time: Duration) -> JoinHandle<f64> {
    const FRAME: usize = 1514;
    const FRAMES: usize = 8;
    /// Places of a ring, and frames that wait.
    const PLACES: usize = 512;
    const POOL_STRIDE: usize = 2048;
    let ticks = std::thread::spawn(move || part_of_processor(time, TICKS_PER_SECOND, |_| ()));
    std::thread::spawn(move || {
        let area = |stride: usize| vec![1_u8; (PLACES + FRAMES) * stride];
        let [from, mut pool, mut to] = [area(BUFFER), area(POOL_STRIDE), area(BUFFER)];
        let told = EventFd::new(EFD_NONBLOCK).unwrap();
        let part = part_of_processor(time, WAKES_PER_SECOND, |turn| {
            for frame in 0..FRAMES {
                let place = |stride: usize, after: usize| {
                    let at = (turn * FRAMES + frame + after) % PLACES * stride;
                    at..at + FRAME
                };
                // What comes now leaves when the rest of the ring has.
                to[place(BUFFER, 0)].copy_from_slice(&pool[place(POOL_STRIDE, 0)]);
                pool[place(POOL_STRIDE, PLACES - FRAMES)].copy_from_slice(&from[place(BUFFER, 0)]);
            }
            told.write(1).unwrap();
            std::hint::black_box((&mut pool, &mut to));
        });
        part + ticks.join().unwrap()
    })
}

/// Does something so many times a second, for so long; gives the part of a processor that this thread took for it.
fn part_of_processor(time: Duration, times_per_second: f64, mut act: impl FnMut(usize)) -> f64 {
    let (began, before) = (Instant::now(), thread_time());
    for turn in 0.. {
        if began.elapsed() >= time {
            break;
        }
        std::thread::sleep(Duration::from_secs_f64(1.0 / times_per_second));
        act(turn);
    }
    (thread_time() - before).as_secs_f64() / began.elapsed().as_secs_f64()
}

/// The time that this thread has had of a processor.
fn thread_time() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(told.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn shaping_a_port_at_ten_megabits_takes_little_of_a_processor() {
    let most = if is_release() { 0.01 } else { OF_TEST_BUILD };
    let daemon = Daemon::start(&config("10mbit"));
    let mut lane = Lane::new(&daemon, [("a", 0), ("b", 1)]);
    let what = Sent::plain("1518 B", 1514, 400);
    // The driver looks four times a second: what it does itself costs next to nothing, and all that it sends waits.
    let pause = Duration::from_millis(250);
    lane.run(&what, Duration::from_millis(500), pause);
    let mut shares = Vec::new();
    while shares.len() < TRIES && shares.last().is_none_or(|(share, most)| share >= most) {
        let (began, before, wakes) = (Instant::now(), daemon.usage().cpu, daemon.show().workers[0].sleeps);
        // At the same time, so that it finds the machine in the same state.
        let bare = bare_wakes(Duration::from_secs(4));
        let rate = lane.run(&what, Duration::from_secs(4), pause) * 8.0;
        let (cpu, took) = (daemon.usage().cpu - before, began.elapsed());
        let wakes = (daemon.show().workers[0].sleeps - wakes) as f64 / took.as_secs_f64();
        let bare = bare.join().unwrap();
        shares.push((cpu.as_secs_f64() / took.as_secs_f64(), most.max(TO_BARE_WAKES * bare)));
        println!(
            "{:.2} Mbit/s with {shares:.4?} of a processor, {wakes:.0} sleeps a second, {bare:.4} for as many bare ones",
            rate / 1e6
        );
        assert!((9.5e6..10.1e6).contains(&rate), "{rate} bit/s");
        assert!(wakes < 130.0, "{wakes} sleeps a second");
    }
    assert!(
        shares.iter().any(|(share, most)| share < most),
        "{shares:.4?} of a processor and of what it may take"
    );
}

#[test]
fn a_neighbour_without_a_policy_loses_nothing_while_others_are_shaped() {
    let daemon = Daemon::start(&config("100mbit"));
    let mut shaped = Lane::new(&daemon, [("a", 0), ("b", 1)]);
    let mut free = Lane::new(&daemon, [("c", 2), ("d", 3)]);
    let held = Sent::plain("1518 B", 1514, 400);
    let bytes = frame(mac(3), mac(2), 1, 1514);
    // A fixed rate of frames, of which as many have to come whether or not the others are busy.
    let mut rates = [0.0; 2];
    for (is_busy, rate) in [false, true].into_iter().zip(&mut rates) {
        let (began, mut sent, mut came) = (Instant::now(), 0_u64, 0_u64);
        while began.elapsed() < Duration::from_secs(2) {
            if is_busy {
                shaped.turn(&held);
            }
            let due = u64::try_from(began.elapsed().as_micros()).unwrap() * 12 / 1000;
            while sent < due && free.from.transmit[0].try_put(NetHeader::default(), &bytes) {
                sent += 1;
            }
            free.from.transmit[0].ring.publish();
            free.from.transmit[0].reclaim();
            came += std::iter::from_fn(|| free.to.take()).count() as u64;
            std::thread::sleep(Duration::from_micros(200));
        }
        came += free.to.collect(Duration::from_millis(100)).len() as u64;
        assert!(came * 100 >= sent * 98, "{came} of {sent} frames came, others busy: {is_busy}");
        *rate = came as f64 / began.elapsed().as_secs_f64();
    }
    println!("frames a second, others idle and busy: {rates:?}");
    assert!(rates[1] >= 0.98 * rates[0], "{rates:?}");
    assert!(shaped.came > 10_000_000, "{} bytes were shaped", shaped.came);
}
