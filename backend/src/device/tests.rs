//! Devices over veth pairs in namespaces of the tests' own, with Linux at their other ends.

mod bond;
mod kernel_segments;
mod lab;
mod packet;
mod pair;
mod talk;
mod tap;
mod wires;
mod xdp;
