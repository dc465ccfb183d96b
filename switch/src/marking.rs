//! Marking: what a port believes of the DSCP (RFC 2474) and the VLAN priority (IEEE 802.1Q-2018, 6.9.3) with which frames enter
//! by it, and what is written instead (RFC 2475, 2.3.3.2).
//!
//! It is done with a burst before anything looks at it, in the private heads: meters, rules, connections and queues see what was
//! written, and no kept decision or path depends on any of it. A priority that was chosen is kept beside the bytes
//! ([`Marks`](crate::Marks)), since a frame has no tag of its own inside of the switch.

use std::fmt;

use crate::frame::Frame;
use crate::meter::Dscp;
use crate::policy::Ingress;
use crate::vlan::Priority;

/// Of what a frame says, that which is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Trust {
    /// Its DSCP and its priority, each for itself.
    #[default]
    Both,
    /// Its DSCP, which its priority follows.
    Dscp,
    /// Its priority, which its DSCP follows.
    Priority,
    /// Nothing.
    None,
}

impl fmt::Display for Trust {
    /// As the configuration says it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "both",
            Self::Dscp => "dscp",
            Self::Priority => "pcp",
            Self::None => "none",
        })
    }
}

/// What becomes of the marks of frames that enter by a port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Marking {
    /// What is believed.
    pub trust: Trust,
    /// The DSCP of all frames of IP; `None`: as is believed, and 0 where nothing is.
    pub dscp: Option<Dscp>,
    /// The priority of all frames; `None`: as is believed, and the port's where nothing is, or where the frame says nothing.
    pub priority: Option<Priority>,
    /// The DSCP that follows from a priority code point.
    pub dscp_of: [Dscp; 8],
    /// The priority code point that follows from a DSCP, each 0 to 7.
    pub priority_of: [Priority; 64],
    /// What filters know the port's frames by ([`Match::mark`](crate::qos::Match)); 0: nothing.
    pub mark: u16,
}

impl Default for Marking {
    /// Changes nothing. Priorities and code points follow from each other by class selectors: the upper three bits (RFC 2474,
    /// 4.2.2). Only lower effort has priority 1 (RFC 8622, which updates RFC 8325), which stands below 0 (IEEE 802.1Q-2018,
    /// annex I).
    fn default() -> Self {
        let selector = |class: usize| u8::try_from(class << 3).ok().and_then(Dscp::new).unwrap_or_default();
        let class =
            |number: usize| u8::try_from(number >> 3).ok().and_then(Priority::new).unwrap_or_default();
        let mut priority_of = std::array::from_fn(class);
        priority_of[usize::from(Dscp::LOWER_EFFORT.get())] = Priority::new(1).unwrap_or_default();
        let dscp_of = std::array::from_fn(selector);
        Self { trust: Trust::Both, dscp: None, priority: None, dscp_of, priority_of, mark: 0 }
    }
}

/// What a frame gets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Marked {
    /// The DSCP that is written; `None`: its own stays.
    pub(crate) dscp: Option<Dscp>,
    /// The priority with which it goes on; `None`: its own, or the port's.
    pub(crate) priority: Option<Priority>,
}

impl Marking {
    /// Marks what came by a port in one moment. `own` is the port's priority.
    pub(crate) fn mark<P>(&self, burst: &mut [Frame<P>], ingress: Ingress<'_>, own: Priority) {
        for frame in burst {
            let Marked { dscp, priority } = self.of(frame.head.bytes(), ingress, own);
            dscp.map(|dscp| dscp.write(frame.head.bytes_mut()));
            frame.meta.marks.priority = priority;
            frame.meta.marks.mark = self.mark;
        }
    }

    /// The same for what came in and was marked before, and comes once more without the tags that it had then: its DSCP is what was
    /// written.
    pub(crate) fn mark_again<P>(&self, burst: &mut [Frame<P>], own: Priority) {
        for frame in burst {
            frame.meta.marks.priority = match (self.priority, self.trust) {
                (None, Trust::Both | Trust::Priority) => None,
                (None, Trust::Dscp) => Some(self.followed(frame.head.bytes(), own)),
                (None, Trust::None) => Some(own),
                (set, _) => set,
            };
            frame.meta.marks.mark = self.mark;
        }
    }

    /// What a frame gets that begins with `head`. One that will be refused, since it belongs to no network, stays as it is.
    pub(crate) fn of(&self, head: &[u8], ingress: Ingress<'_>, own: Priority) -> Marked {
        let by_trust = match self.trust {
            Trust::Both => Marked { dscp: None, priority: None },
            Trust::Dscp => Marked { dscp: None, priority: Some(self.followed(head, own)) },
            Trust::Priority => {
                let Ok(classified) = ingress.classify(head) else {
                    return Marked { dscp: None, priority: None };
                };
                let code_point = classified.priority.unwrap_or(own).code_point();
                Marked { dscp: self.dscp_of.get(usize::from(code_point)).copied(), priority: None }
            }
            Trust::None => Marked { dscp: Some(Dscp::default()), priority: Some(own) },
        };
        Marked { dscp: self.dscp.or(by_trust.dscp), priority: self.priority.or(by_trust.priority) }
    }

    /// The priority that follows from a frame's DSCP.
    fn followed(&self, head: &[u8], own: Priority) -> Priority {
        let priority = |dscp: Dscp| self.priority_of.get(usize::from(dscp.get())).copied();
        Dscp::of(head).and_then(priority).unwrap_or(own)
    }
}

#[cfg(test)]
mod tests;
