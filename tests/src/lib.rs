//! What the end-to-end tests share: the daemon as a child process, a vhost-user frontend with a split
//! virtio-net driver of its own (well-behaved or hostile, as a test likes), and bounded waiting.
//!
//! Everything here serves tests: a broken expectation panics with a sentence that says what was awaited.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "test support: a broken expectation is a failed test, and lengths are chosen by the tests"
)]

pub mod browser;
pub mod bystander;
pub mod capture;
pub mod card;
pub mod clients;
pub mod console;
pub mod control_plane;
pub mod daemon;
pub mod deadline;
pub mod disk;
pub mod driver;
pub mod fragments;
pub mod guest;
pub mod hostile;
pub mod lab;
pub mod libvirt;
pub mod machine;
pub mod namespace;
pub mod open_vswitch;
pub mod process;
pub mod qmp;
pub mod raw;
pub mod rounds;
pub mod snapshot;
pub mod stations;
pub mod stopped;
pub mod stream;
pub mod superframe;
pub mod system_calls;
pub mod talks;
pub mod testpmd;
pub mod town;
pub mod tun;
