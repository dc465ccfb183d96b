//! Any bytes as a frame that comes in by an uplink where tunnels end, and as one that leaves by them.
#![no_main]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "../../tests/decapsulation/host.rs"]
mod host;
#[path = "../../tests/decapsulation/judge.rs"]
mod judge;
#[path = "../../tests/decapsulation/reader.rs"]
mod reader;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    judge::judge(bytes);
});
