//! Packets that go the way that an earlier one of their flow went: see [`crate::router::Paths`].

use super::Egress;
use super::commit::Commit;
use super::readings::Plain;
use super::route::Routes;
use crate::conntrack::{Reference, Tuple, Verdict};
use crate::decision::Lengths;
use crate::frame::{Frame, TakenTag};
use crate::ids::{NetworkIndex, PortIndex};
use crate::nat::{Belongs, Change, Plan, rewrite as addresses};
use crate::packet::{Contents, Packet};
use crate::router::{Hop, Leaving, Path, PathKey, Sought, Way, rewrite};

impl Routes<'_> {
    /// By what the path of a packet is found that entered at `port` and that the gateway of `network` gets.
    #[inline]
    pub(super) fn key(&self, port: PortIndex, network: NetworkIndex, packet: &Packet) -> Option<PathKey> {
        let is_translated = match self.translator {
            Some(translator) if translator.concerns_prefixes(packet) => return None,
            Some(translator) => translator.concerns(network, packet),
            None => false,
        };
        PathKey::of(port, network, packet, is_translated)
    }

    /// Loads what is known of the connection of packets that go this way.
    #[inline]
    pub(super) fn touch_connection(&self, path: &Path) -> u64 {
        let (Some(translator), Some((found, _))) = (self.translator, path.translation) else { return 0 };
        translator.conntrack.touch(found.id)
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
        let Some(Plain { packet, sought }) = readings.plain(slot) else { return false };
        self.follow(slot, frame, (network, packet), sought, routes)
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
        if !self.paths.has_room() || self.readings.plain(slot).is_some() {
            return false;
        }
        let Some(key) = routes.key(self.scene.source, network, packet) else { return false };
        self.follow(slot, frame, (network, packet), &self.paths.seek(key), routes)
    }

    /// Sends a packet on by its flow's path, if there is one that holds for it; says whether there was.
    #[inline]
    fn follow<P>(
        &mut self,
        slot: usize,
        frame: &mut Frame<P>,
        (network, packet): (NetworkIndex, &Packet),
        sought: &Sought,
        routes: &Routes<'_>,
    ) -> bool
    where
        E: Egress<P>,
    {
        let Some(path) = self.paths.find(sought, self.scene.now_s) else { return false };
        let head = frame.head.bytes();
        if !path.is_current(routes.neighbours, self.scene.fdb)
            || !path.admits(packet, Lengths::of(head, &frame.meta).wire)
            || !rewrite::is_intact(head, packet)
        {
            return false;
        }
        if self.verifies && !self.is_right(frame, (network, packet), path, routes) {
            self.paths.mismatch();
            return false;
        }
        if let Some((found, leaving)) = path.translation {
            let is_open = routes
                .translator
                .is_some_and(|translator| translator.conntrack.follows(found, packet, self.now));
            if !is_open {
                return false;
            }
            addresses::translate(frame.head.bytes_mut(), packet, &leaving, &frame.meta.claims);
        }
        let Hop { network, source, destination, .. } = path.hop;
        rewrite::pass(frame.head.bytes_mut(), packet, source, destination);
        let priority = frame.meta.tag.and_then(|tag| tag.priority);
        frame.meta.tag = Some(TakenTag { network, priority });
        self.egress.send(path.to, slot, frame);
        true
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
        if path.translation.is_some_and(|(found, _)| is_gone(found)) {
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
                            (leave.hop, Leaving::of(&to).map(|leaving| (found, leaving)))
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
        if !self.paths.has_room() {
            return;
        }
        let Some(key) = self.routes.and_then(|routes| routes.key(self.scene.source, network, packet)) else {
            return;
        };
        let translation = match translation {
            // Whoever keeps its addresses because of its connection is looked at by itself.
            None if key.is_of_connection() => return,
            None => None,
            Some((found, tuple)) => match Leaving::of(&tuple) {
                Some(leaving) => Some((found, leaving)),
                None => return,
            },
        };
        self.paths.keep(key, Path { hop, to, translation, station }, self.scene.now_s);
    }
}
