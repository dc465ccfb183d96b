//! Trees in simulated time.

mod htb;
mod support;
mod tbf;
