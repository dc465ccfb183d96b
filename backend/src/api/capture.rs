//! `POST /v1/capture`: frames of ports as they come, as pcapng, until the client goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use hyper::body::Bytes;
use pcap_file::PcapError;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use viaduct_switch::PortIndex;

use super::diagnosis::question;
use super::lasting::{Lasting, pieces};
use super::routes::{Api, Refused, blocking};
use crate::capture::{Instruction, Interface, Program, ProgramError, Record, Statistics, Writer};
use crate::control::{Capture, CaptureQuestion, Handle, Names};
use crate::dataplane::{CaptureTally, Captured};

mod comment;

/// What the answer is.
pub(super) const MEDIA_TYPE: &str = "application/x-pcapng";

/// How long to wait for more when there was nothing, and when there was something.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(1)];

/// Bytes that are taken at once.
const PORTION: usize = 1 << 20;

/// How often it is told how much was seen, where that has changed.
const TALLY_PAUSE: Duration = Duration::from_millis(100);

/// A client that reads nothing for so long is cut off: one may stop and go on, as `less` does, and costs its place alone.
const STALL_MAX: Duration = Duration::from_secs(600);

/// By how much the host's clock may move without being followed.
const CLOCK_STEP: Duration = Duration::from_millis(1);

/// Bytes of each frame that are kept unless said: all.
const SNAPLEN: u32 = 1 << 18;

/// Which way frames go.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Direction {
    /// They enter the switch.
    In,
    /// They leave it.
    Out,
    /// Both.
    #[default]
    InOut,
}

/// The question.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Question {
    /// At these ports.
    ports: Vec<String>,
    /// At all that there are.
    all: bool,
    /// Only frames that go this way.
    direction: Direction,
    /// Bytes of each frame that are kept; all unless said.
    snaplen: Option<u32>,
    /// Only frames that this program of the classic BPF wants, as `tcpdump -ddd` prints it without its first line; all unless said.
    program: Vec<Instruction>,
}

impl From<ProgramError> for Refused {
    fn from(error: ProgramError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
    }
}

/// Frames until the client goes.
pub(super) async fn capture(
    State(shared): Api,
    Extension(lasting): Extension<Arc<Lasting>>,
    body: Body,
) -> Result<Response, Refused> {
    let Question { ports, all, direction, snaplen, program } = question(body).await?;
    if ports.is_empty() != all {
        let error = "say either which ports (`ports`) or all of them (`all`)";
        return Err(Refused::new(StatusCode::UNPROCESSABLE_ENTITY, error));
    }
    let program = (!program.is_empty()).then(|| Program::new(&program)).transpose()?;
    let snaplen = snaplen.filter(|bytes| *bytes > 0).unwrap_or(SNAPLEN);
    let (entering, leaving) = (direction != Direction::Out, direction != Direction::In);
    let wanted = CaptureQuestion { ports, all, entering, leaving, snaplen, program };
    let handle = shared.handle.clone();
    let capture = blocking(move || handle.capture(wanted)).await??;
    let broken = |error: PcapError| Refused::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let (sender, answer) = pieces(MEDIA_TYPE);
    let teller = Teller::new(capture, snaplen).map_err(broken)?;
    lasting.set(true);
    let handle = shared.handle.clone();
    drop(tokio::spawn(async move {
        if let Err(error) = teller.pump(&handle, &sender).await {
            tracing::warn!(%error, "the API ended a capture");
        }
        lasting.set(false);
    }));
    Ok(answer)
}

/// Writes what was captured.
struct Teller {
    capture: Capture,
    writer: Writer,
    /// When the switch's time began, since 1970.
    epoch: Duration,
    /// What was told of each port.
    told: Vec<CaptureTally>,
}

impl Teller {
    fn new(capture: Capture, snaplen: u32) -> Result<Self, PcapError> {
        let mut writer = Writer::new()?;
        for name in &capture.ports {
            writer.interface(&Interface { name: name.clone(), snaplen })?;
        }
        let epoch = capture.reader.epoch();
        let told = vec![CaptureTally::default(); capture.ports.len()];
        Ok(Self { capture, writer, epoch, told })
    }

    /// Hands on what is captured, until the client is gone or has read nothing for too long.
    async fn pump(mut self, handle: &Handle, sender: &Sender<Bytes>) -> Result<(), PcapError> {
        let mut told = Instant::now();
        loop {
            let taken = self.capture.reader.take(PORTION);
            let pause = PAUSES[usize::from(!taken.is_empty())];
            if !taken.is_empty() {
                if !self.learn_names(handle).await {
                    tracing::info!("a capture ends: one of its ports is gone, or another one by now");
                    return Ok(());
                }
                self.keep_time();
                for (record, bytes) in &taken {
                    self.tell(record, bytes)?;
                }
            }
            if told.elapsed() >= TALLY_PAUSE {
                told = Instant::now();
                self.tell_tallies()?;
            }
            if self.writer.waiting() > 0 {
                let text = self.writer.take().into();
                if !matches!(timeout(STALL_MAX, sender.send(text)).await, Ok(Ok(()))) {
                    return Ok(());
                }
            } else if sender.is_closed() {
                return Ok(());
            }
            sleep(pause).await;
        }
    }

    /// Learns what is called how, if that has changed. False: what was captured may be another port's by now, or nobody tells whose
    /// it is.
    async fn learn_names(&mut self, handle: &Handle) -> bool {
        let (handle, known) = (handle.clone(), self.capture.names.generation);
        let Ok(Ok(answer)) = blocking(move || handle.names(known)).await else { return false };
        let Some(names) = answer else { return true };
        let before = std::mem::replace(&mut self.capture.names, names);
        are_same(&self.capture.ports, &before, &self.capture.names)
    }

    /// Follows the host's clock when it was set.
    fn keep_time(&mut self) {
        let epoch = self.capture.reader.epoch();
        if epoch.abs_diff(self.epoch) > CLOCK_STEP {
            self.epoch = epoch;
        }
    }

    fn tell(&mut self, record: &Captured, bytes: &[u8]) -> Result<(), PcapError> {
        let Capture { ports, names, .. } = &self.capture;
        let Some(interface) = place(ports, names, record) else { return Ok(()) };
        self.writer.record(&Record {
            interface,
            at: self.epoch + Duration::from_nanos(record.at.0),
            length: record.length,
            bytes,
            is_outbound: record.left,
            comment: comment::of(record, names).into(),
        })
    }

    fn tell_tallies(&mut self) -> Result<(), PcapError> {
        let at = self.capture.reader.epoch() + self.capture.reader.age();
        for ((interface, tally), told) in (0..).zip(self.capture.reader.tallies()).zip(&mut self.told) {
            if std::mem::replace(told, tally) != tally {
                let CaptureTally { seen, captured, lost } = tally;
                self.writer.statistics(&Statistics { interface, at, seen, captured, lost })?;
            }
        }
        Ok(())
    }
}

/// Whether all these ports are there, as they were before.
fn are_same(ports: &[String], before: &Names, now: &Names) -> bool {
    let of = |names: &Names| names.ports.iter().filter(|(_, name)| ports.contains(name)).count();
    let stays =
        |(index, name): (&PortIndex, &String)| !ports.contains(name) || now.ports.get(index) == Some(name);
    before.ports.iter().all(stays) && of(now) == ports.len()
}

/// Which interface a frame was seen at; none if the number is another port's by now.
fn place(ports: &[String], names: &Names, record: &Captured) -> Option<u32> {
    let name = names.ports.get(&record.port)?;
    ports.binary_search(name).ok().and_then(|place| u32::try_from(place).ok())
}
