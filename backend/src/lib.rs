//! The process `viaduct`: vhost-user sessions, guest memory, rings, workers, control, API and command line.

pub mod api;
mod bench;
pub mod capture;
pub mod changes;
pub mod cli;
pub mod config;
mod connections;
mod console;
pub mod control;
pub mod dataplane;
pub mod device;
pub mod dhcp_clients;
mod durable;
pub mod gateway;
mod interrupt;
pub mod leases;
pub mod leasing;
pub mod link;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod ring;
pub mod sandbox;
pub mod services;
pub mod takeover;
pub mod trace;
pub mod vhost_user;
