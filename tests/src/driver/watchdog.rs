//! A time limit for calls of the `vhost` crate's frontend, which waits for a reply for ever.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Once, Weak};
use std::time::{Duration, Instant};

/// How often the limits are looked at.
const TICK: Duration = Duration::from_millis(200);

static WATCHED: Mutex<Vec<Weak<Watch>>> = Mutex::new(Vec::new());
static START: Once = Once::new();

/// One connection under watch: when a call takes too long, the connection is cut, and the call fails.
#[derive(Debug)]
pub struct Watch {
    stream: UnixStream,
    limit: Duration,
    since: Mutex<Option<Instant>>,
}

impl Watch {
    /// Watches `stream`.
    #[must_use]
    pub fn over(stream: &UnixStream, limit: Duration) -> Arc<Self> {
        let stream = stream.try_clone().unwrap();
        let watch = Arc::new(Self { stream, limit, since: Mutex::new(None) });
        WATCHED.lock().unwrap().push(Arc::downgrade(&watch));
        START.call_once(|| drop(std::thread::spawn(look_for_ever)));
        watch
    }

    /// Runs `call`, and cuts the connection when it takes longer than the limit.
    pub fn bounded<T>(&self, call: impl FnOnce() -> T) -> T {
        *self.since.lock().unwrap() = Some(Instant::now());
        let result = call();
        *self.since.lock().unwrap() = None;
        result
    }

    fn look(&self) {
        let since = *self.since.lock().unwrap();
        if since.is_some_and(|since| since.elapsed() > self.limit) {
            eprintln!("no answer within {:?}: the connection is cut", self.limit);
            let _ = self.stream.shutdown(std::net::Shutdown::Both);
        }
    }
}

fn look_for_ever() {
    loop {
        std::thread::sleep(TICK);
        let mut watched = WATCHED.lock().unwrap();
        watched.retain(|watch| {
            watch.upgrade().is_some_and(|watch| {
                watch.look();
                true
            })
        });
    }
}
