//! Instructions per frame of each part of a frame's way, held against the bounds of `bounds.toml`.
//!
//! Callgrind counts them, so that a busy machine counts the same as an idle one. A part that takes more than its
//! bound fails, and so does one that takes clearly less: then the bound is to be tightened, or the next
//! change could lose unnoticed what this one gained.
//!
//! `cargo run --release -p viaduct-instructions [-- [PART]... [--accept]]`; `--accept` writes what was counted to
//! the file, for the change that moves a bound on purpose.
//!
//! It is a package of its own and no benchmark of `viaduct`: cargo would build everything a second time for one, with panics that unwind
//! and with the features that tests need. So what is counted is the code that the daemon has. Bounds are counted with
//! `CARGO_INCREMENTAL=0`: an incremental build inlines less.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark ends where it fails")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use viaduct::ring::{Burst, ReceiveRing, TransmitRing};
use viaduct_switch::{Nanos, Switch, WorkerState};

use self::gateway::Way;
use self::path::{Obstacle, Path};
use self::stream::Stream;
use self::support::{BURST, Count, Guest, Layout, port, switch};
use self::tenants::Kind;

#[path = "../../benches/support/gateway.rs"]
mod gateway;
#[path = "../../benches/support/path.rs"]
mod path;
#[path = "../../benches/support/stream.rs"]
mod stream;
#[path = "../../benches/support/mod.rs"]
mod support;
#[path = "../../benches/support/tenants.rs"]
mod tenants;
#[path = "../../benches/support/tunnel.rs"]
mod tunnel;

/// Bursts that are counted, and before that as many that are not: ring, caches and tables are warm then.
const ROUNDS: u32 = 400;

/// Flows that take turns, where the flow matters: more than one, and few enough to be known.
const FLOWS: u8 = 16;

/// What is counted: a name, and a function that runs it through [`counted`].
const PARTS: [(&str, fn()); 32] = [
    ("split_ring_read_64", || ring_read(Layout::Split, 64)),
    ("split_ring_read_1518", || ring_read(Layout::Split, 1518)),
    ("split_ring_write_64", || ring_write(Layout::Split, 64)),
    ("split_ring_write_1518", || ring_write(Layout::Split, 1518)),
    ("decide_same_flow", decide_same_flow),
    ("decide_known_flow", decide_known_flow),
    ("decide_new_flow", decide_new_flow),
    ("decide_new_source", decide_new_source),
    ("decide_flood_8_ports", decide_flood),
    ("decide_established_same_flow", || decide_established(1, Kind::Datagram)),
    ("decide_established_64_flows", || decide_established(64, Kind::Datagram)),
    ("decide_established_64_flows_of_tcp", || decide_established(64, Kind::Segment)),
    ("decide_opening", decide_opening),
    ("decide_routed", || decide_by_gateway(Way::Routed)),
    ("decide_masqueraded", || decide_by_gateway(Way::Masqueraded)),
    ("split_ring_to_ring_64", || ring_to_ring(Layout::Split)),
    ("packed_ring_read_64", || ring_read(Layout::Packed, 64)),
    ("packed_ring_read_1518", || ring_read(Layout::Packed, 1518)),
    ("packed_ring_write_64", || ring_write(Layout::Packed, 64)),
    ("packed_ring_write_1518", || ring_write(Layout::Packed, 1518)),
    ("packed_ring_to_ring_64", || ring_to_ring(Layout::Packed)),
    ("whole_path_64", || whole_path(Obstacle::Nothing)),
    ("whole_path_policed_64", || whole_path(Obstacle::Meter)),
    ("whole_path_tree_passed_64", || whole_path(Obstacle::WideTree)),
    ("whole_path_tree_waited_64", || whole_path(Obstacle::NarrowTree)),
    ("tunnel_encapsulated_64", || whole_path(Obstacle::Encapsulation)),
    ("tunnel_encapsulated_64_to_64", || whole_path(Obstacle::ToCrowd(tunnel::FEW))),
    ("tunnel_encapsulated_64_to_1000", || whole_path(Obstacle::ToCrowd(tunnel::MANY))),
    ("tunnel_decapsulated_64", || whole_path(Obstacle::Decapsulation)),
    ("gro_of_others_60", || gro(Stream::of_others(), BURST)),
    ("gro_summed_1514", || gro(Stream::of_tcp(false), 2)),
    ("gro_vouched_1514", || gro(Stream::of_tcp(true), 2)),
];

/// Callgrind counts from this function's entry to its return, and nothing else.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
}

/// Runs `work` for each round after `prepare`, which is not counted; the first half is for warming up.
fn rounds<T>(on: &mut T, mut prepare: impl FnMut(&mut T, u32), mut work: impl FnMut(&mut T)) {
    for round in 0..ROUNDS {
        prepare(on, round);
        work(on);
    }
    for round in ROUNDS..2 * ROUNDS {
        prepare(on, round);
        counted(&mut || work(on));
    }
}

/// 64 descriptors read, heads copied, and later the used entries written.
fn ring_read(layout: Layout, len: u64) {
    let guest = Guest::sender(layout, len, 1);
    let ring = TransmitRing::new(guest.core(), 12, port(0));
    rounds(
        &mut (guest, ring, Burst::new(port(0))),
        |(guest, ..), _| guest.offer(),
        |(_, ring, burst)| {
            assert_eq!(ring.read(burst).unwrap(), BURST);
            ring.complete(burst);
        },
    );
}

/// 64 frames copied into buffers, and the used index published.
fn ring_write(layout: Layout, len: u64) {
    let mut sender = Guest::sender(Layout::Split, len, 1);
    let mut from = TransmitRing::new(sender.core(), 12, port(0));
    let mut burst = Burst::new(port(0));
    sender.offer();
    from.read(&mut burst).unwrap();
    let guest = Guest::receiver(layout);
    let ring = ReceiveRing::new(guest.core(), 12, true);
    rounds(&mut (guest, ring, burst), |(guest, ..), _| guest.offer(), |(_, ring, burst)| write(ring, burst));
}

fn write(ring: &mut ReceiveRing, burst: &Burst) {
    let (frames, segments) = burst.frames();
    ring.prepare(frames.len()).unwrap();
    for frame in frames {
        let rest = segments.get(frame.payload.first as usize, frame.payload.count as usize);
        ring.put(&[0; 12], frame.head.bytes(), rest, frame.meta.length).unwrap();
    }
    ring.publish();
}

/// Decides about bursts of 64 frames whose heads `change` rewrote: number of the frame, bytes of its head.
fn decide(ports: usize, flows: u8, change: impl Fn(u32, &mut [u8])) {
    let mut guest = Guest::sender(Layout::Split, 64, flows);
    let mut ring = TransmitRing::new(guest.core(), 12, port(0));
    let mut burst = Burst::new(port(0));
    guest.offer();
    ring.read(&mut burst).unwrap();
    let (switch, state) = switch(ports, flows);
    let rewrite = |burst: &mut Burst, round: u32| {
        for (number, frame) in (round * u32::from(BURST)..).zip(burst.parts().0) {
            change(number, frame.head.bytes_mut());
        }
    };
    rounds(
        &mut (state, burst, Nanos(0)),
        |(_, burst, now), round| {
            rewrite(burst, round);
            // Slowly enough for storm control, and all of it before an address ages.
            *now = Nanos(u64::from(round) * 100_000_000);
        },
        |(state, burst, now)| {
            let mut count = Count(0);
            switch.process(state, *now, burst.parts().0, &mut count);
            assert_eq!(count.0, u64::from(BURST));
        },
    );
}

/// One flow between stations that are known: each frame is of its predecessor's kind.
fn decide_same_flow() {
    decide(2, 1, |_, _| ());
}

/// The same few flows between stations that are known.
fn decide_known_flow() {
    decide(2, FLOWS, |_, _| ());
}

/// Each frame is the first of its flow, between stations that are known: another protocol each time.
fn decide_new_flow() {
    // From 0x9101 on, beyond the types of VLAN tags and what else has a meaning of its own; never twice.
    const { assert!(2 * ROUNDS * (BURST as u32) <= 0x6dff + 0x7800) };
    let protocol = |number: u32| if number < 0x6dff { 0x9101 + number } else { 0x0800 + number - 0x6dff };
    decide(2, FLOWS, |number, head| head[12..14].copy_from_slice(&protocol(number).to_be_bytes()[2..]));
}

/// Each frame comes from a station that was never seen: it is learned.
fn decide_new_source() {
    decide(2, FLOWS, |number, head| {
        head[6] = 6;
        head[7..11].copy_from_slice(&number.to_be_bytes());
    });
}

/// Broadcasts to seven other ports.
fn decide_flood() {
    decide(8, FLOWS, |_, head| head[..6].fill(0xff));
}

/// Bursts of so many established connections in turn, between two guests that are guarded and in groups.
fn decide_established(flows: u32, kind: Kind) {
    let heads: Vec<_> = (0..flows).map(|flow| tenants::packet(0, flow, kind, 0x18)).collect();
    decide_for_tenants(tenants::switch(flows, kind), |number| heads[(number % flows) as usize]);
}

/// Each frame opens another connection, for which one that nobody answered gives way.
fn decide_opening() {
    decide_for_tenants(tenants::switch(0, Kind::Datagram), |number| {
        tenants::packet(0, number, Kind::Datagram, 0)
    });
}

/// Decides about bursts of what `head` makes of each frame's number.
fn decide_for_tenants((switch, state): (Switch, WorkerState), head: impl Fn(u32) -> [u8; 64]) {
    let mut guest = Guest::sender(Layout::Split, 64, 1);
    let mut ring = TransmitRing::new(guest.core(), 12, port(0));
    let mut burst = Burst::new(port(0));
    guest.offer();
    ring.read(&mut burst).unwrap();
    rounds(
        &mut (state, burst),
        |(_, burst), round| {
            for (number, frame) in (round * u32::from(BURST)..).zip(burst.parts().0) {
                frame.head.bytes_mut().copy_from_slice(&head(number));
            }
        },
        |(state, burst)| {
            let mut count = Count(0);
            switch.process(state, Nanos(1_000_000), burst.parts().0, &mut count);
            assert_eq!(count.0, u64::from(BURST));
        },
    );
}

/// The same few flows by a gateway, each of which was seen in this second.
fn decide_by_gateway(way: Way) {
    let mut guest = Guest::sender(Layout::Split, 64, FLOWS);
    let mut ring = TransmitRing::new(guest.core(), 12, port(0));
    let mut burst = Burst::new(port(0));
    guest.offer();
    ring.read(&mut burst).unwrap();
    let (switch, state) = gateway::switch(way);
    let heads: Vec<_> = (0..FLOWS).map(gateway::datagram).collect();
    rounds(
        &mut (state, burst),
        |(_, burst), _| {
            for (number, frame) in burst.parts().0.iter_mut().enumerate() {
                frame.head.bytes_mut().copy_from_slice(&heads[number % heads.len()]);
                frame.meta.tag = None;
            }
        },
        |(state, burst)| {
            let mut count = Count(0);
            switch.process(state, Nanos(1_000_000), burst.parts().0, &mut count);
            assert_eq!(count.0, u64::from(BURST));
        },
    );
}

/// All of it: from the descriptors of one ring into the buffers of the other.
fn ring_to_ring(layout: Layout) {
    let (sender, receiver) = (Guest::sender(layout, 64, FLOWS), Guest::receiver(layout));
    let from = TransmitRing::new(sender.core(), 12, port(0));
    let to = ReceiveRing::new(receiver.core(), 12, true);
    let (switch, state) = switch(2, FLOWS);
    rounds(
        &mut (sender, receiver, from, to, state, Burst::new(port(0))),
        |(sender, receiver, ..), _| {
            sender.offer();
            receiver.offer();
        },
        |(_, _, from, to, state, burst)| {
            assert_eq!(from.read(burst).unwrap(), BURST);
            switch.process(state, Nanos(0), burst.parts().0, &mut Count(0));
            write(to, burst);
            from.complete(burst);
        },
    );
}

/// A worker's whole round, from one guest's ring into the other's, with what stands in the way: as many frames leave as came.
fn whole_path(obstacle: Obstacle) {
    let mut path = Path::new(obstacle);
    rounds(&mut path, |path, _| path.offer(), Path::carry);
    path.check(obstacle);
}

/// Super-frames are made of a burst where that is possible, so that so many frames go on.
fn gro(stream: Stream, remain: u16) {
    rounds(&mut { stream }, |_, _| (), |stream| assert_eq!(stream.merge(), usize::from(remain)));
}

/// Runs one part under callgrind; gives its instructions per frame.
fn count(part: &str) -> f64 {
    let output = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--toggle-collect=*instructions*counted*",
        ])
        .arg(std::env::current_exe().unwrap())
        .args(["--run", part])
        // The C library copies by what the processor offers; so it is the same on every machine.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX512F,-AVX2,-AVX,-ERMS,-FSRM")
        .output()
        .expect("valgrind is missing: scripts/setup installs it");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{part} failed under valgrind:\n{said}");
    let collected =
        said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse::<u32>().ok());
    let collected = collected.unwrap_or_else(|| panic!("callgrind told no count of {part}:\n{said}"));
    assert!(collected > 0, "callgrind found no function `counted` in {part}:\n{said}");
    f64::from(collected) / f64::from(ROUNDS * u32::from(BURST))
}

/// The bounds as they stand in the file, a name and a value to a line.
struct Bounds(BTreeMap<String, String>);

impl Bounds {
    fn file() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("bounds.toml")
    }

    fn read() -> Self {
        let text = std::fs::read_to_string(Self::file()).expect("bounds.toml cannot be read");
        let lines =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" = "));
        Self(lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(|value| value.parse().expect("a number in bounds.toml"))
    }

    /// How far from its bound a part may be with this compiler, in percent.
    fn tolerance_percent(&self, compiler: &str) -> f64 {
        let same = self.0["compiler"].trim_matches('"') == compiler;
        self.number(if same { "tolerance_percent" } else { "other_compiler_percent" }).expect("a tolerance")
    }

    /// What is wrong with a part that took `counted`, if anything is.
    fn judge(&self, part: &str, counted: f64, tolerance_percent: f64) -> Result<(), String> {
        let bound = self.number(part).ok_or("it has no bound: -- --accept writes one")?;
        let change = (counted / bound - 1.0) * 100.0;
        if change > tolerance_percent {
            return Err(format!("{change:+.1} % from its bound of {bound}: too many"));
        }
        if change < -tolerance_percent {
            return Err(format!("{change:+.1} % from its bound of {bound}: tighten it with -- --accept"));
        }
        Ok(())
    }

    /// Writes what was counted as the new bounds. Parts that were not counted keep theirs.
    fn accept(&self, compiler: &str, counted: &BTreeMap<&str, f64>) {
        let old = std::fs::read_to_string(Self::file()).unwrap();
        let (head, _) = old.split_once("[instructions_per_frame]\n").expect("the table of bounds");
        let head = head.replace(
            &format!("compiler = {}\n", self.0["compiler"]),
            &format!("compiler = \"{compiler}\"\n"),
        );
        let mut text = head + "[instructions_per_frame]\n";
        for (part, _) in PARTS {
            if let Some(bound) = counted.get(part).copied().or_else(|| self.number(part)) {
                text.push_str(&format!("{part} = {bound:.1}\n"));
            }
        }
        std::fs::write(Self::file(), text).unwrap();
    }
}

/// The compiler's version up to its minor number.
fn compiler() -> String {
    let output = Command::new("rustc").arg("--version").output().expect("rustc is missing");
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.split_whitespace().nth(1).expect("rustc tells no version").to_owned();
    version.rsplit_once('.').expect("rustc's version has three parts").0.to_owned()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [run, part] = &arguments[..]
        && run == "--run"
    {
        PARTS.iter().find(|(name, _)| name == part).expect("a part that exists").1();
        return ExitCode::SUCCESS;
    }
    let (options, names): (Vec<&String>, Vec<_>) = arguments.iter().partition(|name| name.starts_with("--"));
    let wanted = |part: &str| names.is_empty() || names.iter().any(|name| part.contains(name.as_str()));
    let (bounds, compiler) = (Bounds::read(), compiler());
    let tolerance = bounds.tolerance_percent(&compiler);
    println!(
        "bounds counted with rustc {}; this is rustc {compiler}: {tolerance} % are allowed",
        bounds.0["compiler"]
    );
    let mut counts = BTreeMap::new();
    let mut failed = 0;
    for (part, _) in PARTS.iter().filter(|(part, _)| wanted(part)) {
        let counted = count(part);
        let verdict = bounds.judge(part, counted, tolerance);
        failed += usize::from(verdict.is_err());
        let (word, why) =
            verdict.map_or_else(|why| ("FAILED", format!("\n    {why}")), |()| ("ok", String::new()));
        println!("test {part} ... {word}\n    {counted:.1} instructions per frame{why}");
        counts.insert(*part, counted);
    }
    if options.iter().any(|option| *option == "--accept") {
        bounds.accept(&compiler, &counts);
        println!("{} written", Bounds::file().display());
        return ExitCode::SUCCESS;
    }
    let outcome = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {outcome}. {} passed; {failed} failed; 0 ignored", counts.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
