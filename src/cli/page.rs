//! The page that goes with every record.

use super::Common;
use clap::Args;
use gradflow::report::write_run;
use std::path::Path;

/// Whether a command that writes a run directory puts a page into it.
#[derive(Debug, Args, Default)]
pub(super) struct Page {
    /// Do not make report.html
    #[arg(long)]
    no_report: bool,
}

impl Page {
    /// Makes the page from the files of `folder`; a failure is a warning, since the record is whole and the page can be made again.
    pub fn write(&self, folder: &Path, common: &Common) {
        if !self.no_report
            && let Err(error) = write_run(folder)
            && !common.quiet
        {
            eprintln!("warning: no report: {error}");
        }
    }
}
