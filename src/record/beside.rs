//! Files that other commands put beside a run, and the table of a sweep: read only, each of them optional.

use super::error::RecordError;
use super::file;
use super::run::{Rows, Run};
use super::table::LimitSide;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};

/// One line of `descent.csv`: an iterate of discrete gradient descent against the flow at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DescentRecord {
    /// η.
    pub step_size: f64,
    /// Index of the iterate.
    pub k: u64,
    /// kη.
    pub t: f64,
    /// L at the iterate.
    pub loss_descent: Option<f64>,
    /// L of the flow.
    pub loss_flow: Option<f64>,
    /// Distance of the two.
    pub distance: Option<f64>,
    /// The same relative to the way of the flow.
    pub relative_distance: Option<f64>,
    /// Share of switches on another side.
    pub pattern_disagreement: Option<f64>,
}

/// One line of `sharpness.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SharpnessRecord {
    /// Time.
    pub t: f64,
    /// Which limit.
    pub side: LimitSide,
    /// Largest eigenvalue of the Hessian.
    pub sharpness: Option<f64>,
    /// It is known up to about this.
    pub error: Option<f64>,
}

/// One line of `modified_flow.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModifiedFlowRecord {
    /// η.
    pub step_size: f64,
    /// Time.
    pub t: f64,
    /// L of the modified flow.
    pub loss: Option<f64>,
    /// Its distance from descent.
    pub distance_descent: Option<f64>,
}

/// One row of `verify.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VerifiedClaim {
    /// The claim.
    pub claim: String,
    /// What it says.
    #[serde(default)]
    pub title: String,
    /// What was found.
    #[serde(default)]
    pub figure: serde_json::Value,
    /// What would still count.
    #[serde(default)]
    pub tolerance: serde_json::Value,
    /// `holds`, `violated`, `vacuous` or `unresolved`.
    pub verdict: String,
    /// What that means.
    #[serde(default)]
    pub meaning: String,
}

/// `sweep.csv`: a row per cell. The columns between `cell` and `status` are the axes.
#[derive(Debug, Clone, PartialEq)]
pub struct Sweep {
    /// Where it is.
    pub folder: PathBuf,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Cells as written.
    pub rows: Vec<Vec<String>>,
}

impl Run {
    /// Discrete gradient descent against the flow.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn descent(&self) -> Result<Rows<DescentRecord>, RecordError> {
        const COLUMNS: [&str; 8] = [
            "step_size",
            "k",
            "t",
            "loss_descent",
            "loss_flow",
            "distance",
            "relative_distance",
            "pattern_disagreement",
        ];
        Rows::open(self.folder().join(file::DESCENT), &COLUMNS)
    }

    /// Sharpness along the flow.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn sharpness(&self) -> Result<Rows<SharpnessRecord>, RecordError> {
        Rows::open(self.folder().join(file::SHARPNESS), &["t", "side", "sharpness", "error"])
    }

    /// The modified flow.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn modified_flow(&self) -> Result<Rows<ModifiedFlowRecord>, RecordError> {
        Rows::open(self.folder().join(file::MODIFIED_FLOW), &["step_size", "t", "loss", "distance_descent"])
    }

    /// Claims that were verified on this run.
    ///
    /// # Errors
    /// When the file is missing or malformed.
    pub fn verified(&self) -> Result<Vec<VerifiedClaim>, RecordError> {
        #[derive(Deserialize)]
        struct Verified {
            rows: Vec<VerifiedClaim>,
        }
        let path = self.folder().join(file::VERIFIED);
        let text = fs::read_to_string(&path).map_err(RecordError::io("read", &path))?;
        let verified: Result<Verified, _> = serde_json::from_str(&text);
        verified.map(|v| v.rows).map_err(|error| RecordError::Malformed {
            path,
            line: error.line().max(1) as u64,
            reason: error.to_string(),
        })
    }
}

impl Sweep {
    /// Whether a folder is that of a sweep.
    pub fn is_at(folder: &Path) -> bool {
        folder.join(file::SWEEP).is_file()
    }

    /// Opens the folder of a sweep; a line that is cut off ends the table.
    ///
    /// # Errors
    /// When there is no table, or it has no cells, axes or status.
    pub fn open(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(file::SWEEP);
        let malformed = |line, reason: String| RecordError::Malformed { path: path.clone(), line, reason };
        let mut reader = csv::ReaderBuilder::new().from_path(&path).map_err(|error| malformed(1, error.to_string()))?;
        let header = reader.headers().map_err(|error| malformed(1, error.to_string()))?;
        let columns: Vec<String> = header.iter().map(str::to_owned).collect();
        if columns.first().map(String::as_str) != Some("cell") || !columns.iter().any(|c| c == "status") {
            return Err(malformed(1, format!("expected the columns cell,…,status,…, found {}", columns.join(","))));
        }
        let rows = reader.records().map_while(|row| row.ok().map(|r| r.iter().map(str::to_owned).collect())).collect();
        Ok(Self { folder: folder.to_path_buf(), columns, rows })
    }

    /// Names of the axes.
    pub fn axes(&self) -> &[String] {
        let status = self.columns.iter().position(|c| c == "status").unwrap_or(1);
        &self.columns[1..status]
    }

    /// A cell of the table as text; empty where there is no such column.
    pub fn text<'a>(&self, row: &'a [String], column: &str) -> &'a str {
        self.columns.iter().position(|c| c == column).and_then(|k| row.get(k)).map_or("", String::as_str)
    }

    /// A cell of the table as a number; NaN where it is none.
    pub fn number(&self, row: &[String], column: &str) -> f64 {
        self.text(row, column).parse().unwrap_or(f64::NAN)
    }

    /// The run directory of a cell.
    pub fn cell_folder(&self, row: &[String]) -> Option<PathBuf> {
        let cell: u64 = self.text(row, "cell").parse().ok()?;
        Some(self.folder.join("cells").join(format!("{cell:05}")))
    }
}
