//! `gradflow verify`: simulate a scenario and judge the claims of the theory by it.

use super::exit::Exit;
use super::page::Page;
use super::progress::Progress;
use super::run::{FIRST, on_interrupt};
use super::summary::advice;
use super::{CliError, Common, Overrides};
use clap::Args;
use gradflow::record::{RunWriter, Status, Summary, VerifyRecord, VerifyRow, default_folder};
use gradflow::report::significant as number;
use gradflow::theory::{Evidence, Limits, Verdict, verify};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Simulate a scenario and judge the claims of the theory by it, one row each
///
/// Writes a run directory like `run` does, and the rows to its `verify.json`. Ends with 1 when a verdict is `violated`, with 3 when
/// none is but one is `vacuous` or `unresolved`. docs/verifying.md says how each figure is computed and what a verdict means.
#[derive(Debug, Args)]
pub(super) struct Verify {
    /// A RON file or the name of an embedded scenario; `quickstart` when left out
    scenario: Option<String>,
    /// The folder of the record: new, empty, or an older run, which is replaced [default: runs/<name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Compare with leaky ReLU flows of slopes down to 1e-5 (Corollary 3.1.1); six more runs
    #[arg(long)]
    relu_limit: bool,
    /// Compare with piecewise polynomials of degrees up to 31 in place of the sigmoid (Corollary 3.1.2); six more runs
    #[arg(long)]
    sigmoid_limit: bool,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    overrides: Overrides,
}

impl Verify {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let scenario = self.overrides.load(self.scenario.as_deref().unwrap_or(FIRST))?;
        let (problem, plan) = (&scenario.problem, &scenario.plan);
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => default_folder(&problem.name)?,
        };
        let mut writer = RunWriter::create(&folder, &scenario)?;
        let flag = on_interrupt(common);
        let interrupted = || flag.load(Ordering::Relaxed);
        let start = Instant::now();
        let evidence = {
            let mut sink = Progress::new(&mut writer, plan, common.quiet);
            Evidence::gather(problem, plan, common.n_threads(), &mut sink, &interrupted)
        };
        let summary = writer.finish(&evidence.run, start.elapsed().as_secs_f64()).map_err(CliError::Lost)?;
        let rows = verify(&evidence, Limits { relu: self.relu_limit, sigmoid: self.sigmoid_limit });
        let record = VerifyRecord::new(&problem.name, &rows);
        record.write(&folder).map_err(CliError::Lost)?;
        self.page.write(&folder, common);
        let mut out = io::stdout().lock();
        if common.json {
            serde_json::to_writer_pretty(&mut out, &record).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            table(&mut out, &record, &summary, &folder)?;
        }
        if let Some(advice) = advice(&summary).filter(|_| !common.quiet) {
            eprintln!("  hint: {advice}");
        }
        Ok(exit(&summary, rows.iter().map(|row| row.verdict), interrupted()))
    }
}

fn table(out: &mut impl Write, record: &VerifyRecord, summary: &Summary, folder: &Path) -> io::Result<()> {
    let ended = if summary.status == Status::Completed { "completed" } else { "STOPPED EARLY" };
    let message = summary.stop_message.as_deref().unwrap_or("");
    writeln!(out, "{}: {ended} at t = {}: {message}", record.scenario, number(summary.t_end))?;
    for VerifyRow { claim, title, figure, tolerance, verdict, meaning, file } in &record.rows {
        let figures = match (figure, tolerance) {
            (Some(_), Some(_)) => format!("  [{} against {}]", short(*figure), short(*tolerance)),
            (Some(_), None) => format!("  [{}]", short(*figure)),
            _ => String::new(),
        };
        writeln!(out, "  {verdict:<14} {claim:<21} {title}{figures}")?;
        let shown = file.as_ref().map_or(String::new(), |file| format!(" (see {})", folder.join(file).display()));
        writeln!(out, "  {:<14} {:<21} {meaning}{shown}", "", "")?;
    }
    let count = |verdict: Verdict| record.rows.iter().filter(|row| row.verdict == verdict.as_str()).count();
    let all = [Verdict::Holds, Verdict::Violated, Verdict::Vacuous, Verdict::Unresolved, Verdict::DoesNotApply];
    let counts: Vec<String> = all.iter().map(|v| format!("{} {}", count(*v), v.as_str())).collect();
    writeln!(out, "  {} claims: {}", record.rows.len(), counts.join(", "))?;
    writeln!(out, "  record         {}", folder.display())
}

/// Five significant digits, six decimals next to 1.
fn short(value: Option<f64>) -> String {
    match value {
        Some(x) if x != 1.0 && (x - 1.0).abs() < 1e-3 => format!("{x:.6}"),
        Some(x) if x.fract() == 0.0 && x.abs() < 1e5 => format!("{x}"),
        other => number(other),
    }
}

fn exit(summary: &Summary, verdicts: impl Iterator<Item = Verdict> + Clone, interrupted: bool) -> Exit {
    let mut undecided = verdicts.clone().filter(|v| matches!(v, Verdict::Vacuous | Verdict::Unresolved));
    match summary.stop_reason.as_deref() {
        _ if interrupted => Exit::Interrupted,
        Some("output_error") => Exit::Stopped,
        _ if verdicts.clone().any(|v| v == Verdict::Violated) => Exit::Violated,
        _ if summary.status != Status::Completed => Exit::Stopped,
        _ if undecided.next().is_some() => Exit::Undecided,
        _ => Exit::Ok,
    }
}
