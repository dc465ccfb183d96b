//! One network over several machines by tunnels: VXLAN, GRE and Geneve (scenario S7). The wire between the machines is a Linux
//! bridge in a namespace of its own, and tshark tells what went over it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

mod exchange;
mod fed;
mod guest_kernel;
mod guests;
mod hostile;
mod jumbo;
mod kernel;
mod open_vswitch;
mod path_mtu;
mod scenario;
mod speed;
mod tenants;
mod trains;
mod underlay;
mod wire;
