//! Security groups in the data path: whole frames go in, and come out where the rules of both sides let them.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may stop at its own mistakes")]

mod again;
mod bursts;
mod fragments;
mod hostile;
mod lab;
mod life;
mod model;
mod restored;
mod rules;
