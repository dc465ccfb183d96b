//! The same generator over the kernel: two TAP devices on a Linux bridge, read and written as files.
//!
//! One thread writes and another reads, each on a processor of its own as with a switch. The frame's way through the
//! kernel happens inside of their system calls, so its cost is the machine's time in the kernel, whoever it is
//! charged to; the generator's own work is in user mode and does not count.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};

use super::error::BenchError;
use super::frame;
use super::generator::{Carried, Inspector, LOST_AFTER, WARM_UP, WINDOW};
use super::interrupt;
use super::machine::{Places, pin};
use super::namespace::Bridge;

/// What this path is called in tables.
pub(super) const PATH: &str = "TAP + bridge";
/// Frames that the kernel may keep for the reader: more than are under way.
const QUEUE: &str = "2048";
/// Longest time that the reader waits without a look at whether it is over.
const LOOK_EVERY: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };
/// Kernel time is counted in hundredths of a second (USER_HZ, which programs see as 100 on all of Linux' machines).
const TICKS_PER_SECOND: f64 = 100.0;

/// A TAP device that is there as long as it is open.
struct Tap(File);

impl Tap {
    /// Makes the device `name` in this thread's namespace.
    fn open(name: &str) -> Result<Self, BenchError> {
        let refused = |error: io::Error| BenchError::Refused {
            what: "open /dev/net/tun".to_owned(),
            error: error.to_string(),
            remedy: "run it as root on a machine with the module tun (modprobe tun)".to_owned(),
        };
        let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let device: OwnedFd =
            open("/dev/net/tun", flags, Mode::empty()).map_err(|error| refused(error.into()))?;
        attach(&device, name).map_err(refused)?;
        Ok(Self(File::from(device)))
    }

    fn send(&self, frame: &[u8]) -> Result<(), BenchError> {
        match (&self.0).write(frame) {
            // No buffer for it: lost, as a switch loses frames.
            Err(error)
                if error.raw_os_error() != Some(libc::ENOBUFS)
                    && error.kind() != io::ErrorKind::WouldBlock =>
            {
                Err(BenchError::system("write a frame to a TAP device")(error))
            }
            _ => Ok(()),
        }
    }

    /// The next frame, or none within a moment.
    fn receive<'b>(&self, room: &'b mut [u8]) -> Result<Option<&'b [u8]>, BenchError> {
        loop {
            match (&self.0).read(room) {
                Ok(bytes) => return Ok(Some(&room[..bytes])),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(BenchError::system("read a frame from a TAP device")(error)),
            }
            match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&LOOK_EVERY)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(None),
                Ok(_) => {}
                Err(error) => return Err(BenchError::system("wait for a TAP device")(error)),
            }
        }
    }
}

fn attach(device: &OwnedFd, name: &str) -> io::Result<()> {
    // SAFETY: all-zero is a valid `ifreq`: integers and addresses of none.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = i16::try_from(libc::IFF_TAP | libc::IFF_NO_PI).unwrap_or(0);
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives during the call.
    match unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// What the two threads know of each other.
#[derive(Debug, Default)]
struct Shared {
    sent: AtomicU64,
    received: AtomicU64,
    ended: AtomicBool,
}

/// Ends the other thread whichever way this one ends.
struct Ending<'s>(&'s Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Relaxed);
    }
}

/// Sends frames of `bytes` bytes for `time`; to be called within a namespace.
pub(super) fn measure(bytes: usize, time: Duration, places: Places) -> Result<Carried, BenchError> {
    let [a, b] = wire()?;
    let shared = Shared::default();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let _ending = Ending(&shared);
            pin(places.generator).and_then(|()| read_all(&b, &shared, bytes))
        });
        let writer = scope.spawn(|| {
            let _ending = Ending(&shared);
            pin(places.switch).and_then(|()| write_all(&a, &shared, bytes))
        });
        let carried = watch(&shared, time);
        shared.ended.store(true, Ordering::Relaxed);
        let join = |thread: thread::ScopedJoinHandle<'_, Result<(), BenchError>>| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        join(reader).and(join(writer)).and(carried)
    })
}

/// Two TAP devices on a bridge, which knows where the addresses of both ends are.
fn wire() -> Result<[Tap; 2], BenchError> {
    let (bridge, a, b) = (Bridge::new()?, Tap::open("tap0")?, Tap::open("tap1")?);
    for name in ["tap0", "tap1"] {
        bridge.ip(&["link", "set", name, "mtu", "9000", "txqueuelen", QUEUE])?;
        bridge.connect(name)?;
    }
    let (mut room, start) = ([0; frame::BYTES_MAX], Instant::now());
    while start.elapsed() < Duration::from_secs(10) {
        b.send(&frame::template(frame::BYTES_MIN, 1, 0))?;
        a.send(&frame::template(frame::BYTES_MIN, 0, 1))?;
        interrupt::sleep(Duration::from_millis(20))?;
        while let Some(bytes) = b.receive(&mut room)? {
            if frame::number(bytes, 1).is_some() {
                return Ok([a, b]);
            }
        }
    }
    Err(BenchError::Silence { path: PATH.to_owned(), seconds: 10 })
}

/// Waits while it runs; what came through between the warm-up and the end.
fn watch(shared: &Shared, time: Duration) -> Result<Carried, BenchError> {
    let received = || shared.received.load(Ordering::Relaxed);
    pause(shared, WARM_UP)?;
    let (start, frames, before) = (Instant::now(), received(), kernel_time());
    pause(shared, time)?;
    let (time, frames, cpu) = (start.elapsed(), received() - frames, kernel_time() - before);
    shared.ended.store(true, Ordering::Relaxed);
    thread::sleep(LOST_AFTER);
    let sent = shared.sent.load(Ordering::Relaxed);
    if frames == 0 {
        return Err(BenchError::Silence { path: PATH.to_owned(), seconds: time.as_secs() });
    }
    Ok(Carried { sent, lost: sent.saturating_sub(received()), frames, time, cpu })
}

/// Sleeps, unless a thread has ended with an error, which is told when it is joined.
fn pause(shared: &Shared, time: Duration) -> Result<(), BenchError> {
    let end = Instant::now() + time;
    while Instant::now() < end && !shared.ended.load(Ordering::Relaxed) {
        interrupt::sleep(Duration::from_millis(20).min(end - Instant::now()))?;
    }
    Ok(())
}

fn write_all(tap: &Tap, shared: &Shared, bytes: usize) -> Result<(), BenchError> {
    let mut frame = frame::template(bytes, 0, 1);
    let (mut sent, mut lost, mut before, mut last) = (0, 0, 0, Instant::now());
    while !shared.ended.load(Ordering::Relaxed) {
        let received = shared.received.load(Ordering::Relaxed);
        if sent < received + lost + WINDOW {
            frame::set_number(&mut frame, sent);
            tap.send(&frame)?;
            sent += 1;
            shared.sent.store(sent, Ordering::Relaxed);
            continue;
        }
        if received != before {
            (before, last) = (received, Instant::now());
        } else if last.elapsed() > LOST_AFTER {
            (lost, last) = (sent - received, Instant::now());
        }
        std::hint::spin_loop();
    }
    Ok(())
}

/// Goes on for a while after the end, for what is still under way.
fn read_all(tap: &Tap, shared: &Shared, bytes: usize) -> Result<(), BenchError> {
    let mut inspector = Inspector::new(bytes, PATH);
    let (mut room, mut received) = ([0; frame::BYTES_MAX], 0);
    loop {
        match tap.receive(&mut room)? {
            Some(bytes) if frame::number(bytes, 1).is_some() => {
                inspector.see_bytes(bytes)?;
                received += 1;
                shared.received.store(received, Ordering::Relaxed);
            }
            Some(_) => {}
            None if shared.ended.load(Ordering::Relaxed) => return Ok(()),
            None => {}
        }
    }
}

/// Processor time that the machine spent in the kernel: system, irq and softirq of the first line of /proc/stat
/// (proc_stat(5)).
fn kernel_time() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let fields: Vec<u64> = text
        .lines()
        .next()
        .unwrap_or("")
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    let ticks: u64 = [2, 5, 6].iter().filter_map(|index| fields.get(*index)).sum();
    Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND)
}
