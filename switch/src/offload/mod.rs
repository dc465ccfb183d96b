//! Makes good on what a sender left to be done, for receivers that did not agree to take it.
