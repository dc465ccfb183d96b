//! Why a takeover came to nothing.

use std::io;
use std::path::PathBuf;

/// Why nothing was taken over; who ran before runs on.
#[derive(Debug, thiserror::Error)]
pub enum TakeoverError {
    /// Nobody is there.
    #[error(
        "{}: no daemon runs here that could be taken over ({error}); start one with `viaduct run`",
        path.display()
    )]
    Nobody {
        /// The socket.
        path: PathBuf,
        /// What the kernel said.
        error: io::Error,
    },
    /// The other one runs as somebody else.
    #[error(
        "process {process} is user {found}'s and this one is user {own}'s: a daemon is taken over by its own user alone; run the new one as \
         that user (runuser, systemctl)"
    )]
    OtherUser {
        /// Its process.
        process: i32,
        /// Its user.
        found: u32,
        /// This one's user.
        own: u32,
    },
    /// The other one says things in another form.
    #[error(
        "the other process's version is {version}, whose takeover has form {found} and not {}: restart the daemon instead (guests carry \
         on by themselves)",
        super::FORM
    )]
    Form {
        /// Its version.
        version: String,
        /// The form of what it says.
        found: u32,
    },
    /// It said no.
    #[error("the other process says: {0}")]
    Refused(String),
    /// What came is not what the conversation needs at this point.
    #[error("the other process said {found} where {expected} was due; is it a viaduct of another version?")]
    Unexpected {
        /// What should have come.
        expected: String,
        /// What came.
        found: String,
    },
    /// What came is no record.
    #[error("the other process said what is no record: {0}")]
    Garbage(String),
    /// It went away.
    #[error("the other process ended; its own log says why")]
    Ended,
    /// It said nothing.
    #[error("the other process was silent for {0} ms")]
    Silent(u128),
    /// The socket failed.
    #[error("cannot talk to the other process: {0}; is LimitNOFILE= high enough?")]
    Socket(#[source] io::Error),
    /// This process cannot go on.
    #[error("{0}")]
    Here(String),
}
