//! The broadcast that tells a network where a migrated guest is now (RFC 903).

use viaduct_switch::MacAddress;

const ETHERTYPE_RARP: [u8; 2] = [0x80, 0x35];

/// Shortest Ethernet frame in bytes, without FCS (IEEE 802.3, 4A.4.2).
const FRAME_MIN: usize = 60;

/// A reverse request of `guest` for its own address: nobody has to answer, but every bridge on the way learns.
#[must_use]
pub(super) fn frame(guest: MacAddress) -> Vec<u8> {
    let mut frame = Vec::with_capacity(FRAME_MIN);
    frame.extend(MacAddress::BROADCAST.0);
    frame.extend(guest.0);
    frame.extend(ETHERTYPE_RARP);
    // Hardware Ethernet, protocol IPv4, lengths 6 and 4, operation 3: "request reverse".
    frame.extend([0, 1, 8, 0, 6, 4, 0, 3]);
    frame.extend(guest.0);
    frame.extend([0; 4]);
    frame.extend(guest.0);
    frame.extend([0; 4]);
    frame.resize(FRAME_MIN, 0);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_the_one_of_rfc_903() {
        let frame = frame(MacAddress([0x52, 0x54, 0, 1, 2, 3]));
        assert_eq!(frame.len(), 60);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 0x52, 0x54, 0, 1, 2, 3, 0x80, 0x35]);
        assert_eq!(frame[14..22], [0, 1, 8, 0, 6, 4, 0, 3]);
        assert_eq!(frame[22..42], [0x52, 0x54, 0, 1, 2, 3, 0, 0, 0, 0, 0x52, 0x54, 0, 1, 2, 3, 0, 0, 0, 0]);
    }
}
