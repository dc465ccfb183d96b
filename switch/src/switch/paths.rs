//! Packets that go the way that an earlier one of their flow went: see [`crate::router::Paths`].

use super::Egress;
use super::commit::Commit;
use super::route::Routes;
use crate::conntrack::{Reference, Tuple, Verdict};
use crate::decision::Lengths;
use crate::frame::{Frame, TakenTag};
use crate::ids::{NetworkIndex, PortIndex};
use crate::nat::rewrite::translate_plain;
use crate::nat::{Belongs, Change, Plan};
use crate::packet::{Contents, Packet, Plain, number};
use crate::router::rewrite::{self, ONE_HOP_LESS, PLAIN_HEADERS};
use crate::router::{Hop, Origin, Path, PathKey, PathKeyV6, Sought, Translation, Way};

impl Routes<'_> {
    /// What the keys of packets of IPv4 have in common that entered at `port` and that the gateway of `network` gets.
    #[inline]
    pub(super) fn origin(&self, port: PortIndex, network: NetworkIndex) -> Origin {
        let is_translated = self.translator.is_some_and(|translator| translator.nat.concerns(network));
        Origin::new(port, network, is_translated)
    }

    /// The key of a packet of IPv6.
    fn key_v6(&self, port: PortIndex, network: NetworkIndex, packet: &Packet) -> Option<PathKeyV6> {
        let is_changed = self.translator.is_some_and(|translator| translator.concerns_prefixes(packet));
        if is_changed { None } else { PathKeyV6::of(port, network, packet) }
    }

    /// Loads what is known of the connection of packets that go this way.
    #[inline]
    pub(super) fn touch_connection(&self, path: &Path) -> u64 {
        let (Some(translator), Some(translation)) = (self.translator, path.translation) else { return 0 };
        translator.conntrack.touch(translation.found.id)
    }
}

impl<E> Commit<'_, E> {
    /// Sends a frame on by its flow's path, if it carries a plain packet for which one was looked for ahead; says whether it did.
    #[inline]
    pub(super) fn follow_plain<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        network: NetworkIndex,
        routes: &Routes<'_>,
    ) -> bool
    where
        E: Egress<P>,
    {
        let readings = self.readings;
        let Some(sought) = readings.sought(slot) else { return false };
        self.follow(slot, frame, network, sought, routes)
    }

    /// The same for what was read with care, and for which nobody has looked.
    pub(super) fn follow_read<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        (network, contents): (NetworkIndex, &Contents),
        routes: &Routes<'_>,
    ) -> bool
    where
        E: Egress<P>,
    {
        let Contents::Ip(packet) = contents else { return false };
        if !self.paths.v4.has_room() || self.readings.sought(slot).is_some() {
            return false;
        }
        let port = self.scene.source;
        let path = if packet.source.is_v4() {
            let origin = routes.origin(port, network);
            if let Some(plain) = Plain::of(frame) {
                let sought = self.paths.v4.seek(origin.key(&plain));
                return self.follow(slot, frame, network, &sought, routes);
            }
            let Some(key) = origin.key_like(packet) else { return false };
            self.paths.v4.find(&self.paths.v4.seek(key), self.scene.now_s)
        } else {
            let Some(key) = routes.key_v6(port, network, packet) else { return false };
            self.paths.v6.find(&self.paths.v6.seek(key), self.scene.now_s)
        };
        let Some(&path) = path else { return false };
        self.follow_unchanged(slot, frame, (network, packet), &path, routes)
    }

    /// Sends a packet that keeps its addresses on by this path, if it holds for it; says whether it does.
    fn follow_unchanged<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        (network, packet): (NetworkIndex, &Packet),
        path: &Path,
        routes: &Routes<'_>,
    ) -> bool
    where
        E: Egress<P>,
    {
        let head = frame.head.bytes();
        if path.translation.is_some()
            || !path.is_current(routes.neighbours, self.scene.fdb)
            || !path.admits(packet.hop_limit, Lengths::of(head, &frame.meta).wire)
            || !rewrite::is_intact(head, packet)
        {
            return false;
        }
        if self.verifies && !self.is_right(frame, (network, packet), path, routes) {
            self.paths.mismatch();
            return false;
        }
        rewrite::pass(frame.head.bytes_mut(), packet, path.hop.source, path.hop.destination);
        self.send_by(path.hop.network, path.to, slot, frame);
        true
    }

    /// Sends a plain packet on by its flow's path, if there is one that holds for it; says whether there was.
    #[inline]
    fn follow<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        network: NetworkIndex,
        sought: &Sought<PathKey>,
        routes: &Routes<'_>,
    ) -> bool
    where
        E: Egress<P>,
    {
        let Some(path) = self.paths.v4.find(sought, self.scene.now_s) else { return false };
        let head = frame.head.bytes();
        let Some(first) = head.first_chunk::<PLAIN_HEADERS>() else { return false };
        if !path.is_current(routes.neighbours, self.scene.fdb)
            || !path.admits(first[22], Lengths::of(head, &frame.meta).wire)
            || !rewrite::is_intact_plain(first)
        {
            return false;
        }
        let is_tcp = first[23] == number::TCP;
        if self.verifies && !self.is_right_for_plain(frame, network, path, routes) {
            self.paths.mismatch();
            return false;
        }
        let sum = match &path.translation {
            Some(translation) => {
                if !self.translate_by(frame, is_tcp, translation, routes) {
                    return false;
                }
                translation.sums.header
            }
            None => ONE_HOP_LESS,
        };
        let (hop, to) = (path.hop, path.to);
        if let Some(first) = frame.head.bytes_mut().first_chunk_mut::<PLAIN_HEADERS>() {
            rewrite::pass_plain(first, (hop.source, hop.destination), sum);
        }
        self.send_by(hop.network, to, slot, frame);
        true
    }

    /// Translates a plain packet if its connection lives and takes it; says whether it does. The checksum of its IPv4 header is
    /// left as it was.
    #[inline(always)]
    fn translate_by<P>(
        &self,
        frame: &mut Frame<P>,
        is_tcp: bool,
        translation: &Translation,
        routes: &Routes<'_>,
    ) -> bool {
        let Some(translator) = routes.translator else { return false };
        let Translation { found, leaving, sums } = translation;
        let tcp = if is_tcp {
            let head = frame.head.bytes();
            let tcp = Plain::read(head, frame.meta.length).and_then(|plain| plain.segment(head));
            let Some(tcp) = tcp else { return false };
            Some(tcp)
        } else {
            None
        };
        if !translator.conntrack.follows_whole(*found, tcp.as_ref(), self.now) {
            return false;
        }
        let is_partial =
            frame.meta.claims.checksum.is_some_and(|checksum| usize::from(checksum.start) == PLAIN_HEADERS);
        translate_plain(frame.head.bytes_mut(), is_tcp, (leaving, *sums), is_partial)
    }

    /// Has a frame whose head is as it leaves belong to a network, and leave by a port.
    #[inline(always)]
    fn send_by<P>(&mut self, network: NetworkIndex, to: PortIndex, slot: usize, frame: &mut Frame<P>)
    where
        E: Egress<P>,
    {
        let priority = frame.meta.tag.and_then(|tag| tag.priority);
        frame.meta.tag = Some(TakenTag { network, priority });
        self.egress.send(to, slot, frame);
    }

    /// As [`Commit::is_right`] for a plain packet.
    #[cold]
    fn is_right_for_plain<P>(
        &self,
        frame: &Frame<P>,
        network: NetworkIndex,
        path: &Path,
        routes: &Routes<'_>,
    ) -> bool {
        let packet = Packet::plain(frame.head.bytes(), frame.meta.length);
        packet.is_some_and(|packet| self.is_right(frame, (network, &packet), path, routes))
    }

    /// Whether a packet would be sent on just so if nobody knew a path.
    #[cold]
    fn is_right<P>(
        &self,
        frame: &Frame<P>,
        (network, packet): (NetworkIndex, &Packet),
        path: &Path,
        routes: &Routes<'_>,
    ) -> bool {
        let is_gone = |found: Reference| {
            let tuples = routes.translator.and_then(|translator| translator.conntrack.tuples(found.id));
            tuples.is_none()
        };
        // What has ended is noticed where it is followed.
        if path.translation.is_some_and(|translation| is_gone(translation.found)) {
            return true;
        }
        let arrival = routes.arrival(network, frame, packet);
        let translated = routes.translator.filter(|translator| translator.concerns(network, packet));
        let (hop, translation) = match translated {
            Some(translator) => {
                let verdict = translator.conntrack.look_up(network, packet, self.now);
                match translator.plan(&arrival, verdict, self.now) {
                    Plan::Leave(leave) => match (leave.change, leave.connection, verdict) {
                        (Change::Packet(to), Belongs::To(found), Verdict::Established(_)) => {
                            (leave.hop, Translation::of(found, &to, packet))
                        }
                        _ => return false,
                    },
                    // The connection refuses this packet, as it will where it is followed.
                    _ => return matches!(verdict, Verdict::Invalid(_)),
                }
            }
            None => match routes.routing.way(&arrival, routes.neighbours, self.scene.now_s) {
                Way::To(hop) => (hop, None),
                _ => return false,
            },
        };
        let to = self.scene.station(hop.network, hop.destination).map(|(port, _)| port);
        (hop, translation, to) == (path.hop, path.translation, Some(path.to))
    }

    /// Notes the path that a packet goes about which no rules are asked.
    pub(super) fn keep_path(
        &mut self,
        (network, packet): (NetworkIndex, &Packet),
        (hop, translation): (Hop, Option<(Reference, Tuple)>),
        (to, station): (PortIndex, crate::fdb::Seen),
    ) {
        let (Some(routes), true) = (self.routes, self.paths.v4.has_room()) else { return };
        let port = self.scene.source;
        let path = Path { hop, to, translation: None, station };
        if !packet.source.is_v4() {
            if let (None, Some(key)) = (translation, routes.key_v6(port, network, packet)) {
                self.paths.keep_v6(key, path, self.scene.now_s);
            }
            return;
        }
        let Some(key) = routes.origin(port, network).key_like(packet) else { return };
        let translation = match translation {
            // Whoever keeps its addresses because of its connection is looked at by itself.
            None if key.is_of_connection() => return,
            None => None,
            Some((found, tuple)) => match Translation::of(found, &tuple, packet) {
                None => return,
                some => some,
            },
        };
        self.paths.v4.keep(key, Path { translation, ..path }, self.scene.now_s);
    }
}
