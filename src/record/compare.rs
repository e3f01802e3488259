//! What a comparison with gradient descent leaves beside the record of its flow: three tables and `compare.json`.
//!
//! What is not finite, and what does not apply, is null.

use super::error::RecordError;
use super::summary::SCHEMA;
use super::table::LimitSide;
use super::writer::Table;
use super::{file, json};
use crate::descent::{
    Condition, Curvature, Differing, Ending, ModifiedEnd, ModifiedReport, OrderFit, Report, RunReport,
};
use crate::ntk::SampleSide;
use crate::scenario::{Cadence, Problem};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Longest list of units in the summary of a run.
const LONGEST_LIST: usize = 100;

/// One line of `descent.csv`: an iterate beside the flow.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct DescentRecord {
    /// η.
    pub step_size: f64,
    /// Iterate.
    pub k: u64,
    /// Flow time: kη, or kη/(1 − β) with momentum.
    pub t: f64,
    /// L(θ_k) over all samples.
    pub loss_descent: f64,
    /// L(θ(t)).
    pub loss_flow: f64,
    /// ‖θ_k − θ(t)‖.
    pub distance: f64,
    /// Relative to ‖θ(t)‖.
    pub relative_distance: f64,
    /// Number of surfaces between the two: unit × sample × breakpoint.
    pub pattern_disagreement: u64,
}

impl DescentRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 8] =
        ["step_size", "k", "t", "loss_descent", "loss_flow", "distance", "relative_distance", "pattern_disagreement"];
}

/// One line of `sharpness.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SharpnessRecord {
    /// Time.
    pub t: f64,
    /// Which limit.
    pub side: LimitSide,
    /// λ_max(∇²L) in the mode of the flow.
    pub sharpness: f64,
    /// Norm of the residual of its eigenvector.
    pub error: f64,
}

impl SharpnessRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 4] = ["t", "side", "sharpness", "error"];
}

/// One line of `modified_flow.csv`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ModifiedRecord {
    /// η.
    pub step_size: f64,
    /// Time.
    pub t: f64,
    /// L on the modified flow.
    pub loss: f64,
    /// Its distance from the iterate of that time.
    pub distance_descent: f64,
}

impl ModifiedRecord {
    /// The header.
    pub const COLUMNS: [&'static str; 4] = ["step_size", "t", "loss", "distance_descent"];
}

/// The content of `compare.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompareSummary {
    /// [`SCHEMA`].
    pub schema: u64,
    /// Name of the scenario.
    pub scenario: String,
    /// P.
    pub parameters: usize,
    /// Number of switching surfaces.
    pub surfaces: usize,
    /// End of the flow.
    pub t_end: Option<f64>,
    /// ‖θ(t_end) − θ₀‖.
    pub travelled: Option<f64>,
    /// First event of the flow.
    pub first_event: Option<f64>,
    /// Runs of gradient descent, as listed in the scenario.
    pub runs: Vec<DescentSummary>,
    /// Observed order of the distance in η; null without plain runs.
    pub order: Option<OrderSummary>,
    /// Sharpness along the flow.
    pub sharpness: Option<SharpnessSummary>,
    /// The condition on η.
    pub condition: Option<ConditionSummary>,
    /// Modified flows, one per plain run.
    pub modified: Vec<ModifiedSummary>,
    /// Observed order of their distance from the iterates; null where one of them met an event.
    pub modified_order: Option<OrderSummary>,
}

/// A run of gradient descent; distances are at its last iterate that was compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescentSummary {
    /// η.
    pub step_size: f64,
    /// Steps asked for.
    pub steps: usize,
    /// β.
    pub momentum: f64,
    /// Samples per mini-batch; 0 for all.
    pub batch: usize,
    /// Seed of their order.
    pub seed: u64,
    /// Distance that ends the run.
    pub stop_distance: Option<f64>,
    /// `completed`, `flow_ended`, `distance`, `diverged` or `non_finite`.
    pub ending: String,
    /// The same as a sentence.
    pub ending_message: String,
    /// Last iterate compared.
    pub k: usize,
    /// Its flow time.
    pub t: f64,
    /// L there.
    pub loss_descent: Option<f64>,
    /// L of the flow then.
    pub loss_flow: Option<f64>,
    /// ‖θ_k − θ(t)‖.
    pub distance: Option<f64>,
    /// Relative to ‖θ(t)‖.
    pub relative_distance: Option<f64>,
    /// ‖θ(t) − θ₀‖.
    pub travelled: Option<f64>,
    /// The distance, layer by layer.
    pub distance_per_layer: Vec<f64>,
    /// Distance of all outputs on all samples.
    pub prediction_distance: Option<f64>,
    /// Largest distance of all iterates.
    pub largest_distance: Option<f64>,
    /// When that was.
    pub largest_distance_t: f64,
    /// Surfaces between iterate and flow.
    pub pattern_disagreement: u64,
    /// Units on these, at most a hundred.
    pub differing: Vec<DifferingSummary>,
    /// First time at which the iterate was further from the flow than the flow from θ₀.
    pub divergence_time: Option<f64>,
    /// First measured time at which the sharpness of the flow exceeded 2/η.
    pub unstable_from: Option<f64>,
    /// Slides of the flow that lasted for an iterate or more.
    pub slides: usize,
    /// Those in which descent jumped over the kink twice or more.
    pub slides_jumped: usize,
    /// These, most jumps first, at most a hundred.
    pub jumps: Vec<JumpSummary>,
    /// Largest relative change of a conserved quantity along the iterates; null without conservation laws.
    pub drift_descent: Option<f64>,
    /// The same along the flow.
    pub drift_flow: Option<f64>,
    /// η·max B of the condition.
    pub bound: Option<f64>,
}

/// A unit that is in another piece than the flow's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferingSummary {
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit, from 0.
    pub unit: usize,
    /// Sample, from 0.
    pub sample: usize,
    /// Piece of the flow, from 0; of a sliding unit the one below its kink.
    pub piece_flow: u16,
    /// Piece of the iterate.
    pub piece_descent: u16,
}

/// A kink that descent jumped back and forth over while the flow slid along it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct JumpSummary {
    /// Hidden layer, from 1.
    pub layer: usize,
    /// Unit, from 0.
    pub unit: usize,
    /// Sample, from 0.
    pub sample: usize,
    /// Breakpoint, from 0.
    pub breakpoint: u16,
    /// Iterates during the slide.
    pub iterates: u64,
    /// Those on another side than the one before.
    pub jumps: u64,
}

/// An observed order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderSummary {
    /// The time at which distances were taken.
    pub horizon: f64,
    /// Slope of log distance over log η; null with fewer than three step sizes.
    pub order: Option<f64>,
    /// (η, distance).
    pub points: Vec<(f64, f64)>,
    /// 0.05/λ_max at the horizon, above which the order is irregular; null without kinks.
    pub largest_regular: Option<f64>,
    /// 1/λ_max, above which steps are too long for any order; null where the loss is not curved.
    pub largest_asymptotic: Option<f64>,
    /// Why the order is not to be relied on; null if it is.
    pub caveat: Option<String>,
}

/// Sharpness along the flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SharpnessSummary {
    /// At the start.
    pub initial: f64,
    /// At the end.
    pub last: f64,
    /// The largest measured.
    pub largest: f64,
    /// When that was.
    pub largest_t: f64,
    /// The smallest λ_min(∇²L) measured.
    pub lowest: f64,
    /// Number of measurements.
    pub measurements: usize,
    /// `sampled`: at the first event, and at ends of steps 5 % of time apart; `every-event`: on both sides of every event as well.
    #[serde(default = "sampled")]
    pub cadence: String,
}

/// The condition on η.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConditionSummary {
    /// max B: bound on the distance per η.
    pub growth: Option<f64>,
    /// It reaches up to this time.
    pub until: f64,
    /// Whether the first event of the flow ended it.
    pub ends_at_event: bool,
    /// ε: a hundredth of the way that the flow has gone by then.
    pub closeness: f64,
    /// Steps up to this keep descent within ε.
    pub largest_step: f64,
}

/// A modified flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModifiedSummary {
    /// η.
    pub step_size: f64,
    /// `horizon`, `slide` or `stopped`.
    pub end: String,
    /// The same as a sentence.
    pub end_message: String,
    /// When.
    pub t: f64,
    /// Its first event, beyond which its order is one.
    pub first_event: Option<f64>,
    /// Distance from the last iterate recorded by then; null if that is the start.
    pub distance_descent: Option<f64>,
    /// L there.
    pub loss: Option<f64>,
}

/// Writes `descent.csv`, `sharpness.csv`, `modified_flow.csv` and `compare.json` into a run directory; returns the content of the last.
///
/// # Errors
/// [`RecordError::Io`].
pub fn write_comparison(folder: &Path, problem: &Problem, report: &Report) -> Result<CompareSummary, RecordError> {
    let descent = report.runs.iter().flat_map(|run| {
        run.rows.iter().map(|row| DescentRecord {
            step_size: run.plan.step,
            k: row.k as u64,
            t: row.t,
            loss_descent: row.loss_descent,
            loss_flow: row.loss_flow,
            distance: row.distance,
            relative_distance: row.relative_distance,
            pattern_disagreement: row.pattern_disagreement,
        })
    });
    write_table(folder, file::DESCENT, &DescentRecord::COLUMNS, descent)?;
    let sharpness = report.curvature.iter().map(|c| SharpnessRecord {
        t: c.t,
        side: match c.side {
            SampleSide::Smooth => LimitSide::Smooth,
            SampleSide::Before => LimitSide::Before,
            SampleSide::After => LimitSide::After,
        },
        sharpness: c.highest,
        error: c.highest_error,
    });
    write_table(folder, file::SHARPNESS, &SharpnessRecord::COLUMNS, sharpness)?;
    let modified = report.modified.iter().flat_map(|flow| {
        flow.rows.iter().map(|row| ModifiedRecord {
            step_size: flow.step_size,
            t: row.t,
            loss: row.loss,
            distance_descent: row.distance_descent,
        })
    });
    write_table(folder, file::MODIFIED_FLOW, &ModifiedRecord::COLUMNS, modified)?;
    let summary = summary(problem, report);
    json::write(folder, file::COMPARE, &summary)?;
    Ok(summary)
}

fn write_table<T: Serialize>(
    folder: &Path,
    name: &str,
    columns: &[&str],
    rows: impl Iterator<Item = T>,
) -> Result<(), RecordError> {
    let path = folder.join(name);
    let mut table = Table::create(path.clone(), columns)?;
    for row in rows {
        table.push(&row).map_err(RecordError::io("write", &path))?;
    }
    table.flush().map_err(RecordError::io("write", &path))
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

fn summary(problem: &Problem, report: &Report) -> CompareSummary {
    CompareSummary {
        schema: SCHEMA,
        scenario: problem.name.clone(),
        parameters: problem.theta0.len(),
        surfaces: problem.network.n_surfaces(problem.data.n_samples()),
        t_end: finite(report.t_end),
        travelled: finite(report.travelled),
        first_event: report.first_event,
        runs: report.runs.iter().map(run_summary).collect(),
        order: report.order.as_ref().map(order_summary),
        sharpness: sharpness_summary(report.cadence, &report.curvature),
        condition: report.condition.as_ref().map(condition_summary),
        modified: report.modified.iter().map(modified_summary).collect(),
        modified_order: report.modified_order.as_ref().map(order_summary),
    }
}

fn run_summary(run: &RunReport) -> DescentSummary {
    let (ending, ending_message) = match &run.ending {
        Ending::Completed => ("completed", "made all its steps".to_owned()),
        Ending::FlowEnded => ("flow_ended", "the flow ended before its steps did".to_owned()),
        Ending::Distance => ("distance", "came further from the flow than stop_distance".to_owned()),
        Ending::Diverged => ("diverged", "diverged: its loss rose to a million times that of the start".to_owned()),
        Ending::NonFinite { what, k } => ("non_finite", format!("diverged: {what} became non-finite at iterate {k}")),
    };
    let back_and_forth: Vec<JumpSummary> = run
        .jumps
        .iter()
        .filter(|j| j.n_jumps >= 2)
        .map(|j| JumpSummary {
            layer: j.place.layer,
            unit: j.place.unit,
            sample: j.place.sample,
            breakpoint: j.breakpoint,
            iterates: j.n_iterates,
            jumps: j.n_jumps,
        })
        .collect();
    let differing = |d: &Differing| DifferingSummary {
        layer: d.place.layer,
        unit: d.place.unit,
        sample: d.place.sample,
        piece_flow: d.piece_flow,
        piece_descent: d.piece_descent,
    };
    let last = run.last();
    DescentSummary {
        step_size: run.plan.step,
        steps: run.plan.steps,
        momentum: run.plan.momentum,
        batch: run.plan.batch,
        seed: run.plan.seed,
        stop_distance: run.plan.stop_distance,
        ending: ending.to_owned(),
        ending_message,
        k: last.k,
        t: last.t,
        loss_descent: finite(last.loss_descent),
        loss_flow: finite(last.loss_flow),
        distance: finite(last.distance),
        relative_distance: finite(last.relative_distance),
        travelled: finite(run.travelled),
        distance_per_layer: run.per_layer.clone(),
        prediction_distance: finite(run.prediction_distance),
        largest_distance: finite(run.largest_distance),
        largest_distance_t: run.largest_distance_t,
        pattern_disagreement: last.pattern_disagreement,
        differing: run.differing.iter().take(LONGEST_LIST).map(differing).collect(),
        divergence_time: run.divergence_time,
        unstable_from: run.unstable_from,
        slides: run.jumps.len(),
        slides_jumped: back_and_forth.len(),
        jumps: back_and_forth.into_iter().take(LONGEST_LIST).collect(),
        drift_descent: run.drift_descent.and_then(finite),
        drift_flow: run.drift_flow.and_then(finite),
        bound: run.bound.and_then(finite),
    }
}

fn order_summary(fit: &OrderFit) -> OrderSummary {
    OrderSummary {
        horizon: fit.horizon,
        order: fit.order.and_then(finite),
        points: fit.points.clone(),
        largest_regular: fit.limits.regular.and_then(finite),
        largest_asymptotic: fit.limits.asymptotic.and_then(finite),
        caveat: fit.caveat(),
    }
}

/// What records say that were written before there was a choice.
fn sampled() -> String {
    Cadence::Sampled.as_str().to_owned()
}

fn sharpness_summary(cadence: Cadence, curvature: &[Curvature]) -> Option<SharpnessSummary> {
    let (first, last) = (curvature.first()?, curvature.last()?);
    let largest = curvature.iter().fold(first, |best, c| if c.highest > best.highest { c } else { best });
    Some(SharpnessSummary {
        initial: first.highest,
        last: last.highest,
        largest: largest.highest,
        largest_t: largest.t,
        lowest: curvature.iter().map(|c| c.lowest).fold(f64::INFINITY, f64::min),
        measurements: curvature.len(),
        cadence: cadence.as_str().to_owned(),
    })
}

fn condition_summary(condition: &Condition) -> ConditionSummary {
    ConditionSummary {
        growth: finite(condition.growth),
        until: condition.until,
        ends_at_event: condition.ends_at_event,
        closeness: condition.closeness,
        largest_step: condition.largest_step,
    }
}

fn modified_summary(flow: &ModifiedReport) -> ModifiedSummary {
    let (end, end_message) = match &flow.end {
        ModifiedEnd::Horizon => ("horizon", "reached the last iterate".to_owned()),
        ModifiedEnd::Slide => {
            ("slide", "came to a kink that it would have to slide along, and is not defined beyond".to_owned())
        }
        ModifiedEnd::Stopped { reason } => ("stopped", format!("stopped early: {reason}")),
    };
    // At the start both are the same point, which says nothing.
    let last = flow.rows.last().filter(|row| row.t > 0.0);
    ModifiedSummary {
        step_size: flow.step_size,
        end: end.to_owned(),
        end_message,
        t: flow.t,
        first_event: flow.first_event,
        distance_descent: last.and_then(|row| finite(row.distance_descent)),
        loss: last.and_then(|row| finite(row.loss)),
    }
}
