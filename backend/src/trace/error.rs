//! What is wrong with a packet's description.

/// A description that cannot be read: what was found where, and what would be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {expected}", place(.found.as_deref(), *.word))]
pub struct DescriptionError {
    /// The word that is wrong; `None`: one is missing.
    found: Option<String>,
    /// Which word it is, counted from 1.
    word: usize,
    /// What would be right, as a request.
    expected: String,
}

fn place(found: Option<&str>, word: usize) -> String {
    match found {
        Some(found) => format!("`{found}` (word {word} of the packet) is not right"),
        None => format!("the packet ends where word {word} should be"),
    }
}

impl DescriptionError {
    /// `found` stands where something else is expected; `word` counts from 1.
    pub(super) fn new(found: Option<&str>, word: usize, expected: impl Into<String>) -> Self {
        /// What is shown of a word, in characters.
        const SHOWN: usize = 40;
        let shorten = |found: &str| match found.char_indices().nth(SHOWN) {
            Some((at, _)) => format!("{}…", found.get(..at).unwrap_or_default()),
            None => found.to_owned(),
        };
        Self { found: found.map(shorten), word, expected: expected.into() }
    }
}

/// `found`, corrected to the nearest of `known`, as the end of a request.
pub(super) fn nearest<'n>(found: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    let close = known.clone().map(|name| (strsim::damerau_levenshtein(found, name), name)).min();
    let all: Vec<&str> = known.collect();
    match close {
        Some((distance, name)) if distance <= 2 && distance < name.len() => {
            format!("did you mean `{name}`? There are {}", all.join(", "))
        }
        _ => format!("write one of {}", all.join(", ")),
    }
}
