//! Meters: exact whatever comes whenever, by any number of workers.

mod bits;
mod interleavings;
mod marking;
mod proof;
mod rates;
mod turns;
