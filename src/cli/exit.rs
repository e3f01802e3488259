//! Exit codes, all in one place; scripts depend on them.

use std::process::ExitCode;

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// All went well.
    Ok = 0,
    /// A verdict is `violated`.
    Violated = 1,
    /// Bad input or usage.
    BadInput = 2,
    /// A verdict is `vacuous` or `unresolved` and none is violated.
    Undecided = 3,
    /// The run stopped early, or its output could not be written; the partial record is kept.
    Stopped = 4,
    /// Interrupted; the partial record is kept.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
