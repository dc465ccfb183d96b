//! What the heads of a burst's frames say, read once for all who ask: port security and security groups.

use std::hint::black_box;

use super::judge::Rules;
use super::route::Routes;
use crate::conntrack::{Conntrack, Hint, Tuple};
use crate::decision::Scene;
use crate::drops::DropReason;
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::nat::Translator;
use crate::packet::{Contents, Packet, Plain};
use crate::router::{PathKey, Paths, Sought, Table};
use crate::vlan::{TYPE_FIELD, is_tag_at};

/// The most frames of a burst that are read ahead, a bit of a word for each; those behind are read when they are asked about.
const AHEAD_MAX: usize = 64;

/// What a head says.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Nobody looked: the frame has a tag, which may be taken off before anybody asks, or is for no gateway.
    Unread,
    /// A plain packet, as most are.
    Plain(Plain),
    /// Anything else: it stands at this place of the list of such.
    Careful(u8),
    /// It contradicts itself, or its claims do.
    Unreadable(DropReason),
}

const _: () = assert!(AHEAD_MAX <= u8::MAX as usize);

/// A burst's heads; reused from burst to burst.
#[derive(Debug)]
pub(super) struct Readings {
    heads: Vec<Reading>,
    /// What needs more room than a plain packet.
    careful: Vec<Contents>,
    hints: Vec<Hint>,
    /// The paths of plain packets that the gateway gets, which were looked for.
    sought: Vec<Option<Sought<PathKey>>>,
    /// Packets that the gateway gets and whose paths are not known, the burst's first one in the lowest bit.
    unknown: u64,
}

/// What is read of a head that is no plain packet's.
#[inline(never)]
fn with_care<P>(frame: &Frame<P>, careful: &mut Vec<Contents>) -> Reading {
    if is_tag_at(frame.head.bytes(), TYPE_FIELD) {
        return Reading::Unread;
    }
    let place = u8::try_from(careful.len()).unwrap_or(u8::MAX);
    match Contents::of(frame) {
        Ok(contents) => {
            careful.push(contents);
            Reading::Careful(place)
        }
        Err(reason) => Reading::Unreadable(reason),
    }
}

/// Where the connection may stand of what was read with care.
#[inline(never)]
fn hint_with_care(conntrack: &Conntrack, zone: NetworkIndex, contents: Option<&Contents>) -> Hint {
    match contents {
        Some(Contents::Ip(packet)) => conntrack.hint(zone, packet),
        _ => Hint::default(),
    }
}

/// Which heads are read ahead.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wanted {
    /// All of them.
    All,
    /// Those of packets that a gateway gets and whose paths are not known.
    Unknown,
}

impl Default for Readings {
    fn default() -> Self {
        Self {
            heads: Vec::with_capacity(AHEAD_MAX),
            careful: Vec::with_capacity(AHEAD_MAX),
            hints: Vec::with_capacity(AHEAD_MAX),
            sought: Vec::with_capacity(AHEAD_MAX),
            unknown: 0,
        }
    }
}

impl Readings {
    /// Nothing is read of the burst.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.heads.clear();
        self.careful.clear();
        self.hints.clear();
        self.sought.clear();
        self.unknown = 0;
    }

    /// Reads the burst's heads, but for those that nobody will ask for.
    pub(super) fn read<P>(&mut self, burst: &[Frame<P>], wanted: Wanted) {
        let Self { heads, careful, unknown, .. } = self;
        heads.extend(burst.iter().take(AHEAD_MAX).enumerate().map(|(slot, frame)| {
            if wanted == Wanted::Unknown && *unknown >> slot & 1 == 0 {
                return Reading::Unread;
            }
            Plain::of(frame).map_or_else(|| with_care(frame, careful), Reading::Plain)
        }));
    }

    /// Finds out by what the paths of those of the burst's packets are found that `gateway` gets, and fetches those paths.
    pub(super) fn find_paths<P>(
        &mut self,
        burst: &[Frame<P>],
        (paths, routes): (&Table<PathKey>, &Routes<'_>),
        (port, zone, gateway): (PortIndex, NetworkIndex, MacAddress),
        now_s: u32,
    ) {
        let (mut concerned, origin) = (0_u64, routes.origin(port, zone));
        self.sought.extend(burst.iter().take(AHEAD_MAX).enumerate().map(|(slot, frame)| {
            if !frame.head.bytes().starts_with(&gateway.0) {
                return None;
            }
            concerned |= 1 << slot;
            Some(paths.seek(origin.key(&Plain::of(frame)?)))
        }));
        let sought = self.sought.iter().flatten();
        black_box(sought.fold(0, |sum, sought| sum ^ paths.touch_bucket(sought)));
        let sought = self.sought.iter_mut().flatten();
        black_box(sought.fold(0, |sum, sought| sum ^ paths.locate(sought)));
        let mut touched = 0_u64;
        self.unknown = self.sought.iter().enumerate().fold(concerned, |unknown, (slot, sought)| {
            let Some(path) = sought.as_ref().and_then(|sought| paths.find(sought, now_s)) else {
                return unknown;
            };
            touched ^= routes.touch_connection(path);
            unknown & !(1 << slot)
        });
        black_box(touched);
    }

    /// Whether the gateway gets packets whose paths are not known.
    pub(super) fn has_unknown(&self) -> bool {
        self.unknown != 0
    }

    /// Has the table of connections fetch what the look-ups of a burst that was read will need, and the mappings by which new ones will be
    /// translated.
    pub(super) fn look_ahead(
        &mut self,
        (conntrack, zone): (&Conntrack, NetworkIndex),
        translator: Option<&Translator<'_>>,
    ) {
        let careful = &self.careful;
        self.hints.extend(self.heads.iter().map(|head| match *head {
            Reading::Plain(plain) => conntrack.hint_plain(zone, &plain),
            Reading::Careful(place) => hint_with_care(conntrack, zone, careful.get(usize::from(place))),
            Reading::Unread | Reading::Unreadable(_) => Hint::default(),
        }));
        if !conntrack.look_ahead(&mut self.hints) {
            return;
        }
        // Who is not sent by the gateway is not translated.
        let translator = translator.filter(|translator| translator.hides_stations(zone));
        let translated = translator.map_or(0, |_| self.unknown);
        if let Some(translator) = translator
            && translated != 0
        {
            translator.look_ahead(zone, self.flows(zone, translated));
        }
        conntrack.look_ahead_to_open(self.flows(zone, !translated));
    }

    /// What tells the burst's packets at these positions that may open connections, with their hints.
    fn flows(&mut self, zone: NetworkIndex, slots: u64) -> impl Iterator<Item = (Tuple, &mut Hint)> {
        let (read, careful) = (self.heads.iter().zip(&mut self.hints).enumerate(), &self.careful);
        read.filter(move |(slot, _)| slots >> slot & 1 != 0).filter_map(move |(_, (head, hint))| {
            let tuple = match head {
                Reading::Plain(plain) => Tuple::of_plain(zone, plain),
                Reading::Careful(place) => match careful.get(usize::from(*place))? {
                    Contents::Ip(packet) => Tuple::of_flow(zone, packet)?,
                    _ => return None,
                },
                Reading::Unread | Reading::Unreadable(_) => return None,
            };
            Some((tuple, hint))
        })
    }

    /// The plain packet in the frame at this position, if it is one and was read.
    #[inline(always)]
    pub(super) fn plain(&self, slot: usize) -> Option<&Plain> {
        match self.heads.get(slot) {
            Some(Reading::Plain(plain)) => Some(plain),
            _ => None,
        }
    }

    /// What was read with care of the head of the frame at this position.
    #[inline]
    pub(super) fn careful(&self, slot: usize) -> Option<&Contents> {
        match self.heads.get(slot) {
            Some(Reading::Careful(place)) => self.careful.get(usize::from(*place)),
            _ => None,
        }
    }

    /// The packet in the frame at this position, which has still the head that was read, if it is one and was.
    #[inline]
    pub(super) fn packet<P>(&self, slot: usize, frame: &Frame<P>) -> Option<Packet> {
        match (self.plain(slot), self.careful(slot)) {
            (Some(plain), _) => plain.packet(frame.head.bytes()),
            (None, Some(Contents::Ip(packet))) => Some(*packet),
            _ => None,
        }
    }

    /// What the head of the frame at this position says, which is as it came; what is not kept so is put into `read`.
    #[inline]
    pub(super) fn contents<'r, P>(
        &'r self,
        slot: usize,
        frame: &Frame<P>,
        read: &'r mut Option<Contents>,
    ) -> Result<&'r Contents, DropReason> {
        match self.heads.get(slot) {
            Some(Reading::Unreadable(reason)) => return Err(*reason),
            Some(Reading::Plain(plain)) => {
                if let Some(packet) = plain.packet(frame.head.bytes()) {
                    return Ok(read.insert(Contents::Ip(packet)));
                }
            }
            Some(Reading::Careful(_)) => {
                if let Some(contents) = self.careful(slot) {
                    return Ok(contents);
                }
            }
            Some(Reading::Unread) | None => {}
        }
        Ok(read.insert(Contents::of(frame)?))
    }

    /// The path of the packet in the frame at this position, if it is a plain one for the gateway and its path was looked for.
    #[inline]
    pub(super) fn sought(&self, slot: usize) -> Option<&Sought<PathKey>> {
        self.sought.get(slot)?.as_ref()
    }

    /// Where the connection of the packet in the frame at this position may stand, if it was looked for.
    #[inline]
    pub(super) fn known(&self, slot: usize) -> Option<&Hint> {
        self.hints.get(slot)
    }

    /// Where its connection may stand.
    #[inline]
    pub(super) fn hint(&self, slot: usize) -> Hint {
        self.hints.get(slot).copied().unwrap_or_default()
    }
}

/// Reads a burst's heads if port security, security groups or a gateway will be asked about them, and fetches what is known of
/// their connections and of the ways that they go.
#[inline(never)]
pub(super) fn read_ahead<P>(
    readings: &mut Readings,
    burst: &[Frame<P>],
    (rules, routes): (Option<&Rules<'_>>, Option<&Routes<'_>>),
    (paths, seed): (&mut Paths, Option<u64>),
    scene: &Scene<'_>,
) {
    let policy = scene.policy;
    let zone = policy.ingress(scene.source).untagged().ok();
    let judged = rules.zip(zone).filter(|(_, zone)| policy.has_filtered(*zone));
    let judged = judged.map(|(rules, zone)| (&rules.filter.conntrack, zone));
    let gateway = zone.and_then(|zone| policy.network(zone)?.gateway());
    let routed = routes.zip(zone).zip(gateway);
    let is_guarded = scene.port.is_some_and(|port| port.guard.is_some());
    if judged.is_none() && routed.is_none() && !is_guarded {
        return;
    }
    let mut tracked = judged;
    let mut wanted = (judged.is_some() || is_guarded).then_some(Wanted::All);
    if let Some(((routes, zone), gateway)) = routed
        && let Some(seed) = seed
    {
        paths.allow(seed);
        readings.find_paths(burst, (&paths.v4, routes), (scene.source, zone, gateway.mac), scene.now_s);
        let translator = routes.translator.filter(|translator| translator.nat.concerns(zone));
        let translator = translator.filter(|_| readings.has_unknown());
        tracked = tracked.or(translator.map(|translator| (translator.conntrack, zone)));
        wanted = wanted.or(translator.map(|_| Wanted::Unknown));
    }
    if let Some(wanted) = wanted {
        readings.read(burst, wanted);
    }
    if let Some(tracked) = tracked {
        readings.look_ahead(tracked, routes.and_then(|routes| routes.translator.as_ref()));
    }
}
