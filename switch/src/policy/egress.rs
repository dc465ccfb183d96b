//! Which tags a receiver wants before a frame (IEEE 802.1Q-2018, 8.8 and 6.9).

use super::membership::Compiled;
use super::{NetworkIndex, NetworkPolicy, Policy, PortIndex};
use crate::frame::Metadata;
use crate::vlan::{Priority, TagStack};

/// A receiver that wants tags before frames.
#[derive(Clone, Copy, Debug)]
pub struct TagsOf<'a> {
    policy: &'a Policy,
    port: &'a Compiled,
}

impl Policy {
    /// What tells the tags of frames that leave by `port`; `None` if none ever has one, which is so for most ports.
    #[must_use]
    #[inline]
    pub fn tags_of(&self, port: PortIndex) -> Option<TagsOf<'_>> {
        let port = self.compiled(port).filter(|port| port.trunk.is_some())?;
        Some(TagsOf { policy: self, port })
    }

    /// `frame`, which has no tag, as a station behind `port` sends it to each of the port's networks: with the tags with
    /// which their frames leave there.
    #[must_use]
    pub fn announcements(&self, port: PortIndex, frame: &[u8]) -> Vec<Vec<u8>> {
        let Some(policy) = self.port(port) else { return Vec::new() };
        let tags = self.tags_of(port);
        let stack = |network| tags.map(|tags| tags.frame(network, policy.priority)).unwrap_or_default();
        policy.networks().into_iter().map(|network| stack(network).put_before(frame)).collect()
    }

    /// The network to which a frame belongs that entered; `None` if its port has left all networks.
    #[must_use]
    #[inline]
    pub fn network_of(&self, meta: &Metadata) -> Option<NetworkIndex> {
        match meta.tag {
            Some(tag) => Some(tag.network),
            None => self.port(meta.source)?.native(),
        }
    }

    /// The network to which a frame belongs that entered, and its priority; `None` if its port has left all networks.
    fn entered(&self, meta: &Metadata) -> Option<(NetworkIndex, Priority)> {
        let own = self.port(meta.source).map(|source| source.priority).unwrap_or_default();
        Some((self.network_of(meta)?, meta.priority().unwrap_or(own)))
    }
}

impl TagsOf<'_> {
    /// The tags of a frame that entered; `None` if its port has left all networks.
    #[must_use]
    pub fn of(&self, meta: &Metadata) -> Option<TagStack> {
        self.policy.entered(meta).map(|(network, priority)| self.frame(network, priority))
    }

    /// The tags of a frame of `network` with this priority.
    #[must_use]
    pub fn frame(&self, network: NetworkIndex, priority: Priority) -> TagStack {
        let service = self.port.trunk.as_ref().and_then(|trunk| trunk.service);
        let vlan = self.policy.network(network).and_then(NetworkPolicy::vlan);
        TagStack::new(service, vlan.filter(|_| !self.port.is_native(network)), priority)
    }
}
