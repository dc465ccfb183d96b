//! Packets of the gateway's own.

use super::compose::{self, ETHERNET};
use super::held::{Held, Origin};
use super::{Charge, Gateway, Moment, Offered, fragment};
use crate::drops::DropReason;
use crate::ids::NetworkIndex;
use crate::mac::MacAddress;
use crate::packet::{Address, Contents, Packet, parse};
use crate::router::{Route, is_link_local};

/// "Don't fragment" in an IPv4 header.
const DONT_FRAGMENT: u8 = 0x40;

impl Gateway {
    /// Sends a packet of IP that the gateway's services made, with all checksums: by the routes of the router that has an
    /// interface in `network`, or in `network` itself if the destination's address holds on that link alone. What is longer than
    /// the MTU there is cut. While the next station is asked for, the packet waits.
    ///
    /// # Errors
    /// [`DropReason::NotRoutable`] if that is no packet, or is for the gateway itself; [`DropReason::NoRoute`];
    /// [`DropReason::PacketTooBig`] if it may not be cut.
    pub fn originate(
        &mut self,
        network: NetworkIndex,
        packet: &[u8],
        moment: Moment<'_>,
    ) -> Result<(), DropReason> {
        self.originate_for(network, packet, Charge::OWN, moment)
    }

    /// Sends a packet that a tunnel made of a port's frame, and of which nobody knew the next station.
    pub(super) fn send_own(&mut self, offered: &Offered<'_>, moment: Moment<'_>) {
        let length = u32::try_from(offered.frame.len()).unwrap_or(u32::MAX);
        let Ok(Contents::Ip(packet)) = parse(offered.frame, length) else { return self.reject(offered) };
        let packet = offered.frame.get(usize::from(packet.network_at)..).unwrap_or_default();
        let charge = Charge::port(offered.port);
        if let Err(reason) = self.originate_for(offered.network, packet, charge, moment) {
            self.drop(offered, reason);
        }
    }

    /// As [`Gateway::originate`], at the expense of whose frame was the reason.
    pub(super) fn originate_for(
        &mut self,
        network: NetworkIndex,
        packet: &[u8],
        charge: Charge,
        moment: Moment<'_>,
    ) -> Result<(), DropReason> {
        let frame = compose::frame(MacAddress([0; 6]), MacAddress([0; 6]), packet);
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let Contents::Ip(read) = parse(&frame, length)? else { return Err(DropReason::NotRoutable) };
        let whole = frame.get(ETHERNET..usize::try_from(read.end_at).unwrap_or(0)).unwrap_or_default();
        let (network, next) = self.next_hop(network, &read)?;
        let Some(next) = next else {
            let frames = self.wrap(network, compose::group_mac(read.destination), whole)?;
            frames.into_iter().for_each(|frame| self.send(network, frame));
            return Ok(());
        };
        let mac = moment.neighbours.resolve(network, next, moment.now.seconds());
        let frames = self.wrap(network, mac.unwrap_or(MacAddress([0; 6])), whole)?;
        for frame in frames {
            match mac {
                Some(_) => self.send(network, frame),
                None => self.hold((network, next), Held { origin: Origin::Gateway(charge), frame }, moment),
            }
        }
        Ok(())
    }

    /// Where a packet goes: the network, and the next station's address unless it is for many.
    fn next_hop(
        &self,
        network: NetworkIndex,
        packet: &Packet,
    ) -> Result<(NetworkIndex, Option<Address>), DropReason> {
        let interface = self.routing.interface(network).ok_or(DropReason::NoRoute)?;
        let to = packet.destination;
        if to.is_group() {
            return Ok((network, None));
        }
        if interface.has(to) {
            return Err(DropReason::NotRoutable);
        }
        if is_link_local(to) {
            return Ok((network, Some(to)));
        }
        match self.routing.route(interface.router, to) {
            Some(Route::Link(network)) => Ok((network, Some(to))),
            Some(Route::Via(network, next)) => Ok((network, Some(next))),
            Some(Route::Local | Route::Broadcast) => Err(DropReason::NotRoutable),
            Some(Route::Unreachable) | None => Err(DropReason::NoRoute),
        }
    }

    /// Sends a packet to a station of `network`.
    pub(super) fn send_packet(&mut self, network: NetworkIndex, to: MacAddress, packet: &[u8]) {
        // What the gateway makes may be cut, so nothing can be wrong with it but an MTU that no network may have.
        let frames = self.wrap(network, to, packet).unwrap_or_default();
        frames.into_iter().for_each(|frame| self.send(network, frame));
    }

    /// The frames that carry a packet to the station `to` of `network`.
    fn wrap(
        &mut self,
        network: NetworkIndex,
        to: MacAddress,
        packet: &[u8],
    ) -> Result<Vec<Vec<u8>>, DropReason> {
        let interface = self.routing.interface(network).ok_or(DropReason::NoRoute)?;
        let (from, mtu) = (interface.mac, interface.mtu);
        if packet.len() <= usize::from(mtu) {
            return Ok(vec![compose::frame(from, to, packet)]);
        }
        let fragments = match packet {
            [first, _, _, _, _, _, flags, ..] if first >> 4 == 4 && flags & DONT_FRAGMENT == 0 => {
                fragment::cut_v4(&compose::frame(from, to, packet), mtu)
            }
            [first, ..] if first >> 4 == 6 => {
                let id = self.random.id();
                let fragments = fragment::cut_v6(packet, mtu, id);
                fragments.map(|all| all.iter().map(|fragment| compose::frame(from, to, fragment)).collect())
            }
            _ => None,
        };
        fragments.ok_or(DropReason::PacketTooBig)
    }
}
