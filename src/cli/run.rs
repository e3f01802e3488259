//! `gradflow run`: simulate a scenario and keep a record.

use super::exit::Exit;
use super::page::Page;
use super::progress::Progress;
use super::{CliError, Common, Overrides, summary};
use clap::Args;
use gradflow::record::{AuditSummary, RunWriter, Status, Summary, accuracy_summary, default_folder};
use gradflow::scenario::Scenario;
use gradflow::simulate::{Simulated, audit, simulate};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// The scenario that runs when none is named.
pub(super) const FIRST: &str = "quickstart";

/// Simulate the gradient flow of a scenario and write a run directory
///
/// The record is written as the run grows. Ctrl-C ends the run after the current step and keeps the record; a second
/// Ctrl-C ends the program at once.
#[derive(Debug, Args, Default)]
pub(super) struct Run {
    /// A RON file or the name of an embedded scenario; `quickstart` when left out
    scenario: Option<String>,
    /// The folder of the record: new, empty, or an older run, which is replaced [default: runs/<name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Repeat the run and check every switching surface again at N random times
    #[arg(long, value_name = "N")]
    audit: Option<usize>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    overrides: Overrides,
}

impl Run {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let scenario = self.overrides.load(self.scenario.as_deref().unwrap_or(FIRST))?;
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => default_folder(&scenario.problem.name)?,
        };
        let mut writer = RunWriter::create(&folder, &scenario)?;
        if let Some(warning) = writer.tolerances().warning().filter(|_| !common.quiet) {
            summary::warn(&warning);
        }
        let interrupted = on_interrupt(common);
        let start = Instant::now();
        let run = {
            let mut sink = Progress::new(&mut writer, &scenario.plan, common.quiet);
            simulate(&scenario.problem, &scenario.plan, common.n_threads(), &mut sink, &|| {
                interrupted.load(Ordering::Relaxed)
            })
        };
        let mut summary = writer.finish(&run, start.elapsed().as_secs_f64()).map_err(CliError::Lost)?;
        if let Some(n_times) = self.audit {
            self.check_again(&scenario, &run, n_times, &mut summary, common);
            summary.write(&folder).map_err(CliError::Lost)?;
        }
        self.page.write(&folder, common);
        let mut out = std::io::stdout().lock();
        if common.json {
            serde_json::to_writer_pretty(&mut out, &summary).map_err(std::io::Error::from)?;
            writeln!(out)?;
        } else {
            summary::write(&mut out, &summary, &folder)?;
        }
        if let Some(advice) = summary::advice(&summary).filter(|_| !common.quiet) {
            eprintln!("  hint: {advice}");
        }
        Ok(exit(&summary))
    }

    fn check_again(
        &self,
        scenario: &Scenario,
        run: &Simulated,
        n_times: usize,
        summary: &mut Summary,
        common: &Common,
    ) {
        // The repetition would not end where an interrupted run did.
        if matches!(summary.stop_reason.as_deref(), Some("interrupted" | "output_error" | "spectrum_error")) {
            if !common.quiet {
                eprintln!("no audit: the run did not end by itself");
            }
            return;
        }
        let report = audit(&scenario.problem, &scenario.plan, run, n_times);
        summary.audit = Some(AuditSummary {
            checked: report.n_checked,
            missed: report.n_missed,
            deepest: Some(report.deepest).filter(|d| d.is_finite()),
        });
        summary.accuracy = Some(accuracy_summary(&run.accuracy(&scenario.plan, &report)));
    }
}

/// A flag that the first Ctrl-C sets; the second ends the program.
pub(super) fn on_interrupt(common: &Common) -> Arc<AtomicBool> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let quiet = common.quiet;
    let installed = ctrlc::set_handler(move || {
        if set.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        if !quiet {
            eprintln!("interrupted: ending after this step; press Ctrl-C again to end at once");
        }
    });
    if let Err(error) = installed {
        eprintln!("warning: Ctrl-C will end the run without completing its record: {error}");
    }
    flag
}

pub(super) fn exit(summary: &Summary) -> Exit {
    let is_violated = summary.bound.as_ref().is_some_and(|bound| bound.is_violated());
    match summary.stop_reason.as_deref() {
        Some("interrupted") => Exit::Interrupted,
        Some("output_error") => Exit::Stopped,
        _ if is_violated => Exit::Violated,
        _ if summary.status == Status::Completed => Exit::Ok,
        _ => Exit::Stopped,
    }
}
