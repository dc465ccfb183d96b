//! Trees in simulated time.

mod fifo;
mod fq_codel;
mod htb;
mod linux;
mod plans;
mod prio;
mod properties;
mod reconfigure;
mod sfq;
mod support;
mod tbf;
mod together;
