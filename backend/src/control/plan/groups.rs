//! What differs in security groups and address groups, for people.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::difference;
use crate::config::{Group, Port};

/// So many rules or addresses are told one by one.
const TOLD_MAX: usize = 10;

pub(super) fn group_differences(running: &Group, wanted: &Group) -> Vec<String> {
    let settings = [
        difference("stateful", running.stateful, wanted.stateful),
        difference("egress", running.egress.name(), wanted.egress.name()),
    ];
    let rules = item_differences("rule", &running.rules, &wanted.rules);
    settings.into_iter().flatten().chain(rules).collect()
}

/// What the two lists do not have in common; `what` is one item in a word.
pub(super) fn item_differences<T: Display>(what: &str, running: &[T], wanted: &[T]) -> Vec<String> {
    let texts = |items: &[T]| items.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    let (running, wanted) = (texts(running), texts(wanted));
    let gone = running.difference(&wanted).map(|item| format!("without {what} {item}"));
    let new = wanted.difference(&running).map(|item| format!("with {what} {item}"));
    let mut told: Vec<String> = gone.chain(new).collect();
    let more = told.len().saturating_sub(TOLD_MAX);
    if more > 0 {
        told.truncate(TOLD_MAX);
        told.push(format!("and {more} more"));
    }
    told
}

/// A port's groups in a word.
pub(crate) fn written_groups(port: &Port) -> String {
    match &port.groups {
        Some(groups) if !groups.is_empty() => groups.join("+"),
        Some(_) | None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_rules_the_first_are_told() {
        let (few, many): (Vec<u32>, Vec<u32>) = ((10..12).collect(), (11..40).collect());
        let told = item_differences("rule", &few, &many);
        assert_eq!(told[..2], ["without rule 10", "with rule 12"]);
        assert_eq!((told.len(), told[10].as_str()), (11, "and 19 more"));
        assert_eq!(item_differences("rule", &many, &many), [""; 0]);
    }
}
