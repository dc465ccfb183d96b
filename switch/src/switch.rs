//! The switch: a burst of frames goes in, and out come calls of the caller's [`Egress`].

mod commit;
mod condition;
mod explain;
mod judge;
mod opening;
mod paths;
mod prefixed;
mod readings;
mod restore;
mod route;
mod run;
mod suppress;
mod translate;
mod tunnels;
mod vouched;
mod worker;

use std::sync::OnceLock;

use crate::conntrack::{self, Conntrack};
use crate::counters::{Counters, FdbSnapshot, FlowTally};
use crate::decision::Scene;
use crate::drops::DropReason;
use crate::fdb::{Duplicate, Fdb, FdbEntry, Key, Limits, Sighting};
use crate::filter::{Carried, Filter};
use crate::flow_cache::{FlowHasher, FlowMismatch, Verification};
use crate::fragments::{self, DatagramId};
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::multicast::{GroupEntry, GroupSnapshot, Groups};
use crate::nat::Translator;
use crate::policy::{NetworkPolicy, Policy};
use crate::qos::ClassIndex;
use crate::router::{Neighbours, Why};
use crate::security::SecurityPolicy;
use crate::storm::{JudgeLimits, StormMeters};
use crate::suppression::Suppression;
use crate::time::Nanos;
use crate::tunnel::Vteps;
use commit::Commit;
use condition::{Entry, condition};
use judge::Rules;
use readings::read_ahead;
use route::Routes;
use run::{Recent, Run};
pub use worker::{FLOW_ENTRIES_DEFAULT, WorkerState};

/// How many neighbours all gateways together may know.
const NEIGHBOURS: usize = 16_384;

/// Where frames leave the switch. `P` is the frames' payload.
pub trait Egress<P> {
    /// Lets `frame`, which stands at position `slot` of the burst, leave by port `to` alone. A frame for
    /// which there is no call was dropped and counted.
    fn send(&mut self, to: PortIndex, slot: usize, frame: &Frame<P>);

    /// Lets copies of `frame`, which stands at position `slot` of the burst, leave by all of `receivers`
    /// but the frame's own port, which may be among them. `receivers` ascend, and are members of `network`.
    fn flood(&mut self, network: NetworkIndex, receivers: &[PortIndex], slot: usize, frame: &Frame<P>);

    /// Hands `frame`, which stands at position `slot` of the burst, to the control side; says whether there was room
    /// for it. Whoever never has a policy in which a [`ControlProtocol`](crate::ControlProtocol) runs is never called.
    fn punt(&mut self, slot: usize, frame: &Frame<P>) -> bool {
        let _ = (slot, frame);
        false
    }

    /// Hands a copy of `frame`, which stands at position `slot` of the burst and entered in `network`, to the gateway of that
    /// network; says whether there was room for it. Whoever never has a policy with a gateway is never called. `why` says what
    /// the gateway cannot find out by itself: of a packet that would leave with other addresses than it came with.
    fn offer(&mut self, network: NetworkIndex, slot: usize, frame: &Frame<P>, why: Option<Why>) -> bool {
        let _ = (network, slot, frame, why);
        false
    }

    /// Hears that `frame`, which stands at position `slot` of the burst, was dropped and counted. A frame that is refused as
    /// a whole is told of once.
    fn dropped(&mut self, slot: usize, frame: &Frame<P>, reason: DropReason) {
        let _ = (slot, frame, reason);
    }

    /// Copies the bytes after the frame's head to `to` and says how many there were: for messages to the
    /// switch that are longer than a head. They are the sender's, and may change from call to call.
    fn read(&mut self, frame: &Frame<P>, to: &mut [u8]) -> usize {
        let _ = (frame, to);
        0
    }

    /// Keeps a copy of `frame`, which stands at position `slot` of the burst, under the name of its datagram, until
    /// [`Egress::release`] is called for that: it is a fragment that came before the first one of its datagram. Says
    /// whether there was room; if not, the frame is dropped and counted.
    fn hold(&mut self, datagram: DatagramId, slot: usize, frame: &Frame<P>) -> bool {
        let _ = (datagram, slot, frame);
        false
    }

    /// What is kept under this name is to be thrown away, or, where something was decided, to be taken in once more after this
    /// burst by [`Switch::process_decided`].
    fn release(&mut self, datagram: DatagramId, decided: Option<Carried>) {
        let _ = (datagram, decided);
    }
}

/// The switch: what all workers share.
#[derive(Debug)]
pub struct Switch {
    fdb: Fdb,
    /// Seeded as the fdb is, but otherwise.
    flow_hasher: FlowHasher,
    counters: Counters,
    storm: StormMeters,
    pub(crate) groups: Groups,
    verification: Verification,
    /// Made when the first port is filtered, since it takes memory.
    filter: OnceLock<Filter>,
    filter_limits: (conntrack::Limits, fragments::Limits),
    /// Made with the first gateway.
    neighbours: OnceLock<Neighbours>,
    /// Made with the first tunnel.
    vteps: OnceLock<Vteps>,
    /// Made with the first network that suppresses ARP and neighbour discovery.
    suppression: OnceLock<Suppression>,
    seed: u64,
}

impl Switch {
    /// A switch that knows no address yet. `seed` must be random and unknown to the guests, which choose
    /// the addresses that are hashed.
    #[must_use]
    pub fn new(seed: u64, limits: Limits) -> Self {
        let flow_hasher = FlowHasher::with_seed(!seed);
        let groups = Groups::new(seed.rotate_left(32), limits.groups);
        let (counters, storm) = (Counters::default(), StormMeters::default());
        let verification = Verification::default();
        let (filter, filter_limits) = (OnceLock::new(), (limits.connections, limits.fragments));
        let fdb = Fdb::new(seed, limits);
        let neighbours = OnceLock::new();
        Self {
            fdb,
            flow_hasher,
            counters,
            storm,
            groups,
            verification,
            filter,
            filter_limits,
            neighbours,
            vteps: OnceLock::new(),
            suppression: OnceLock::new(),
            seed,
        }
    }

    /// Takes in a burst of frames, all from one source port, and sends them on in order. A tag that told a frame's
    /// network is taken off; what a receiver wants before it instead, [`Policy::tags_of`] tells. No lock is waited for
    /// and nothing is allocated, but where a connection is opened or fragments are put in order.
    pub fn process<P>(
        &self,
        worker: &mut WorkerState,
        now: Nanos,
        burst: &mut [Frame<P>],
        egress: &mut impl Egress<P>,
    ) {
        self.run(worker, now, burst, egress, Entry::Anew);
    }

    /// Takes in what came by its port before, and was metered and marked then: packets that waited for a gateway's next station, with
    /// the tags that their port wants, and the gateway's own frames.
    pub fn process_again<P>(
        &self,
        worker: &mut WorkerState,
        now: Nanos,
        burst: &mut [Frame<P>],
        egress: &mut impl Egress<P>,
    ) {
        self.run(worker, now, burst, egress, Entry::Again);
    }

    /// Takes in fragments of one datagram that were kept by [`Egress::hold`], now that this was decided about it. What was chosen
    /// for them where they entered stands beside their bytes.
    pub fn process_decided<P>(
        &self,
        worker: &mut WorkerState,
        now: Nanos,
        burst: &mut [Frame<P>],
        egress: &mut impl Egress<P>,
        decided: Carried,
    ) {
        self.run(worker, now, burst, egress, Entry::Decided(decided));
    }

    #[inline]
    fn run<P>(
        &self,
        worker: &mut WorkerState,
        now: Nanos,
        burst: &mut [Frame<P>],
        egress: &mut impl Egress<P>,
        entry: Entry,
    ) {
        let Some(first) = burst.first() else { return };
        let WorkerState {
            policy,
            flows,
            flow_counters,
            scratch,
            receivers,
            readings,
            paths,
            openings,
            policed,
            tally,
            has_cache,
            vteps: _,
        } = worker;
        tally.begin();
        let (source, verifies) = (first.meta.source, self.verification.is_on());
        scratch.begin();
        let scene = Scene::new(policy, &self.fdb, now.seconds(), source);
        let ingress = policy.ingress(source);
        // First of all: what a port sends too much costs next to nothing, and what is marked is read with its mark.
        let (policed, carried) = condition(&scene, ingress, entry, burst, now, policed);
        let guard = scene.port.and_then(|port| port.guard.as_deref());
        let rules = policy.security().map(|security| self.rules(security, &scene, now));
        let routes = self.routes(policy);
        readings.clear();
        if guard.is_some() || rules.is_some() || routes.is_some() {
            // None without a cache: then nothing is remembered of earlier frames.
            let seed = has_cache.then_some(self.seed.rotate_left(24));
            read_ahead(readings, burst, (rules.as_ref(), routes.as_ref()), (paths, seed), &scene);
        }
        let commit = Commit {
            scene: &scene,
            counters: &self.counters,
            storm: &self.storm,
            groups: &self.groups,
            scratch,
            now,
            tally,
            learned: None,
            egress,
            rules,
            filter: self.filter.get(),
            carried,
            receivers,
            readings,
            routes,
            suppression: self.suppression.get().filter(|_| policy.has_suppression()),
            paths,
            pair: None,
            openings,
            verifies,
            mismatched: 0,
        };
        let mut run = Run {
            commit,
            ingress,
            untagged: ingress.untagged(),
            flows,
            hasher: &self.flow_hasher,
            verification: &self.verification,
            verifies,
            is_from_vtep: scene.is_from_vtep,
            counted: FlowTally::default(),
            steady: None,
            recent: Recent::Unknown,
        };
        run.burst(burst, guard, policed);
        run.counted.mismatched += run.commit.take_mismatched();
        let refused = policed.iter().filter(|refused| **refused).count();
        flow_counters.add(burst.len() - refused, &run.counted);
        self.counters.port(source).add_entered(run.commit.tally);
    }

    /// What it takes to ask security groups in this burst.
    #[inline(never)]
    fn rules<'a>(&'a self, security: &'a SecurityPolicy, scene: &Scene<'_>, now: Nanos) -> Rules<'a> {
        let limits = scene.port.map_or(JudgeLimits::UNLIMITED, |port| port.judging);
        let judges = self.storm.may_judge(scene.source, &limits, now);
        let untagged = scene.policy.ingress(scene.source).untagged().ok();
        Rules { filter: self.filter(), security, hasher: &self.flow_hasher, limits, judges, untagged }
    }

    /// What it takes to route packets under this policy.
    #[inline]
    fn routes<'a>(&'a self, policy: &'a Policy) -> Option<Routes<'a>> {
        let (routing, neighbours) = (policy.routing()?, self.neighbours.get()?);
        Some(Routes { routing, neighbours, translator: self.translator(policy) })
    }

    /// What it takes to translate addresses under this policy.
    #[inline]
    fn translator<'a>(&'a self, policy: &'a Policy) -> Option<Translator<'a>> {
        let nat = policy.nat()?;
        let (routing, neighbours) = (policy.routing()?, self.neighbours.get()?);
        let conntrack = &self.filter.get()?.conntrack;
        let mappings = conntrack.mappings()?;
        Some(Translator { nat, routing, neighbours, conntrack, mappings })
    }

    /// What the gateways know of their networks' stations; made with the first one.
    pub fn neighbours(&self) -> &Neighbours {
        self.neighbours.get_or_init(|| Neighbours::new(NEIGHBOURS, self.seed.rotate_left(48)))
    }

    fn filter(&self) -> &Filter {
        let (connections, fragments) = self.filter_limits;
        self.filter.get_or_init(|| Filter::new(connections, fragments, self.seed.rotate_left(16)))
    }

    /// Makes room for connections and neighbours, if `policy` needs any and there is none yet: to be called before workers get such
    /// a policy, so that none of them has to wait for it.
    pub fn prepare(&self, policy: &Policy) {
        if policy.security().is_some() {
            self.filter().conntrack.set_ports(policy.ports());
        }
        if policy.routing().is_some() {
            self.neighbours();
        }
        if policy.tunnels().is_some() {
            self.vteps();
        }
        if policy.has_suppression() {
            self.suppression();
        }
        if let Some(nat) = policy.nat() {
            let conntrack = &self.filter().conntrack;
            conntrack.set_ports(policy.ports());
            conntrack.make_mappings(self.seed.rotate_left(8)).set_addresses(&nat.outside_addresses());
        }
    }

    /// Ends the connections that the policy translates no longer as they were opened, and no others; says how many. An address
    /// that is no more, or a rule, ends those that relied on it. To be called after all workers have got the policy.
    pub fn end_translations(&self, policy: &Policy, now: Nanos) -> usize {
        let Some(conntrack) = self.conntrack() else { return 0 };
        let translator = self.translator(policy);
        conntrack.end_translated(now, |tuples| translator.is_some_and(|translator| translator.stands(tuples)))
    }

    /// The connections that are tracked; `None` as long as no port was filtered.
    #[must_use]
    pub fn conntrack(&self) -> Option<&Conntrack> {
        self.filter.get().map(|filter| &filter.conntrack)
    }

    /// What the store of datagrams in fragments did and holds.
    #[must_use]
    pub fn fragments(&self) -> Option<fragments::Snapshot> {
        self.filter.get().map(|filter| filter.fragments.snapshot())
    }

    /// Ends connections and datagrams of which nothing was heard for too long; to be called twice a second or more. Looks at
    /// about `budget` of each. `ended` hears of datagrams of which fragments may be kept.
    pub fn expire_connections(&self, now: Nanos, budget: usize, ended: impl FnMut(DatagramId)) {
        if let Some(filter) = self.filter.get() {
            filter.expire(now, budget, ended);
        }
    }

    /// Ends the connections that `port` opened, and its datagrams: for an index that is given to another port.
    pub fn forget_connections(&self, port: PortIndex, now: Nanos, ended: impl FnMut(DatagramId)) {
        if let Some(filter) = self.filter.get() {
            filter.forget_port(port, now, ended);
        }
    }

    /// Ends the connections of a network that is no more, and forgets whose addresses are whose there.
    pub fn forget_network(&self, network: NetworkIndex, now: Nanos) {
        if let Some(filter) = self.filter.get() {
            filter.forget_network(network, now);
        }
        if let Some(suppression) = self.suppression.get() {
            suppression.forget_network(network);
        }
    }

    /// Whether every hit of the workers' flow caches is decided by the stages as well, and both compared. What
    /// differs is counted as mismatched, and the stages are obeyed.
    pub fn set_verification(&self, is_on: bool) {
        self.verification.set(is_on);
    }

    /// Whether that is so.
    #[must_use]
    #[inline]
    pub fn verifies(&self) -> bool {
        self.verification.is_on()
    }

    /// Notes that a class was kept of a frame from `source` that its tree's filters do not find.
    #[cold]
    pub fn note_class_mismatch(&self, source: PortIndex, kept: ClassIndex, found: ClassIndex) {
        self.verification.keep(FlowMismatch::of_class(source, kept, found));
    }

    /// The first hit that verification found to be wrong.
    #[must_use]
    pub fn flow_mismatch(&self) -> Option<&FlowMismatch> {
        self.verification.first()
    }

    /// Forgets addresses and members of groups that were silent too long, or whose port left their network.
    /// Looks at about `budget` entries of each table and goes on from there at the next call.
    pub fn expire(&self, now: Nanos, policy: &Policy, budget: usize) {
        self.fdb.expire(now.seconds(), policy, budget, &self.counters.fdb);
        self.groups.expire(now.seconds(), policy, budget);
    }

    /// Forgets all addresses and memberships learned at `port`. Its counters stay: see
    /// [`PortCounters::reset`](crate::counters::PortCounters::reset).
    pub fn forget_port(&self, port: PortIndex) {
        self.fdb.forget(None, port, &self.counters.fdb);
        self.groups.forget_port(port);
        if let Some(suppression) = self.suppression.get() {
            suppression.forget_port(port);
        }
    }

    /// After a change of the topology: forgets the addresses learned at `port` in `network`, since who was there may be
    /// behind another port now, and lets all of the network's multicast groups go everywhere until their members had
    /// time to say again where they are (RFC 4541, 2.1.1, 4).
    pub fn flush(&self, network: NetworkIndex, port: PortIndex, now: Nanos, policy: &Policy) {
        self.fdb.forget(Some(network), port, &self.counters.fdb);
        if let Some(settings) = policy.network(network).and_then(NetworkPolicy::multicast) {
            self.groups.distrust_all(network, now.seconds().saturating_add(settings.membership_s));
        }
    }

    /// Takes over what another switch knew, as if the address had just been seen.
    pub fn learn(&self, entry: &FdbEntry, now: Nanos, policy: &Policy) {
        let FdbEntry { network, mac, port, .. } = *entry;
        let key = Key::new(network, mac);
        self.fdb.learn(&Sighting { key, port, now_s: now.seconds(), policy, counters: &self.counters.fdb });
    }

    /// The addresses known now, in no particular order.
    #[must_use]
    pub fn fdb(&self, now: Nanos, policy: &Policy) -> Vec<FdbEntry> {
        self.fdb_iter(now, policy).collect()
    }

    /// The same one by one, for whoever counts them: the table may be large.
    pub fn fdb_iter(&self, now: Nanos, policy: &Policy) -> impl Iterator<Item = FdbEntry> {
        self.fdb.iter(now.seconds(), policy)
    }

    /// At most `limit` of them that are `wanted`, from where an earlier page ended or from 0, and where the next page begins.
    /// An address that is there all the time is on one page; others may be on none.
    #[must_use]
    pub fn fdb_page(
        &self,
        (from, limit): (u32, usize),
        now: Nanos,
        policy: &Policy,
        wanted: impl Fn(&FdbEntry) -> bool,
    ) -> (Vec<FdbEntry>, Option<u32>) {
        self.fdb.page((from, limit), (now.seconds(), policy), wanted)
    }

    /// Addresses that move again and again between VTEPs, or between a VTEP and a port, five times within three minutes
    /// (RFC 7432, 15.1): two stations have one address, or there is a loop.
    #[must_use]
    pub fn duplicates(&self, now: Nanos) -> Vec<Duplicate> {
        self.fdb.duplicates(now.seconds())
    }

    /// At most `limit` of them that were not given by this before.
    #[must_use]
    pub fn take_new_duplicates(&self, now: Nanos, limit: usize) -> Vec<Duplicate> {
        self.fdb.take_new_duplicates(now.seconds(), limit)
    }

    /// The multicast groups that have members now, and the multicast routers, in no particular order.
    #[must_use]
    pub fn groups(&self, now: Nanos) -> Vec<GroupEntry> {
        self.groups.entries(now.seconds())
    }

    /// What multicast snooping did so far.
    #[must_use]
    pub fn group_counters(&self) -> GroupSnapshot {
        self.groups.counters()
    }

    /// The counters of ports and tables.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the address table did so far.
    #[must_use]
    pub fn fdb_counters(&self) -> FdbSnapshot {
        self.counters.fdb.snapshot()
    }
}

#[cfg(test)]
mod tests;
