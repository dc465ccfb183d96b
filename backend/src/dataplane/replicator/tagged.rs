//! Tags before a frame of our own that others still want without.

use viaduct_switch::TagStack;
use viaduct_switch::vlan::{TAG_LEN, TAGS_MAX};

/// Bytes of a frame that are put together with the tags: the addresses, and as many more as show the transport header,
/// which the receiver is told the length of.
const HEAD: usize = 128;

/// The beginning of a frame with tags before it.
pub(super) struct Tagged {
    bytes: [u8; HEAD + TAGS_MAX * TAG_LEN],
    len: usize,
    /// How many bytes of the frame it holds.
    pub(super) taken: usize,
}

/// The bytes of both addresses, behind which tags stand.
const ADDRESSES: usize = 12;

impl Tagged {
    /// The beginning of `frame` with `tags`; a frame too short for addresses, which no network has, gets none.
    pub(super) fn head(frame: &[u8], tags: &TagStack) -> Self {
        let (beginning, _) = frame.split_at(frame.len().min(HEAD));
        let (addresses, behind) = beginning.split_at(beginning.len().min(ADDRESSES));
        let mut head = Self { bytes: [0; HEAD + TAGS_MAX * TAG_LEN], len: 0, taken: beginning.len() };
        for part in [addresses, tags.bytes(), behind] {
            if let Some(room) = head.bytes.get_mut(head.len..head.len + part.len()) {
                room.copy_from_slice(part);
                head.len += part.len();
            }
        }
        head
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use viaduct_switch::{Priority, VlanId};

    #[test]
    fn tags_stand_behind_the_addresses_and_nothing_is_lost() {
        let frame: Vec<u8> = (0..200).collect();
        for (service, network) in [(None, None), (None, VlanId::new(5)), (VlanId::new(9), VlanId::new(5))] {
            let tags = TagStack::new(service, network, Priority::default());
            for len in [14, 60, 127, 128, 129, 200] {
                let head = Tagged::head(&frame[..len], &tags);
                let whole = [head.bytes(), &frame[head.taken..len]].concat();
                assert_eq!(whole, [&frame[..12], tags.bytes(), &frame[12..len]].concat());
            }
        }
    }
}
