//! Stands in until the switch's offload module is there.
use viaduct_switch::{Claims, DropReason, PartialChecksum};
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Capabilities { pub(super) checksum: bool, pub(super) tso4: bool, pub(super) tso6: bool, pub(super) ecn: bool, pub(super) ufo: bool, pub(super) uso4: bool, pub(super) uso6: bool }
#[derive(PartialEq)]
pub(super) enum Delivery { AsIs }
impl Capabilities { pub(super) fn delivery(&self, _: &Claims, _: &[u8]) -> Delivery { Delivery::AsIs } }
pub(super) fn finish_checksum(_: &mut [u8], _: PartialChecksum) {}
pub(super) struct Segmenter;
impl Segmenter {
    pub(super) fn new(_: &[u8], _: &Claims, _: Capabilities) -> Result<Self, DropReason> { Err(DropReason::NotSegmentable) }
    pub(super) fn next_into(&mut self, _: &mut [u8]) -> Option<(usize, Claims)> { None }
}
