//! The servers of one network, and its router advertisements.

use std::net::IpAddr;

use viaduct_switch::dhcp::Counters;
use viaduct_switch::dhcp::lending::Renumber;
use viaduct_switch::ra::{Advertisement, AdvertisementError, Advertiser};
use viaduct_switch::{Nanos, NetworkIndex, PortIndex, dhcp, dhcp6};

use super::Taken;
use super::books::{self, Books};
use super::plan::{NetworkPlan, PlanError};

/// Whom a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The DHCP server.
    V4,
    /// The DHCPv6 server.
    V6,
    /// The router.
    Solicitation,
}

impl Kind {
    /// By what a frame without tags says in its headers, which are looked at closely by whoever takes it.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        const UDP: u8 = 17;
        const ICMPV6: u8 = 58;
        const ROUTER_SOLICITATION: u8 = 133;
        let (ethernet, packet) = frame.split_at_checked(14)?;
        match (&ethernet[12..], packet) {
            ([8, 0], &[version, _, _, _, _, _, _, _, _, UDP, ..]) => {
                let udp = packet.get(usize::from(version & 15) * 4..)?;
                (udp.get(2..4)? == dhcp::datagram::SERVER_PORT.to_be_bytes()).then_some(Self::V4)
            }
            ([0x86, 0xdd], &[_, _, _, _, _, _, UDP, ..]) => {
                (packet.get(42..44)? == dhcp6::SERVER_PORT.to_be_bytes()).then_some(Self::V6)
            }
            ([0x86, 0xdd], &[_, _, _, _, _, _, ICMPV6, ..]) => {
                (*packet.get(40)? == ROUTER_SOLICITATION).then_some(Self::Solicitation)
            }
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: String,
    pub(super) index: NetworkIndex,
    v4: Option<dhcp::server::Server>,
    v6: Option<dhcp6::server::Server>,
    router: Option<Advertiser>,
}

impl Network {
    /// The network as `plan` says, with the servers that it had.
    pub(super) fn of(
        plan: NetworkPlan,
        former: Option<Self>,
        renumber: &Renumber,
        (now, seed): (Nanos, u64),
    ) -> Result<Self, PlanError> {
        let network = plan.name;
        let (v4, v6, router) =
            former.map_or((None, None, None), |former| (former.v4, former.v6, former.router));
        let v4 = plan.v4.map(|settings| match v4 {
            Some(mut server) => server.reconfigure(settings, renumber).map(|()| server),
            None => dhcp::server::Server::new(settings),
        });
        let v6 = plan.v6.map(|settings| match v6 {
            Some(mut server) => server.reconfigure(settings, renumber).map(|()| server),
            None => dhcp6::server::Server::new(settings),
        });
        let router = plan.advertisement.map(|said| router_of(router, said, (now, seed)));
        Ok(Self {
            v4: v4.transpose().map_err(|source| PlanError::V4 { network: network.clone(), source })?,
            v6: v6.transpose().map_err(|source| PlanError::V6 { network: network.clone(), source })?,
            router: router
                .transpose()
                .map_err(|source| PlanError::Advertisement { network: network.clone(), source })?,
            index: plan.index,
            name: network,
        })
    }

    /// Whether a server that may lend something is asked.
    fn is_lent_by(&self, kind: Kind) -> bool {
        match kind {
            Kind::V4 => true,
            Kind::V6 => self.v6.as_ref().is_some_and(|server| server.settings().lends()),
            Kind::Solicitation => false,
        }
    }

    /// Takes a frame, and gives the answer if it is to be sent at once. What lends is asked only if `is_ready` says that
    /// it may be.
    pub(super) fn receive(
        &mut self,
        now: Nanos,
        port: PortIndex,
        frame: &[u8],
        taken: &mut Taken,
        is_ready: &mut dyn FnMut() -> bool,
    ) -> Option<Vec<u8>> {
        let kind = Kind::of(frame)?;
        if self.is_lent_by(kind) && !is_ready() {
            return None;
        }
        match kind {
            Kind::V4 => self.v4.as_mut()?.receive(now, port, frame, &mut |address| taken(address.into())),
            Kind::V6 => self.v6.as_mut()?.receive(now, port, frame, &mut |address| taken(address.into())),
            Kind::Solicitation => {
                // One that is wrong is counted there.
                let _ = self.router.as_mut()?.solicit(port, frame, now);
                None
            }
        }
    }

    /// Does what is due, and gives the frames that are to be sent to the network.
    pub(super) fn advance(&mut self, now: Nanos) -> Vec<Vec<u8>> {
        if let Some(server) = &mut self.v4 {
            server.lender_mut().advance(now);
        }
        if let Some(server) = &mut self.v6 {
            server.lender_mut().advance(now);
        }
        self.router.as_mut().map(|router| router.advance(now)).unwrap_or_default()
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        let v4 = self.v4.as_ref().and_then(|server| server.lender().due());
        let v6 = self.v6.as_ref().and_then(|server| server.lender().due());
        v4.into_iter().chain(v6).chain(self.router.as_ref().map(Advertiser::due)).min()
    }

    /// The frame that says that there is no router any more.
    pub(super) fn last_words(&self) -> Option<Vec<u8>> {
        self.router.as_ref()?.cease()
    }

    pub(super) fn has_router(&self) -> bool {
        self.router.is_some()
    }

    /// Whether all that is lent was noted.
    pub(super) fn note(&mut self, books: &mut Books) -> bool {
        let name = &self.name;
        let v4 = self.v4.as_mut().is_none_or(|server| {
            let wide_ports = &server.settings().wide_ports.clone();
            books.note(&books::Network { name, wide_ports }, server.lender_mut())
        });
        let v6 = self.v6.as_mut().is_none_or(|server| {
            let wide_ports = &server.settings().wide_ports.clone();
            books.note(&books::Network { name, wide_ports }, server.lender_mut())
        });
        v4 && v6
    }

    pub(super) fn settle(&mut self, books: &mut Books) {
        self.note(books);
        let name = &self.name;
        if let Some(server) = &mut self.v4 {
            let wide_ports = &server.settings().wide_ports.clone();
            books.settle(&books::Network { name, wide_ports }, server.lender_mut());
        }
        if let Some(server) = &mut self.v6 {
            let wide_ports = &server.settings().wide_ports.clone();
            books.settle(&books::Network { name, wide_ports }, server.lender_mut());
        }
    }

    pub(super) fn remove_port(&mut self, port: PortIndex) {
        if let Some(server) = &mut self.v4 {
            server.lender_mut().remove_port(port);
        }
        if let Some(server) = &mut self.v6 {
            server.lender_mut().remove_port(port);
        }
    }

    pub(super) fn report_conflict(&mut self, now: Nanos, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                self.v4.as_mut().map(|server| server.lender_mut().report_conflict(now, address))
            }
            IpAddr::V6(address) => {
                self.v6.as_mut().map(|server| server.lender_mut().report_conflict(now, address))
            }
        };
    }

    pub(super) fn v4(&self) -> Option<&dhcp::server::Server> {
        self.v4.as_ref()
    }

    pub(super) fn v6(&self) -> Option<&dhcp6::server::Server> {
        self.v6.as_ref()
    }

    pub(super) fn counters(&self) -> impl Iterator<Item = (&str, u8, &Counters)> {
        let v4 = self.v4.iter().map(|server| (4, server.lender().counters()));
        let v6 = self.v6.iter().map(|server| (6, server.lender().counters()));
        v4.chain(v6).map(|(version, counters)| (self.name.as_str(), version, counters))
    }
}

fn router_of(
    former: Option<Advertiser>,
    said: Advertisement,
    (now, seed): (Nanos, u64),
) -> Result<Advertiser, AdvertisementError> {
    let Some(mut router) = former else {
        let seed = seed ^ said.mac.to_u64();
        return Advertiser::new(said, seed, now);
    };
    router.change(said, now)?;
    Ok(router)
}
