//! `verify.json`: what a run says about the claims of the theory.

use super::error::RecordError;
use super::summary::SCHEMA;
use super::{file, json};
use crate::theory::ClaimRow;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyRecord {
    /// Version of this layout.
    pub schema: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// One row per claim.
    pub rows: Vec<VerifyRow>,
}

/// A claim and its verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifyRow {
    /// Identifier, such as `next-piece`.
    pub claim: String,
    /// The claim in words, with its source.
    pub title: String,
    /// What was measured, or null.
    pub figure: Option<f64>,
    /// What it is compared with, or null.
    pub tolerance: Option<f64>,
    /// `holds`, `violated`, `vacuous`, `unresolved` or `does not apply`.
    pub verdict: String,
    /// One sentence.
    pub meaning: String,
    /// The file of this folder that shows a failure; left out otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl VerifyRecord {
    /// The record of judged claims.
    pub fn new(scenario: &str, rows: &[ClaimRow]) -> Self {
        let row = |row: &ClaimRow| VerifyRow {
            claim: row.claim.to_owned(),
            title: row.title.to_owned(),
            figure: row.figure,
            tolerance: row.tolerance,
            verdict: row.verdict.as_str().to_owned(),
            meaning: row.meaning.clone(),
            file: row.file.map(str::to_owned),
        };
        Self { schema: SCHEMA, scenario: scenario.to_owned(), rows: rows.iter().map(row).collect() }
    }

    /// Reads `verify.json` from a run directory.
    ///
    /// # Errors
    /// When the file is missing or malformed.
    pub fn read(folder: &Path) -> Result<Self, RecordError> {
        json::read(&folder.join(file::VERIFY))
    }

    /// Writes `verify.json` into a run directory.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), RecordError> {
        json::write(folder, file::VERIFY, self)
    }
}
