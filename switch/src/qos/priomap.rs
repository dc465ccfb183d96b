//! Which band a frame goes to by the class of service in its IP header.

/// The priority of a TOS byte's bits 3 to 5 (RFC 1349, 2: minimize delay, maximize throughput, maximize reliability), which
/// are the lower three of the differentiated services code point: Linux's `ip_tos2prio`. 0 is best effort, 2 bulk, 6
/// interactive, 4 interactive bulk.
const PRIORITY_OF_TOS: [u8; 8] = [0, 0, 2, 2, 6, 6, 4, 4];

/// The bands of the sixteen priorities, as `pfifo_fast` has them (tc-prio(8), "priomap").
pub const PFIFO_FAST: [u8; 16] = [1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1];

/// The band of each differentiated services code point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BandOfDscp(pub [u8; 64]);

impl Default for BandOfDscp {
    fn default() -> Self {
        Self::from_priomap(PFIFO_FAST)
    }
}

impl BandOfDscp {
    /// By the band of each of the sixteen priorities, as `tc` takes it.
    #[must_use]
    pub fn from_priomap(priomap: [u8; 16]) -> Self {
        Self(std::array::from_fn(|dscp| priomap[usize::from(PRIORITY_OF_TOS[dscp & 7])]))
    }

    /// The band of a code point.
    #[must_use]
    #[inline]
    pub fn band(&self, dscp: u8) -> u8 {
        self.0[usize::from(dscp & 63)]
    }
}
