//! `gradflow sweep`: a grid of scenarios, and the merging of its shards.

use super::exit::Exit;
use super::run::on_interrupt;
use super::{CliError, Common, Overrides};
use clap::{Args, Subcommand};
use gradflow::record::{Status, folder_under};
use gradflow::report::significant as number;
use gradflow::sweep::{Row, Shard, SweepPlan, Watch, file, merge, run, shared_plan};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Rows that are printed; the table has them all.
const MOST_PRINTED: usize = 100;

/// Run a grid of scenarios, several at a time, into one directory and one table
///
/// Every cell is checked before the first one runs. Finished cells are kept: the same command goes on where a sweep was
/// interrupted or killed. Ctrl-C ends the running cells after their step; a second Ctrl-C ends the program at once.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct Sweep {
    #[command(subcommand)]
    command: Option<Command>,
    /// A RON file or the name of an embedded plan
    #[arg(required = true)]
    plan: Option<String>,
    /// The folder of the sweep: new, empty, or an earlier sweep of the same plan [default: sweeps/<name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run only every N-th cell from the i-th on, as one of N processes [default folder: sweeps/<name>.<i>-of-<N>]
    #[arg(long, value_name = "i/N")]
    shard: Option<String>,
    #[command(flatten)]
    overrides: Overrides,
}

#[derive(Debug, Subcommand)]
enum Command {
    Merge(Merge),
}

/// Put the shards of a sweep together into one sweep directory
#[derive(Debug, Args)]
struct Merge {
    /// The shards' folders
    #[arg(required = true, value_name = "DIR")]
    shards: Vec<PathBuf>,
    /// The folder of the whole: new, empty, or a sweep of the same plan [default: sweeps/<name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Summary<'a> {
    schema: u32,
    sweep: &'a str,
    folder: &'a Path,
    table: PathBuf,
    cells: usize,
    finished: usize,
    completed: usize,
    stopped: usize,
    holds: usize,
    violated: usize,
    vacuous: usize,
    unresolved: usize,
}

impl Sweep {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        if let Some(Command::Merge(merge)) = &self.command {
            return merge.run(common);
        }
        let plan = SweepPlan::load(self.plan.as_deref().unwrap_or_default(), &self.overrides.set)?;
        let shard: Shard = self.shard.as_deref().map_or(Ok(Shard::WHOLE), str::parse)?;
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => folder_under("sweeps", &default_name(&plan, shard))?,
        };
        let n_own = (0..plan.n_cells()).filter(|&cell| shard.owns(cell)).count();
        let bar = Bar::new(n_own, common);
        let swept = run(&plan, &folder, shard, common.n_threads(), &bar)?;
        bar.clear();
        if swept.n_found > 0 && !common.quiet {
            eprintln!("{} of {} cells were there already", swept.n_found, plan.n_cells());
        }
        let is_interrupted = swept.n_pending > 0;
        if is_interrupted && !common.quiet {
            eprintln!("{} cells are left: the same command goes on with them", swept.n_pending);
        }
        write(&plan, &folder, &swept.rows, common)?;
        Ok(if is_interrupted { Exit::Interrupted } else { exit(&swept.rows) })
    }
}

impl Merge {
    fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => folder_under("sweeps", shared_plan(&self.shards)?.name())?,
        };
        let merged = merge(&self.shards, &folder)?;
        write(&merged.plan, &folder, &merged.rows, common)?;
        if merged.missing.is_empty() {
            return Ok(exit(&merged.rows));
        }
        let missing: Vec<String> = merged.missing.iter().map(usize::to_string).collect();
        eprintln!("{} of {} cells are in no shard: {}", missing.len(), merged.plan.n_cells(), missing.join(", "));
        eprintln!("  hint: finish the shards and merge again, or run {} itself", folder.join(file::PLAN).display());
        Ok(Exit::Stopped)
    }
}

fn default_name(plan: &SweepPlan, shard: Shard) -> String {
    if shard == Shard::WHOLE {
        return plan.name().to_owned();
    }
    format!("{}.{}-of-{}", plan.name(), shard.index, shard.count)
}

fn exit(rows: &[Row]) -> Exit {
    if rows.iter().any(Row::is_violated) {
        Exit::Violated
    } else if rows.iter().any(|row| row.status != Status::Completed) {
        Exit::Stopped
    } else {
        Exit::Ok
    }
}

/// A progress bar over cells, the clock, and Ctrl-C.
struct Bar {
    bar: Option<ProgressBar>,
    interrupted: Arc<AtomicBool>,
    start: Instant,
}

impl Bar {
    fn new(n_cells: usize, common: &Common) -> Self {
        let bar = (!common.quiet && io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{bar:24} {pos}/{len} cells ETA {eta:<4} {wide_msg}");
            let bar = ProgressBar::new(n_cells as u64);
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        // Drawn before the first cell is finished, which may take long.
        bar.iter().for_each(ProgressBar::tick);
        Self { bar, interrupted: on_interrupt(common), start: Instant::now() }
    }

    fn clear(&self) {
        self.bar.iter().for_each(ProgressBar::finish_and_clear);
    }
}

impl Watch for Bar {
    fn interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn finished(&self, row: &Row) {
        let Some(bar) = &self.bar else { return };
        bar.inc(1);
        bar.set_message(format!("cell {} ({}): {}", row.cell, row.values.join(", "), end(row)));
    }
}

/// How a cell ended, in a word.
fn end(row: &Row) -> &str {
    row.stop_reason.as_deref().unwrap_or("")
}

fn write(plan: &SweepPlan, folder: &Path, rows: &[Row], common: &Common) -> Result<(), CliError> {
    let mut out = io::stdout().lock();
    let completed = rows.iter().filter(|row| row.status == Status::Completed).count();
    let verdicts = |verdict: &str| rows.iter().filter(|row| row.bound_verdict.as_deref() == Some(verdict)).count();
    let summary = Summary {
        schema: 1,
        sweep: plan.name(),
        folder,
        table: folder.join(file::TABLE),
        cells: plan.n_cells(),
        finished: rows.len(),
        completed,
        stopped: rows.len() - completed,
        holds: verdicts("holds"),
        violated: verdicts("violated"),
        vacuous: verdicts("vacuous"),
        unresolved: verdicts("unresolved"),
    };
    if common.json {
        serde_json::to_writer_pretty(&mut out, &summary).map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(());
    }
    let s = &summary;
    writeln!(out, "{}: {} of {} cells finished", s.sweep, s.finished, s.cells)?;
    print_rows(&mut out, plan, &rows[..rows.len().min(MOST_PRINTED)])?;
    if rows.len() > MOST_PRINTED {
        writeln!(out, "  … and {} more", rows.len() - MOST_PRINTED)?;
    }
    writeln!(out, "  ended          {} completed, {} stopped early", s.completed, s.stopped)?;
    let (holds, violated, vacuous, unresolved) = (s.holds, s.violated, s.vacuous, s.unresolved);
    writeln!(out, "  bound          {holds} holds, {violated} violated, {vacuous} vacuous, {unresolved} unresolved")?;
    writeln!(out, "  table          {}", s.table.display())?;
    Ok(())
}

/// A value that fits beside the others.
fn shorten(value: &str) -> String {
    const LONGEST: usize = 28;
    let is_long = value.chars().count() > LONGEST;
    value.chars().take(LONGEST).chain(is_long.then_some('…')).collect()
}

/// The most telling columns, aligned.
fn print_rows(out: &mut impl Write, plan: &SweepPlan, rows: &[Row]) -> io::Result<()> {
    let mut lines = vec![["cell".to_owned()].to_vec()];
    lines[0].extend(plan.axes().iter().map(|axis| axis.key.clone()));
    lines[0].extend(["P/nM", "lambda_min(0)", "lambda_0", "bound", "rate", "loss", "events", "end"].map(str::to_owned));
    for row in rows {
        let mut line = vec![row.cell.to_string()];
        line.extend(row.values.iter().map(|value| shorten(value)));
        line.extend([
            format!("{:.3}", row.parameters_per_target),
            number(row.lambda_min_0),
            number(row.lambda0),
            row.bound_verdict.clone().unwrap_or_default(),
            number(row.decay_rate),
            number(row.loss_final),
            row.events.to_string(),
            end(row).to_owned(),
        ]);
        lines.push(line);
    }
    let width = |k: usize| lines.iter().map(|line| line[k].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for line in &lines {
        let fields: Vec<String> = line.iter().zip(&widths).map(|(field, width)| format!("{field:<width$}")).collect();
        writeln!(out, "  {}", fields.join("  ").trim_end())?;
    }
    Ok(())
}
