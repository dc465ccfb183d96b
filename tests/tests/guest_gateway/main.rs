//! Networks behind gateways with QEMU guests and real clients: the home router (scenario S4), IPv6, the small cloud (S8), and
//! containers beside guests (S10). All run the project's examples.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod cloud;
mod containers;
mod home;
mod six;
