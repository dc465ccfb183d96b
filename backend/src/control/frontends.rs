//! Frontends that come and go: their connections, and how fast they are read.

use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use event_manager::{EventOps, EventSet, Events};
use tracing::warn;
use viaduct_switch::PortIndex;

use crate::control::controller::{Controller, unwatch};
use crate::control::driver::SETTLE;
use crate::control::port::{Link, Port, process};
use crate::control::timer::Deadline;
use crate::control::token::Token;
use crate::model::EventKind;
use crate::vhost_user::{SessionEnd, socket};

/// Pause before a port whose frontends sent too much, or left too much behind, is served again.
const THROTTLE_PAUSE: Duration = Duration::from_millis(100);

/// Pause after descriptors ran out, before connections are accepted again.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

impl Controller {
    pub(super) fn accept(&mut self, index: PortIndex, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        if port.must_wait(Instant::now()) {
            // Who wants to connect waits with the listener.
            return self.accept_later(index, THROTTLE_PAUSE, ops);
        }
        let Link::Server(listener) = &port.link else { return };
        match listener.accept() {
            Ok(None) => {}
            Ok(Some(socket)) => self.accepted(index, socket, ops),
            Err(error) => {
                port.log.warn(format_args!("cannot accept a connection: {error}; trying again in a second"));
                self.accept_later(index, ACCEPT_PAUSE, ops);
            }
        }
    }

    fn accept_later(&mut self, index: PortIndex, pause: Duration, ops: &mut EventOps) {
        self.watch_listener(index, EventSet::empty(), ops);
        self.timer.set(Deadline::Accept(index), Instant::now() + pause);
    }

    fn accepted(&mut self, index: PortIndex, socket: UnixStream, ops: &mut EventOps) {
        // A frontend that died and was started again may be back before we have heard of its end.
        let gone = |port: &Port| port.guest.as_ref().is_some_and(|guest| guest.session.has_hung_up());
        if self.ports.get(index).is_some_and(gone) {
            self.end_session(index, &SessionEnd::hung_up(), ops);
        }
        let Some(port) = self.ports.get_mut(index) else { return };
        port.frontends.spend();
        if let Some(guest) = &port.guest {
            port.log.warn(format_args!(
                "{} is turned away: {} is connected already",
                process(socket::peer_pid(&socket)),
                process(guest.session.peer_pid())
            ));
            return port.disposal.hang_up(socket);
        }
        self.begin_session(index, socket, ops);
    }

    fn begin_session(&mut self, index: PortIndex, socket: UnixStream, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let begun = port.connected(socket, Instant::now()).map(|guest| {
            guest.watched = EventSet::IN;
            let (session, data) = (&guest.session, Token::Session(index).to_data());
            (session.peer_pid(), ops.add(Events::with_data(session, data, EventSet::IN)))
        });
        match begun {
            Ok((peer, Ok(()))) => {
                port.log.event(EventKind::Connected, format_args!("{} is connected", process(peer)))
            }
            Ok((_, Err(error))) => {
                if let Some(guest) = port.guest.take() {
                    guest.session.close(&mut self.bay);
                }
                port.log.warn(format_args!("cannot watch the connection: {error}; raise LimitNOFILE="));
            }
            Err(error) => port.log.warn(format_args!("cannot begin a session: {error}; raise LimitNOFILE=")),
        }
    }

    pub(super) fn connect(&mut self, index: PortIndex, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index).filter(|port| port.guest.is_none()) else { return };
        let now = Instant::now();
        if port.must_wait(now) {
            return self.timer.set(Deadline::Connect(index), now + THROTTLE_PAUSE);
        }
        match socket::connect(&port.end.socket) {
            Ok(socket) => self.begin_session(index, socket, ops),
            Err(error) => port.trouble = Some(error.to_string()),
        }
        let now = Instant::now();
        let Some(port) = self.ports.get_mut(index).filter(|port| port.guest.is_none()) else { return };
        if let Some(pause) = port.next_pause(None, now) {
            self.timer.set(Deadline::Connect(index), now + pause);
        }
    }

    pub(super) fn serve_session(&mut self, index: PortIndex, events: EventSet, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let Some(guest) = &mut port.guest else { return };
        let hung_up = events.intersects(EventSet::HANG_UP | EventSet::ERROR);
        if hung_up && guest.throttled {
            // epoll would tell it again and again until the last of it is read, which is not to be now.
            return self.end_session(index, &SessionEnd::hung_up(), ops);
        }
        let outcome = if events.contains(EventSet::IN) || hung_up {
            guest.session.readable(&mut self.bay, &mut port.messages)
        } else {
            guest.session.writable().map(|()| Vec::new())
        };
        match outcome {
            Ok(refused) => {
                for refused in refused {
                    let trouble = format!("{} is refused: {}", refused.request, refused.refusal);
                    port.log.warn(&trouble);
                    port.trouble = Some(trouble);
                }
                self.throttle(index);
                self.watch_session(index, ops);
                self.timer.set(Deadline::Tell(index), Instant::now() + SETTLE);
            }
            Err(end) => self.end_session(index, &end, ops),
        }
    }

    /// Stops reading a frontend for a while if it sends without end, or what it sent waits to be put away.
    fn throttle(&mut self, index: PortIndex) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let crowded = port.is_crowded();
        let Some(guest) = port.guest.as_mut().filter(|guest| !guest.throttled) else { return };
        if !crowded && !port.messages.is_spent() {
            return;
        }
        guest.throttled = true;
        self.timer.set(Deadline::Resume(index), Instant::now() + THROTTLE_PAUSE);
        if !crowded && !std::mem::replace(&mut guest.slowed, true) {
            port.log.warn("the frontend sends messages without end; it is read more slowly");
        }
    }

    fn end_session(&mut self, index: PortIndex, end: &SessionEnd, ops: &mut EventOps) {
        let Some(port) = self.ports.get_mut(index) else { return };
        let Some(guest) = port.guest.take() else { return };
        let peer = process(guest.session.peer_pid());
        if end.is_goodbye() {
            port.log.event(EventKind::Disconnected, format_args!("{peer} is gone"));
        } else {
            port.log
                .trouble(EventKind::Disconnected, format_args!("the session with {peer} is closed: {end}"));
            port.trouble = Some(end.to_string());
        }
        self.timer.clear(Deadline::Resume(index));
        self.timer.clear(Deadline::Tell(index));
        let since = guest.since;
        unwatch(&guest.session, ops);
        guest.session.close(&mut self.bay);
        let now = Instant::now();
        match port.next_pause(Some(since), now) {
            Some(Duration::ZERO) => self.connect(index, ops),
            Some(pause) => self.timer.set(Deadline::Connect(index), now + pause),
            None => {}
        }
    }

    /// Watches a session's socket for what it needs now.
    pub(super) fn watch_session(&mut self, index: PortIndex, ops: &mut EventOps) {
        let Some(guest) = self.ports.get_mut(index).and_then(|port| port.guest.as_mut()) else { return };
        let mut wanted = if guest.throttled { EventSet::empty() } else { EventSet::IN };
        if guest.session.wants_to_write() {
            wanted |= EventSet::OUT;
        }
        if wanted == guest.watched {
            return;
        }
        guest.watched = wanted;
        let events = Events::with_data(&guest.session, Token::Session(index).to_data(), wanted);
        if let Err(error) = ops.modify(events) {
            warn!("cannot change what a session is watched for: {error}");
        }
    }

    pub(super) fn resume(&mut self, index: PortIndex, ops: &mut EventOps) {
        if let Some(guest) = self.ports.get_mut(index).and_then(|port| port.guest.as_mut()) {
            guest.throttled = false;
            self.watch_session(index, ops);
        }
    }

    pub(super) fn tell_driver(&mut self, index: PortIndex) {
        if let Some(port) = self.ports.get_mut(index) {
            port.tell_driver();
        }
    }

    pub(super) fn watch_listener(&mut self, index: PortIndex, events: EventSet, ops: &mut EventOps) {
        let Some(Link::Server(listener)) = self.ports.get(index).map(|port| &port.link) else { return };
        if let Err(error) = ops.modify(Events::with_data(listener, Token::Listener(index).to_data(), events))
        {
            warn!("cannot change what a listener is watched for: {error}");
        }
    }
}
