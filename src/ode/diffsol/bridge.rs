//! How diffsol sees a piecewise field: equations that borrow it for one step, and a linear solver that asks it to solve.
//!
//! diffsol wants a Jacobian matrix. It gets a *carrier*: the diagonal matrix −C·I with a fixed large C. From it diffsol forms
//! I − hγ·(−C·I), the linear solver reads hγ off the diagonal, and the field solves (I − hγA) x = b with its own A, of which no
//! entry is ever formed. The first failure of the field is kept, and everything after it returns NaN at once, so that diffsol
//! reaches the end of its step without further work.

use super::LinearCounters;
use crate::ode::field::{Linearisation, NonFinite, PiecewiseField};
use crate::ode::mode::Mode;
use crate::vector::all_finite;
use ::diffsol::matrix::sparsity::MatrixSparsity;
use ::diffsol::{
    ConstantOp, FaerContext, FaerSparseMat, FaerVec, LaError, LaLinearOp, Matrix, MatrixCommon, NonLinearOp,
    NonLinearOpJacobian, OdeEquations, OdeEquationsRef, Op, UnitCallable, Vector as _, VectorCommon,
};
use diffsol_la::LinearSolver;
use std::cell::RefCell;

/// diffsol's state vector.
pub(super) type Vector = FaerVec<f64>;

/// diffsol's matrix type; only ever diagonal here.
pub(super) type Carrier = FaerSparseMat<f64>;

/// Where a carrier has entries.
pub(super) type CarrierPattern = <Carrier as Matrix>::Sparsity;

/// C of the carrier Jacobian −C·I. Read back from 1 + hγ·C, hγ is exact to a few roundings down to 1/C ≈ 1e-18, shorter than any step
/// that time resolves.
const CARRIER: f64 = (1_u64 << 60) as f64;

/// A prepared hγ serves others that differ by at most this fraction: it makes Newton's iteration contract by this factor in the stiff
/// components, which costs less than a factorisation.
const SHIFT_TOLERANCE: f64 = 0.15;

/// Steps after which a linearisation is renewed even if Newton's iteration is content with it.
const MAX_AGE: u32 = 20;

/// The diagonal pattern of dimension `n`.
pub(super) fn carrier_pattern(n: usize) -> CarrierPattern {
    MatrixSparsity::<Carrier>::new_diagonal(n)
}

/// The entries of a vector.
pub(super) fn as_slice(v: &Vector) -> &[f64] {
    v.inner().col_as_slice(0)
}

fn as_mut_slice(v: &mut Vector) -> &mut [f64] {
    v.inner_mut().col_as_slice_mut(0)
}

/// What the field holds prepared from earlier steps. A matrix that is out of date costs iterations, never accuracy.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct JacobianMemory {
    /// Steps since the last linearisation, or `None` without one.
    age: Option<u32>,
    /// The hγ prepared last, or `None` when the linearisation is newer.
    shift: Option<f64>,
}

impl JacobianMemory {
    /// A step succeeded with `per_stage` evaluations for each implicit stage.
    pub(super) fn grow_older(&mut self, per_stage: f64) {
        // A fresh linearisation needs two or three: more means that it no longer fits.
        self.age = self.age.map(|age| age + 1).filter(|age| *age < MAX_AGE && per_stage <= 4.0);
    }
}

/// What a step did to the field and learned from it.
pub(super) struct Report {
    pub(super) failure: Option<NonFinite>,
    pub(super) n_evaluations: u64,
    pub(super) counters: LinearCounters,
    pub(super) jacobian: JacobianMemory,
}

struct Bridge<'f, F> {
    field: &'f mut F,
    report: Report,
    /// diffsol asked for a Jacobian in this step; asking again means that Newton's iteration failed.
    asked_jacobian: bool,
    /// diffsol asked for a factorisation in this step; asking again means that the step got shorter.
    asked_factor: bool,
    /// The linearisation was made in this step.
    fresh: bool,
}

/// The field as diffsol's equations, for one step in one mode.
pub(super) struct Equations<'f, F> {
    dim: usize,
    mode: &'f Mode,
    pattern: &'f CarrierPattern,
    context: FaerContext,
    bridge: RefCell<Bridge<'f, F>>,
}

impl<'f, F: PiecewiseField> Equations<'f, F> {
    pub(super) fn new(field: &'f mut F, mode: &'f Mode, pattern: &'f CarrierPattern, jacobian: JacobianMemory) -> Self {
        let report = Report { failure: None, n_evaluations: 0, counters: LinearCounters::default(), jacobian };
        let dim = field.dim();
        let bridge = Bridge { field, report, asked_jacobian: false, asked_factor: false, fresh: false };
        Self { dim, mode, pattern, context: FaerContext::default(), bridge: RefCell::new(bridge) }
    }

    /// dy = f(y) in the mode of the step; NaN once anything has failed.
    pub(super) fn evaluate(&self, y: &[f64], dy: &mut [f64]) {
        let mut bridge = self.bridge.borrow_mut();
        bridge.guard(|bridge| {
            if !all_finite(y) {
                return Err(NonFinite { what: "the state at a stage".into() });
            }
            bridge.report.n_evaluations += 1;
            bridge.field.eval(y, self.mode, dy)?;
            if all_finite(dy) { Ok(()) } else { Err(NonFinite { what: "the field at a stage".into() }) }
        });
        if bridge.report.failure.is_some() {
            dy.fill(f64::NAN);
        }
    }

    /// Ends the step and gives the field back.
    pub(super) fn finish(self) -> Report {
        self.bridge.into_inner().report
    }

    fn factor(&self, shift: f64) {
        self.bridge.borrow_mut().guard(|bridge| bridge.factor(shift));
    }

    fn solve(&self, b: &mut [f64]) -> Result<(), LaError> {
        let mut bridge = self.bridge.borrow_mut();
        bridge.guard(|bridge| {
            bridge.report.counters.solves += 1;
            bridge.linearisation()?.solve(b);
            Ok(())
        });
        match &bridge.report.failure {
            None => Ok(()),
            Some(failure) => Err(LaError::Other(failure.to_string())),
        }
    }
}

impl<F: PiecewiseField> Bridge<'_, F> {
    /// Does `work` unless something failed before, and keeps its failure.
    fn guard(&mut self, work: impl FnOnce(&mut Self) -> Result<(), NonFinite>) {
        if self.report.failure.is_none() {
            self.report.failure = work(self).err();
        }
    }

    fn linearisation(&mut self) -> Result<&mut dyn Linearisation, NonFinite> {
        self.field.linearisation().ok_or_else(|| NonFinite { what: "a linearisation the field withdrew".into() })
    }

    fn linearise(&mut self, y: &[f64], mode: &Mode) -> Result<(), NonFinite> {
        let again = std::mem::replace(&mut self.asked_jacobian, true);
        let keep = if again { self.fresh } else { self.report.jacobian.age.is_some() };
        if keep {
            return Ok(());
        }
        self.report.jacobian = JacobianMemory::default();
        self.report.counters.linearisations += 1;
        self.linearisation()?.linearise(y, mode)?;
        self.report.jacobian.age = Some(0);
        self.fresh = true;
        Ok(())
    }

    fn factor(&mut self, shift: f64) -> Result<(), NonFinite> {
        let again = std::mem::replace(&mut self.asked_factor, true);
        let tolerance = if again { 0.0 } else { SHIFT_TOLERANCE };
        if self.report.jacobian.shift.is_some_and(|prepared| (shift / prepared - 1.0).abs() <= tolerance) {
            return Ok(());
        }
        self.report.jacobian.shift = None;
        self.report.counters.factorisations += 1;
        self.linearisation()?.factor(shift)?;
        self.report.jacobian.shift = Some(shift);
        Ok(())
    }
}

impl<F: PiecewiseField> Op for Equations<'_, F> {
    type T = f64;
    type V = Vector;
    type M = Carrier;
    type C = FaerContext;

    fn context(&self) -> &FaerContext {
        &self.context
    }

    fn nstates(&self) -> usize {
        self.dim
    }

    fn nout(&self) -> usize {
        self.dim
    }

    fn nparams(&self) -> usize {
        0
    }
}

impl<F: PiecewiseField> NonLinearOp for Equations<'_, F> {
    fn call_inplace(&self, x: &Vector, _t: f64, y: &mut Vector) {
        self.evaluate(as_slice(x), as_mut_slice(y));
    }
}

impl<F: PiecewiseField> NonLinearOpJacobian for Equations<'_, F> {
    fn jac_mul_inplace(&self, _x: &Vector, _t: f64, v: &Vector, y: &mut Vector) {
        self.bridge.borrow_mut().guard(|bridge| {
            bridge.linearisation()?.apply(as_slice(v), as_mut_slice(y));
            Ok(())
        });
    }

    fn jacobian_inplace(&self, x: &Vector, _t: f64, y: &mut Carrier) {
        self.bridge.borrow_mut().guard(|bridge| bridge.linearise(as_slice(x), self.mode));
        for block in y.inner_mut() {
            block.val_mut().fill(-CARRIER);
        }
    }

    fn jacobian_sparsity(&self) -> Option<CarrierPattern> {
        Some(self.pattern.clone())
    }
}

/// Never asked for: a step starts from a state that is given to the solver.
impl<F: PiecewiseField> ConstantOp for Equations<'_, F> {
    fn call_inplace(&self, _t: f64, y: &mut Vector) {
        y.fill(0.0);
    }
}

impl<'a, F: PiecewiseField> OdeEquationsRef<'a> for Equations<'_, F> {
    type Mass = UnitCallable<Carrier>;
    type Rhs = &'a Self;
    type Root = UnitCallable<Carrier>;
    type Init = &'a Self;
    type Out = UnitCallable<Carrier>;
    type Reset = UnitCallable<Carrier>;
}

impl<F: PiecewiseField> OdeEquations for Equations<'_, F> {
    fn rhs(&self) -> &Self {
        self
    }

    fn mass(&self) -> Option<UnitCallable<Carrier>> {
        None
    }

    fn init(&self) -> &Self {
        self
    }

    fn set_params(&mut self, _p: &Vector) {}

    fn get_params(&self, _p: &mut Vector) {}
}

/// diffsol's linear solver: reads hγ off the carrier and lets the field factor and solve.
pub(super) struct LowRank<'a, 'f, F> {
    /// Missing only in solvers diffsol makes by default, which no step uses.
    equations: Option<&'a Equations<'f, F>>,
    carrier: Option<Carrier>,
}

impl<'a, 'f, F> LowRank<'a, 'f, F> {
    pub(super) fn new(equations: &'a Equations<'f, F>) -> Self {
        Self { equations: Some(equations), carrier: None }
    }
}

impl<F> Default for LowRank<'_, '_, F> {
    fn default() -> Self {
        Self { equations: None, carrier: None }
    }
}

impl<F: PiecewiseField> LinearSolver<Carrier> for LowRank<'_, '_, F> {
    fn set_linearisation<C>(&mut self, op: &C)
    where
        C: LaLinearOp<V = Vector, T = f64, M = Carrier, C = FaerContext>,
    {
        if let (Some(equations), Some(carrier)) = (self.equations, &mut self.carrier) {
            op.matrix_inplace(carrier);
            // A step so short that the carrier lost it still has a positive shift.
            let diagonal = carrier.inner()[0].val().first().copied().unwrap_or(1.0);
            equations.factor(((diagonal - 1.0) / CARRIER).max(f64::MIN_POSITIVE));
        }
    }

    fn set_sparsity<C>(&mut self, op: &C)
    where
        C: LaLinearOp<V = Vector, T = f64, M = Carrier, C = FaerContext>,
    {
        self.carrier = Some(Carrier::new_from_sparsity(op.nrows(), op.ncols(), op.sparsity(), *op.context()));
    }

    fn solve_in_place(&self, b: &mut Vector) -> Result<(), LaError> {
        match self.equations {
            Some(equations) => equations.solve(as_mut_slice(b)),
            None => Err(LaError::Other("a linear solver without equations".into())),
        }
    }

    fn solve_transpose_in_place(&self, _b: &mut Vector) -> Result<(), LaError> {
        Err(LaError::Other("transposed systems do not occur in a step".into()))
    }
}
