//! What the claims are judged by: a run with everything it told.
//!
//! All fields are public so that a record can be altered and judged again. Next: the claims, one file each.

use super::witness::Witness;
use crate::flow::FlowField;
use crate::observe::{EventRow, Row, Sink};
use crate::ode::{NonFinite, PiecewiseField};
use crate::scenario::{Plan, Problem, SavePlan, Stop, Track};
use crate::simulate::{Simulated, Watch, simulate, simulate_beside};
use crate::vector::norm;
use std::io;

/// A run, and all it told.
pub struct Evidence<'a> {
    /// What was simulated.
    pub problem: &'a Problem,
    /// How.
    pub plan: &'a Plan,
    /// Threads that further runs may use.
    pub n_threads: usize,
    /// Asked now and then by long claims.
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
    /// Outcome and observations.
    pub run: Simulated,
    /// The trajectory.
    pub rows: Vec<Row>,
    /// The list of events.
    pub events: Vec<EventRow>,
    /// θ at the save times and at the end.
    pub saved: Vec<(f64, Vec<f64>)>,
    /// What the record does not have.
    pub witness: Witness,
}

impl<'a> Evidence<'a> {
    /// Runs the flow of `problem` as `plan` says; rows go to `sink` as well. If λ_min is followed, then at every event: several claims are
    /// about its values, or those of λ_max, at particular rows.
    pub fn gather(
        problem: &'a Problem,
        plan: &'a Plan,
        n_threads: usize,
        sink: &mut dyn Sink,
        interrupted: &'a (dyn Fn() -> bool + Sync),
    ) -> Self {
        let field = FlowField::with_loss(problem.network.clone(), &problem.data, problem.loss);
        let mut witness = Witness::new(field, problem.data.n_targets(), plan.track.is_on());
        let mut kept = Kept { sink, rows: Vec::new(), events: Vec::new(), saved: Vec::new() };
        let track = if plan.track.is_on() { Track::EveryEvent } else { Track::Off };
        let closely = Plan { track, ..plan.clone() };
        let run = simulate_beside(problem, &closely, n_threads, Watch { sink: &mut kept, interrupted }, &mut witness);
        let Kept { rows, events, saved, .. } = kept;
        Self { problem, plan, n_threads, interrupted, run, rows, events, saved, witness }
    }

    /// The field of this flow.
    pub fn field(&self) -> FlowField {
        FlowField::with_loss(self.problem.network.clone(), &self.problem.data, self.problem.loss)
    }

    /// Another run to `horizon` with θ saved at `times`; its θs and what it showed.
    pub(super) fn another(
        &self,
        problem: &Problem,
        horizon: f64,
        times: Vec<f64>,
    ) -> (Simulated, Vec<(f64, Vec<f64>)>) {
        let plan = Plan { until: vec![Stop::Time(horizon)], save: SavePlan::Times(times), ..self.plan.clone() };
        let mut kept = Kept { sink: &mut (), rows: Vec::new(), events: Vec::new(), saved: Vec::new() };
        let run = simulate(problem, &plan, self.n_threads, &mut kept, self.interrupted);
        (run, kept.saved)
    }

    /// Time at the end of the run.
    pub fn t_end(&self) -> f64 {
        self.run.outcome.t
    }

    /// Why the claims about the squared error with P ≥ nM and distinct inputs do not apply; `None` when they do.
    pub fn beyond_theorem(&self) -> Option<String> {
        let (p, n) = (self.problem.network.n_parameters(), self.problem.data.n_targets());
        if let Some(reason) = self.problem.loss.beyond_theory() {
            Some(reason.to_owned())
        } else if p < n {
            Some(format!("it asks for P ≥ nM, and {p} < {n}"))
        } else if self.problem.data.merged().has_duplicates() {
            Some("some samples share an input, which it excludes".to_owned())
        } else {
            None
        }
    }

    /// Largest ‖r_t‖ / (e^{−rate·(t − t₀)}‖r_{t₀}‖) over the rows behind t₀, and whether it is more than rounding and tolerances allow. `None`
    /// without such rows.
    pub(super) fn decay_ratio(&self, rate: f64, t_start: f64) -> Option<(f64, bool)> {
        let first = self.rows.iter().position(|row| row.t >= t_start)?;
        let start = &self.rows[first];
        // The residual is known to about this.
        let slack = 100.0 * self.plan.rtol * self.rows[0].residual_norm;
        let mut worst: Option<(f64, bool)> = None;
        for row in self.rows[first..].iter().filter(|row| row.t > start.t) {
            let bound = (-rate * (row.t - start.t)).exp() * start.residual_norm;
            let ratio = if row.residual_norm == 0.0 { 0.0 } else { row.residual_norm / bound };
            let is_broken = row.residual_norm > bound * (1.0 + crate::ntk::bound::RATIO_TOL) + slack;
            let (largest, broken) = worst.unwrap_or((0.0, false));
            worst = Some((ratio.max(largest), broken || is_broken));
        }
        worst
    }
}

/// θ̇ and L at θ, pieces read off the values.
///
/// # Errors
/// When a value is not finite.
pub(super) fn evaluate(field: &mut FlowField, theta: &[f64]) -> Result<(Vec<f64>, f64), NonFinite> {
    let mode = field.mode_from_values(theta);
    let mut dy = vec![0.0; theta.len()];
    field.eval(theta, &mode, &mut dy)?;
    let loss = field.sample(&dy).loss;
    Ok((dy, loss))
}

/// ‖a − b‖.
pub(super) fn distance(a: &[f64], b: &[f64]) -> f64 {
    norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>())
}

/// Keeps what it hands on.
struct Kept<'a> {
    sink: &'a mut dyn Sink,
    rows: Vec<Row>,
    events: Vec<EventRow>,
    saved: Vec<(f64, Vec<f64>)>,
}

impl Sink for Kept<'_> {
    fn row(&mut self, row: &Row) -> io::Result<()> {
        self.rows.push(*row);
        self.sink.row(row)
    }

    fn event(&mut self, rows: &[EventRow]) -> io::Result<()> {
        self.events.extend_from_slice(rows);
        self.sink.event(rows)
    }

    fn theta(&mut self, t: f64, theta: &[f64]) -> io::Result<()> {
        self.saved.push((t, theta.to_vec()));
        self.sink.theta(t, theta)
    }
}
