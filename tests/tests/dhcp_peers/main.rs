//! The DHCP machines against programs that know the protocol from its standard: busybox's udhcpc, ISC's dhclient and dhcpcd as
//! clients of our server, dnsmasq as the server of our client, and the kernel as a host that hears our router advertisements. Each is
//! in a network namespace, on a cable.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test, which has a clock"
)]

mod advertisement;
mod client;
mod server;
mod wire;
