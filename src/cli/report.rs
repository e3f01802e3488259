//! `gradflow report`: a page, or figures, from run directories alone.

use super::exit::Exit;
use super::{CliError, Common};
use clap::Args;
use gradflow::report;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The page of several runs, where none is named.
const SIDE_BY_SIDE: &str = "side-by-side.html";

/// Make the page of a run, of several runs side by side, or of a sweep
///
/// The page needs nothing but the folder, and no network to be opened.
#[derive(Debug, Args)]
pub(super) struct Report {
    /// Folders of runs, or the folder of one sweep
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page [default: report.html in the folder; side-by-side.html here for several runs]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write each figure as SVG and PNG, with its numbers as CSV, into this folder instead of a page
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    figures: Option<PathBuf>,
    /// Figures over the logarithm of time
    #[arg(long, requires = "figures")]
    log_time: bool,
}

impl Report {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let folders: Vec<&Path> = self.runs.iter().map(PathBuf::as_path).collect();
        let written = if let Some(folder) = &self.figures {
            report::export::write_figures(&report::figures(&folders, Some(self.log_time))?, folder)?
        } else {
            let target = match (&self.out, &folders[..]) {
                (Some(out), _) => out.clone(),
                (None, [folder]) => folder.join(gradflow::record::file::REPORT),
                (None, _) => PathBuf::from(SIDE_BY_SIDE),
            };
            vec![report::write(&folders, &target)?]
        };
        let mut out = std::io::stdout().lock();
        if common.json {
            let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
            writeln!(out, "{}", serde_json::json!({ "schema": 1, "files": files }))?;
        } else {
            for path in &written {
                writeln!(out, "{}", path.display())?;
            }
        }
        Ok(Exit::Ok)
    }
}
