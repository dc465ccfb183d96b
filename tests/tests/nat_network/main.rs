//! Networks behind gateways, with stations of the kernel's own stack: they lease addresses, are routed, and resolve names (scenario
//! S4). Each test takes a few seconds.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod crowd;
mod discovery;
mod forger;
mod home;
mod hostile;
mod kernel;
mod leased;
mod refusals;
mod super_datagrams;
mod works;
