//! The table of a sweep, read.

use super::error::RecordError;
use super::file;
use std::path::{Path, PathBuf};

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
