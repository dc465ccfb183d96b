//! The servers of one network.

use std::collections::BTreeMap;
use std::net::IpAddr;

use viaduct_switch::dhcp::Counters;
use viaduct_switch::dhcp::datagram::SERVER_PORT;
use viaduct_switch::dhcp::lending::Renumber;
use viaduct_switch::dhcp::server::{Server, Settings, SettingsError};
use viaduct_switch::{Nanos, PortIndex};

use super::Taken;
use super::books::{self, Books};
use super::plan::{NetworkPlan, PlanError};

/// Whom a frame is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The DHCP server.
    V4,
}

impl Kind {
    /// By what a frame without tags says in its headers, which are looked at closely by whoever takes it.
    pub(super) fn of(frame: &[u8]) -> Option<Self> {
        const UDP: u8 = 17;
        let (ethernet, packet) = frame.split_at_checked(14)?;
        match (&ethernet[12..], packet) {
            ([8, 0], &[version, _, _, _, _, _, _, _, _, UDP, ..]) => {
                let udp = packet.get(usize::from(version & 15) * 4..)?;
                (udp.get(2..4)? == SERVER_PORT.to_be_bytes()).then_some(Self::V4)
            }
            _ => None,
        }
    }
}

fn server_of(
    former: Option<Server>,
    settings: Settings,
    renumber: &Renumber,
) -> Result<Server, SettingsError> {
    let Some(mut server) = former else { return Server::new(settings) };
    server.reconfigure(settings, renumber)?;
    Ok(server)
}

#[derive(Debug)]
pub(super) struct Network {
    pub(super) name: String,
    v4: Option<Server>,
}

impl Network {
    /// The network as `plan` says, with the servers that it had.
    pub(super) fn of(
        plan: NetworkPlan,
        former: &mut BTreeMap<String, Self>,
        renumber: &Renumber,
    ) -> Result<Self, PlanError> {
        let former = former.remove(&plan.name);
        let name = plan.name.clone();
        let server = former.and_then(|former| former.v4);
        let v4 = match plan.v4.clone() {
            Some(settings) => {
                Some(server_of(server, settings, renumber).map_err(|source| plan.wrong_v4(source))?)
            }
            None => None,
        };
        Ok(Self { name, v4 })
    }

    /// Whether some address may be lent.
    pub(super) fn lends(&self) -> bool {
        self.v4.is_some()
    }

    pub(super) fn receive(
        &mut self,
        now: Nanos,
        port: PortIndex,
        frame: &[u8],
        taken: &mut Taken,
    ) -> Option<Vec<u8>> {
        match Kind::of(frame)? {
            Kind::V4 => self.v4.as_mut()?.receive(now, port, frame, &mut |address| taken(address.into())),
        }
    }

    pub(super) fn advance(&mut self, now: Nanos) {
        if let Some(server) = &mut self.v4 {
            server.lender_mut().advance(now);
        }
    }

    pub(super) fn due(&self) -> Option<Nanos> {
        self.v4.as_ref().and_then(|server| server.lender().due())
    }

    pub(super) fn note(&mut self, books: &mut Books) -> bool {
        let Self { name, v4 } = self;
        v4.as_mut().is_none_or(|server| {
            let wide_ports = server.settings().wide_ports.clone();
            books.note(&books::Network { name, wide_ports: &wide_ports }, server.lender_mut())
        })
    }

    pub(super) fn settle(&mut self, books: &mut Books) {
        self.note(books);
        let Self { name, v4 } = self;
        if let Some(server) = v4 {
            let wide_ports = server.settings().wide_ports.clone();
            books.settle(&books::Network { name, wide_ports: &wide_ports }, server.lender_mut());
        }
    }

    pub(super) fn remove_port(&mut self, port: PortIndex) {
        if let Some(server) = &mut self.v4 {
            server.lender_mut().remove_port(port);
        }
    }

    pub(super) fn report_conflict(&mut self, now: Nanos, address: IpAddr) {
        if let (Some(server), IpAddr::V4(address)) = (&mut self.v4, address) {
            server.lender_mut().report_conflict(now, address);
        }
    }

    pub(super) fn v4(&self) -> Option<&Server> {
        self.v4.as_ref()
    }

    pub(super) fn counters(&self) -> impl Iterator<Item = (&str, u8, &Counters)> {
        let v4 = self.v4.iter().map(|server| (4, server.lender().counters()));
        v4.map(|(version, counters)| (self.name.as_str(), version, counters))
    }
}
