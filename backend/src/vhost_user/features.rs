//! What we offer: virtio features with their names, and vhost-user protocol features.

use vhost::vhost_user::VhostUserProtocolFeatures as Protocol;
use virtio_bindings::virtio_config as config;
use virtio_bindings::virtio_net as net;
use virtio_bindings::virtio_ring as ring;

/// "The frontend and we know protocol features" (vhost-user, "Feature negotiation"); never seen by a driver.
pub const PROTOCOL_FEATURES: u64 = 1 << 30;

/// "Note all writes in the dirty log" (vhost-user, "Migration": VHOST_F_LOG_ALL); never seen by a driver.
pub const LOG_ALL: u64 = 1 << 26;

/// Every virtio feature that we offer, with the name under which it is shown (virtio 1.2, 5.1.3 and 6).
///
/// Not RING_RESET: QEMU (10.0 and before) lets the guest reset a ring and tells only a TAP backend of it, so we
/// would go on with a ring whose memory the guest has put to another use. A frontend that does tell stops and
/// starts a ring by GET_VRING_BASE and SET_VRING_KICK, which needs no feature.
pub const OFFERED: &[(u32, &str)] = &[
    (net::VIRTIO_NET_F_CSUM, "csum"),
    (net::VIRTIO_NET_F_GUEST_CSUM, "guest-csum"),
    (net::VIRTIO_NET_F_MTU, "mtu"),
    (net::VIRTIO_NET_F_GUEST_TSO4, "guest-tso4"),
    (net::VIRTIO_NET_F_GUEST_TSO6, "guest-tso6"),
    (net::VIRTIO_NET_F_GUEST_ECN, "guest-ecn"),
    (net::VIRTIO_NET_F_GUEST_UFO, "guest-ufo"),
    (net::VIRTIO_NET_F_HOST_TSO4, "host-tso4"),
    (net::VIRTIO_NET_F_HOST_TSO6, "host-tso6"),
    (net::VIRTIO_NET_F_HOST_ECN, "host-ecn"),
    (net::VIRTIO_NET_F_HOST_UFO, "host-ufo"),
    (net::VIRTIO_NET_F_MRG_RXBUF, "mrg-rxbuf"),
    (net::VIRTIO_NET_F_STATUS, "status"),
    (net::VIRTIO_NET_F_CTRL_VQ, "ctrl-vq"),
    (net::VIRTIO_NET_F_GUEST_ANNOUNCE, "guest-announce"),
    (net::VIRTIO_NET_F_MQ, "mq"),
    (LOG_ALL.trailing_zeros(), "log-all"),
    (config::VIRTIO_F_ANY_LAYOUT, "any-layout"),
    (ring::VIRTIO_RING_F_INDIRECT_DESC, "indirect-desc"),
    (ring::VIRTIO_RING_F_EVENT_IDX, "event-idx"),
    (PROTOCOL_FEATURES.trailing_zeros(), "protocol-features"),
    (config::VIRTIO_F_VERSION_1, "version-1"),
    (config::VIRTIO_F_RING_PACKED, "ring-packed"),
    (config::VIRTIO_F_IN_ORDER, "in-order"),
    (net::VIRTIO_NET_F_GUEST_USO4, "guest-uso4"),
    (net::VIRTIO_NET_F_GUEST_USO6, "guest-uso6"),
    (net::VIRTIO_NET_F_HOST_USO, "host-uso"),
];

/// The features of [`OFFERED`] as the mask that GET_FEATURES gives.
pub const OFFERED_MASK: u64 = mask();

/// The protocol features that we offer. `REPLY_ACK` is served by the session, the rest by the device.
pub const PROTOCOL_OFFERED: Protocol = Protocol::MQ
    .union(Protocol::LOG_SHMFD)
    .union(Protocol::RARP)
    .union(Protocol::REPLY_ACK)
    .union(Protocol::MTU)
    .union(Protocol::RESET_DEVICE)
    .union(Protocol::CONFIGURE_MEM_SLOTS)
    .union(Protocol::STATUS);

const fn mask() -> u64 {
    let mut mask = 0;
    let mut index = 0;
    while index < OFFERED.len() {
        mask |= 1 << OFFERED[index].0;
        index += 1;
    }
    mask
}

/// The names of the features set in `features`, lowest bit first.
#[must_use]
pub fn names(features: u64) -> Vec<String> {
    let known = OFFERED.iter().filter(|(bit, _)| features & (1 << bit) != 0);
    known.map(|(_, name)| (*name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_standard_and_each_stands_once() {
        let bits: Vec<u32> = OFFERED.iter().map(|(bit, _)| *bit).collect();
        assert!(bits.is_sorted_by(|a, b| a < b));
        // virtio 1.2, 5.1.3, 6.3 and vhost-user: the numbers, written out once more.
        let expected = [
            0, 1, 3, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 21, 22, 26, 27, 28, 29, 30, 32, 34, 35, 54, 55,
            56,
        ];
        assert_eq!(bits, expected);
        assert_eq!(OFFERED_MASK.count_ones() as usize, OFFERED.len());
        assert_eq!(names((1 << 32) | (1 << 15) | (1 << 63)), ["mrg-rxbuf", "version-1"]);
    }
}
