//! What can go wrong with a run directory.

use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why a run directory cannot be written or read.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The output folder holds other things.
    #[error("`{}` is not empty and is not a gradflow run, so nothing is written to it", .0.display())]
    Occupied(PathBuf),
    /// The output folder is a file.
    #[error("`{}` is a file, expected a folder", .0.display())]
    NotAFolder(PathBuf),
    /// No folder of the run's own can have the name of the scenario.
    #[error("the scenario's name `{0}` cannot be the name of a folder")]
    FolderName(String),
    /// There is no record where one was expected.
    #[error("`{}` is not a gradflow run: {reason}", .path.display())]
    NotARun {
        /// Where.
        path: PathBuf,
        /// What is missing.
        reason: &'static str,
    },
    /// The record was written by a program of another generation.
    #[error("`{}`: expected schema {expected}, found {found}", .path.display())]
    Schema {
        /// The summary.
        path: PathBuf,
        /// What this program reads.
        expected: u64,
        /// What stands there.
        found: u64,
    },
    /// A file of the record does not have the content it should have.
    #[error("{}:{line}: {reason}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// What was expected and found.
        reason: String,
    },
    /// A binary file of the record is not what it should be.
    #[error("`{}`: {reason}", .path.display())]
    MalformedArray {
        /// The file.
        path: PathBuf,
        /// What was expected and found.
        reason: String,
    },
    /// The file system refused.
    #[error("cannot {action} `{}`: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl RecordError {
    /// What to do about it, where that can be said.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Occupied(_) => Some("choose another folder with --out, or empty this one"),
            Self::NotAFolder(_) | Self::FolderName(_) => Some("choose a folder with --out"),
            Self::NotARun { .. } => Some("give the folder that `gradflow run` said it wrote, such as runs/quickstart"),
            Self::Schema { .. } => {
                Some("run its scenario.ron again, or use the version of gradflow named in the summary")
            }
            Self::Malformed { .. } | Self::MalformedArray { .. } => {
                Some("run its scenario.ron again to restore the record")
            }
            Self::Io { action: "create", .. } => Some("choose a folder that can be written with --out"),
            Self::Io { .. } => None,
        }
    }

    /// For `map_err`: what was tried on which file.
    pub(crate) fn io<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { action, path: path.to_path_buf(), source }
    }
}
