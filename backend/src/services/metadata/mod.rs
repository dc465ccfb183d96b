//! The address at which guests ask what they are: 169.254.169.254, and fd00:ec2::254 for IPv6, port 80. Connections go on
//! to a server of the host's, by a Unix socket or an address.
//!
//! Nothing that a guest sends is changed or read. If wanted, a header of the PROXY protocol (version 2) comes before it, which
//! says from which port of the switch the connection is, and from which network: the guest can neither write nor change it, as it
//! ends before the guest's first byte. Addresses can be claimed by guests where port security is off; the port cannot.

mod header;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use viaduct_switch::ids::PortIndex;

use super::counters::Event;
use super::settings::{Metadata, NetworkServices, Target};
use super::shared::Shared;
use super::stack::{Stream, Windows};

/// Bytes under way of a connection.
pub(super) const WINDOWS: Windows = Windows { receive: 16 << 10, send: 32 << 10 };

/// How long the server may take to accept.
const CONNECT_MAX: Duration = Duration::from_secs(3);

/// How long a connection may be idle.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Whether an address is the one of metadata: IPv4's is link-local and the same in all clouds, IPv6's is the one that EC2 chose.
pub(super) fn is_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address == Ipv4Addr::new(169, 254, 169, 254),
        IpAddr::V6(address) => address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    }
}

/// Takes a connection on to the server, until either side ends it.
pub(super) async fn pass_on(
    settings: Arc<NetworkServices>,
    shared: Arc<Shared>,
    port: PortIndex,
    mut stream: Stream,
) {
    let Some(metadata) = &settings.metadata else { return };
    if !stream.established().await {
        return shared.counters.count(Event::TcpNotEstablished);
    }
    let header = metadata.announces_port.then(|| header::of(&stream, port, &settings));
    let header = header.unwrap_or_default();
    let result = match &metadata.target {
        Target::Unix(path) => join(UnixStream::connect(path), &header, &mut stream).await,
        Target::Address(address) => join(TcpStream::connect(*address), &header, &mut stream).await,
    };
    match result {
        Ok(()) => {
            shared.counters.count(Event::MetadataServed);
            stream.finish().await;
        }
        // The guest's connection is reset, so that it does not take what it has for all.
        Err(error) => fail(&shared, metadata, &error),
    }
}

fn fail(shared: &Shared, metadata: &Metadata, error: &io::Error) {
    shared.counters.count(Event::MetadataFailed);
    tracing::debug!(target = ?metadata.target, %error, "a connection for metadata ended early");
}

/// Connects to the server, and copies both ways until both sides have ended.
async fn join<S: AsyncRead + AsyncWrite + Unpin>(
    connect: impl Future<Output = io::Result<S>>,
    header: &[u8],
    stream: &mut Stream,
) -> io::Result<()> {
    let timed_out = |_| io::Error::from(io::ErrorKind::TimedOut);
    let mut server = timeout(CONNECT_MAX, connect).await.map_err(timed_out)??;
    timeout(CONNECT_MAX, server.write_all(header)).await.map_err(timed_out)??;
    let activity = stream.activity();
    let mut copy = std::pin::pin!(copy_bidirectional(stream, &mut server));
    loop {
        match timeout(IDLE_MAX, copy.as_mut()).await {
            Ok(result) => return result.map(drop),
            Err(_) if activity.idle() < IDLE_MAX => {}
            Err(elapsed) => return Err(timed_out(elapsed)),
        }
    }
}
