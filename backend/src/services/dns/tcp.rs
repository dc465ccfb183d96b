//! Questions by TCP (RFC 7766).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use viaduct_switch::ids::PortIndex;

use super::super::counters::Event;
use super::super::shared::Shared;
use super::super::stack::{Stream, Windows};
use super::message::QUESTION_MAX;
use super::{NameServer, Question, Reading, read};

/// Bytes under way of a connection.
pub(in crate::services) const WINDOWS: Windows = Windows { receive: 8 << 10, send: 16 << 10 };

/// How long a connection may be idle, and how long a message may take (RFC 7766, 6.2.3).
const IDLE_MAX: Duration = Duration::from_secs(10);

/// Questions of one connection, one after the other.
const QUESTIONS_MAX: usize = 200;

/// How long a question may wait for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Answers what comes by a connection, until it ends.
pub(in crate::services) async fn converse(
    server: Arc<NameServer>,
    shared: Arc<Shared>,
    port: PortIndex,
    mut stream: Stream,
) {
    if !stream.established().await {
        return shared.counters.count(Event::TcpNotEstablished);
    }
    for _ in 0..QUESTIONS_MAX {
        let Ok(Ok(message)) = timeout(IDLE_MAX, next(&mut stream)).await else { break };
        let Some(reply) = answer(&server, &shared, port, &message).await else { break };
        if !matches!(timeout(IDLE_MAX, send(&mut stream, &reply)).await, Ok(Ok(()))) {
            break;
        }
    }
    stream.finish().await;
}

/// The next message, behind its length (RFC 1035, 4.2.2).
async fn next(stream: &mut Stream) -> io::Result<Vec<u8>> {
    let length = usize::from(stream.read_u16().await?);
    if length > QUESTION_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

async fn send(stream: &mut Stream, reply: &[u8]) -> io::Result<()> {
    let length = u16::try_from(reply.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    // In one piece: some resolvers expect length and message together (RFC 7766, 8).
    let mut bytes = length.to_be_bytes().to_vec();
    bytes.extend_from_slice(reply);
    stream.write_all(&bytes).await
}

/// The answer to a message; `None`: it gets none, and neither does what follows.
async fn answer(server: &NameServer, shared: &Shared, port: PortIndex, message: &[u8]) -> Option<Vec<u8>> {
    let question = match read(message) {
        Reading::Ignore => {
            shared.counters.count(Event::DnsIgnored);
            return None;
        }
        Reading::Reject(event, reply) => {
            shared.counters.count(event);
            return Some(reply);
        }
        Reading::Ask(question) => question,
    };
    shared.counters.count(Event::DnsQuestion);
    let answer = resolve(server, shared, port, &question).await?;
    Some(question.write(&answer, usize::MAX)?.0)
}

async fn resolve(
    server: &NameServer,
    shared: &Shared,
    port: PortIndex,
    question: &Question,
) -> Option<super::Answer> {
    match server.step(question, &shared.names, &shared.counters) {
        super::Step::Done(answer) => Some(answer),
        super::Step::Forward => {
            let Ok(Some(_place)) = timeout(WAIT_MAX, shared.places.take(port)).await else {
                shared.counters.count(Event::DnsNoPlace);
                return None;
            };
            Some(server.forward(question, &shared.counters).await)
        }
    }
}
