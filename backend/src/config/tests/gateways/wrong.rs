//! What does not go together, each case with its line, its field, what was found and what would be right.

mod alone;
mod networks;
mod others;

use super::*;
use alone::ALONE;
use networks::NETWORKS;
use others::OTHERS;

/// Whether a case is about this field.
pub(in super::super) fn has_case(path: &str) -> bool {
    // An item of a list stands for all.
    let is_of = |field: &str| field.replace("[0]", "").replace("network.lab", "network.vm1") == path;
    NETWORKS.iter().chain(OTHERS).chain(ALONE).any(|case| is_of(case.2))
}

#[test]
fn everything_that_does_not_go_together_is_told_once() {
    let behind = NETWORKS.iter().chain(OTHERS);
    assert_told(behind.map(|case| (format!("{HOME}{SUBNETS}{}", case.0), case)));
    assert_told(whole(ALONE));
}
