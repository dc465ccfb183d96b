//! What a meter is told: rates, and what becomes of what exceeds them.

use std::fmt;

use super::dscp::Dscp;

/// So much a second, and so much at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Allowance {
    /// Bits or packets a second.
    pub per_second: u64,
    /// Bytes or packets that may come at once.
    pub burst: u64,
}

/// A rate in bits, one in packets, or both. Counted is what a frame is on a wire: a super-frame counts as all of its segments with
/// their headers, from the Ethernet header on, VLAN tags included, without FCS.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Limits {
    /// Bits a second, and bytes at once; `None`: any number.
    pub bits: Option<Allowance>,
    /// Packets a second, and packets at once; `None`: any number.
    pub packets: Option<Allowance>,
}

/// What becomes of frames that exceed the committed rate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Exceeding {
    /// They are dropped.
    #[default]
    Dropped,
    /// They pass with this DSCP; what is no IP passes as it is.
    Marked(Dscp),
    /// They pass as they are, and are counted.
    Passed,
    /// Whoever reads them leaves them where they are until the rate has room for them ([`super::Turn`]); what was read passes, and
    /// may be owed. Only what is longer than the burst is dropped, since it would never keep within the rates.
    Waits,
}

/// A meter as it is configured: a token bucket, or with a peak rate two of them, which are the two-rate three-colour marker of
/// RFC 2698. Within the committed rate a frame is green, above that and within the peak rate yellow, and above both red.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MeterPlan {
    /// The committed rate.
    pub committed: Limits,
    /// The peak rate; `None`: there is one rate only.
    pub peak: Option<Limits>,
    /// Whether a frame comes with a colour, told by the drop precedence of its assured forwarding class (RFC 2597): then it never
    /// gets a better one.
    pub colour_aware: bool,
    /// What becomes of yellow frames, or of those above the one rate that there is. Red ones are dropped.
    pub exceeding: Exceeding,
    /// What filters know frames by that exceed the committed rate and pass ([`Match::mark`](crate::qos::Match)); 0: by what they
    /// had.
    pub exceeding_mark: u16,
}

/// What a meter says about a frame (RFC 2698, 1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Colour {
    /// It keeps within the committed rate.
    Green,
    /// It exceeds that.
    Yellow,
    /// It exceeds the peak rate, too.
    Red,
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Green => "green",
            Self::Yellow => "yellow",
            Self::Red => "red",
        })
    }
}
