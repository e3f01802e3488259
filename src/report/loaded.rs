//! All of a run directory that can be read: what is missing or damaged is noted, and the rest is used.

use crate::record::{
    ConservedRecord, DescentRecord, EventRecord, ModifiedRecord, RecordError, Run, SavedTheta, Setting,
    SharpnessRecord, SpectrumRecord, StepRecord, TrajectoryRecord, VerifyRecord, VerifyRow, file,
};
use std::path::Path;

/// The content of a run directory.
#[derive(Debug)]
pub struct Loaded {
    /// The directory and its summary.
    pub run: Run,
    /// `trajectory.csv`.
    pub trajectory: Vec<TrajectoryRecord>,
    /// `events.csv`.
    pub events: Vec<EventRecord>,
    /// `steps.csv`.
    pub steps: Vec<StepRecord>,
    /// `spectrum.csv`.
    pub spectra: Vec<SpectrumRecord>,
    /// `conserved.csv`.
    pub conserved: Vec<ConservedRecord>,
    /// θ along the path.
    pub path: Option<SavedTheta>,
    /// `descent.csv`; empty unless gradient descent was compared.
    pub descent: Vec<DescentRecord>,
    /// `sharpness.csv`; likewise.
    pub sharpness: Vec<SharpnessRecord>,
    /// `modified_flow.csv`; likewise.
    pub modified_flow: Vec<ModifiedRecord>,
    /// `verify.json`; empty unless claims were verified.
    pub verified: Vec<VerifyRow>,
    /// `scenario.ron` as it stands.
    pub scenario: Option<String>,
    /// The same as a network and data.
    pub setting: Option<Setting>,
    /// What could not be read, one sentence each.
    pub faults: Vec<String>,
}

impl Loaded {
    /// Reads a run directory.
    ///
    /// # Errors
    /// Only when its summary cannot be read: everything else may be missing.
    pub fn open(folder: &Path) -> Result<Self, RecordError> {
        let run = Run::open(folder)?;
        let mut faults = Vec::new();
        let scenario = std::fs::read(folder.join(file::SCENARIO)).map(|b| String::from_utf8_lossy(&b).into_owned());
        let scenario = scenario.map_err(|error| faults.push(format!("{}: {error}", file::SCENARIO))).ok();
        let setting = scenario.is_some().then(|| Setting::of(&run)).and_then(|setting| {
            let first_line = |error: String| error.lines().next().unwrap_or_default().to_owned();
            setting.map_err(|error| faults.push(format!("{}: {}", file::SCENARIO, first_line(error)))).ok()
        });
        let has = |name: &str| folder.join(name).is_file();
        let finished = has(file::PATH) || run.summary().t_end.is_some();
        Ok(Self {
            trajectory: rows(run.trajectory(), &mut faults),
            events: rows(run.events(), &mut faults),
            steps: rows(run.steps(), &mut faults),
            spectra: rows(run.spectra(), &mut faults),
            conserved: if finished { rows(run.conserved(), &mut faults) } else { Vec::new() },
            path: if finished { run.path().map_err(|error| faults.push(sentence(&error))).ok() } else { None },
            descent: if has(file::DESCENT) { rows(run.descent(), &mut faults) } else { Vec::new() },
            sharpness: if has(file::SHARPNESS) { rows(run.sharpness(), &mut faults) } else { Vec::new() },
            modified_flow: if has(file::MODIFIED_FLOW) { rows(run.modified_flow(), &mut faults) } else { Vec::new() },
            verified: if has(file::VERIFY) {
                VerifyRecord::read(folder).map(|v| v.rows).unwrap_or_else(|error| {
                    faults.push(sentence(&error));
                    Vec::new()
                })
            } else {
                Vec::new()
            },
            scenario,
            setting,
            faults,
            run,
        })
    }

    /// Name for headings and legends.
    pub fn name(&self) -> &str {
        &self.run.summary().scenario
    }

    /// Time reached, as far as the record says.
    pub fn t_end(&self) -> f64 {
        let last = self.trajectory.last().map_or(0.0, |row| row.t);
        self.run.summary().t_end.unwrap_or(last)
    }
}

/// The rows up to the first that is damaged.
fn rows<T>(
    table: Result<impl Iterator<Item = Result<T, RecordError>>, RecordError>,
    faults: &mut Vec<String>,
) -> Vec<T> {
    let mut found = Vec::new();
    match table {
        Err(error) => faults.push(sentence(&error)),
        Ok(table) => {
            for row in table {
                match row {
                    Ok(row) => found.push(row),
                    Err(error) => {
                        faults.push(format!("{}; the {} lines before it are shown", sentence(&error), found.len()));
                        break;
                    }
                }
            }
        }
    }
    found
}

/// The error with the name of the file alone: the page is in the same folder.
fn sentence(error: &RecordError) -> String {
    let text = error.to_string();
    let (RecordError::Malformed { path, .. }
    | RecordError::MalformedArray { path, .. }
    | RecordError::Io { path, .. }
    | RecordError::Schema { path, .. }) = error
    else {
        return text;
    };
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    text.replace(&path.display().to_string(), &name)
}
