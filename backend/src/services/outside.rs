//! The way out by an uplink: sockets on the gateway's own address out there, of which the host's kernel knows nothing.
//!
//! Their ports are those that translation leaves to the gateway ([`PORTS`]). UDP is made and read here; TCP is the stack's.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hickory_resolver::net::runtime::iocompat::AsyncIoTokioAsStd;
use hickory_resolver::net::runtime::{DnsUdpSocket, RuntimeProvider, TokioHandle, TokioTime};
use parking_lot::Mutex;
use viaduct_switch::ids::NetworkIndex;
use viaduct_switch::packet::datagram::Datagram;
use viaduct_switch::packet::{Packet, Ports, number};

use super::counters::Event;
use super::settings::Uplink;
use super::shared::Shared;
use super::stack::{Stack, Stream, Windows};

/// The ports of the gateway's own questions: the last 512, which translation never gives out.
pub(super) const PORTS: RangeInclusive<u16> = 65_024..=65_535;

/// Datagrams that wait in a socket; an answer is one.
const WAITING_MAX: usize = 16;

/// Bytes under way of a connection to a name server.
const WINDOWS: Windows = Windows { receive: 16 << 10, send: 4 << 10 };

/// The sockets at an uplink.
pub(super) struct Outside {
    network: NetworkIndex,
    mtu: u16,
    shared: Arc<Shared>,
    stack: Arc<Stack>,
    sockets: Mutex<HashMap<SocketAddr, Arc<Mutex<Queue>>>>,
}

/// What came for a socket.
#[derive(Debug, Default)]
struct Queue {
    datagrams: VecDeque<(Vec<u8>, SocketAddr)>,
    waker: Option<Waker>,
}

impl Outside {
    pub(super) fn new(uplink: &Uplink, shared: &Arc<Shared>) -> Self {
        Self {
            network: uplink.network,
            mtu: uplink.mtu,
            shared: Arc::clone(shared),
            stack: Stack::new(uplink.network, uplink.mtu, shared),
            sockets: Mutex::default(),
        }
    }

    /// The longest IP packet out there, in bytes.
    pub(super) fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether a packet is for a socket here.
    pub(super) fn expects(&self, packet: &Packet, ports: Ports) -> bool {
        let local = SocketAddr::new(packet.destination.into(), ports.destination);
        match packet.protocol {
            number::UDP => self.sockets.lock().contains_key(&local),
            number::TCP => self.stack.knows(packet, ports),
            _ => false,
        }
    }

    /// Takes in a packet for one of the sockets.
    pub(super) fn receive(&self, parsed: &Packet, packet: &[u8]) {
        if parsed.fragment.is_some() {
            return self.shared.counters.count(Event::Malformed);
        }
        if parsed.protocol == number::TCP {
            return self.stack.receive_outside(parsed, packet);
        }
        let Ok(datagram) = Datagram::open(packet) else {
            return self.shared.counters.count(Event::Malformed);
        };
        let queue = self.sockets.lock().get(&datagram.destination).cloned();
        if let Some(queue) = queue {
            queue.lock().push(datagram.payload, datagram.source);
        }
    }

    /// A socket on a port that nobody can guess; `None`: all are taken.
    fn bind(self: &Arc<Self>, address: IpAddr) -> Option<Socket> {
        let mut sockets = self.sockets.lock();
        let local =
            ports().map(|port| SocketAddr::new(address, port)).find(|local| !sockets.contains_key(local))?;
        let queue = Arc::new(Mutex::new(Queue::default()));
        sockets.insert(local, Arc::clone(&queue));
        Some(Socket { outside: Arc::clone(self), local, queue })
    }
}

/// All ports, from one at random on.
fn ports() -> impl Iterator<Item = u16> {
    let (first, count) = (*PORTS.start(), u64::from(PORTS.end() - PORTS.start()) + 1);
    let start = super::random() % count;
    (0..count).map(move |offset| first + u16::try_from((start + offset) % count).unwrap_or(0))
}

impl Queue {
    fn push(&mut self, payload: &[u8], from: SocketAddr) {
        if self.datagrams.len() < WAITING_MAX {
            self.datagrams.push_back((payload.to_vec(), from));
        }
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// A UDP socket; dropping it frees its port.
pub(super) struct Socket {
    outside: Arc<Outside>,
    local: SocketAddr,
    queue: Arc<Mutex<Queue>>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.outside.sockets.lock().remove(&self.local);
    }
}

impl DnsUdpSocket for Socket {
    type Time = TokioTime;

    fn poll_recv_from(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut queue = self.queue.lock();
        let Some((payload, from)) = queue.datagrams.pop_front() else {
            queue.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        // What is longer than the buffer is cut, as by recvfrom(2).
        let length = payload.len().min(buffer.len());
        buffer[..length].copy_from_slice(&payload[..length]);
        Poll::Ready(Ok((length, from)))
    }

    fn poll_send_to(&self, _: &mut Context<'_>, bytes: &[u8], target: SocketAddr) -> Poll<io::Result<usize>> {
        let datagram = Datagram { source: self.local, destination: target, payload: bytes };
        let packet = datagram.seal().ok_or(io::ErrorKind::InvalidInput)?;
        self.outside.shared.send(self.outside.network, packet);
        Poll::Ready(Ok(bytes.len()))
    }
}

/// Makes sockets at an uplink for hickory-resolver.
#[derive(Clone)]
pub(super) struct Provider {
    outside: Arc<Outside>,
    addresses: Arc<[IpAddr]>,
    handle: TokioHandle,
}

impl Provider {
    /// Sockets with the uplink's own addresses.
    pub(super) fn new(outside: &Arc<Outside>, uplink: &Uplink) -> Self {
        let addresses = Arc::from(uplink.addresses.as_slice());
        Self { outside: Arc::clone(outside), addresses, handle: TokioHandle::default() }
    }

    /// The uplink's own address of the same version of IP.
    fn own(&self, server: SocketAddr) -> io::Result<IpAddr> {
        let own = self.addresses.iter().find(|own| own.is_ipv4() == server.is_ipv4());
        own.copied().ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
    }
}

/// What the library wants to get.
type Made<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

impl RuntimeProvider for Provider {
    type Handle = TokioHandle;
    type Timer = TokioTime;
    type Udp = Socket;
    type Tcp = AsyncIoTokioAsStd<Stream>;

    fn create_handle(&self) -> TokioHandle {
        self.handle.clone()
    }

    fn connect_tcp(&self, server: SocketAddr, _: Option<SocketAddr>, _: Option<Duration>) -> Made<Self::Tcp> {
        let own = self.own(server);
        let stack = Arc::clone(&self.outside.stack);
        Box::pin(async move {
            let own = own?;
            let locals = ports().map(|port| SocketAddr::new(own, port));
            let mut stream = stack.connect(locals, server, WINDOWS).ok_or(io::ErrorKind::AddrInUse)?;
            if !stream.established().await {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(AsyncIoTokioAsStd(stream))
        })
    }

    fn bind_udp(&self, _: SocketAddr, server: SocketAddr) -> Made<Socket> {
        let own = self.own(server);
        let outside = Arc::clone(&self.outside);
        Box::pin(async move { outside.bind(own?).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ports_are_all_of_the_gateways_own_from_any_of_them_on() {
        let order: Vec<u16> = ports().collect();
        assert_eq!(order.len(), 512);
        assert_eq!(order.iter().collect::<HashSet<_>>().len(), 512);
        assert!(order.iter().all(|port| PORTS.contains(port)));
        assert!((0..20).any(|_| ports().next() != ports().next()), "they begin anywhere");
    }
}
