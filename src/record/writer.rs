//! The run directory as a sink of a simulation.

use super::error::RecordError;
use super::file;
use super::npy::NpyRows;
use super::run::Rows;
use super::summary::{
    AccuracySummary, BoundSummary, BranchSummary, EstimateSummary, EventSummary, IdentitySummary, LambdaSummary,
    RestSummary, SCHEMA, StartSummary, Status, Summary, Tolerances, TrackingSummary, WorkSummary,
};
use super::table::{
    ConservedRecord, Direction, EventRecord, EventWord, LimitSide, LimitWord, SpectrumRecord, StepRecord,
    TrajectoryRecord,
};
use crate::ntk::{BoundReport, Coverage, Estimate, Lambda0, ZeroReason};
use crate::observe::{
    Accuracy, BranchRow, ConservedRow, EventCounts, EventRow, IdentityReport, Path as ThetaPath, Row, RowSide, Sink,
    StartRow, StepLimit, StepRow,
};
use crate::ode::{BranchKind, EventKind, Rest, Side, Stats, StopReason};
use crate::scenario::{Scenario, Sizes};
use crate::simulate::Simulated;
use csv::WriterBuilder;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

/// Lines after which a table goes to the file system.
const FLUSH_EVERY: usize = 32;

/// Holds more than [`FLUSH_EVERY`] of the longest lines, so that only whole lines are ever written.
const BUFFER: usize = 1 << 16;

/// `runs/<name>` under the current folder.
///
/// # Errors
/// [`RecordError::FolderName`] when the name would lead elsewhere.
pub fn default_folder(name: &str) -> Result<PathBuf, RecordError> {
    folder_under("runs", name)
}

/// The same under another folder.
///
/// # Errors
/// [`RecordError::FolderName`] when the name would lead elsewhere.
pub fn folder_under(parent: &str, name: &str) -> Result<PathBuf, RecordError> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(Path::new(parent).join(name)),
        _ => Err(RecordError::FolderName(name.to_owned())),
    }
}

/// Writes a run directory as the run grows.
#[derive(Debug)]
pub struct RunWriter {
    folder: PathBuf,
    summary: Summary,
    trajectory: Table,
    events: Table,
    theta: NpyRows,
    theta_path: PathBuf,
    theta_times: Table,
    steps: Table,
    spectrum: Table,
}

impl RunWriter {
    /// Makes the folder, or takes over that of an older run, and writes all that is known before the start.
    ///
    /// Files of the older run are replaced, and those that this run may not have are removed.
    ///
    /// # Errors
    /// When the folder holds other things, or cannot be written.
    pub fn create(folder: &Path, scenario: &Scenario) -> Result<Self, RecordError> {
        prepare(folder)?;
        let summary = running(scenario);
        // First of all, so that the folder is known as a run from now on.
        summary.write(folder)?;
        for stale in [
            file::DESCENT,
            file::SHARPNESS,
            file::MODIFIED_FLOW,
            file::COMPARE,
            file::VERIFY,
            file::REPORT,
            file::PATH,
            file::PATH_TIMES,
            file::CONSERVED,
        ] {
            let path = folder.join(stale);
            if path.exists() {
                fs::remove_file(&path).map_err(RecordError::io("remove", &path))?;
            }
        }
        let scenario_path = folder.join(file::SCENARIO);
        scenario.archive.write(folder).map_err(RecordError::io("write", &scenario_path))?;
        let theta_path = folder.join(file::THETA);
        let n_parameters = scenario.problem.theta0.len();
        Ok(Self {
            folder: folder.to_path_buf(),
            summary,
            trajectory: Table::create(folder.join(file::TRAJECTORY), &TrajectoryRecord::COLUMNS)?,
            events: Table::create(folder.join(file::EVENTS), &EventRecord::COLUMNS)?,
            theta: NpyRows::create(&theta_path, n_parameters).map_err(RecordError::io("write", &theta_path))?,
            theta_path,
            theta_times: Table::create(folder.join(file::THETA_TIMES), &["t"])?,
            steps: Table::create(folder.join(file::STEPS), &StepRecord::COLUMNS)?,
            spectrum: Table::create(folder.join(file::SPECTRUM), &SpectrumRecord::COLUMNS)?,
        })
    }

    /// Where the record is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The tolerances of the run.
    pub fn tolerances(&self) -> &Tolerances {
        &self.summary.tolerances
    }

    /// Completes the record: the final λ₀ in the `bound` column, and the summary, which is returned.
    ///
    /// # Errors
    /// [`RecordError::Io`] when something cannot be written.
    pub fn finish(mut self, run: &Simulated, wall_seconds: f64) -> Result<Summary, RecordError> {
        let observed = &run.observed;
        let tables =
            [&mut self.trajectory, &mut self.events, &mut self.theta_times, &mut self.steps, &mut self.spectrum];
        let tables = tables
            .map(Table::flush)
            .into_iter()
            .collect::<io::Result<()>>()
            .map_err(RecordError::io("write", &self.folder));
        let is_whole = tables.is_ok() && observed.sink_error.is_none();
        let bound = match observed.lambda0 {
            Some(lambda0) if is_whole => rewrite_bound(&self.trajectory.path, lambda0.value, observed.residual_initial),
            _ => Ok(()),
        };
        let (status, word, message) = ending(run);
        let stats = &run.outcome.stats;
        let summary = Summary {
            status,
            stop_reason: Some(word),
            stop_message: Some(message),
            t_end: finite(run.outcome.t),
            accuracy: Some(accuracy_summary(&observed.accuracy)),
            rest: run.outcome.rest.map(|Rest { t, field, noise }| RestSummary { t, gradient_norm: field, noise }),
            loss_initial: finite(observed.loss_initial),
            loss_final: finite(observed.loss_final),
            residual_initial: finite(observed.residual_initial),
            residual_final: finite(observed.residual_final),
            lambda0: observed.lambda0.as_ref().map(lambda_summary),
            tracking: observed.coverage.as_ref().map(tracking_summary),
            estimates: observed.estimates.iter().map(estimate_summary).collect(),
            bound: Some(bound_summary(&observed.bound)),
            events: Some(event_summary(&observed.events)),
            work: Some(WorkSummary {
                gram_evaluations: observed.gram_evaluations,
                eigen_solves: observed.eigen_solves,
                method: run.method.clone(),
                ..work_summary(stats)
            }),
            identities: Some(identity_summary(&observed.identities)),
            start: observed.start.iter().map(start_summary).collect(),
            branch_points: observed.branch_points.iter().map(branch_summary).collect(),
            wall_seconds: finite(wall_seconds),
            ..self.summary
        };
        // On a full disk the summary is tried all the same: it is what tells how the run ended.
        let written = summary.write(&self.folder);
        tables.and(bound).and(written).map(|()| summary)
    }
}

impl Sink for RunWriter {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.trajectory.push(&TrajectoryRecord {
            t: row.t,
            side: match row.side {
                RowSide::Smooth => LimitSide::Smooth,
                RowSide::Before => LimitSide::Before,
                RowSide::After => LimitSide::After,
            },
            loss: row.loss,
            residual_norm: row.residual_norm,
            gradient_norm: row.gradient_norm,
            lambda_min: row.lambda_min,
            lambda_max: row.lambda_max,
            bound: row.bound,
            integral_bound: row.integral_bound,
            rayleigh: row.rayleigh,
            step: row.step,
            sliding: row.sliding as u64,
        })
    }

    fn event(&mut self, rows: &[EventRow]) -> io::Result<()> {
        for row in rows {
            self.events.push(&EventRecord {
                index: row.index,
                t: row.t,
                kind: match row.kind {
                    EventKind::Crossing => EventWord::Crossing,
                    EventKind::SlideEnter => EventWord::SlideEnter,
                    EventKind::SlideExit => EventWord::SlideExit,
                    EventKind::Graze => EventWord::Graze,
                },
                layer: row.place.layer,
                unit: row.place.unit,
                sample: row.place.sample,
                breakpoint: usize::from(row.breakpoint),
                direction: direction(row.direction),
                rate_before: row.rate_before,
                rate_after: row.rate_after,
                lambda_min_before: row.lambda_min_before,
                lambda_min_after: row.lambda_min_after,
                loss: row.loss,
                sliding: row.sliding as u64,
            })?;
        }
        Ok(())
    }

    fn theta(&mut self, t: f64, theta: &[f64]) -> io::Result<()> {
        self.theta.push(theta).map_err(|error| named(&self.theta_path, &error))?;
        self.theta_times.push(&(t,))?;
        self.theta_times.flush()
    }

    fn step(&mut self, row: &StepRow) -> io::Result<()> {
        self.steps.push(&StepRecord {
            step: row.step,
            t: row.t,
            length: row.length,
            limit: match row.limit {
                StepLimit::Accuracy => LimitWord::Accuracy,
                StepLimit::Stability => LimitWord::Stability,
                StepLimit::Crossing => LimitWord::Crossing,
                StepLimit::Event => LimitWord::Event,
                StepLimit::End => LimitWord::End,
            },
            rejected: row.rejected,
            method_switches: row.method_switches,
            energy_defect: row.identities.energy_defect,
            conservation_drift: row.identities.conservation_drift,
            displacement: row.identities.displacement,
            displacement_ratio: row.identities.displacement_ratio,
        })
    }

    fn eigenvalues(&mut self, t: f64, eigenvalues: &[f64]) -> io::Result<()> {
        for (index, &eigenvalue) in eigenvalues.iter().enumerate() {
            self.spectrum.push(&SpectrumRecord { t, index, eigenvalue })?;
        }
        self.spectrum.flush()
    }

    fn path(&mut self, path: &ThetaPath) -> io::Result<()> {
        let target = self.folder.join(file::PATH);
        NpyRows::write(&target, &path.theta, path.n_parameters).map_err(|error| named(&target, &error))?;
        let mut times = Table::create(self.folder.join(file::PATH_TIMES), &["step", "t"]).map_err(io::Error::other)?;
        path.at.iter().try_for_each(|at| times.push(at))?;
        times.flush()
    }

    fn conserved(&mut self, rows: &[ConservedRow]) -> io::Result<()> {
        let target = self.folder.join(file::CONSERVED);
        let mut table = Table::create(target, &ConservedRecord::COLUMNS).map_err(io::Error::other)?;
        for &ConservedRow { layer, channel, initial, last, largest_change } in rows {
            table.push(&ConservedRecord { layer, channel, initial, last, largest_change })?;
        }
        table.flush()
    }
}

/// A CSV file that grows in whole lines.
#[derive(Debug)]
pub(crate) struct Table {
    path: PathBuf,
    writer: csv::Writer<File>,
    n_pending: usize,
}

impl Table {
    pub fn create(path: PathBuf, columns: &[&str]) -> Result<Self, RecordError> {
        let file = File::create(&path).map_err(RecordError::io("create", &path))?;
        let mut writer = WriterBuilder::new().has_headers(false).buffer_capacity(BUFFER).from_writer(file);
        writer.write_record(columns).map_err(io::Error::from).map_err(RecordError::io("write", &path))?;
        writer.flush().map_err(RecordError::io("write", &path))?;
        Ok(Self { path, writer, n_pending: 0 })
    }

    pub fn push(&mut self, row: &impl Serialize) -> io::Result<()> {
        self.writer.serialize(row).map_err(|error| named(&self.path, &io::Error::from(error)))?;
        self.n_pending += 1;
        if self.n_pending >= FLUSH_EVERY { self.flush() } else { Ok(()) }
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.n_pending = 0;
        self.writer.flush().map_err(|error| named(&self.path, &error))
    }
}

/// The same error with the name of the file.
fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Makes the folder unless it is there; refuses one with other things in it.
fn prepare(folder: &Path) -> Result<(), RecordError> {
    if folder.exists() && !folder.is_dir() {
        return Err(RecordError::NotAFolder(folder.to_path_buf()));
    }
    fs::create_dir_all(folder).map_err(RecordError::io("create", folder))?;
    let is_empty = fs::read_dir(folder).map_err(RecordError::io("read", folder))?.next().is_none();
    if is_empty || is_run(folder) { Ok(()) } else { Err(RecordError::Occupied(folder.to_path_buf())) }
}

/// Whether the folder is a run, of whatever schema.
fn is_run(folder: &Path) -> bool {
    let text = fs::read_to_string(folder.join(file::SUMMARY)).unwrap_or_default();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    summary["schema"].is_u64() && summary["scenario"].is_string() && !summary["status"].is_null()
}

/// e^{−λ₀t}‖r_0‖ in the `bound` column; all other cells read back and are written as they were.
fn rewrite_bound(path: &Path, lambda0: f64, residual_initial: f64) -> Result<(), RecordError> {
    let unfinished = path.with_extension("csv.tmp");
    let rows: Rows<TrajectoryRecord> = Rows::open(path.to_path_buf(), &TrajectoryRecord::COLUMNS)?;
    let mut table = Table::create(unfinished.clone(), &TrajectoryRecord::COLUMNS)?;
    for row in rows {
        let row = row?;
        let bound = row.bound.map(|_| (-lambda0 * row.t).exp() * residual_initial);
        table.push(&TrajectoryRecord { bound, ..row }).map_err(RecordError::io("write", &unfinished))?;
    }
    table.flush().map_err(RecordError::io("write", &unfinished))?;
    fs::rename(&unfinished, path).map_err(RecordError::io("replace", path))
}

/// The summary before the start.
fn running(scenario: &Scenario) -> Summary {
    let (problem, plan) = (&scenario.problem, &scenario.plan);
    let sizes = Sizes::of(&problem.network, problem.data.n_samples());
    Summary {
        schema: SCHEMA,
        scenario: problem.name.clone(),
        seed: problem.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        status: Status::Running,
        stop_reason: None,
        stop_message: None,
        t_end: None,
        parameters: sizes.parameters,
        targets: sizes.targets,
        surfaces: sizes.surfaces,
        loss: problem.loss.name().to_owned(),
        tolerances: Tolerances::of(problem, plan),
        accuracy: None,
        rest: None,
        loss_initial: None,
        loss_final: None,
        residual_initial: None,
        residual_final: None,
        lambda0: None,
        tracking: None,
        estimates: Vec::new(),
        bound: None,
        events: None,
        work: None,
        identities: None,
        start: Vec::new(),
        branch_points: Vec::new(),
        audit: None,
        wall_seconds: None,
    }
}

/// Status, one word and one sentence for how a run ended.
fn ending(run: &Simulated) -> (Status, String, String) {
    if let Some(error) = &run.observed.sink_error {
        return (Status::Stopped, "output_error".into(), format!("the record could not be written: {error}"));
    }
    if let Some(error) = &run.observed.spectrum_error {
        return (Status::Stopped, "spectrum_error".into(), error.clone());
    }
    let reason = &run.outcome.reason;
    let word = match reason {
        StopReason::Horizon => "horizon".into(),
        StopReason::Rule { name } => name.replace(' ', "_"),
        StopReason::Stationary => "stationary".into(),
        StopReason::Interrupted => "interrupted".into(),
        StopReason::StepLimit { .. } => "step_limit".into(),
        StopReason::StepTooSmall { .. } => "step_too_small".into(),
        StopReason::NonFinite { .. } => "non_finite".into(),
        StopReason::Chatter { .. } => "chatter".into(),
        StopReason::MissedEvent { .. } => "missed_event".into(),
        StopReason::Undecided { .. } => "undecided".into(),
    };
    let status = if reason.is_completion() { Status::Completed } else { Status::Stopped };
    (status, word, reason.to_string())
}

/// The judgement on a run, for its summary.
pub fn accuracy_summary(accuracy: &Accuracy) -> AccuracySummary {
    AccuracySummary { verdict: accuracy.level().as_str().to_owned(), reason: accuracy.reason(), hint: accuracy.hint() }
}

fn lambda_summary(lambda0: &Lambda0) -> LambdaSummary {
    let zero = lambda0.structural_zero.map(|zero| match zero {
        ZeroReason::TooFewParameters => "too_few_parameters".to_owned(),
        ZeroReason::DuplicateInputs => "duplicate_inputs".to_owned(),
    });
    LambdaSummary {
        value: finite(lambda0.value),
        t: lambda0.t,
        side: lambda0.side.as_str().to_owned(),
        resolution: finite(lambda0.resolution),
        known_to: finite(lambda0.known_to()),
        resolved: lambda0.is_resolved,
        rank: lambda0.rank,
        rank_is_measured: lambda0.rank_is_measured,
        rank_is_clear: lambda0.rank_is_clear,
        structural_zero: zero,
    }
}

fn estimate_summary(estimate: &Estimate) -> EstimateSummary {
    EstimateSummary {
        t: estimate.t,
        lambda_min_at_most: finite(estimate.lambda_min_at_most),
        residual: finite(estimate.residual),
        lambda_max: finite(estimate.lambda_max),
        products: estimate.n_products as u64,
    }
}

fn tracking_summary(coverage: &Coverage) -> TrackingSummary {
    TrackingSummary {
        cadence: coverage.cadence.as_str().to_owned(),
        measured: coverage.n_measured,
        skipped: coverage.n_skipped,
        skipped_above: coverage.skipped_above.and_then(finite),
        integral_room: finite(coverage.integral_room),
    }
}

fn bound_summary(bound: &BoundReport) -> BoundSummary {
    BoundSummary {
        verdict: bound.verdict.as_str().to_owned(),
        worst_ratio: bound.worst_ratio.and_then(finite),
        worst_t: bound.worst_t.and_then(finite),
        reason: bound.reason.clone(),
        integral_verdict: bound.integral_verdict.as_str().to_owned(),
        integral_worst_ratio: bound.integral_worst_ratio.and_then(finite),
        integral_reason: bound.integral_reason.clone(),
    }
}

fn event_summary(counts: &EventCounts) -> EventSummary {
    EventSummary {
        crossing: counts.crossing,
        slide_enter: counts.slide_enter,
        slide_exit: counts.slide_exit,
        graze: counts.graze,
        simultaneous: counts.simultaneous,
        max_sliding: counts.max_sliding as u64,
        smallest_gap: counts.smallest_gap.and_then(finite),
    }
}

/// Counters of the integrator, without what the observers did.
fn work_summary(stats: &Stats) -> WorkSummary {
    WorkSummary {
        steps: stats.steps,
        strides: stats.strides,
        rejected: stats.rejected,
        gradient_evaluations: stats.evaluations,
        jvp_evaluations: stats.rate_evaluations,
        single_value_evaluations: stats.single_values,
        decay_estimates: stats.decay_estimates,
        linearisations: stats.linearisations,
        linear_solves: stats.solves,
        method_switches: stats.method_switches,
        gram_evaluations: 0,
        eigen_solves: 0,
        method: String::new(),
    }
}

fn identity_summary(report: &IdentityReport) -> IdentitySummary {
    IdentitySummary {
        energy_defect: finite(report.energy_defect),
        conserved: report.n_conserved > 0,
        n_conserved: report.n_conserved,
        none_conserved_because: report.no_law.map(|reason| reason.as_str().to_owned()),
        conservation_drift: report.conservation_drift.and_then(finite),
        drift_of_terms: report.conservation_drift.and_then(|_| finite(report.drift_of_terms)),
        displacement_bound_ok: report.displacement_bound_ok,
        displacement_worst_ratio: finite(report.displacement_worst_ratio),
        displacement: finite(report.displacement),
    }
}

fn start_summary(row: &StartRow) -> StartSummary {
    StartSummary {
        layer: row.place.layer,
        unit: row.place.unit,
        sample: row.place.sample,
        breakpoint: usize::from(row.breakpoint),
        direction: row.side.map(direction),
    }
}

fn branch_summary(row: &BranchRow) -> BranchSummary {
    let kind = match row.kind {
        BranchKind::RepellingStart => "repelling_start",
        BranchKind::LostAttraction => "lost_attraction",
        BranchKind::NarrowExit => "narrow_exit",
        BranchKind::NearMiss => "near_miss",
        BranchKind::NarrowCrossing => "narrow_crossing",
        BranchKind::SeveralWays => "several_ways",
        BranchKind::Regularised => "regularised",
    };
    BranchSummary {
        t: row.t,
        layer: row.place.layer,
        unit: row.place.unit,
        sample: row.place.sample,
        breakpoint: usize::from(row.breakpoint),
        kind: kind.to_owned(),
        margin: finite(row.margin),
    }
}

fn direction(side: Side) -> Direction {
    match side {
        Side::Above => Direction::Up,
        Side::Below => Direction::Down,
    }
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}
