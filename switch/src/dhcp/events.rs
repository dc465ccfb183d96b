//! Everything that a server counts: a name for programs, a sentence for people.

use crate::counted_kinds;

counted_kinds! {
    /// Something that happens at a server.
    Event:
    Discover "discover" "A client looked for a server."
    Offer "offer" "An address was offered."
    Request "request" "A client asked for an address, or to keep one."
    Ack "ack" "A client got an address, or keeps it."
    Nak "nak" "A client was told to begin anew: the address is not its own, or not of this network."
    Decline "decline" "A client found its address in use; it is put aside."
    Release "release" "A client gave its address back."
    Inform "inform" "A client that has an address asked for the rest."
    Expired "expired" "A lease ended without having been renewed."
    OfferExpired "offer-expired" "An offer was not taken up in time."
    Conflict "conflict" "An address was found in use before it was lent, or reported as such; it is put aside."
    Displaced "displaced" "An offer of the port with the most addresses gave way to a port that has none."
    Confirm "confirm" "A client of DHCPv6 asked whether its addresses are still ones of its link."
    NoAddress "no-address" "A client got no offer: every address is lent."
    ShareExceeded "share-exceeded" "A client got no offer: its port holds its share of the addresses."
    HeldToOthers "held-to-others" "A client got no offer: its port is held to addresses of its own (port_security), of which none is to be lent."
    Malformed "malformed" "The frame or the message is wrong."
    NotForUs "not-for-us" "The message is for another server, by its addresses, and is no broadcast."
    NotARequest "not-a-request" "The message is a server's, or of a type that only servers send."
    Bootp "bootp" "The message is BOOTP without a type, which gets no answer."
    Relayed "relayed" "The message came by way of a relay (giaddr is set), of which there are none here."
    RelayInformation "relay-information" "The message holds a relay's information (option 82) though no relay sent it; that is not believed."
    OtherServer "other-server" "The client chose another server."
    UnknownClient "unknown-client" "The client asks for an address of which nothing is known here, so that another server may answer (RFC 2131, 4.3.2)."
    InvalidRequest "invalid-request" "The message's fields and options fit no state that a client can be in (RFC 2131, table 5)."
    NotHeld "not-held" "A client gave back or declined an address that it does not hold."
    Unicast "unicast" "A message of DHCPv6 came by unicast, which no client was told to use (RFC 8415, 16 and 18.4)."
    NotLent "not-lent" "A client of DHCPv6 asked for a temporary address or a prefix, of which none are lent."
    OptionLeftOut "option-left-out" "An option found no room in the longest answer that the client takes."
}

/// How often each event happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counters([u64; Event::ALL.len()]);

impl Counters {
    /// How often it happened.
    #[must_use]
    pub fn get(&self, event: Event) -> u64 {
        self.0[event as usize]
    }

    /// Names and counts, in the order of the events' numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Event::ALL.iter().map(|event| (event.name(), self.get(*event)))
    }

    pub(crate) fn count(&mut self, event: Event) {
        self.add(event, 1);
    }

    pub(crate) fn add(&mut self, event: Event, more: u64) {
        self.0[event as usize] = self.0[event as usize].saturating_add(more);
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self([0; Event::ALL.len()])
    }
}
