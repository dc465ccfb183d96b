//! A TUN device in a namespace: what its kernel sends comes out as IP packets here, and the other way round (Linux,
//! Documentation/networking/tuntap.rst).

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crate::namespace::Namespace;

/// The longest packet.
const PACKET_MAX: usize = 65_536;

/// How often the reading thread looks whether it is to end, in milliseconds.
const LOOK_MS: i32 = 50;

/// A device, and the thread that reads it.
#[derive(Debug)]
pub struct Tun {
    file: Arc<File>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Runs `work` in a namespace: in a thread of its own, whose children live there too.
///
/// # Panics
/// If the namespace cannot be entered, or `work` panics.
pub fn within<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let file = File::open(namespace.path()).unwrap();
            // SAFETY: setns only looks at its two numbers, and changes this thread alone.
            let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "cannot enter {}: {}", namespace.name(), std::io::Error::last_os_error());
            work()
        });
        thread.join().unwrap()
    })
}

impl Tun {
    /// Makes `name` in `namespace`, up; each packet from there goes to `receive`.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(namespace: &Namespace, name: &str, receive: impl Fn(Vec<u8>) + Send + 'static) -> Self {
        Self::of_kind(libc::IFF_TUN, namespace, name, receive)
    }

    /// The same with Ethernet frames instead of IP packets.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn tap(namespace: &Namespace, name: &str, receive: impl Fn(Vec<u8>) + Send + 'static) -> Self {
        Self::of_kind(libc::IFF_TAP, namespace, name, receive)
    }

    fn of_kind(
        kind: libc::c_int,
        namespace: &Namespace,
        name: &str,
        receive: impl Fn(Vec<u8>) + Send + 'static,
    ) -> Self {
        let file = Arc::new(within(namespace, || open(name, kind)));
        namespace.ip(&format!("link set {name} txqueuelen 4000 up"));
        let stop = Arc::new(AtomicBool::new(false));
        let (source, stopped) = (Arc::clone(&file), Arc::clone(&stop));
        let thread = std::thread::spawn(move || read(&source, &stopped, receive));
        Self { file, stop, thread: Some(thread) }
    }

    /// What sends packets into the namespace.
    #[must_use]
    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }
}

impl Drop for Tun {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Hands a packet to the kernel behind a device.
pub fn write(mut file: &File, packet: &[u8]) {
    // A device that went down takes none.
    let _ = file.write(packet);
}

fn open(name: &str, kind: libc::c_int) -> File {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    // SAFETY: all zeroes are a request without a name.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *place = libc::c_char::try_from(byte).unwrap();
    }
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(kind | libc::IFF_NO_PI).unwrap();
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which lives during the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    assert_eq!(result, 0, "cannot make {name}: {}", std::io::Error::last_os_error());
    file
}

fn read(mut file: &File, stopped: &AtomicBool, receive: impl Fn(Vec<u8>)) {
    let mut buffer = vec![0; PACKET_MAX];
    let mut wait = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    while !stopped.load(Ordering::Relaxed) {
        // SAFETY: one entry, which lives during the call.
        if unsafe { libc::poll(&raw mut wait, 1, LOOK_MS) } == 1
            && let Ok(length) = file.read(&mut buffer)
        {
            receive(buffer[..length].to_vec());
        }
    }
}
