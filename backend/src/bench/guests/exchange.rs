//! Requests and responses over TCP, of one byte each, one at a time: what netperf calls TCP_RR. Runs in the guests.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::bench::error::BenchError;
use crate::bench::stats::percentile;

/// The port of the side that responds.
pub(crate) const PORT: u16 = 5202;
/// The first ones find out the other's address and open the windows.
const WARM_UP: usize = 10;
/// How long one response may take.
const RESPONSE_WITHIN: Duration = Duration::from_secs(5);

/// Times of round trips.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct Exchanges {
    /// How many there were.
    pub(crate) count: usize,
    /// The median, in nanoseconds.
    pub(crate) p50_ns: u64,
    /// 99 of 100 were as fast or faster.
    pub(crate) p99_ns: u64,
}

/// Responds to everybody, one connection after the other, for ever.
pub(crate) fn respond() -> Result<(), BenchError> {
    let what = format!("listen on TCP port {PORT}");
    let listener = TcpListener::bind(("0.0.0.0", PORT)).map_err(BenchError::system(what))?;
    for stream in listener.incoming().flatten() {
        // Who goes away ends its connection; the next one is served.
        let _ = echo(stream);
    }
    Ok(())
}

fn echo(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        stream.write_all(&byte)?;
    }
}

/// Sends requests to `address` for `time`.
pub(crate) fn request(address: &str, time: Duration) -> Result<Exchanges, BenchError> {
    let failed = || BenchError::system::<io::Error>(format!("exchange bytes with {address}"));
    let mut stream = TcpStream::connect((address, PORT)).map_err(failed())?;
    let set_up = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(RESPONSE_WITHIN)));
    set_up.map_err(failed())?;
    for _ in 0..WARM_UP {
        exchange(&mut stream).map_err(failed())?;
    }
    let (start, mut times_ns) = (Instant::now(), Vec::new());
    while start.elapsed() < time {
        times_ns.push(exchange(&mut stream).map_err(failed())?);
    }
    times_ns.sort_unstable();
    Ok(Exchanges {
        count: times_ns.len(),
        p50_ns: percentile(&times_ns, 500),
        p99_ns: percentile(&times_ns, 990),
    })
}

fn exchange(stream: &mut TcpStream) -> io::Result<u64> {
    let (start, mut byte) = (Instant::now(), [1]);
    stream.write_all(&byte)?;
    stream.read_exact(&mut byte)?;
    Ok(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
