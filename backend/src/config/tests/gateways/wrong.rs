//! What does not go together, each case with its line, its field, what was found and what would be right.

mod alone;
mod networks;
mod others;

use super::*;
use alone::ALONE;
use networks::NETWORKS;
use others::OTHERS;

/// Text behind [`HOME`] and [`SUBNETS`], its line from 8, field, part of what was found, part of what would be right.
type Case = (&'static str, usize, &'static str, &'static str, &'static str);

/// Whether a case is about this field.
pub(in super::super) fn has_case(path: &str) -> bool {
    // An item of a list stands for all.
    let is_of = |field: &str| field.replace("[0]", "").replace("network.lab", "network.vm1") == path;
    NETWORKS.iter().chain(OTHERS).chain(ALONE).any(|case| is_of(case.2))
}

#[test]
fn everything_that_does_not_go_together_is_told_once() {
    let mut missed = Vec::new();
    let behind = NETWORKS.iter().chain(OTHERS);
    let texts = behind.map(|case| (format!("{HOME}{SUBNETS}{}", case.0), case));
    for (text, (_, line, field, found, expected)) in
        texts.chain(ALONE.iter().map(|case| (case.0.to_owned(), case)))
    {
        let problems = wrong(&text);
        let is_told = problems.len() == 1
            && (problems[0].line, problems[0].field.as_str()) == (*line, *field)
            && problems[0].found.contains(found)
            && problems[0].expected.contains(expected);
        if !is_told {
            missed.push(format!("{text}\n{problems:#?}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n\n"));
}
