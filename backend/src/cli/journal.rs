//! Lines of the log as entries of systemd's journal, with priority and fields (systemd.journal-fields(7)), by its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).

use std::fmt::{self, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// Longest message in bytes: a datagram of several such fields still fits into a socket's buffer.
const TEXT_MAX: usize = 32 << 10;

/// One line, in both of its forms.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Entry {
    /// For who reads text.
    pub(super) text: Vec<u8>,
    /// For the journal; empty if nobody wants that.
    pub(super) native: Vec<u8>,
}

impl Entry {
    /// A line of text.
    pub(super) fn of_text(text: &[u8]) -> Self {
        Self { text: text.to_vec(), native: Vec::new() }
    }

    /// How much memory it takes.
    pub(super) fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + self.native.len()
    }

    /// A line about the log itself.
    pub(super) fn warning(text: &str) -> Self {
        Self::of(Level::WARN, "viaduct::cli::log", &Fields { message: text.to_owned(), others: Vec::new() })
    }

    fn of(level: Level, module: &str, fields: &Fields) -> Self {
        let Fields { message, others } = fields;
        let mut line = message.clone();
        for (name, value) in others {
            // Memory takes every text.
            let _ = write!(line, " {}={value}", name.to_lowercase());
        }
        let priority = priority(level);
        let text = line.lines().map(|part| format!("<{priority}>{part}\n")).collect::<String>();
        let mut native = Vec::new();
        put(&mut native, "PRIORITY", &priority.to_string());
        put(&mut native, "SYSLOG_IDENTIFIER", "viaduct");
        put(&mut native, "VIADUCT_MODULE", module);
        put(&mut native, "MESSAGE", &line);
        others.iter().for_each(|(name, value)| put(&mut native, &format!("VIADUCT_{name}"), value));
        Self { text: text.into_bytes(), native }
    }
}

/// syslog(3)'s priority.
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// A field: `NAME=value`, or with its length where there are several lines.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(TEXT_MAX)];
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// What an event says.
#[derive(Debug, Default)]
struct Fields {
    message: String,
    /// Names in capitals, as the journal wants them.
    others: Vec<(String, String)>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => {
                let allowed = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
                self.others.push((name.chars().map(allowed).collect(), value.to_owned()));
            }
        }
    }
}

/// Hands each event on as an [`Entry`].
#[derive(Debug)]
pub(super) struct Entries<F>(pub(super) F);

impl<S: Subscriber, F: Fn(Entry) + 'static> Layer<S> for Entries<F> {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let about = event.metadata();
        (self.0)(Entry::of(*about.level(), about.target(), &fields));
    }
}

/// Whether standard error is the journal's, as it says of itself (`JOURNAL_STREAM`, systemd.exec(5)).
pub(super) fn reads_standard_error() -> bool {
    let said = std::env::var("JOURNAL_STREAM").unwrap_or_default();
    let stream = rustix::fs::fstat(io::stderr()).map(|is| format!("{}:{}", is.st_dev, is.st_ino));
    stream.is_ok_and(|is| is == said)
}

/// The way to the journal.
#[derive(Debug)]
pub(super) struct Sender(UnixDatagram);

impl Sender {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(UnixDatagram::unbound()?))
    }

    /// Waits until the journal has it.
    pub(super) fn send(&self, entry: &Entry) -> io::Result<()> {
        self.0.send_to(&entry.native, SOCKET).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_has_priority_message_and_fields() {
        let others = vec![("PORT".to_owned(), "vm1".to_owned())];
        let fields = Fields { message: "a ring broke:\nit is upside down".to_owned(), others };
        let Entry { text, native } = Entry::of(Level::WARN, "viaduct::control", &fields);
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "<4>a ring broke:\n<4>it is upside down port=vm1\n",
            "each line has its priority"
        );
        let message = "a ring broke:\nit is upside down port=vm1";
        let length = String::from_utf8((message.len() as u64).to_le_bytes().to_vec()).unwrap();
        let expected = format!(
            "PRIORITY=4\nSYSLOG_IDENTIFIER=viaduct\nVIADUCT_MODULE=viaduct::control\nMESSAGE\n{length}{message}\nVIADUCT_PORT=vm1\n"
        );
        assert_eq!(String::from_utf8(native).unwrap(), expected);
    }

    #[test]
    fn no_text_makes_a_datagram_that_does_not_fit() {
        let fields = Fields { message: "ä".repeat(1 << 20), others: Vec::new() };
        let Entry { native, .. } = Entry::of(Level::INFO, "x", &fields);
        assert!(native.len() < TEXT_MAX + 200, "{}", native.len());
        let (sender, receiver) = UnixDatagram::pair().unwrap();
        sender.send(&native).unwrap();
        let mut got = vec![0; 1 << 20];
        assert_eq!(receiver.recv(&mut got).unwrap(), native.len());
    }

    #[test]
    fn events_become_entries() {
        use std::sync::{Arc, Mutex};
        use tracing_subscriber::layer::SubscriberExt as _;

        let seen = Arc::new(Mutex::new(Vec::new()));
        let entries = Arc::clone(&seen);
        let layer = Entries(move |entry: Entry| entries.lock().unwrap().push(entry));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!(port = "vm1", count = 3, "the driver is up");
        });
        let texts: Vec<String> =
            seen.lock().unwrap().iter().map(|entry| String::from_utf8(entry.text.clone()).unwrap()).collect();
        assert_eq!(texts, ["<6>the driver is up port=vm1 count=3\n"]);
        let native = String::from_utf8(seen.lock().unwrap()[0].native.clone()).unwrap();
        assert!(native.contains("\nVIADUCT_PORT=vm1\nVIADUCT_COUNT=3\n"), "{native}");
    }
}
