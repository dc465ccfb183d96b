//! Why a command failed, on standard error.

use std::fmt::{self, Display};
use std::process::ExitCode;

use crate::api::{ClientError, Refusal};
use crate::config::ConfigError;

/// A failed command: what to tell, for people and for programs.
#[derive(Debug)]
pub(super) struct Failure {
    text: String,
    refusal: Refusal,
}

impl Failure {
    /// A failure that is told in one sentence.
    pub(super) fn new(error: impl Display) -> Self {
        let error = error.to_string();
        Self { text: format!("viaduct: {error}"), refusal: Refusal { error, ..Refusal::default() } }
    }

    /// A refusal of the daemon about the configuration in `file`, whose places are told like a compiler does.
    pub(super) fn in_file(refusal: Refusal, file: &str) -> Self {
        let mut text = String::new();
        for problem in &refusal.problems {
            text.push_str(&format!("{file}:{problem}\n"));
        }
        if refusal.left_out > 0 {
            text.push_str(&format!("{file}: and {} more; mend these first\n", refusal.left_out));
        }
        text.push_str(&format!("viaduct: {}", refusal.error));
        Self { text, refusal }
    }

    /// Tells it on standard error; gives the exit status.
    pub(super) fn report(&self, json: bool) -> ExitCode {
        let written = serde_json::to_string_pretty(&self.refusal).ok().filter(|_| json);
        match written {
            Some(refusal) => eprintln!("{refusal}"),
            None => eprintln!("{}", self.text),
        }
        ExitCode::FAILURE
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.refusal.error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused { refusal, .. } => {
                Self { text: format!("viaduct: {}", refusal.error), refusal }
            }
            other => Self::new(other),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let ConfigError::Wrong(wrong) = error else { return Self::new(error) };
        let sentence = "the configuration is wrong; nothing was changed".to_owned();
        let refusal = Refusal { error: sentence, problems: wrong.problems, left_out: wrong.left_out };
        Self::in_file(refusal, &wrong.file)
    }
}
