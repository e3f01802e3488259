//! The modified flow of gradient descent: θ̇ = −∇L̃, L̃ = L + (η/4)‖∇L‖², whose solutions the iterates follow to second order.
//!
//! Backward error analysis of Euler's method (Hairer, Lubich & Wanner, *Geometric Numerical Integration*, IX.1; for gradient descent Barrett &
//! Dherin, *Implicit gradient regularization*, ICLR 2021). ∇L̃ = ∇L + (η/2)∇²L·∇L by an exact product with the Hessian of the piece.
//!
//! L̃ is smooth within a piece only: where ∇L jumps, L̃ itself does. The field is integrated piece by piece, through crossings, up to the
//! first contact where it would have to slide; there it ends and says so. The second order is lost at the first event already: a step
//! over a kink errs by a part of η that depends on where in the step the kink lies.

use super::iterates::Iterates;
use crate::flow::FlowField;
use crate::ode::tableau::TSIT5;
use crate::ode::{
    Contact, Event, ExplicitRk, Mode, Noise, NonFinite, Observer, Options, PiecewiseField, Point, SlideMargin,
    StartContact, StepView, StopReason, integrate,
};
use crate::scenario::{DescentRun, Plan, Problem};
use crate::simulate::{field_of, norm_of};
use crate::vector::{all_finite, distance_squared};
use std::ops::ControlFlow;

/// How the field says that it would have to slide.
const SLIDE: &str = "a slide of the modified flow";

/// How a modified flow ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModifiedEnd {
    /// It reached the last iterate.
    Horizon,
    /// It came to a kink that it would have to slide along.
    Slide,
    /// The integration stopped early.
    Stopped {
        /// Why.
        reason: String,
    },
}

/// A point of a modified flow beside an iterate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModifiedRow {
    /// Time.
    pub t: f64,
    /// L (not L̃) on the modified flow.
    pub loss: f64,
    /// Its distance from the iterate of that time.
    pub distance_descent: f64,
}

/// A modified flow.
#[derive(Debug, Clone, PartialEq)]
pub struct ModifiedReport {
    /// η.
    pub step_size: f64,
    /// How it ended.
    pub end: ModifiedEnd,
    /// When.
    pub t: f64,
    /// Its first event.
    pub first_event: Option<f64>,
    /// Points, at recorded iterates and the last one.
    pub rows: Vec<ModifiedRow>,
}

impl ModifiedReport {
    /// Whether it got to the end without any event.
    pub fn is_smooth(&self) -> bool {
        self.end == ModifiedEnd::Horizon && self.first_event.is_none()
    }
}

/// Follows the modified flow of a plain run up to time `t_end`, beside its iterates.
pub fn follow(problem: &Problem, plan: &Plan, run: DescentRun, t_end: f64) -> ModifiedReport {
    let flow = field_of(problem, plan);
    let mut field = ModifiedField::new(flow.clone(), run.step);
    let mut watch = Watch {
        iterates: Iterates::new(problem, &flow, run).ok(),
        field: flow,
        theta: vec![0.0; problem.theta0.len()],
        first_event: None,
        rows: Vec::new(),
    };
    let options = Options {
        t_end,
        norm: norm_of(plan),
        max_steps: plan.max_steps as u64,
        fixed_step: None,
        retake: false,
        strides: false,
    };
    let mut stepper = ExplicitRk::new(&TSIT5, problem.theta0.len());
    let outcome = integrate(&mut field, &mut stepper, &problem.theta0, &options, &mut [], &mut watch);
    let end = match outcome.reason {
        StopReason::Horizon => ModifiedEnd::Horizon,
        StopReason::NonFinite { what } if what == SLIDE => ModifiedEnd::Slide,
        reason => ModifiedEnd::Stopped { reason: reason.to_string() },
    };
    ModifiedReport { step_size: run.step, end, t: outcome.t, first_event: watch.first_event, rows: watch.rows }
}

/// −∇L − (η/2)∇²L·∇L as a piecewise field that cannot slide.
#[derive(Debug, Clone)]
pub struct ModifiedField {
    flow: FlowField,
    step_size: f64,
    product: Vec<f64>,
}

impl ModifiedField {
    /// From the flow of L and η.
    pub fn new(flow: FlowField, step_size: f64) -> Self {
        let product = vec![0.0; flow.dim()];
        Self { flow, step_size, product }
    }
}

impl PiecewiseField for ModifiedField {
    fn scales(&mut self, out: &mut Vec<f64>) {
        self.flow.scales(out);
    }

    fn dim(&self) -> usize {
        self.flow.dim()
    }

    fn n_switches(&self) -> usize {
        self.flow.n_switches()
    }

    fn breakpoints(&self, switch: usize) -> &[f64] {
        self.flow.breakpoints(switch)
    }

    fn common_breakpoints(&self) -> Option<&[f64]> {
        self.flow.common_breakpoints()
    }

    fn mode_from_values(&mut self, y: &[f64]) -> Mode {
        self.flow.mode_from_values(y)
    }

    fn eval(&mut self, y: &[f64], mode: &Mode, dy: &mut [f64]) -> Result<(), NonFinite> {
        if !mode.sliding().is_empty() {
            return Err(NonFinite { what: SLIDE.into() });
        }
        self.flow.eval(y, mode, dy)?;
        self.flow.hessian_product(mode, dy, &mut self.product);
        dy.iter_mut().zip(&self.product).for_each(|(d, p)| *d += 0.5 * self.step_size * p);
        if all_finite(dy) { Ok(()) } else { Err(NonFinite { what: "the modified gradient".into() }) }
    }

    fn values(&self) -> &[f64] {
        self.flow.values()
    }

    fn rates(&mut self, direction: &[f64], rates: &mut [f64]) {
        self.flow.rates(direction, rates);
    }

    fn margins(&mut self, out: &mut Vec<SlideMargin>) {
        out.clear();
    }

    /// Whatever is pushed back at a kink would have to slide: L̃ jumps there, and its field by more than a multiple of ∇z.
    fn attraction(&self, _: Contact) -> (f64, f64) {
        (1.0, 0.0)
    }

    fn measure_noise(&mut self) {
        self.flow.measure_noise();
    }

    fn noise(&self) -> (&Noise, bool) {
        self.flow.noise()
    }

    fn scale(&self, switch: usize) -> f64 {
        self.flow.scale(switch)
    }

    fn largest_scale(&self) -> f64 {
        self.flow.largest_scale()
    }

    fn value_at(&mut self, y: &[f64], mode: &Mode, switch: usize) -> f64 {
        self.flow.value_at(y, mode, switch)
    }

    fn project(&mut self, y: &mut [f64], mode: &Mode, contacts: &[Contact]) -> Result<(), NonFinite> {
        self.flow.project(y, mode, contacts)
    }

    fn decay_rate(&mut self, mode: &Mode) -> Option<f64> {
        // An eigenvalue λ of the Hessian becomes λ + ηλ²/2, while it changes slowly.
        self.flow.decay_rate(mode).map(|rate| rate + 0.5 * self.step_size * rate * rate)
    }
}

/// Advances the iterates beside their modified flow.
struct Watch {
    iterates: Option<Iterates>,
    field: FlowField,
    theta: Vec<f64>,
    first_event: Option<f64>,
    rows: Vec<ModifiedRow>,
}

impl Watch {
    fn next_time(&self) -> Option<f64> {
        let iterates = self.iterates.as_ref()?;
        let next = if self.rows.is_empty() { 0 } else { iterates.k() + 1 };
        (next <= iterates.plan().steps).then(|| iterates.time(next))
    }

    /// Advances to the next iterate; records it where the comparison does, and when it `is_last`.
    fn visit(&mut self, t: f64, mode: &Mode, is_last: bool) {
        let Some(iterates) = &mut self.iterates else { return };
        if !self.rows.is_empty() && iterates.advance().is_err() {
            self.iterates = None;
            return;
        }
        if iterates.k().is_multiple_of(iterates.plan().stride()) || is_last {
            let (loss, _) = self.field.outputs_at(&self.theta, mode);
            let distance_descent = distance_squared(iterates.theta(), &self.theta).sqrt();
            self.rows.push(ModifiedRow { t, loss, distance_descent });
        }
    }
}

impl Observer<ModifiedField> for Watch {
    fn needs_dense(&self, _: f64, t_end: f64) -> bool {
        self.next_time().is_some_and(|t| t <= t_end)
    }

    fn start(&mut self, point: &Point<'_, ModifiedField>, _: &[StartContact]) {
        self.theta.copy_from_slice(point.y);
        self.visit(0.0, point.mode, true);
    }

    fn step(&mut self, step: &StepView<'_, ModifiedField>) -> ControlFlow<()> {
        while let Some(t) = self.next_time().filter(|t| *t <= step.end.t) {
            step.dense.at(t, &mut self.theta);
            self.visit(t, step.end.mode, t == step.end.t);
        }
        ControlFlow::Continue(())
    }

    fn event(&mut self, after: &Point<'_, ModifiedField>, event: &Event) {
        if !event.changes.is_empty() {
            self.first_event.get_or_insert(after.t);
        }
    }

    fn end(&mut self, point: &Point<'_, ModifiedField>, reason: &StopReason) {
        // A flow at rest is carried to its horizon without a step.
        while let Some(t) = self.next_time().filter(|t| *t <= point.t && *reason == StopReason::Horizon) {
            self.theta.copy_from_slice(point.y);
            self.visit(t, point.mode, t == point.t);
        }
    }
}
