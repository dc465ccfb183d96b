//! Why a measurement could not be made.

use std::io;
use std::path::PathBuf;

/// What went wrong, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// Somebody pressed Ctrl-C.
    #[error("interrupted; everything that the benchmark started has been removed")]
    Interrupted,
    /// The kernel refused something.
    #[error("cannot {what}: {error}")]
    System {
        /// What was to be done.
        what: String,
        /// What the kernel said.
        error: io::Error,
    },
    /// The kernel refused something for which there is a usual way out.
    #[error("cannot {what}: {error}; {remedy}")]
    Refused {
        /// What was to be done.
        what: String,
        /// What was said against it.
        error: String,
        /// How to go on.
        remedy: String,
    },
    /// There are not two processors.
    #[error(
        "this process may use {found} processor, and the switch and the generator need one each; run it on a \
         machine with two, or allow it more (taskset, cgroups)"
    )]
    Processors {
        /// Processors that may be used.
        found: usize,
    },
    /// A measurement between two cards was asked for with more or fewer.
    #[error("{found} sockets were named, and two are needed")]
    NotTwo {
        /// How many.
        found: usize,
    },
    /// Two reports are of different runs.
    #[error(
        "these are not compared, because they come from different runs: {differences}. The same machine jumps \
         between states in which everything is two or three times as fast; measure both in one run"
    )]
    OtherRun {
        /// All that differs.
        differences: String,
    },
    /// Nobody is at the other end of a socket.
    #[error("nobody {side} {}: {error}; start the switch first, or tell its sockets", socket.display())]
    Meet {
        /// The socket.
        socket: PathBuf,
        /// What the other side should have done.
        side: &'static str,
        /// What the last attempt said.
        error: io::Error,
    },
    /// The vhost-user conversation failed.
    #[error(
        "the switch broke off the vhost-user conversation: {0}; its own log says why, and a frontend that is \
         connected already keeps others out"
    )]
    Talk(vhost::Error),
    /// A device gave back a descriptor that does not exist.
    #[error(
        "the switch says that it used descriptor {id} of a ring with {size}; that is a bug of the switch"
    )]
    WrongUsed {
        /// The descriptor.
        id: u64,
        /// Entries of the ring.
        size: u16,
    },
    /// A frame did not arrive as it was sent.
    #[error("a frame of {bytes} bytes arrived changed at byte {at}; that is a bug of {path}")]
    Changed {
        /// Its length.
        bytes: usize,
        /// Where it differs first.
        at: usize,
        /// What it went through.
        path: String,
    },
    /// Nothing came through.
    #[error(
        "no frame came through {path} within {seconds} s; are both sockets on one network of the switch?"
    )]
    Silence {
        /// What frames should have gone through.
        path: String,
        /// How long.
        seconds: u64,
    },
    /// A process that was started ended by itself.
    #[error("{name} ended early ({status}); the last that it said:\n{tail}")]
    Ended {
        /// Which.
        name: String,
        /// How.
        status: String,
        /// The end of its log.
        tail: String,
    },
    /// A process is not ready in time.
    #[error("{name} was not ready within {seconds} s; the last that it said:\n{tail}")]
    NotReady {
        /// Which.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// The end of its log.
        tail: String,
    },
}

impl BenchError {
    /// For `map_err`: the kernel's answer, with what was to be done.
    pub(crate) fn system<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::System { what, error: error.into() }
    }
}
