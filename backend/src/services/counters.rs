//! What the services count: a name for programs, a sentence for people.

use std::sync::atomic::{AtomicU64, Ordering};

use viaduct_switch::counted_kinds;

counted_kinds! {
    /// Something that happens at the services.
    Event:
    InboxFull "inbox-full" "A packet found no room before the services, or gave way to one of a port with fewer."
    OutboxFull "outbox-full" "A packet of the services found no room on its way out."
    Malformed "malformed" "A packet's headers or checksums are wrong, or it is a fragment."
    Stranger "stranger" "A packet for a service came from an address outside of the network's subnets."
    DnsQuestion "dns-question" "A guest asked a question."
    DnsLocal "dns-local" "A question was answered from the network's own names, or without asking for a special name."
    DnsCached "dns-cached" "A question was answered from the cache."
    DnsForwarded "dns-forwarded" "A question was passed on to a name server."
    DnsFailed "dns-failed" "No name server gave an answer in time: the guest got SERVFAIL."
    DnsTruncated "dns-truncated" "An answer was too long for a datagram, so that the guest has to ask by TCP."
    DnsRepeated "dns-repeated" "A question came again while it was waiting for its answer."
    DnsNoPlace "dns-no-place" "Too many questions were waiting, so that one was dropped."
    DnsRefused "dns-refused" "A question of a kind that is not answered was refused."
    DnsFormatError "dns-format-error" "A message was not understood, which its sender was told."
    DnsIgnored "dns-ignored" "A message was an answer, or too short for one, and got none (RFC 5452)."
    TcpOpened "tcp-opened" "A guest began a connection with a service."
    TcpNoPlace "tcp-no-place" "A guest's connection was not begun: its port, or all of them, have as many as there may be."
    TcpNotEstablished "tcp-not-established" "A connection that was begun was not there in time."
    TcpOtherPort "tcp-other-port" "A packet of a connection came from another port than its first one and was dropped."
    MetadataServed "metadata-served" "A connection to the metadata server ended in good order."
    MetadataFailed "metadata-failed" "A connection to the metadata server could not be made, or ended early."
    NameRefused "name-refused" "A lease's name was not taken in: another port's or the network's own already, or one that would mislead."
}

/// Counts of all events.
#[derive(Debug)]
pub(super) struct Counters([AtomicU64; Event::ALL.len()]);

impl Counters {
    pub(super) fn count(&self, event: Event) {
        self.0[event as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each event happened, in the order of their numbers.
    pub(super) fn read(&self) -> Vec<(Event, u64)> {
        let read = |event: &Event| (*event, self.0[*event as usize].load(Ordering::Relaxed));
        Event::ALL.iter().map(read).collect()
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Event::ALL.len()])
    }
}
