//! TCP on the gateway's own addresses, one stack a network, by smoltcp.
//!
//! A connection has a socket from its SYN on, and none listens before: so a flood of SYNs costs nothing but places, of which
//! each port has a share, and each is free again after [`HANDSHAKE_MAX`]. A connection belongs to the port at which its SYN
//! came in: what others send under its name is dropped. So no guest can speak in another's place, whatever addresses it uses.

mod device;
mod stream;

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::HardwareAddress;
use tokio::sync::Notify;
use tokio::time::timeout;
use viaduct_switch::ids::{NetworkIndex, PortIndex};
use viaduct_switch::packet::{Packet, Ports, TcpFlags, Transport};

use super::counters::Event;
use super::fair::Place;
use super::shared::Shared;
use device::Queues;
pub(super) use stream::Stream;

/// How long a connection may take to be there.
pub(super) const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// How long a side may leave what it was sent unacknowledged.
const SILENT_MAX: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(15);

/// Who speaks to whom: the guest's end and ours.
type Ends = (SocketAddr, SocketAddr);

/// Bytes that a connection may have under way in each direction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    pub(super) receive: usize,
    pub(super) send: usize,
}

/// The stack of a network.
pub(super) struct Stack {
    network: NetworkIndex,
    shared: Arc<Shared>,
    inner: Mutex<Inner>,
    /// Something was read or written, so that there may be something to send.
    touched: Arc<Notify>,
}

struct Inner {
    interface: Interface,
    queues: Queues,
    sockets: SocketSet<'static>,
    connections: HashMap<Ends, Connection>,
    /// When the stack's time began.
    start: Instant,
}

struct Connection {
    /// Where it came in, and its place; `None`: it is our own.
    guest: Option<(PortIndex, Place)>,
    handle: SocketHandle,
}

impl Stack {
    /// A stack for packets of up to `mtu` bytes.
    pub(super) fn new(network: NetworkIndex, mtu: u16, shared: &Arc<Shared>) -> Arc<Self> {
        let stack = Arc::new(Self {
            network,
            shared: Arc::clone(shared),
            inner: Mutex::new(Inner::new(usize::from(mtu))),
            touched: Arc::new(Notify::new()),
        });
        tokio::spawn(drive(Arc::downgrade(&stack), Arc::clone(&stack.touched)));
        stack
    }

    /// Takes in a TCP packet that came at `port`. A first one gets a connection, if `windows` says that there is such a
    /// service, and there is a place.
    pub(super) fn receive(
        self: &Arc<Self>,
        port: PortIndex,
        parsed: &Packet,
        packet: &[u8],
        windows: Option<Windows>,
    ) -> Option<Stream> {
        let Transport::Tcp(tcp) = parsed.transport else { return None };
        let ends = ends(parsed, tcp.ports);
        let mut inner = self.inner.lock();
        if let Some(connection) = inner.connections.get(&ends) {
            if connection.guest.as_ref().is_none_or(|(own, _)| *own != port) {
                self.shared.counters.count(Event::TcpOtherPort);
            } else {
                self.go_on(&mut inner, &ends, packet);
            }
            return None;
        }
        let flags = TcpFlags::SYN | TcpFlags::ACK | TcpFlags::RST | TcpFlags::FIN;
        if tcp.flags.0 & flags != TcpFlags::SYN {
            // Of no connection: the stack says so.
            inner.take_in(packet);
            self.send_made(&mut inner);
            return None;
        }
        let windows = windows?;
        let Some(place) = self.shared.connections.try_take(port) else {
            self.shared.counters.count(Event::TcpNoPlace);
            return None;
        };
        let handle = inner.open(ends, packet, windows)?;
        inner.connections.insert(ends, Connection { guest: Some((port, place)), handle });
        self.send_made(&mut inner);
        drop(inner);
        self.touched.notify_one();
        self.shared.counters.count(Event::TcpOpened);
        Some(Stream::new(Arc::clone(self), handle, ends))
    }

    /// Whether there is such a connection.
    pub(super) fn knows(&self, parsed: &Packet, ports: Ports) -> bool {
        self.inner.lock().connections.contains_key(&ends(parsed, ports))
    }

    /// Takes in a packet of a connection of our own, from wherever it came.
    pub(super) fn receive_outside(&self, parsed: &Packet, packet: &[u8]) {
        let Some(ends) = parsed.ports().map(|ports| ends(parsed, ports)) else { return };
        let mut inner = self.inner.lock();
        if inner.connections.contains_key(&ends) {
            self.go_on(&mut inner, &ends, packet);
        }
    }

    /// Begins a connection with `remote` from the first of `locals` that is free.
    pub(super) fn connect(
        self: &Arc<Self>,
        mut locals: impl Iterator<Item = SocketAddr>,
        remote: SocketAddr,
        windows: Windows,
    ) -> Option<Stream> {
        let mut inner = self.inner.lock();
        let local = locals.find(|local| !inner.connections.contains_key(&(remote, *local)))?;
        let handle = inner.dial((remote, local), windows)?;
        inner.connections.insert((remote, local), Connection { guest: None, handle });
        drop(inner);
        self.touched.notify_one();
        Some(Stream::new(Arc::clone(self), handle, (remote, local)))
    }

    /// Takes in the next packet of a connection.
    fn go_on(&self, inner: &mut Inner, ends: &Ends, packet: &[u8]) {
        inner.take_in(packet);
        inner.end_if_reset(ends);
        self.send_made(inner);
        self.touched.notify_one();
    }

    /// Sends what the stack made.
    fn send_made(&self, inner: &mut Inner) {
        for packet in inner.queues.made.drain(..) {
            self.shared.send(self.network, packet);
        }
    }

    /// Does what is due; how long until there is more, if there will be.
    fn advance(&self) -> Option<Duration> {
        let mut inner = self.inner.lock();
        inner.poll();
        self.send_made(&mut inner);
        inner.delay()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // The driver's task finds it gone.
        self.touched.notify_one();
    }
}

/// Does what is due in a stack, for as long as it is there.
async fn drive(stack: Weak<Stack>, touched: Arc<Notify>) {
    loop {
        let Some(delay) = stack.upgrade().map(|stack| stack.advance()) else { return };
        match delay {
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            // Whether it was touched or time has passed: what is due is found out anew.
            Some(delay) => drop(timeout(delay, touched.notified()).await),
            None => touched.notified().await,
        }
    }
}

impl Inner {
    fn new(mtu: usize) -> Self {
        let mut queues = Queues { arrived: VecDeque::new(), made: Vec::new(), mtu };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = super::random();
        let mut interface = Interface::new(config, &mut queues, smoltcp::time::Instant::ZERO);
        // Which addresses are the gateway's own was found out before. There are no neighbours, so that any router will do.
        interface.set_any_ip(true);
        let (v4, v6) = (Ipv4Addr::new(192, 0, 2, 1), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
        let routes = interface.routes_mut();
        // A new table has room for two.
        let _ = (routes.add_default_ipv4_route(v4), routes.add_default_ipv6_route(v6));
        Self {
            interface,
            queues,
            sockets: SocketSet::new(Vec::new()),
            connections: HashMap::new(),
            start: Instant::now(),
        }
    }

    fn now(&self) -> smoltcp::time::Instant {
        let micros = i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX);
        smoltcp::time::Instant::from_micros(micros)
    }

    fn poll(&mut self) {
        let now = self.now();
        self.interface.poll(now, &mut self.queues, &mut self.sockets);
    }

    fn take_in(&mut self, packet: &[u8]) {
        self.queues.arrived.push_back(packet.to_vec());
        self.poll();
    }

    fn delay(&mut self) -> Option<Duration> {
        let now = self.now();
        let delay = self.interface.poll_delay(now, &self.sockets)?;
        Some(Duration::from_micros(delay.total_micros()))
    }

    /// A socket for a connection whose SYN is `packet`; `None`: the stack did not take it.
    fn open(&mut self, (_, local): Ends, packet: &[u8], windows: Windows) -> Option<SocketHandle> {
        let mut socket = socket(windows);
        socket.listen(local).ok()?;
        let handle = self.sockets.add(socket);
        self.take_in(packet);
        if self.sockets.get::<Socket<'_>>(handle).state() != State::SynReceived {
            self.sockets.remove(handle);
            return None;
        }
        Some(handle)
    }

    /// A socket that connects.
    fn dial(&mut self, (remote, local): Ends, windows: Windows) -> Option<SocketHandle> {
        let mut socket = socket(windows);
        socket.connect(self.interface.context(), remote, local).ok()?;
        Some(self.sockets.add(socket))
    }

    /// A reset in the handshake makes a socket listen again, as if it had been a server's: nobody's SYN may find it.
    fn end_if_reset(&mut self, ends: &Ends) {
        let Some(connection) = self.connections.get(ends) else { return };
        let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
        if socket.state() == State::Listen {
            socket.close();
        }
    }

    /// Ends a connection, at once.
    fn close(&mut self, ends: &Ends) {
        let Some(connection) = self.connections.remove(ends) else { return };
        let socket = self.sockets.get_mut::<Socket<'_>>(connection.handle);
        if !matches!(socket.state(), State::Closed | State::TimeWait) {
            socket.abort();
            // It tells the other side before it goes.
            self.poll();
        }
        self.sockets.remove(connection.handle);
    }
}

fn socket(windows: Windows) -> Socket<'static> {
    let buffer = |size| SocketBuffer::new(vec![0; size]);
    let mut socket = Socket::new(buffer(windows.receive), buffer(windows.send));
    socket.set_timeout(Some(SILENT_MAX));
    socket.set_nagle_enabled(false);
    socket
}

fn ends(packet: &Packet, ports: Ports) -> Ends {
    let (source, destination) = (IpAddr::from(packet.source), IpAddr::from(packet.destination));
    (SocketAddr::new(source, ports.source), SocketAddr::new(destination, ports.destination))
}
