//! `gradflow compare`: the flow of a scenario against discrete gradient descent.

use super::exit::Exit;
use super::page::Page;
use super::progress::Progress;
use super::summary::line;
use super::{CliError, Common, Overrides, run, summary};
use clap::{Args, ValueEnum};
use gradflow::descent::compare;
use gradflow::record::{
    CompareSummary, ConditionSummary, DescentSummary, OrderSummary, RunWriter, SharpnessSummary, Summary,
    default_folder, write_comparison,
};
use gradflow::report::significant as number;
use gradflow::scenario::{Cadence, DescentRun, Scenario};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Compare the gradient flow with discrete gradient descent at equal times
///
/// Runs the scenario as `gradflow run` does, with gradient descent from the same start beside it, for each entry of the
/// scenario's `descent` section or each --step. Writes descent.csv, sharpness.csv, modified_flow.csv and compare.json
/// into the run directory as well.
#[derive(Debug, Args, Default)]
pub(super) struct Compare {
    /// A RON file or the name of an embedded scenario; `quickstart` when left out
    scenario: Option<String>,
    /// A step size in place of those of the scenario; may be repeated
    #[arg(long = "step", value_name = "ETA", allow_negative_numbers = true)]
    steps_of: Vec<f64>,
    /// Number of steps of every run
    #[arg(long, value_name = "N", conflicts_with = "horizon")]
    steps: Option<usize>,
    /// Flow and descent go up to this time
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    horizon: Option<f64>,
    /// Heavy-ball momentum, at least 0 and less than 1
    #[arg(long, value_name = "BETA", allow_negative_numbers = true)]
    momentum: Option<f64>,
    /// Samples per mini-batch; 0 for all
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Seed of the order in which mini-batches visit the samples
    #[arg(long, value_name = "SEED")]
    batch_seed: Option<u64>,
    /// End a run that is further than this from the flow
    #[arg(long, value_name = "D", allow_negative_numbers = true)]
    stop_distance: Option<f64>,
    /// Where to measure the sharpness of the flow [default: as the scenario says, else sampled]
    #[arg(long, value_enum, value_name = "WHERE")]
    sharpness: Option<Sharpness>,
    /// The folder of the record: new, empty, or an older run, which is replaced [default: runs/<name>]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    page: Page,
    #[command(flatten)]
    overrides: Overrides,
}

/// Where the sharpness is measured.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sharpness {
    /// At the first event and every 5 % of time, on both sides where that is an event
    Sampled,
    /// On both sides of every event as well, which costs some tens of gradients an event
    EveryEvent,
}

impl From<Sharpness> for Cadence {
    fn from(sharpness: Sharpness) -> Self {
        match sharpness {
            Sharpness::Sampled => Self::Sampled,
            Sharpness::EveryEvent => Self::EveryEvent,
        }
    }
}

impl Compare {
    pub fn run(&self, common: &Common) -> Result<Exit, CliError> {
        let scenario = self.load()?;
        let folder = match &self.out {
            Some(folder) => folder.clone(),
            None => default_folder(&scenario.problem.name)?,
        };
        let mut writer = RunWriter::create(&folder, &scenario)?;
        let interrupted = run::on_interrupt(common);
        let start = Instant::now();
        let (simulated, report) = {
            let mut sink = Progress::new(&mut writer, &scenario.plan, common.quiet);
            compare(&scenario.problem, &scenario.plan, common.n_threads(), &mut sink, &|| {
                interrupted.load(Ordering::Relaxed)
            })
        };
        let flow = writer.finish(&simulated, start.elapsed().as_secs_f64()).map_err(CliError::Lost)?;
        let found = write_comparison(&folder, &scenario.problem, &report).map_err(CliError::Lost)?;
        self.page.write(&folder, common);
        let mut out = io::stdout().lock();
        if common.json {
            serde_json::to_writer_pretty(&mut out, &found).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            write(&mut out, &flow, &found, &folder)?;
        }
        if let Some(advice) = summary::advice(&flow).filter(|_| !common.quiet) {
            eprintln!("  hint: {advice}");
        }
        Ok(run::exit(&flow))
    }

    /// The scenario with what the command line says of descent put into its own section, so that its record repeats the comparison.
    fn load(&self) -> Result<Scenario, CliError> {
        let name = self.scenario.as_deref().unwrap_or(run::FIRST);
        let scenario = self.overrides.load(name)?;
        let mut overrides = self.descent(&scenario)?;
        overrides.extend(self.sharpness.map(|sharpness| format!("sharpness={:?}", Cadence::from(sharpness))));
        if overrides.is_empty() {
            return Ok(scenario);
        }
        let set = self.overrides.set.iter().cloned().chain(overrides).collect();
        Ok(Overrides { set }.load(name)?)
    }

    /// Overrides of `descent` and `flow.until`, where anything was asked for.
    fn descent(&self, scenario: &Scenario) -> Result<Vec<String>, CliError> {
        let own = &scenario.plan.descent;
        if own.is_empty() && self.steps_of.is_empty() {
            return Err(CliError::NoDescent(scenario.problem.name.clone()));
        }
        let is_plain = self.steps_of.is_empty()
            && self.steps.is_none()
            && self.horizon.is_none()
            && self.momentum.is_none()
            && self.batch.is_none()
            && self.batch_seed.is_none()
            && self.stop_distance.is_none();
        if is_plain {
            return Ok(Vec::new());
        }
        let reach = own.iter().map(|run| run.steps as f64 * run.time_step()).reduce(f64::max);
        let reach = self.horizon.or(reach).or(scenario.plan.horizon());
        let mut runs: Vec<DescentRun> = match &self.steps_of[..] {
            [] => own.clone(),
            steps => steps.iter().map(|&step| DescentRun { step, ..DescentRun::default() }).collect(),
        };
        for run in &mut runs {
            run.momentum = self.momentum.unwrap_or(run.momentum);
            run.batch = self.batch.unwrap_or(run.batch);
            run.seed = self.batch_seed.unwrap_or(run.seed);
            run.stop_distance = self.stop_distance.or(run.stop_distance);
            run.steps = match (self.steps, reach) {
                (Some(steps), _) => steps,
                (None, Some(reach)) if self.horizon.is_some() || run.steps == 0 => n_steps(reach, run),
                (None, None) if run.steps == 0 => {
                    return Err(CliError::NoReach(scenario.problem.name.clone()));
                }
                _ => run.steps,
            };
        }
        let entries: Vec<String> = runs.iter().map(entry).collect();
        let mut overrides = vec![format!("descent=[{}]", entries.join(", "))];
        overrides.extend(self.horizon.map(|t| format!("flow.until=[Time({t:?})]")));
        Ok(overrides)
    }
}

/// Steps up to a time, at least one.
fn n_steps(reach: f64, run: &DescentRun) -> usize {
    // A quotient that should be whole may be a rounding error below. What is not a number becomes 1, and is refused for another reason.
    ((reach / run.time_step() * (1.0 + 1e-12)).floor() as usize).max(1)
}

/// A run as written in a scenario.
fn entry(run: &DescentRun) -> String {
    let DescentRun { step, steps, momentum, batch, seed, stop_distance, every } = run;
    let stop = stop_distance.map_or(String::new(), |d| format!(", stop_distance: {d:?}"));
    format!(
        "(step: {step:?}, steps: {steps}, momentum: {momentum:?}, batch: {batch}, seed: {seed}, every: {every}{stop})"
    )
}

/// Writes what was found for people.
fn write(out: &mut impl Write, flow: &Summary, found: &CompareSummary, folder: &Path) -> io::Result<()> {
    writeln!(
        out,
        "{}: gradient descent against the flow, P = {} parameters, {} switching surfaces",
        found.scenario, found.parameters, found.surfaces
    )?;
    let n_events = flow.events.as_ref().map_or(0, gradflow::record::EventSummary::total);
    let events = match found.first_event {
        Some(t) if n_events == 1 => format!("1 event, at t = {}", number(Some(t))),
        Some(t) => format!("{n_events} events, the first at t = {}", number(Some(t))),
        None => "no events".to_owned(),
    };
    let losses = format!("loss {} -> {}", number(flow.loss_initial), number(flow.loss_final));
    let message = flow.stop_message.as_deref().unwrap_or("");
    line(out, "flow", &format!("t = {}, {message}; {losses}; {events}", number(found.t_end)))?;
    table(out, &found.runs)?;
    for run in &found.runs {
        notes(out, run)?;
    }
    if let Some(order) = &found.order {
        line(out, "order", &order_line(order, "distance"))?;
    }
    if let Some(sharpness) = &found.sharpness {
        line(out, "sharpness", &sharpness_line(sharpness, &found.runs))?;
    }
    modified(out, found)?;
    if let Some(condition) = &found.condition {
        line(out, "condition", &condition_line(condition))?;
    }
    jumps(out, &found.runs)?;
    drift(out, &found.runs)?;
    line(out, "record", &folder.display().to_string())
}

/// One line per run.
fn table(out: &mut impl Write, runs: &[DescentSummary]) -> io::Result<()> {
    let header = ["step size", "steps", "t", "loss", "loss of flow", "distance", "of the way", "outputs", "surfaces"];
    let cells = |run: &DescentSummary| {
        let of_the_way = run.distance.zip(run.travelled).map(|(d, way)| 100.0 * d / way).filter(|p| p.is_finite());
        [
            number(Some(run.step_size)),
            run.k.to_string(),
            number(Some(run.t)),
            number(run.loss_descent),
            number(run.loss_flow),
            number(run.distance),
            of_the_way.map_or("-".to_owned(), |p| format!("{} %", number(Some(p)))),
            number(run.prediction_distance),
            run.pattern_disagreement.to_string(),
        ]
    };
    let rows: Vec<[String; 9]> = [header.map(str::to_owned)].into_iter().chain(runs.iter().map(cells)).collect();
    let width = |k: usize| rows.iter().map(|row| row[k].chars().count()).max().unwrap_or(0);
    for row in &rows {
        let cells: Vec<String> = row.iter().enumerate().map(|(k, cell)| format!("{cell:>0$}", width(k))).collect();
        writeln!(out, "  {}", cells.join("  "))?;
    }
    Ok(())
}

/// What is particular about a run.
fn notes(out: &mut impl Write, run: &DescentSummary) -> io::Result<()> {
    let mut notes = Vec::new();
    if run.momentum > 0.0 {
        notes.push(format!("momentum {}, a step is η/(1 − β) of flow time", run.momentum));
    }
    if run.batch > 0 {
        notes.push(format!("mini-batches of {}, seed {}", run.batch, run.seed));
    }
    if run.ending != "completed" {
        notes.push(format!("{}; compared up to iterate {} of {}", run.ending_message, run.k, run.steps));
    }
    if let Some(t) = run.divergence_time {
        notes.push(format!("from t = {} on further from the flow than the flow from its start", number(Some(t))));
    }
    if notes.is_empty() {
        return Ok(());
    }
    line(out, &format!("η = {}", number(Some(run.step_size))), &notes.join("; "))
}

fn order_line(order: &OrderSummary, what: &str) -> String {
    let value = match order.order {
        Some(value) => format!("{what} ~ η^{value:.3} at t = {}", number(Some(order.horizon))),
        None if order.points.len() < 3 => {
            return format!(
                "not fitted: needs three plain runs that get to the same time, found {}",
                order.points.len()
            );
        }
        None => format!("no power of η: a {what} is 0"),
    };
    let caveat = order.caveat.as_ref().map_or(String::new(), |caveat| format!("; {caveat}"));
    format!("{value}, from {} step sizes{caveat}", order.points.len())
}

fn sharpness_line(sharpness: &SharpnessSummary, runs: &[DescentSummary]) -> String {
    let SharpnessSummary { initial, last, largest, largest_t, measurements, cadence, .. } = sharpness;
    let events = if cadence == Cadence::EveryEvent.as_str() { ", both sides of every event among them" } else { "" };
    let mut text = format!(
        "λ_max(∇²L) {} -> {}, at most {} (t = {}) in {measurements} measurements{events}",
        number(Some(*initial)),
        number(Some(*last)),
        number(Some(*largest)),
        number(Some(*largest_t))
    );
    let mut n_exceeded = 0;
    for run in runs {
        // What the flow does behind the last iterate is nothing to this run.
        if let Some(t) = run.unstable_from.filter(|t| *t <= run.t) {
            n_exceeded += 1;
            let name = if run.momentum > 0.0 { "2(1 + β)/η" } else { "2/η" };
            let limit = number(Some(2.0 * (1.0 + run.momentum) / run.step_size));
            text += &format!("; above {name} = {limit} from t = {}", number(Some(t)));
        }
    }
    text += match (n_exceeded, runs.len()) {
        (0, 1) => "; below 2/η",
        (0, _) => "; below 2/η for every step size",
        (n, all) if n < all => "; below it for the others",
        _ => "",
    };
    text
}

fn modified(out: &mut impl Write, found: &CompareSummary) -> io::Result<()> {
    if found.modified.is_empty() {
        return Ok(());
    }
    let of = |m: &gradflow::record::ModifiedSummary| {
        let event = match (m.end.as_str(), m.first_event) {
            ("slide", _) => format!(" (first slide at t = {})", number(Some(m.t))),
            ("stopped", _) => format!(" ({} at t = {})", m.end_message, number(Some(m.t))),
            (_, Some(t)) => format!(" (first event at t = {})", number(Some(t))),
            _ => String::new(),
        };
        let distance = m.distance_descent.map_or("no iterate to compare with".to_owned(), |d| number(Some(d)));
        format!("η = {}: {distance}{event}", number(Some(m.step_size)))
    };
    let list: Vec<String> = found.modified.iter().map(of).collect();
    line(out, "modified flow", &format!("distance from descent {}", list.join("; ")))?;
    match &found.modified_order {
        Some(order) => line(out, "its order", &order_line(order, "distance")),
        None => line(out, "its order", "not fitted: backward error analysis ends at the first event"),
    }
}

fn condition_line(condition: &ConditionSummary) -> String {
    let reach = if condition.ends_at_event { ", its first event" } else { "" };
    format!(
        "up to t = {}{reach}: distance <= {} η by curvature on the path; within {} (1 % of the way) for η <= {}",
        number(Some(condition.until)),
        number(condition.growth),
        number(Some(condition.closeness)),
        number(Some(condition.largest_step))
    )
}

fn jumps(out: &mut impl Write, runs: &[DescentSummary]) -> io::Result<()> {
    for run in runs.iter().filter(|run| run.slides > 0) {
        let first = run.jumps.first().map_or(String::new(), |j| {
            format!(
                "; most at layer {} unit {} sample {}: {} jumps in {} iterates",
                j.layer, j.unit, j.sample, j.jumps, j.iterates
            )
        });
        let text = format!(
            "η = {}: back and forth over the kink in {} of {} slides of the flow{first}",
            number(Some(run.step_size)),
            run.slides_jumped,
            run.slides
        );
        line(out, "jumps", &text)?;
    }
    Ok(())
}

fn drift(out: &mut impl Write, runs: &[DescentSummary]) -> io::Result<()> {
    let drifts: Vec<String> = runs
        .iter()
        .filter_map(|run| {
            run.drift_descent.map(|d| format!("η = {}: {}", number(Some(run.step_size)), number(Some(d))))
        })
        .collect();
    if drifts.is_empty() {
        return Ok(());
    }
    let flow = runs.iter().filter_map(|run| run.drift_flow).fold(0.0, f64::max);
    line(
        out,
        "conserved",
        &format!("largest drift by descent {}; by the flow {}", drifts.join("; "), number(Some(flow))),
    )
}
