//! A time limit for calls of the `vhost` crate's frontend, which waits for a reply for ever.

use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, Once, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often the limits are looked at.
const TICK: Duration = Duration::from_millis(200);

static WATCHED: Mutex<Vec<Weak<Watched>>> = Mutex::new(Vec::new());
static START: Once = Once::new();

/// One connection under watch: when a call takes too long, the connection is cut, and the call fails.
#[derive(Debug)]
pub struct Watch(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    /// Gone with the [`Watch`], even while the watching thread looks.
    stream: Mutex<Option<UnixStream>>,
    limit: Duration,
    since: Mutex<Option<Instant>>,
}

impl Watch {
    /// Watches `stream`.
    #[must_use]
    pub fn over(stream: &UnixStream, limit: Duration) -> Self {
        let stream = Mutex::new(Some(stream.try_clone().unwrap()));
        let watched = Arc::new(Watched { stream, limit, since: Mutex::new(None) });
        WATCHED.lock().unwrap().push(Arc::downgrade(&watched));
        START.call_once(|| drop(std::thread::spawn(look_for_ever)));
        Self(watched)
    }

    /// Runs `call`, and cuts the connection when it takes longer than the limit.
    pub fn bounded<T>(&self, call: impl FnOnce() -> T) -> T {
        *self.0.since.lock().unwrap() = Some(Instant::now());
        let result = call();
        *self.0.since.lock().unwrap() = None;
        result
    }
}

/// The end of a connection is the end, as when its process is killed. Only to close it would not do: a program that
/// another test is just starting has all of this one's files until it is executed, and as long as it has the connection,
/// the daemon rightly turns the next one away.
impl Drop for Watch {
    fn drop(&mut self) {
        let stream = self.0.stream.lock().unwrap_or_else(PoisonError::into_inner).take();
        let _ = stream.map(|stream| stream.shutdown(std::net::Shutdown::Both));
    }
}

impl Watched {
    fn look(&self) {
        let since = *self.since.lock().unwrap();
        if since.is_some_and(|since| since.elapsed() > self.limit) {
            eprintln!("no answer within {:?}: the connection is cut", self.limit);
            let stream = self.stream.lock().unwrap();
            let _ = stream.as_ref().map(|stream| stream.shutdown(std::net::Shutdown::Both));
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
