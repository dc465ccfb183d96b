//! Tunnels of the switch: frames that come and go behind outer headers. See [`crate::tunnel`].

use super::{Switch, WorkerState};
use crate::counters::Tally;
use crate::drops::DropReason;
use crate::fdb::Key;
use crate::frame::Frame;
use crate::ids::{NetworkIndex, PortIndex};
use crate::mac::MacAddress;
use crate::packet::Address;
use crate::policy::Policy;
use crate::time::Nanos;
use crate::tunnel::{Admission, Encapsulation, EndpointIndex, Train, Unreached, Vteps, Ways};

impl Switch {
    /// The remote ends of all tunnels; made with the first one.
    pub fn vteps(&self) -> &Vteps {
        self.vteps.get_or_init(Vteps::default)
    }

    /// Whether there are tunnels, or were.
    #[must_use]
    pub fn has_vteps(&self) -> bool {
        self.vteps.get().is_some()
    }

    /// Gives a VTEP that is written down its port; `None`: there is no place for it.
    pub fn configure_vtep(&self, endpoint: EndpointIndex, address: Address) -> Option<PortIndex> {
        self.vteps().configure(endpoint, address, |port| self.forget_vtep(port))
    }

    /// Nobody is behind a VTEP's port any more, and who gets it next starts counting from zero.
    fn forget_vtep(&self, port: PortIndex) {
        self.forget_port(port);
        self.counters.port(port).reset();
    }

    /// Whether a frame of `port` may go to the gateway because of a tunnel whose next station is not known.
    #[cold]
    pub fn may_ask_gateway(&self, port: PortIndex, now: Nanos) -> bool {
        self.storm.admits_to_gateway(port, false, now)
    }

    /// Takes outer headers off a frame that came in by an uplink, if it came by a tunnel to one of the switch's own addresses there.
    /// What is inside has another source then: a burst comes from one port, so each row of frames with the same one is to be given to
    /// [`Switch::process`] by itself. What is refused is counted at the port where it came in.
    #[inline]
    pub fn admit_tunnelled<P>(
        &self,
        worker: &mut WorkerState,
        now: Nanos,
        frame: &mut Frame<P>,
    ) -> Admission {
        let WorkerState { policy, vteps, .. } = worker;
        let Some(tunnels) = policy.tunnels() else { return Admission::Plain };
        let (uplink, length) = (frame.meta.source, frame.meta.length);
        let admission = tunnels.admit(policy, (self.vteps(), vteps), frame, now.seconds());
        if let Admission::Refused(reason) = admission {
            self.refuse(uplink, length, reason);
        }
        admission
    }

    /// The train of a tunnel's datagrams that a frame is, which is to be taken apart before [`Switch::admit_tunnelled`]; `None`: it is none
    /// for an end of the switch's. What is refused is counted at the port where it came in.
    #[cold]
    pub fn train<P>(&self, worker: &WorkerState, frame: &Frame<P>) -> Option<Result<Train, DropReason>> {
        let policy = &worker.policy;
        let train = policy.tunnels()?.train(policy, frame)?;
        if let Err(reason) = train {
            self.refuse(frame.meta.source, frame.meta.length, reason);
        }
        Some(train)
    }

    /// A frame that is refused came, all the same.
    #[cold]
    fn refuse(&self, uplink: PortIndex, length: u32, reason: DropReason) {
        let mut tally = Tally::default();
        tally.received(length);
        tally.dropped(reason);
        self.counters.port(uplink).add_entered(&tally);
    }

    /// Whether frames that come in at `port` may have come by tunnels.
    #[must_use]
    #[inline]
    pub fn has_tunnels_at(policy: &Policy, port: PortIndex) -> bool {
        policy.tunnels().is_some_and(|tunnels| tunnels.has_uplink(port))
    }

    /// The outer headers for frames of `network` that leave by `vtep`, and whether they are whole. If not, nobody knows the Ethernet
    /// address of the next station: the gateway of the underlay is to be given the packets.
    ///
    /// # Errors
    /// [`Unreached`]: there is no way now.
    pub fn encapsulation(
        &self,
        policy: &Policy,
        (vtep, network): (PortIndex, NetworkIndex),
        now: Nanos,
    ) -> Result<(Encapsulation, bool), Unreached> {
        let (tunnels, routing) = policy.tunnels().zip(policy.routing()).ok_or(Unreached)?;
        let (neighbours, vteps, now_s) = (self.neighbours(), self.vteps(), now.seconds());
        Ways { policy, tunnels, vteps, routing, neighbours, now_s }.encapsulation(vtep, network)
    }

    /// The port by which frames to `vtep` leave; `None`: it is no VTEP.
    #[must_use]
    #[inline]
    pub fn uplink_of(&self, policy: &Policy, vtep: PortIndex) -> Option<PortIndex> {
        let tunnels = policy.tunnels()?;
        let (endpoint, _) = self.vteps.get()?.get(vtep)?;
        Some(tunnels.endpoint(endpoint)?.uplink)
    }

    /// Whether frames to these two VTEPs leave by the same port.
    #[must_use]
    pub fn share_uplink(&self, policy: &Policy, one: PortIndex, other: PortIndex) -> bool {
        let uplink = self.uplink_of(policy, one);
        uplink.is_some() && uplink == self.uplink_of(policy, other)
    }

    /// Forgets VTEPs that were silent for long and are not configured, and the stations behind them; to be called every now and then.
    pub fn expire_vteps(&self, now: Nanos) {
        if let Some(vteps) = self.vteps.get() {
            vteps.expire(now.seconds(), |port| self.forget_vtep(port));
        }
    }

    /// Forgets configured VTEPs that are not wanted any more, and all whose end is no more; and the stations behind them.
    pub fn retain_vteps(
        &self,
        wanted: impl Fn(EndpointIndex, Address) -> bool,
        has_endpoint: impl Fn(EndpointIndex) -> bool,
    ) {
        if let Some(vteps) = self.vteps.get() {
            vteps.retain(wanted, has_endpoint, |port| self.forget_vtep(port));
        }
    }

    /// Has a station of `network` known behind `port` until it is told otherwise, whatever is heard; says whether there was room.
    pub fn set_station(&self, network: NetworkIndex, mac: MacAddress, port: PortIndex) -> bool {
        self.fdb.fix(Key::new(network, mac), port, &self.counters.fdb)
    }

    /// Forgets a station that was set, or learned.
    pub fn forget_station(&self, network: NetworkIndex, mac: MacAddress) {
        self.fdb.forget_one(Key::new(network, mac), &self.counters.fdb);
    }
}
