//! How a verb ends when it does not succeed: a message for people and an exit code for programs.

use std::fmt;
use std::process::ExitCode;

/// Anything that keeps a verb from succeeding.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Exit 1: it was asked, and the answer is no.
    No(String),
    /// Exit 2: it was asked wrongly.
    Usage(String),
    /// Exit 3: something it needs is missing or cannot be reached.
    Missing(String),
}

impl Failure {
    /// Something it needs, with why it is not there.
    pub(crate) fn missing(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Missing(format!("{what}: {why}"))
    }

    /// The exit code of the contract.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::No(_) => 1,
            Self::Usage(_) => 2,
            Self::Missing(_) => 3,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No(message) | Self::Usage(message) | Self::Missing(message) => {
                f.write_str(message)
            }
        }
    }
}

impl std::error::Error for Failure {}

impl From<crate::config::Mistakes> for Failure {
    fn from(mistakes: crate::config::Mistakes) -> Self {
        Self::Usage(mistakes.to_string())
    }
}

impl From<crate::cluster::Error> for Failure {
    fn from(error: crate::cluster::Error) -> Self {
        Self::Missing(error.to_string())
    }
}

/// What every verb returns.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;
