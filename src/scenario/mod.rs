//! Scenarios: from RON text to a [`Problem`] and a [`Plan`], or to every fault of the text at once.
//!
//! Nothing here simulates. The way of a scenario: [`source`] holds the text and applies overrides, `parse` reads it
//! into a [`Spec`] and notes faults of names and types, `check` notes faults of meaning, `memory` sizes that no machine has room for, `resolve` builds the problem,
//! `archive` writes the text back with every default. Start with [`Scenario::load`].

pub mod architecture;
mod archive;
mod build;
mod check;
mod embedded;
mod fault;
mod memory;
pub mod nested;
mod parse;
mod read;
mod resolve;
pub mod scan;
pub mod source;
pub mod spec;

pub use archive::Archive;
pub(crate) use check::Report;
pub use embedded::{Embedded, embedded, embedded_plans};
pub(crate) use fault::nearest;
pub use fault::{Fault, FaultKind, OverrideFault, Place, ScenarioError};
pub(crate) use parse::{Parsed, parse};
pub use read::Folder;
pub use resolve::{Plan, Problem, SavePlan, Sizes};
pub use source::Source;
pub use spec::{Atol, Cadence, DescentRun, Method, Spec, Stop, Track};

use std::path::Path;

/// A scenario without faults: what to simulate, how, and the text that gives the same run again.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// What to simulate.
    pub problem: Problem,
    /// How.
    pub plan: Plan,
    /// The resolved text and the data files it needs.
    pub archive: Archive,
}

impl Scenario {
    /// Loads a file, or an embedded scenario by name, with overrides of the form `key.path=value`.
    ///
    /// # Errors
    /// Every [`ScenarioError`]; all faults of a file at once.
    pub fn load(name: &str, overrides: &[String]) -> Result<Self, ScenarioError> {
        let (source, folder) = open(name)?;
        Self::from_source(source, &folder, overrides)
    }

    /// The same for a text at hand; `folder` is what paths of data files are relative to.
    ///
    /// # Errors
    /// [`ScenarioError::Override`] and [`ScenarioError::Faults`].
    pub fn from_source(mut source: Source, folder: &Folder, overrides: &[String]) -> Result<Self, ScenarioError> {
        for argument in overrides {
            source.apply(argument)?;
        }
        resolve::resolve(&source, folder).map_err(ScenarioError::Faults)
    }
}

/// The text of a file or an embedded scenario, and the folder its data files are in.
///
/// # Errors
/// When there is neither, or the file cannot be read.
pub fn open(name: &str) -> Result<(Source, Folder), ScenarioError> {
    if let Some(opened) = open_file(name)? {
        return Ok(opened);
    }
    match embedded().iter().find(|e| e.name == name) {
        Some(found) => Ok((Source::new(format!("{name}.ron"), found.text), Folder::Embedded)),
        None => Err(ScenarioError::UnknownName {
            name: name.to_owned(),
            nearest: fault::nearest(name, embedded().iter().map(|e| e.name)),
        }),
    }
}

/// The text of a file, and the folder that paths in it are relative to; `None` where there is no such file.
///
/// # Errors
/// [`ScenarioError::Unreadable`].
pub(crate) fn open_file(name: &str) -> Result<Option<(Source, Folder)>, ScenarioError> {
    let path = Path::new(name);
    if !path.is_file() {
        return Ok(None);
    }
    let text =
        std::fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable { path: name.to_owned(), source })?;
    let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
    Ok(Some((Source::new(name, text), Folder::Disk(folder))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_scenario_resolves_and_its_archive_gives_the_same_run() {
        for embedded in embedded() {
            let scenario = Scenario::load(embedded.name, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(scenario.problem.name, embedded.name);
            assert!(embedded.description().ends_with('.') && embedded.text.contains("// Checks "), "{}", embedded.name);
            let folder = tempfile::tempdir().expect("a temporary folder can be made");
            scenario.archive.write(folder.path()).expect("the archive can be written");
            let file = folder.path().join("scenario.ron");
            let again = Scenario::load(&file.to_string_lossy(), &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(again.problem, scenario.problem, "{}", embedded.name);
            assert_eq!(again.plan, scenario.plan, "{}", embedded.name);
            assert_eq!(again.archive, scenario.archive, "{}", embedded.name);
        }
    }

    #[test]
    fn data_and_start_are_drawn_from_separate_streams() {
        let load = |overrides: &[&str]| {
            let overrides: Vec<String> = overrides.iter().map(|o| (*o).to_owned()).collect();
            Scenario::load("quickstart", &overrides).unwrap_or_else(|error| panic!("{error}")).problem
        };
        let plain = load(&[]);
        assert_eq!(load(&["network.hidden=[5]"]).data, plain.data);
        assert_eq!(load(&["data.samples=7"]).theta0, plain.theta0);
        assert_eq!(load(&["data.outputs=1"]).data.x(), plain.data.x());
        assert_ne!(load(&["seed=8"]).data.x(), plain.data.x());
    }

    #[test]
    fn save_times_are_spread_over_the_horizon() {
        let times = |save: &str| {
            let overrides = ["flow.until=[Time(8), Time(4)]".to_owned(), format!("save={save}")];
            let plan = Scenario::load("relu", &overrides).unwrap_or_else(|error| panic!("{error}")).plan;
            (0..5).map_while(|k| plan.save.time(k)).collect::<Vec<_>>()
        };
        assert_eq!(times("(count: 3)"), [0.0, 2.0, 4.0]);
        assert_eq!(times("(every: 2)"), [0.0, 2.0, 4.0, 6.0, 8.0]);
        assert_eq!(times("(times: [1, 3])"), [1.0, 3.0]);
        assert_eq!(times("()"), [0.0]);
        let log = times("(log: 3)");
        // Powers are correct to a few units in the last place.
        for (time, expected) in log.iter().zip([0.0, 4e-6, 4e-3, 4.0]) {
            assert!((time - expected).abs() <= 4.0 * f64::EPSILON * expected, "{log:?}");
        }
        assert_eq!(log.len(), 4);
    }
}
