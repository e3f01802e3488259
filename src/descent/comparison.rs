//! The observer that advances every run of gradient descent beside the flow and compares them at equal times.

use super::condition::{Condition, condition};
use super::iterates::Iterates;
use super::modified::ModifiedReport;
use super::order::{Limits, OrderFit, REGULAR};
use super::pattern::{Differing, JumpCounter, Jumps, differing, disagreement};
use super::sharpness::{Curvature, SharpnessWatch};
use crate::flow::FlowField;
use crate::net::{Conserved, Network};
use crate::ntk::SampleSide;
use crate::ode::{Event, Mode, Observer, PiecewiseField, Point, StartContact, StepView, StopReason};
use crate::scenario::{Cadence, DescentRun, Plan, Problem};
use crate::vector::{distance_squared, norm};
use std::ops::ControlFlow;

/// A loss this many times that of the start counts as divergence, although it may still be finite.
const DIVERGED: f64 = 1e6;
/// Times that agree to this part are equal: k·η rounds.
const SAME_TIME: f64 = 1e-12;

/// An iterate beside the flow.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct DescentRow {
    /// k.
    pub k: usize,
    /// Flow time.
    pub t: f64,
    /// L(θ_k).
    pub loss_descent: f64,
    /// L(θ(t)).
    pub loss_flow: f64,
    /// ‖θ_k − θ(t)‖.
    pub distance: f64,
    /// The same relative to ‖θ(t)‖ (0 where both are 0).
    pub relative_distance: f64,
    /// Number of surfaces between them: unit × sample × breakpoint.
    pub pattern_disagreement: u64,
}

/// How a run of gradient descent ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// All steps were made.
    Completed,
    /// The flow ended before.
    FlowEnded,
    /// It was further from the flow than asked for.
    Distance,
    /// Its loss rose to a million times that of the start.
    Diverged,
    /// A value was not finite.
    NonFinite {
        /// Which.
        what: String,
        /// At which iterate.
        k: usize,
    },
}

/// What a run of gradient descent showed; lengths are norms over all parameters, at the last iterate recorded unless said otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct RunReport {
    /// What was run.
    pub plan: DescentRun,
    /// How it ended.
    pub ending: Ending,
    /// ‖θ(t) − θ₀‖.
    pub travelled: f64,
    /// The distance by layers, each over its weights, biases and learned slope.
    pub per_layer: Vec<f64>,
    /// ‖F_k − F(t)‖ over all original samples.
    pub prediction_distance: f64,
    /// Largest distance of all iterates.
    pub largest_distance: f64,
    /// When that was.
    pub largest_distance_t: f64,
    /// Units on the surfaces between iterate and flow.
    pub differing: Vec<Differing>,
    /// Slides of the flow, and how often descent jumped over the kink meanwhile.
    pub jumps: Vec<Jumps>,
    /// First time at which the iterate was further from the flow than the flow was from θ₀.
    pub divergence_time: Option<f64>,
    /// First measurement at which the sharpness of the flow exceeded 2/η (2(1 + β)/η with momentum).
    pub unstable_from: Option<f64>,
    /// Largest relative change of a conserved quantity at the iterates recorded, where there are laws.
    pub drift_descent: Option<f64>,
    /// The same for the flow.
    pub drift_flow: Option<f64>,
    /// η·max B: what the condition's bound says of the distance over its reach.
    pub bound: Option<f64>,
    /// Records; the last is that of the last iterate compared.
    pub rows: Vec<DescentRow>,
}

impl RunReport {
    /// The last iterate compared; all zero when θ₀ could not be evaluated.
    pub fn last(&self) -> DescentRow {
        self.rows.last().copied().unwrap_or_default()
    }
}

/// Everything that a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// One per run, as listed in the scenario.
    pub runs: Vec<RunReport>,
    /// Observed order of plain runs on their common horizon.
    pub order: Option<OrderFit>,
    /// Where the curvature was measured.
    pub cadence: Cadence,
    /// Curvature along the flow.
    pub curvature: Vec<Curvature>,
    /// The condition on η.
    pub condition: Option<Condition>,
    /// Modified flows of plain runs.
    pub modified: Vec<ModifiedReport>,
    /// Observed order of the modified flows, where all of them are smooth up to the common horizon.
    pub modified_order: Option<OrderFit>,
    /// Time of the first event of the flow.
    pub first_event: Option<f64>,
    /// End of the flow.
    pub t_end: f64,
    /// ‖θ(t_end) − θ₀‖.
    pub travelled: f64,
    tolerance: f64,
}

impl Report {
    /// Fits the order of the modified flows once they are known.
    pub(super) fn fit_modified_order(&mut self) {
        let Some(flow) = &self.order else { return };
        if self.modified.iter().any(|m| !m.is_smooth()) {
            return;
        }
        // Compared at the last iterate up to the horizon: a fraction of a step is no step of the modified flow.
        let at_horizon = |m: &ModifiedReport| {
            let before = m.rows.iter().rev().find(|row| row.t <= flow.horizon * (1.0 + SAME_TIME));
            before.map(|row| (m.step_size, row.distance_descent))
        };
        let points = self.modified.iter().filter_map(at_horizon).collect();
        self.modified_order = Some(OrderFit::new(flow.horizon, points, flow.limits, self.tolerance));
    }
}

/// One run of descent with what is gathered about it.
struct Track {
    plan: DescentRun,
    iterates: Option<Iterates>,
    ending: Option<Ending>,
    jumps: JumpCounter,
    report: RunReport,
}

/// See the module.
pub struct Comparison<'a> {
    problem: &'a Problem,
    plan: &'a Plan,
    field: FlowField,
    conserved: Conserved,
    tracks: Vec<Track>,
    sharpness: SharpnessWatch,
    /// The common horizon of plain runs, until it is reached.
    horizon: Option<f64>,
    order: Option<OrderFit>,
    first_event: Option<f64>,
    /// How far the flow had gone at the last measurement before the first event.
    travelled_smoothly: f64,
    drift_flow: Option<f64>,
    theta: Vec<f64>,
    t_end: f64,
    travelled: f64,
}

impl<'a> Comparison<'a> {
    /// Compares the flow of `problem` with all of `plan.descent`.
    pub fn new(problem: &'a Problem, plan: &'a Plan) -> Self {
        let field = FlowField::with_loss(problem.network.clone(), &problem.data, problem.loss);
        let plain = || plan.descent.iter().filter(|run| run.is_plain());
        let horizon = plain().map(|run| run.steps as f64 * run.time_step()).reduce(f64::min);
        Self {
            conserved: Conserved::new(&problem.network, &problem.theta0),
            tracks: plan.descent.iter().map(|run| Track::new(problem, &field, *run)).collect(),
            sharpness: SharpnessWatch::new(&field),
            horizon,
            order: None,
            first_event: None,
            travelled_smoothly: 0.0,
            drift_flow: None,
            theta: vec![0.0; problem.theta0.len()],
            t_end: 0.0,
            travelled: 0.0,
            problem,
            plan,
            field,
        }
    }

    /// What was found.
    pub fn finish(self) -> Report {
        let Self { field, sharpness, first_event, t_end, travelled, .. } = self;
        let curvature = sharpness.into_samples();
        let until = first_event.unwrap_or(t_end);
        let condition = condition(&curvature, until, first_event.is_some(), self.travelled_smoothly);
        let finished = |track: Track| {
            let mut report = track.report;
            report.ending = track.ending.unwrap_or(Ending::FlowEnded);
            report.jumps = track.jumps.report(&field);
            let stable = 2.0 * (1.0 + track.plan.momentum) / track.plan.step;
            report.unstable_from = curvature.iter().find(|c| c.highest > stable).map(|c| c.t);
            report.bound = condition.filter(|_| track.plan.is_plain()).map(|c| c.growth * track.plan.step);
            report
        };
        Report {
            runs: self.tracks.into_iter().map(finished).collect(),
            order: self.order,
            cadence: self.plan.sharpness,
            curvature,
            condition,
            modified: Vec::new(),
            modified_order: None,
            first_event,
            t_end,
            travelled,
            tolerance: tolerance(self.plan, &self.theta),
        }
    }

    /// Compares everything up to time `limit`; `flow` gives θ at a time, in `mode`.
    fn advance(&mut self, limit: f64, mode: &Mode, flow: &dyn Fn(f64, &mut [f64])) {
        let Self { field, conserved, tracks, theta, problem, drift_flow, .. } = self;
        let mut beside = Beside { field, conserved, problem, mode, drift_flow };
        for track in tracks {
            while let Some(t) = track.next_time().filter(|t| *t <= limit) {
                flow(t, theta);
                track.visit(t, theta, &mut beside);
            }
        }
    }

    /// Distances of the polygons of all plain runs at the common horizon.
    fn fit(&mut self, t: f64, theta: &[f64], mode: &Mode) {
        self.horizon = None;
        let distance = |track: &Track| {
            let iterates = track.iterates.as_ref().filter(|_| track.plan.is_plain() && track.is_sound())?;
            let rest = (t - iterates.time(iterates.k())).max(0.0);
            Some((track.plan.step, distance_squared(&iterates.polygon(rest), theta).sqrt()))
        };
        let points: Vec<(f64, f64)> = self.tracks.iter().filter_map(distance).collect();
        let has_kinks = self.field.n_switches() > 0 && !self.problem.network.activation().breakpoints().is_empty();
        let here = self.sharpness.at(t, SampleSide::Smooth, theta, mode).map(|c| c.highest);
        let limits = Limits {
            regular: here.filter(|_| has_kinks).map(|sharpness| REGULAR / sharpness),
            asymptotic: Some(self.sharpness.largest().max(here.unwrap_or(0.0))).filter(|l| *l > 0.0).map(f64::recip),
        };
        if t > 0.0 && !points.is_empty() {
            self.order = Some(OrderFit::new(t, points, limits, tolerance(self.plan, theta)));
        }
    }

    /// Whether there was something finite to measure.
    fn measure(&mut self, t: f64, side: SampleSide, theta: &[f64], mode: &Mode) -> bool {
        let found = self.sharpness.measure(t, side, theta, mode);
        if self.first_event.is_none() {
            self.travelled_smoothly = self.displacement(theta);
        }
        found.is_some()
    }

    fn displacement(&self, theta: &[f64]) -> f64 {
        distance_squared(theta, &self.problem.theta0).sqrt()
    }
}

/// Norm of the error that tolerances allow one step of the flow.
fn tolerance(plan: &Plan, theta: &[f64]) -> f64 {
    plan.rtol * norm(theta) + plan.atol.number() * (theta.len() as f64).sqrt()
}

/// What an iterate is compared with.
struct Beside<'a> {
    field: &'a mut FlowField,
    conserved: &'a Conserved,
    problem: &'a Problem,
    mode: &'a Mode,
    drift_flow: &'a mut Option<f64>,
}

impl Track {
    fn new(problem: &Problem, field: &FlowField, plan: DescentRun) -> Self {
        let (iterates, ending) = match Iterates::new(problem, field, plan) {
            Ok(iterates) => (Some(iterates), None),
            Err(error) => (None, Some(Ending::NonFinite { what: error.what, k: 0 })),
        };
        let report = RunReport {
            plan,
            ending: Ending::FlowEnded,
            travelled: 0.0,
            per_layer: Vec::new(),
            prediction_distance: 0.0,
            largest_distance: 0.0,
            largest_distance_t: 0.0,
            differing: Vec::new(),
            jumps: Vec::new(),
            divergence_time: None,
            unstable_from: None,
            drift_descent: None,
            drift_flow: None,
            bound: None,
            rows: Vec::new(),
        };
        Self { plan, iterates, ending, jumps: JumpCounter::default(), report }
    }

    /// Whether its last iterate is good for a fit.
    fn is_sound(&self) -> bool {
        matches!(self.ending, None | Some(Ending::Completed))
    }

    /// Time of the next comparison: of θ₀ at first.
    fn next_time(&self) -> Option<f64> {
        let iterates = self.iterates.as_ref().filter(|_| self.ending.is_none())?;
        let next = if self.report.rows.is_empty() { 0 } else { iterates.k() + 1 };
        Some(iterates.time(next))
    }

    /// Advances to the iterate of time t and compares it with θ(t).
    fn visit(&mut self, t: f64, theta: &[f64], beside: &mut Beside<'_>) {
        let Some(iterates) = &mut self.iterates else { return };
        if !self.report.rows.is_empty()
            && let Err(error) = iterates.advance()
        {
            self.ending = Some(Ending::NonFinite { what: error.what, k: iterates.k() });
            return;
        }
        let k = iterates.k();
        self.jumps.note(beside.mode, iterates.mode());
        let distance = distance_squared(iterates.theta(), theta).sqrt();
        let travelled = distance_squared(theta, &beside.problem.theta0).sqrt();
        let report = &mut self.report;
        if distance > report.largest_distance {
            (report.largest_distance, report.largest_distance_t) = (distance, t);
        }
        if distance > travelled && k > 0 {
            report.divergence_time.get_or_insert(t);
        }
        let loss_start = report.rows.first().map_or(f64::INFINITY, |row| row.loss_descent);
        if self.plan.stop_distance.is_some_and(|limit| distance > limit) {
            self.ending = Some(Ending::Distance);
        } else if iterates.loss() > DIVERGED * loss_start {
            self.ending = Some(Ending::Diverged);
        } else if k == self.plan.steps {
            self.ending = Some(Ending::Completed);
        }
        if k.is_multiple_of(self.plan.stride()) || self.ending.is_some() {
            self.record(t, distance, theta, beside);
        }
    }

    fn record(&mut self, t: f64, distance: f64, theta: &[f64], beside: &mut Beside<'_>) {
        let Some(iterates) = &self.iterates else { return };
        let report = &mut self.report;
        let length = norm(theta);
        let relative_distance = if length > 0.0 { distance / length } else { distance };
        let (loss_flow, outputs) = beside.field.outputs_at(theta, beside.mode);
        let squared = |(u, (a, b)): (usize, (&[f64], &[f64]))| (u, distance_squared(a, b));
        let m = beside.problem.data.n_outputs();
        let pairs = iterates.outputs().chunks_exact(m).zip(outputs.chunks_exact(m));
        let by_sample: Vec<(usize, f64)> = pairs.enumerate().map(squared).collect();
        let originals = &beside.field.data().originals;
        report.prediction_distance = by_sample.iter().map(|&(u, d)| originals[u].len() as f64 * d).sum::<f64>().sqrt();
        report.per_layer = per_layer(&beside.problem.network, iterates.theta(), theta);
        report.differing = differing(beside.field, beside.mode, iterates.mode());
        report.drift_descent = larger(report.drift_descent, beside.conserved.drift(iterates.theta()));
        *beside.drift_flow = larger(*beside.drift_flow, beside.conserved.drift(theta));
        report.drift_flow = *beside.drift_flow;
        report.travelled = distance_squared(theta, &beside.problem.theta0).sqrt();
        report.rows.push(DescentRow {
            k: iterates.k(),
            t,
            loss_descent: iterates.loss(),
            loss_flow,
            distance,
            relative_distance,
            pattern_disagreement: disagreement(beside.field, beside.mode, iterates.mode()),
        });
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(if b > a || b.is_nan() { b } else { a }),
        (a, b) => a.or(b),
    }
}

/// Distances of the parts of two parameter vectors that belong to each layer.
fn per_layer(network: &Network, a: &[f64], b: &[f64]) -> Vec<f64> {
    let starts: Vec<usize> = network.layers().iter().map(|layer| layer.weights.start).collect();
    let ends = starts[1..].iter().copied().chain([a.len()]);
    starts.iter().zip(ends).map(|(&start, end)| distance_squared(&a[start..end], &b[start..end]).sqrt()).collect()
}

impl Observer<FlowField> for Comparison<'_> {
    fn needs_dense(&self, _t_start: f64, t_end: f64) -> bool {
        self.horizon.is_some_and(|t| t <= t_end) || self.tracks.iter().filter_map(Track::next_time).any(|t| t <= t_end)
    }

    fn start(&mut self, point: &Point<'_, FlowField>, _: &[StartContact]) {
        if self.measure(point.t, SampleSide::Smooth, point.y, point.mode) {
            self.sharpness.schedule_after(point.t);
        }
        self.advance(point.t, point.mode, &|_, theta| theta.copy_from_slice(point.y));
    }

    fn step(&mut self, step: &StepView<'_, FlowField>) -> ControlFlow<()> {
        let end = &step.end;
        let dense = |t: f64, theta: &mut [f64]| step.dense.at(t, theta);
        if let Some(t) = self.horizon.filter(|t| *t <= end.t) {
            // A last iterate may be a rounding error behind the horizon that it defines.
            self.advance((t * (1.0 + SAME_TIME)).min(end.t), end.mode, &dense);
            let mut theta = std::mem::take(&mut self.theta);
            dense(t, &mut theta);
            self.fit(t, &theta, end.mode);
            self.theta = theta;
        }
        self.advance(end.t, end.mode, &dense);
        let is_first_event = step.ends_at_event && self.first_event.is_none();
        let is_due = self.sharpness.is_due(end.t) || is_first_event;
        if is_due || step.ends_at_event && self.plan.sharpness == Cadence::EveryEvent {
            let side = if step.ends_at_event { SampleSide::Before } else { SampleSide::Smooth };
            let is_measured = self.measure(end.t, side, end.y, end.mode);
            // Measurements that were not due leave the others where they are without them.
            if is_measured && is_due {
                self.sharpness.schedule_after(end.t);
            }
        }
        ControlFlow::Continue(())
    }

    fn event(&mut self, after: &Point<'_, FlowField>, event: &Event) {
        if !event.changes.is_empty() {
            self.first_event.get_or_insert(after.t);
        }
        // The near side was measured just now.
        if self.sharpness.last_time() == Some(after.t) {
            self.measure(after.t, SampleSide::After, after.y, after.mode);
        }
    }

    fn end(&mut self, point: &Point<'_, FlowField>, _: &StopReason) {
        let resting = |_: f64, theta: &mut [f64]| theta.copy_from_slice(point.y);
        let limit = point.t * (1.0 + SAME_TIME);
        if let Some(horizon) = self.horizon {
            let t = horizon.min(point.t);
            self.advance((t * (1.0 + SAME_TIME)).min(limit), point.mode, &resting);
            self.fit(t, point.y, point.mode);
        }
        self.advance(limit, point.mode, &resting);
        if self.sharpness.last_time() != Some(point.t) {
            self.measure(point.t, SampleSide::Smooth, point.y, point.mode);
        }
        self.t_end = point.t;
        self.travelled = self.displacement(point.y);
        self.theta.copy_from_slice(point.y);
    }
}
