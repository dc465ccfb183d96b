//! The DHCP machines against programs that know the protocol from its standard: busybox's udhcpc, ISC's dhclient and dhcpcd as
//! clients of our server, and dnsmasq as the server of our client. Each is in a network namespace, on a cable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test, which has a clock"
)]

mod client;
mod server;
mod wire;
