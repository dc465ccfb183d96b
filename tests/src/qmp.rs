//! QEMU's machine protocol: hot-plug, reset and questions, one JSON object a line.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

/// How long QEMU may take to answer a command.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// One connection to QEMU's monitor.
#[derive(Debug)]
pub struct Qmp {
    reader: BufReader<UnixStream>,
    events: Vec<Value>,
}

impl Qmp {
    /// Greets QEMU at the other end of `stream`.
    ///
    /// # Errors
    /// If the stream breaks or what comes is not QEMU's greeting.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        let mut qmp = Self { reader: BufReader::new(stream), events: Vec::new() };
        let greeting = qmp.read()?;
        if greeting.get("QMP").is_none() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("no greeting of QEMU: {greeting}"),
            ));
        }
        qmp.execute("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Executes one command and returns its answer.
    ///
    /// # Errors
    /// If QEMU refuses it or does not answer in time.
    pub fn execute(&mut self, command: &str, arguments: &Value) -> io::Result<Value> {
        let line = format!("{}\n", json!({ "execute": command, "arguments": arguments }));
        self.reader.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut message = self.read()?;
            if let Some(answer) = message.get_mut("return") {
                return Ok(answer.take());
            }
            if let Some(error) = message.get("error") {
                return Err(io::Error::other(format!("QEMU refused {command}: {error}")));
            }
            self.events.push(message);
        }
    }

    /// Waits until the device `id` is gone from the machine (QEMU tells of its inner parts as well).
    ///
    /// # Errors
    /// If it is not gone in time.
    pub fn await_deleted(&mut self, id: &str) -> io::Result<()> {
        let tells = |event: &Value| event["event"] == "DEVICE_DELETED" && event["data"]["device"] == id;
        loop {
            if let Some(at) = self.events.iter().position(tells) {
                self.events.remove(at);
                return Ok(());
            }
            let event = self.read()?;
            self.events.push(event);
        }
    }

    fn read(&mut self) -> io::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "QEMU closed its monitor"));
        }
        serde_json::from_str(&line)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{error}: {line}")))
    }
}
