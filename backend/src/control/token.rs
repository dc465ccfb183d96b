//! What an event on a descriptor is about, in the 32 bits that an event carries.

use viaduct_switch::PortIndex;

/// The source of an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Token {
    /// A command waits.
    Commands,
    /// A signal was received.
    Signals,
    /// A deadline passed.
    Timer,
    /// The data path has something to tell.
    Dataplane,
    /// Somebody connects to the port.
    Listener(PortIndex),
    /// The port's frontend sent something, or takes something.
    Session(PortIndex),
    /// The kernel told of interfaces in the network namespace of this place.
    Links(u16),
    /// System calls were refused.
    Refusals,
}

const COMMANDS: u32 = 0;
const SIGNALS: u32 = 1;
const TIMER: u32 = 2;
const DATAPLANE: u32 = 3;
const LISTENER: u32 = 4;
const SESSION: u32 = 5;
const LINKS: u32 = 6;
const REFUSALS: u32 = 7;

impl Token {
    /// What such an event is, for who reads the log.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Commands => "what follows a command",
            Self::Signals => "a signal",
            Self::Timer => "what was due",
            Self::Dataplane => "news of the workers",
            Self::Listener(_) => "a connection",
            Self::Session(_) => "a guest's messages",
            Self::Links(_) => "news of interfaces",
            Self::Refusals => "refused system calls",
        }
    }

    pub(super) fn to_data(self) -> u32 {
        let (kind, index) = match self {
            Self::Commands => (COMMANDS, 0),
            Self::Signals => (SIGNALS, 0),
            Self::Timer => (TIMER, 0),
            Self::Dataplane => (DATAPLANE, 0),
            Self::Listener(port) => (LISTENER, port.raw()),
            Self::Session(port) => (SESSION, port.raw()),
            Self::Links(slot) => (LINKS, slot),
            Self::Refusals => (REFUSALS, 0),
        };
        kind << 16 | u32::from(index)
    }

    /// `None` for what [`Token::to_data`] never gives.
    pub(super) fn from_data(data: u32) -> Option<Self> {
        let port = || PortIndex::new(usize::try_from(data & 0xffff).ok()?);
        match data >> 16 {
            COMMANDS => Some(Self::Commands),
            SIGNALS => Some(Self::Signals),
            TIMER => Some(Self::Timer),
            DATAPLANE => Some(Self::Dataplane),
            LISTENER => port().map(Self::Listener),
            SESSION => port().map(Self::Session),
            REFUSALS => Some(Self::Refusals),
            LINKS => u16::try_from(data & 0xffff).ok().map(Self::Links),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_event() {
        let port = PortIndex::new(4095).unwrap();
        for token in [
            Token::Commands,
            Token::Dataplane,
            Token::Refusals,
            Token::Listener(port),
            Token::Session(port),
            Token::Links(65_535),
        ] {
            assert_eq!(Token::from_data(token.to_data()), Some(token));
        }
        assert_eq!(Token::from_data(u32::MAX), None);
    }
}
