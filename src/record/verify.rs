//! `verify.json`: what a run says about the claims of the theory.

use super::error::RecordError;
use super::file;
use super::summary::SCHEMA;
use crate::theory::ClaimRow;
use serde::{Deserialize, Serialize};
use std::fs;
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
        let path = folder.join(file::VERIFY);
        let text = fs::read_to_string(&path).map_err(RecordError::io("read", &path))?;
        serde_json::from_str(&text).map_err(|error| RecordError::Malformed {
            line: error.line().max(1) as u64,
            path,
            reason: error.to_string(),
        })
    }

    /// Writes `verify.json` into a run directory.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn write(&self, folder: &Path) -> Result<(), RecordError> {
        let path = folder.join(file::VERIFY);
        let mut text = serde_json::to_string_pretty(self)
            .expect("the record has string keys only, and writing to a string cannot fail");
        text.push('\n');
        fs::write(&path, text).map_err(RecordError::io("write", &path))
    }
}
