//! A line of `sweep.csv`, read from the run directory of its cell and nothing else.

use super::fit::decay_rate;
use super::plan::SweepPlan;
use crate::record::{RecordError, Run, Status, TrajectoryRecord};
use serde::{Serialize, Serializer};
use std::path::Path;

/// The figures of a finished cell. What was not computed, or is not finite, is `None`: an empty field of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Number of the cell, from 0.
    pub cell: usize,
    /// Its value on each axis, as RON text.
    pub values: Vec<String>,
    /// Whether it did what was asked for or stopped early.
    pub status: Status,
    /// Why it ended, in one snake-case word.
    pub stop_reason: Option<String>,
    /// P.
    pub parameters: usize,
    /// nM.
    pub targets: usize,
    /// P / nM.
    pub parameters_per_target: f64,
    /// λ_min(G) at the start.
    pub lambda_min_0: Option<f64>,
    /// λ₀.
    pub lambda0: Option<f64>,
    /// Verdict on ‖r_t‖ ≤ e^{−λ₀t}‖r_0‖.
    pub bound_verdict: Option<String>,
    /// Verdict on ‖r_t‖ ≤ exp(−∫λ_min)‖r_0‖.
    pub integral_verdict: Option<String>,
    /// [`decay_rate`] of ‖r_t‖.
    pub decay_rate: Option<f64>,
    /// L at the start.
    pub loss_initial: Option<f64>,
    /// L at the end.
    pub loss_final: Option<f64>,
    /// L at the plan's fixed times; `None` where the run ended before.
    pub losses_at: Vec<Option<f64>>,
    /// Number of events.
    pub events: u64,
    /// Slide entries as a share of slide entries and crossings: how often a unit that met a kink stayed on it.
    pub sliding_share: Option<f64>,
    /// Seconds of wall time.
    pub wall_seconds: Option<f64>,
}

impl Row {
    /// The header of the table: fixed names, with a column for each axis and for each fixed time.
    pub fn columns(plan: &SweepPlan) -> Vec<String> {
        let fixed = |names: &str| names.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let mut columns = vec!["cell".to_owned()];
        columns.extend(plan.axes().iter().map(|axis| axis.key.clone()));
        columns.extend(fixed(
            "status stop_reason parameters targets parameters_per_target lambda_min_0 lambda0 bound_verdict integral_verdict \
             decay_rate loss_initial loss_final",
        ));
        columns.extend(plan.losses_at().iter().map(|t| format!("loss_at_{t}")));
        columns.extend(fixed("events sliding_share wall_seconds"));
        columns
    }

    /// Reads the row of a cell whose run directory is `folder`.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn read(plan: &SweepPlan, cell: usize, folder: &Path) -> Result<Self, RecordError> {
        let run = Run::open(folder)?;
        let rows = run.trajectory()?.collect::<Result<Vec<_>, _>>()?;
        let residuals: Vec<(f64, f64)> = rows.iter().map(|row| (row.t, row.residual_norm)).collect();
        let summary = run.summary();
        let events = summary.events.as_ref();
        let contacts = events.map_or(0, |e| e.slide_enter + e.crossing);
        Ok(Self {
            cell,
            values: plan.values(cell).map(str::to_owned).collect(),
            status: summary.status,
            stop_reason: summary.stop_reason.clone(),
            parameters: summary.parameters,
            targets: summary.targets,
            parameters_per_target: summary.parameters as f64 / summary.targets as f64,
            lambda_min_0: rows.first().and_then(|row| row.lambda_min),
            lambda0: summary.lambda0.as_ref().and_then(|l| l.value),
            bound_verdict: summary.bound.as_ref().map(|b| b.verdict.clone()),
            integral_verdict: summary.bound.as_ref().map(|b| b.integral_verdict.clone()),
            decay_rate: decay_rate(&residuals).filter(|rate| rate.is_finite()),
            loss_initial: summary.loss_initial,
            loss_final: summary.loss_final,
            losses_at: plan.losses_at().iter().map(|&t| loss_at(&rows, t)).collect(),
            events: events.map_or(0, |e| e.total()),
            sliding_share: events.filter(|_| contacts > 0).map(|e| e.slide_enter as f64 / contacts as f64),
            wall_seconds: summary.wall_seconds,
        })
    }

    /// Whether one of the two bounds is violated.
    pub fn is_violated(&self) -> bool {
        [&self.bound_verdict, &self.integral_verdict].iter().any(|verdict| verdict.as_deref() == Some("violated"))
    }
}

impl Serialize for Row {
    /// One value per column of [`Row::columns`].
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let sizes = (self.parameters, self.targets, self.parameters_per_target);
        let verdicts = (&self.bound_verdict, &self.integral_verdict);
        (
            (self.cell, &self.values, self.status, &self.stop_reason),
            (sizes, self.lambda_min_0, self.lambda0, verdicts),
            (self.decay_rate, self.loss_initial, self.loss_final, &self.losses_at),
            (self.events, self.sliding_share, self.wall_seconds),
        )
            .serialize(to)
    }
}

/// The loss in the row at `t`, which is there when `t` is a save time that the run reached.
fn loss_at(rows: &[TrajectoryRecord], t: f64) -> Option<f64> {
    let index = rows.iter().rposition(|row| row.t <= t)?;
    let row = &rows[index];
    // A flow at rest is carried to its horizon without a step, and so without rows on the way; a loss that is the same on both sides
    // of a time is the same at it, since it never grows.
    let rests_past = |next: &TrajectoryRecord| next.loss == row.loss;
    (row.t == t || rows.get(index + 1).is_some_and(rests_past)).then_some(row.loss)
}
