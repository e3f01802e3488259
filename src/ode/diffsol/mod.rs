//! Steppers from the diffsol library: an explicit pair and two stiffly accurate implicit methods.
//!
//! Promise: behind the [`Stepper`] seam nothing of diffsol shows. Each attempt builds a solver on the borrowed field, lets it take
//! exactly one step, and keeps the end, the dense output and the proposed next length; nothing self-referential outlives the call,
//! and limits that diffsol counts over a solver's lifetime start anew. No root functions are given to it: events belong to the
//! loop. The implicit methods never see a P × P matrix; `bridge` hands their linear algebra to the field's
//! [`Linearisation`](super::field::Linearisation). Where diffsol would accept a step with NaN in it, the attempt fails.

mod bridge;
#[cfg(test)]
mod tests;

use super::combine::{Terms, combine};
use super::field::{NonFinite, PiecewiseField};
use super::norm::{Weights, WrmsNorm};
use super::stepper::{Interpolant, Start, Stepper, Work};
use super::tableau::TSIT5;
use crate::vector::all_finite;
use ::diffsol::error::DiffsolError;
use ::diffsol::ode_solver::state::StateCommon;
use ::diffsol::{
    ExplicitRk, FaerContext, InitialConditionSolverOptions, OdeSolverMethod, OdeSolverOptions, OdeSolverProblem,
    OdeSolverState, RkState, Sdirk, Tableau, Vector as _,
};
use bridge::{CarrierPattern, Equations, JacobianMemory, LowRank, Report, Vector, as_slice, carrier_pattern};
use thiserror::Error;

/// A step grows at most by this factor, as with our own controller; diffsol's default of 2 wastes steps after a transient.
const MAX_GROWTH: f64 = 5.0;

/// Which of diffsol's methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiffsolMethod {
    /// Tsitouras' explicit pair of order 5(4); dense output of order 4.
    Tsit45,
    /// Singly diagonally implicit with explicit first stage, order 3(4), L-stable (Jørgensen, Kristensen & Thomsen,
    /// arXiv:1803.01613); cubic Hermite dense output.
    Esdirk34,
    /// Trapezoidal rule and BDF2 in one step, order 2(3), L-stable (Bank et al. 1985; Hosea & Shampine 1996); quadratic dense output.
    TrBdf2,
}

impl DiffsolMethod {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tsit45, Self::Esdirk34, Self::TrBdf2];

    /// Name as written in scenario files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tsit45 => "DiffsolTsit45",
            Self::Esdirk34 => "DiffsolEsdirk34",
            Self::TrBdf2 => "DiffsolTrBdf2",
        }
    }

    /// Whether the method solves linear systems with the field's linearisation.
    pub fn is_implicit(self) -> bool {
        !matches!(self, Self::Tsit45)
    }

    /// Order of the propagated solution.
    pub fn order(self) -> u32 {
        match self {
            Self::Tsit45 => 5,
            Self::Esdirk34 => 3,
            Self::TrBdf2 => 2,
        }
    }

    /// The error of a step shrinks like h to this power. The implicit methods are compared with an embedded solution of higher order,
    /// the explicit one with one of lower order.
    fn error_exponent(self) -> u32 {
        match self {
            Self::Tsit45 => 5,
            Self::Esdirk34 => 4,
            Self::TrBdf2 => 3,
        }
    }

    /// Stages that are solved for; one for the explicit method, which has none.
    fn n_implicit_stages(self) -> u32 {
        match self {
            Self::Tsit45 => 1,
            Self::Esdirk34 => 3,
            Self::TrBdf2 => 2,
        }
    }

    /// Degree of diffsol's interpolating polynomial.
    fn dense_degree(self) -> usize {
        match self {
            Self::Tsit45 => 4,
            Self::Esdirk34 => 3,
            Self::TrBdf2 => 2,
        }
    }

    fn tableau(self) -> Tableau<f64> {
        match self {
            Self::Tsit45 => Tableau::tsit45(),
            Self::Esdirk34 => Tableau::esdirk34(),
            Self::TrBdf2 => Tableau::tr_bdf2(),
        }
    }
}

/// An implicit method was asked for a field without a linearisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{method} is implicit and needs a linearisation of the field, which this one does not offer\n\
     hint: choose an explicit method (Tsit5, DormandPrince54, Dop853, BogackiShampine32 or DiffsolTsit45)"
)]
pub struct MissingLinearisation {
    /// Name of the method.
    pub method: &'static str,
}

/// Work done by the linear algebra of an implicit method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinearCounters {
    /// Linearisations of the field.
    pub linearisations: u64,
    /// Factorisations of I − hγA.
    pub factorisations: u64,
    /// Solves with it.
    pub solves: u64,
}

impl From<LinearCounters> for Work {
    fn from(counters: LinearCounters) -> Self {
        Self { linearisations: counters.linearisations, solves: counters.solves, ..Self::default() }
    }
}

impl LinearCounters {
    fn add(&mut self, more: Self) {
        self.linearisations += more.linearisations;
        self.factorisations += more.factorisations;
        self.solves += more.solves;
    }
}

/// A stepper that lets diffsol take each step.
///
/// diffsol judges the error and repeats a rejected step by itself, with the tolerances given at construction; an attempt therefore
/// succeeds with a step of at most the wanted length, and [`error`](Stepper::error) is never above 1.
pub struct DiffsolStepper {
    method: DiffsolMethod,
    norm: WrmsNorm,
    floors: Vec<f64>,
    pattern: CarrierPattern,
    jacobian: JacobianMemory,
    /// Length diffsol proposes for the next step; survives events.
    proposed: f64,
    error: f64,
    step: Step,
    stability_interval: f64,
    counters: LinearCounters,
    n_evaluations: u64,
}

impl DiffsolStepper {
    /// A stepper for `field` that meets the tolerances of `norm`.
    ///
    /// # Errors
    /// When the method is implicit and the field has no linearisation.
    pub fn new<F: PiecewiseField>(
        method: DiffsolMethod,
        field: &mut F,
        norm: WrmsNorm,
    ) -> Result<Self, MissingLinearisation> {
        if method.is_implicit() && field.linearisation().is_none() {
            return Err(MissingLinearisation { method: method.name() });
        }
        let dim = field.dim();
        Ok(Self {
            method,
            norm,
            floors: Vec::new(),
            pattern: carrier_pattern(if method.is_implicit() { dim } else { 0 }),
            jacobian: JacobianMemory::default(),
            proposed: f64::INFINITY,
            error: 0.0,
            step: Step::new(dim, method.dense_degree()),
            stability_interval: TSIT5.stability_interval(),
            counters: LinearCounters::default(),
            n_evaluations: 0,
        })
    }

    /// Linear algebra so far; zero for the explicit method.
    pub fn counters(&self) -> LinearCounters {
        self.counters
    }

    /// The absolute tolerance diffsol is given. It weighs errors with the state at the start only, so that a component which is zero
    /// there would get no tolerance at all from a relative one; and 0/0 in diffsol's norm switches its error control off.
    fn absolute_tolerances(&self, y: &[f64]) -> Vector {
        let context = FaerContext::default();
        if self.floors.is_empty() {
            let rms = (crate::vector::dot(y, y) / y.len().max(1) as f64).sqrt();
            return Vector::from_element(y.len(), self.norm.atol.max(1e-6 * self.norm.rtol * rms).max(1e-150), context);
        }
        let floors: Vec<f64> = self.floors.iter().map(|floor| (self.norm.atol + floor).max(1e-150)).collect();
        Vector::from_slice(&floors, context)
    }
}

impl<F: PiecewiseField> Stepper<F> for DiffsolStepper {
    fn name(&self) -> &'static str {
        self.method.name()
    }

    fn order(&self) -> u32 {
        self.method.order()
    }

    fn error_exponent(&self) -> u32 {
        self.method.error_exponent()
    }

    fn is_for_stiff(&self) -> bool {
        self.method.is_implicit()
    }

    fn stability_interval(&self) -> Option<f64> {
        (!self.method.is_implicit()).then_some(self.stability_interval)
    }

    fn attempt(&mut self, field: &mut F, start: Start<'_>, h: f64) -> Result<f64, NonFinite> {
        let wanted = h.min(self.proposed);
        let equations = Equations::new(field, start.mode, &self.pattern, self.jacobian);
        let problem = problem(equations, self.norm.rtol, self.absolute_tolerances(start.y));
        let state = initial_state(start, wanted);
        let tableau = self.method.tableau();
        let stepped = if self.method.is_implicit() {
            let linear_solver = LowRank::new(&problem.eqn);
            Sdirk::<_, LowRank<'_, '_, F>>::new(&problem, state, tableau, linear_solver)
                .and_then(|mut solver| self.step.take(&mut solver))
        } else {
            ExplicitRk::<_>::new(&problem, state, tableau).and_then(|mut solver| self.step.take(&mut solver))
        };
        let equations = problem.eqn;
        if stepped.is_ok() && self.method.is_implicit() {
            // diffsol's field at the end comes from the last Newton iterate; the next step, and whoever reads the field, need it there.
            equations.evaluate(&self.step.end, &mut self.step.end_field);
        }
        self.conclude(wanted, stepped, equations.finish())
    }

    fn end(&self) -> &[f64] {
        &self.step.end
    }

    fn end_field(&self) -> &[f64] {
        &self.step.end_field
    }

    /// The norm is diffsol's own, with the tolerances given at construction: the value reported is the one that makes our controller
    /// propose the next length that diffsol proposes.
    fn error(&self, _norm: &Weights<'_>, _start: Start<'_>) -> f64 {
        self.error
    }

    fn weigh(&mut self, norm: &Weights<'_>) {
        norm.copy_floors(&mut self.floors);
    }

    fn reset(&mut self) {
        self.jacobian = JacobianMemory::default();
    }

    fn work(&self) -> Work {
        Work { evaluations: self.n_evaluations, ..self.counters.into() }
    }
}

impl Interpolant for DiffsolStepper {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        self.step.interpolate(start, x, out);
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        self.step.detached()
    }
}

impl DiffsolStepper {
    /// Books the work of an attempt, and judges what came out of it.
    fn conclude(&mut self, wanted: f64, stepped: Result<(), DiffsolError>, report: Report) -> Result<f64, NonFinite> {
        self.n_evaluations += report.n_evaluations;
        self.counters.add(report.counters);
        let failure = match (report.failure, stepped) {
            (Some(failure), _) => {
                Some(NonFinite { what: format!("{} in a step of {}", failure.what, self.method.name()) })
            }
            (None, Err(error)) => Some(NonFinite {
                what: format!("the end of a step of {} that diffsol gave up ({error})", self.method.name()),
            }),
            (None, Ok(())) if !all_finite(&self.step.end) => {
                Some(NonFinite { what: format!("the end of a step of {}", self.method.name()) })
            }
            (None, Ok(())) => None,
        };
        if let Some(failure) = failure {
            // The caller shortens its own step, which may be far longer than the one that failed.
            self.proposed = 0.25 * wanted;
            self.jacobian = JacobianMemory::default();
            return Err(failure);
        }
        let per_stage = report.n_evaluations as f64 / self.method.n_implicit_stages() as f64;
        self.jacobian = report.jacobian;
        self.jacobian.grow_older(per_stage);
        let growth = self.step.proposed / self.step.taken;
        self.error = (0.9 / growth).powi(self.method.error_exponent() as i32).min(1.0);
        let was_cut = wanted < self.proposed && self.proposed.is_finite() && self.step.taken == wanted;
        self.proposed = if !was_cut {
            self.step.proposed
        } else if growth >= 1.0 {
            // Somebody else limited the step: that says nothing about longer ones, as long as it went well.
            self.proposed.max(self.step.proposed)
        } else {
            self.step.proposed
        };
        Ok(self.step.taken)
    }
}

/// One step as diffsol took it.
#[derive(Debug, Clone)]
struct Step {
    taken: f64,
    /// Length diffsol would take next.
    proposed: f64,
    end: Vec<f64>,
    end_field: Vec<f64>,
    /// Dense output at x = 1/d, …, (d−1)/d with d the degree of the interpolating polynomial.
    interior: Vec<Vec<f64>>,
}

impl Step {
    fn new(dim: usize, dense_degree: usize) -> Self {
        Self {
            taken: 0.0,
            proposed: f64::INFINITY,
            end: vec![0.0; dim],
            end_field: vec![0.0; dim],
            interior: vec![vec![0.0; dim]; dense_degree - 1],
        }
    }

    /// Lets a solver, which stands at time zero, take one step.
    fn take<'a, 'f, F, S>(&mut self, solver: &mut S) -> Result<(), DiffsolError>
    where
        F: PiecewiseField + 'f,
        'f: 'a,
        S: OdeSolverMethod<'a, Equations<'f, F>>,
    {
        solver.step()?;
        let state = solver.state();
        (self.taken, self.proposed) = (state.t, state.h);
        self.end.copy_from_slice(as_slice(state.y));
        self.end_field.copy_from_slice(as_slice(state.dy));
        let mut sample = Vector::zeros(self.end.len(), FaerContext::default());
        let degree = (self.interior.len() + 1) as f64;
        for (j, interior) in self.interior.iter_mut().enumerate() {
            solver.interpolate_inplace(self.taken * ((j + 1) as f64 / degree), &mut sample)?;
            interior.copy_from_slice(as_slice(&sample));
        }
        Ok(())
    }
}

impl Interpolant for Step {
    fn interpolate(&self, start: Start<'_>, x: f64, out: &mut [f64]) {
        // The ends are copied, because the sum below only reaches them to rounding.
        if x == 0.0 {
            return out.copy_from_slice(start.y);
        }
        if x == 1.0 {
            return out.copy_from_slice(&self.end);
        }
        // Lagrange's form on equidistant nodes reproduces diffsol's polynomial.
        let degree = self.interior.len() + 1;
        let node = |j: usize| j as f64 / degree as f64;
        let mut terms = Terms::empty();
        let interior = self.interior.iter().map(Vec::as_slice);
        for (j, value) in std::iter::once(start.y).chain(interior).chain([&self.end[..]]).enumerate() {
            let others = (0..=degree).filter(|i| *i != j);
            terms.push(others.map(|i| (x - node(i)) / (node(j) - node(i))).product(), value);
        }
        combine(out, None, &terms);
    }

    fn detached(&self) -> Box<dyn Interpolant + Send> {
        Box::new(self.clone())
    }
}

fn problem<F: PiecewiseField>(
    equations: Equations<'_, F>,
    rtol: f64,
    atol: Vector,
) -> OdeSolverProblem<Equations<'_, F>> {
    OdeSolverProblem {
        eqn: equations,
        rtol,
        atol,
        t0: 0.0,
        h0: 1.0,
        integrate_out: false,
        sens_rtol: None,
        sens_atol: None,
        out_rtol: None,
        out_atol: None,
        param_rtol: None,
        param_atol: None,
        ic_options: InitialConditionSolverOptions::default(),
        ode_options: OdeSolverOptions {
            // Events may cut steps as short as time resolves.
            min_timestep: 0.0,
            max_timestep_growth: Some(MAX_GROWTH),
            // Fewer than diffsol's, because the caller retries with a shorter step anyway.
            max_nonlinear_solver_failures: 12,
            // The matrix of the next step is prepared when its length is known, not at the end of this one.
            threshold_to_update_jacobian: f64::INFINITY,
            update_jacobian_after_steps: usize::MAX,
            update_rhs_jacobian_after_steps: usize::MAX,
            ..OdeSolverOptions::default()
        },
    }
}

/// The start of a step at time zero: the field is autonomous, and so no time is lost to rounding.
fn initial_state(start: Start<'_>, h: f64) -> RkState<Vector> {
    let context = FaerContext::default();
    let empty = || Vector::zeros(0, context);
    RkState::new_from_common(StateCommon {
        y: Vector::from_slice(start.y, context),
        dy: Vector::from_slice(start.dy, context),
        g: empty(),
        dg: empty(),
        s: empty(),
        ds: empty(),
        sg: empty(),
        dsg: empty(),
        t: 0.0,
        h,
    })
}
