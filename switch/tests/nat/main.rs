//! NAT as RFC 4787, 5382, 5508, 6888 and 7857 want it, line by line, in simulated time.
#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test may stop at its own mistakes, and chooses its own numbers"
)]

mod again;
#[path = "../support/fragment.rs"]
mod fragment;
#[path = "../support/happenings.rs"]
mod happenings;
mod icmp;
mod inward;
mod lab;
mod oracle;
mod packets;
mod parts;
mod plain;
mod pools;
mod prefixes;
mod restored;
mod tcp;
mod told;
mod udp;
