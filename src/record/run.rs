//! Reading a run directory, finished or not.

use super::compare::{CompareSummary, DescentRecord, ModifiedRecord, SharpnessRecord};
use super::error::RecordError;
use super::summary::Summary;
use super::table::{ConservedRecord, EventRecord, SpectrumRecord, StepRecord, TrajectoryRecord};
use super::{file, json};
use csv::{ErrorKind, StringRecord};
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::BufReader;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// A run directory.
#[derive(Debug)]
pub struct Run {
    folder: PathBuf,
    summary: Summary,
}

/// θ at the save times.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedTheta {
    /// Save times, K of them.
    pub times: Vec<f64>,
    /// θ row after row, K × P.
    pub theta: Vec<f64>,
    /// P.
    pub n_parameters: usize,
}

/// The lines of a table, read one at a time.
#[derive(Debug)]
pub struct Rows<T> {
    path: PathBuf,
    header: StringRecord,
    reader: csv::Reader<BufReader<File>>,
    line: StringRecord,
    row: PhantomData<T>,
}

impl Run {
    /// Opens a run directory.
    ///
    /// # Errors
    /// When it is not one, or its summary cannot be read.
    pub fn open(folder: &Path) -> Result<Self, RecordError> {
        Ok(Self { folder: folder.to_path_buf(), summary: Summary::read(folder)? })
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What ran, how it ended, what was found.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The events in the order of time.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn events(&self) -> Result<Rows<EventRecord>, RecordError> {
        Rows::open(self.folder.join(file::EVENTS), &EventRecord::COLUMNS)
    }

    /// The trajectory in the order of time.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn trajectory(&self) -> Result<Rows<TrajectoryRecord>, RecordError> {
        Rows::open(self.folder.join(file::TRAJECTORY), &TrajectoryRecord::COLUMNS)
    }

    /// What a comparison with gradient descent found; `None` when there was none.
    ///
    /// # Errors
    /// When the file cannot be read or is malformed.
    pub fn comparison(&self) -> Result<Option<CompareSummary>, RecordError> {
        let path = self.folder.join(file::COMPARE);
        path.is_file().then(|| json::read(&path)).transpose()
    }

    /// Iterates of gradient descent beside the flow, run after run.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn descent(&self) -> Result<Rows<DescentRecord>, RecordError> {
        Rows::open(self.folder.join(file::DESCENT), &DescentRecord::COLUMNS)
    }

    /// The sharpness along the flow.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn sharpness(&self) -> Result<Rows<SharpnessRecord>, RecordError> {
        Rows::open(self.folder.join(file::SHARPNESS), &SharpnessRecord::COLUMNS)
    }

    /// Modified flows, one after the other.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn modified_flow(&self) -> Result<Rows<ModifiedRecord>, RecordError> {
        Rows::open(self.folder.join(file::MODIFIED_FLOW), &ModifiedRecord::COLUMNS)
    }

    /// The accepted steps in the order of time.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn steps(&self) -> Result<Rows<StepRecord>, RecordError> {
        Rows::open(self.folder.join(file::STEPS), &StepRecord::COLUMNS)
    }

    /// Spectra of G in the order of time.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn spectra(&self) -> Result<Rows<SpectrumRecord>, RecordError> {
        Rows::open(self.folder.join(file::SPECTRUM), &SpectrumRecord::COLUMNS)
    }

    /// The conserved quantities.
    ///
    /// # Errors
    /// When the file is missing or has another header; later, for each malformed line.
    pub fn conserved(&self) -> Result<Rows<ConservedRecord>, RecordError> {
        Rows::open(self.folder.join(file::CONSERVED), &ConservedRecord::COLUMNS)
    }

    /// θ at the save times; of a run that was killed, those that were complete.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn theta(&self) -> Result<SavedTheta, RecordError> {
        let rows: Rows<(f64,)> = Rows::open(self.folder.join(file::THETA_TIMES), &["t"])?;
        let times = rows.map(|row| row.map(|(t,)| t)).collect::<Result<_, _>>()?;
        self.array(file::THETA, times)
    }

    /// θ along the path, in at most 257 points evenly spread over the steps.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn path(&self) -> Result<SavedTheta, RecordError> {
        let rows: Rows<(u64, f64)> = Rows::open(self.folder.join(file::PATH_TIMES), &["step", "t"])?;
        let times = rows.map(|row| row.map(|(_, t)| t)).collect::<Result<_, _>>()?;
        self.array(file::PATH, times)
    }

    fn array(&self, name: &str, mut times: Vec<f64>) -> Result<SavedTheta, RecordError> {
        let path = self.folder.join(name);
        let malformed = |reason: String| RecordError::MalformedArray { path: path.clone(), reason };
        let open = File::open(&path).map_err(RecordError::io("read", &path))?;
        let array = npyz::NpyFile::new(BufReader::new(open)).map_err(|error| malformed(error.to_string()))?;
        let &[n_rows, n_columns] = array.shape() else {
            return Err(malformed(format!("expected an array K × P, found shape {:?}", array.shape())));
        };
        let (n_rows, n_parameters) = (n_rows as usize, n_columns as usize);
        let mut theta: Vec<f64> = array.into_vec().map_err(|error| malformed(error.to_string()))?;
        // A run that was killed between the two files has one of them a row ahead.
        let n_both = n_rows.min(times.len());
        times.truncate(n_both);
        theta.truncate(n_both * n_parameters);
        Ok(SavedTheta { times, theta, n_parameters })
    }
}

impl<T: DeserializeOwned> Rows<T> {
    /// Opens a table that has exactly these columns.
    pub(super) fn open(path: PathBuf, columns: &[&str]) -> Result<Self, RecordError> {
        let file = File::open(&path).map_err(RecordError::io("read", &path))?;
        let mut reader = csv::Reader::from_reader(BufReader::new(file));
        let header = reader.headers().map_err(|error| malformed(&path, 1, &error))?.clone();
        if !header.iter().eq(columns.iter().copied()) {
            let found: Vec<&str> = header.iter().collect();
            let reason = format!("expected the columns {}, found {}", columns.join(","), found.join(","));
            return Err(RecordError::Malformed { path, line: 1, reason });
        }
        Ok(Self { path, header, reader, line: StringRecord::new(), row: PhantomData })
    }

    fn read(&mut self) -> Result<Option<T>, RecordError> {
        let start = self.reader.position().line();
        let is_line = self.reader.read_record(&mut self.line).map_err(|error| malformed(&self.path, start, &error))?;
        if !is_line {
            return Ok(None);
        }
        let at = self.line.position().map_or(start, csv::Position::line);
        let row = self.line.deserialize(None);
        row.map(Some).map_err(|error| match error.kind() {
            ErrorKind::Deserialize { err, .. } => {
                // An unknown word comes without its column, but names itself.
                let field = err.field().and_then(|k| usize::try_from(k).ok());
                let reason = match field.and_then(|k| Some((self.header.get(k)?, self.line.get(k)?))) {
                    Some((column, found)) => format!("column {column}: found `{found}`: {}", err.kind()),
                    None => err.kind().to_string(),
                };
                RecordError::Malformed { path: self.path.clone(), line: at, reason }
            }
            _ => malformed(&self.path, at, &error),
        })
    }
}

impl<T: DeserializeOwned> Iterator for Rows<T> {
    type Item = Result<T, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

fn malformed(path: &Path, line: u64, error: &csv::Error) -> RecordError {
    let reason = match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => format!("expected {expected_len} cells, found {len}"),
        _ => error.to_string(),
    };
    let line = error.position().map_or(line, csv::Position::line);
    RecordError::Malformed { path: path.to_path_buf(), line, reason }
}
