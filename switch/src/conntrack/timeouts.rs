//! How long a connection is remembered after its last packet, in seconds, and why.

/// TCP while both sides are open. RFC 5382, 5 (REQ-5) asks for at least 2 hours and 4 minutes, so that keepalives every
/// two hours (RFC 9293, 3.8.4) are enough; a day lets a shell without keepalives live through a night. Linux's
/// five days would have connections that nobody will ever close count against their port for as long.
pub const TCP_ESTABLISHED_S: u32 = 86_400;

/// TCP while it opens or closes, and after a reset: at least 4 minutes (RFC 5382, 5, REQ-5; RFC 7857, 2.1 and 2.2), which
/// is twice the maximum segment lifetime (RFC 9293, 3.4.2) too.
pub const TCP_TRANSITORY_S: u32 = 240;

/// UDP and its like when packets went both ways: 5 minutes are recommended (RFC 4787, 4.3, REQ-5).
pub const DATAGRAM_REPLIED_S: u32 = 300;

/// UDP and its like before the first answer: not below 2 minutes (RFC 4787, 4.3, REQ-5).
pub const DATAGRAM_UNREPLIED_S: u32 = 120;

/// ICMP requests: at least a minute (RFC 5508, 3.2, REQ-2).
pub const QUERY_S: u32 = 60;

/// Protocols of which nothing is known but the addresses: Linux's ten minutes, since no standard says anything.
pub const OTHER_S: u32 = 600;

/// No connection ends sooner after its last packet.
pub(super) const SHORTEST_S: u32 = QUERY_S;

const _: () = {
    let others = [TCP_ESTABLISHED_S, TCP_TRANSITORY_S, DATAGRAM_REPLIED_S, DATAGRAM_UNREPLIED_S, OTHER_S];
    let mut at = 0;
    while at < others.len() {
        assert!(SHORTEST_S <= others[at]);
        at += 1;
    }
};
