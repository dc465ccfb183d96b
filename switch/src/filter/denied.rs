//! Why a packet does not pass.

use crate::conntrack::{Invalid, Refused};
use crate::drops::DropReason;
use crate::fragments;
use crate::packet::PacketError;
use crate::security::Direction;

/// Why security groups let a packet not pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// No rule of the sender's groups lets it out.
    Egress,
    /// No rule of the receiver's groups lets it in.
    Ingress,
    /// It is no packet of IP, about which rules could say anything.
    NotIp,
    /// It belongs to no connection, and may open none.
    Invalid(Invalid),
    /// There is no room for its connection.
    Refused(Refused),
    /// Its port opens connections faster, or has more packets judged, than it may.
    TooFast,
}

impl Denied {
    /// By the rules of the side that lets packets go in this direction.
    pub(super) fn by(direction: Direction) -> Self {
        match direction {
            Direction::Egress => Self::Egress,
            Direction::Ingress => Self::Ingress,
        }
    }
}

impl From<Invalid> for Denied {
    fn from(reason: Invalid) -> Self {
        Self::Invalid(reason)
    }
}

impl From<Refused> for Denied {
    fn from(reason: Refused) -> Self {
        match reason {
            Refused::NotNew => Self::Invalid(Invalid::NotSyn),
            reason => Self::Refused(reason),
        }
    }
}

impl From<Denied> for DropReason {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Egress => Self::GroupEgress,
            Denied::Ingress => Self::GroupIngress,
            Denied::NotIp => Self::GroupNotIp,
            Denied::Invalid(reason) => reason.into(),
            Denied::Refused(reason) => reason.into(),
            Denied::TooFast => Self::ConnectionRate,
        }
    }
}

impl From<Invalid> for DropReason {
    fn from(reason: Invalid) -> Self {
        match reason {
            Invalid::NotSyn => Self::CtNotSyn,
            Invalid::BadFlags => Self::CtBadFlags,
            Invalid::SequenceAhead => Self::CtSequenceAhead,
            Invalid::SequenceBehind => Self::CtSequenceBehind,
            Invalid::AckAhead => Self::CtAckAhead,
            Invalid::AckBehind => Self::CtAckBehind,
            Invalid::ResetOutside => Self::CtResetOutside,
            Invalid::StraySyn => Self::CtStraySyn,
            Invalid::UnsolicitedReply => Self::CtUnsolicitedReply,
            Invalid::UnknownQuote => Self::CtUnknownQuote,
            Invalid::ForgedQuote => Self::CtForgedQuote,
            Invalid::LaterFragment => Self::CtLaterFragment,
            Invalid::Gone => Self::CtGone,
        }
    }
}

impl From<Refused> for DropReason {
    fn from(reason: Refused) -> Self {
        match reason {
            Refused::NotNew => Self::CtNotSyn,
            Refused::PortFull => Self::CtPortFull,
            Refused::TableFull => Self::CtTableFull,
            Refused::Crowded => Self::CtCrowded,
        }
    }
}

impl From<fragments::Refused> for DropReason {
    fn from(reason: fragments::Refused) -> Self {
        match reason {
            fragments::Refused::NotAFragment => Self::Unreadable,
            fragments::Refused::Duplicate => Self::FragmentDuplicate,
            fragments::Refused::Overlap => Self::FragmentOverlap,
            fragments::Refused::BeyondEnd => Self::FragmentBeyondEnd,
            fragments::Refused::Scattered => Self::FragmentScattered,
            fragments::Refused::HeldFull => Self::FragmentHeldFull,
            fragments::Refused::PortFull => Self::FragmentPortFull,
            fragments::Refused::StoreFull => Self::FragmentStoreFull,
        }
    }
}

impl From<PacketError> for DropReason {
    fn from(error: PacketError) -> Self {
        match error {
            PacketError::FragmentTiny => Self::FragmentTiny,
            PacketError::FragmentOverHeader => Self::FragmentOverHeader,
            PacketError::FragmentEmpty => Self::FragmentEmpty,
            PacketError::FragmentUnaligned => Self::FragmentUnaligned,
            PacketError::FragmentOverlong => Self::FragmentOverlong,
            _ => Self::Unreadable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fragments_that_serve_to_evade_rules_are_dropped_by_name() {
        let named = [
            (PacketError::FragmentTiny, "fragment-tiny"),
            (PacketError::FragmentOverHeader, "fragment-over-header"),
            (PacketError::FragmentEmpty, "fragment-empty"),
            (PacketError::FragmentUnaligned, "fragment-unaligned"),
            (PacketError::FragmentOverlong, "fragment-overlong"),
            (PacketError::Truncated, "unreadable"),
            (PacketError::BadLength, "unreadable"),
        ];
        for (error, name) in named {
            assert_eq!(DropReason::from(error).name(), name);
        }
    }
}
