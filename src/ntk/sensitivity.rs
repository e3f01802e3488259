//! How fast λ_min changes with θ: what an error of θ does to it.
//!
//! λ_min = ‖Jᵀu‖² for its eigenvector u, and moving u does not matter to first order: with v = Jᵀu, the gradient of uᵀF, the gradient of λ_min is
//! 2(∇²uᵀF)v, twice the change of v along itself. That is taken from a central difference in the frozen mode, in which F is smooth.

use super::gram::GramEvaluator;
use super::spectrum::lowest_singular_vector;
use crate::cholesky::Cholesky;
use crate::flow::FlowField;
use crate::net::{Backward, Forward};
use crate::ode::{Mode, PiecewiseField};
use crate::vector::{distance_squared, max_abs, norm};

/// G is shifted to this part of λ_min, and its inverse applied so often: a vector that is a mixture of eigenvectors close to λ_min will do.
const SHIFT: f64 = 0.9;
const TURNS: usize = 30;

/// Part of the size of θ over which the change is measured: ∛ε balances rounding against the third derivative.
const STEP: f64 = 6e-6;

/// ‖∇λ_min‖ at `theta` in `mode`, where λ_min is `lambda_min` > 0; `None` where a value is not finite or G does not show its eigenvector.
pub fn slope_of_lambda_min(
    field: &mut FlowField,
    theta: &[f64],
    mode: &Mode,
    lambda_min: f64,
    grams: &mut GramEvaluator,
) -> Option<f64> {
    let mut pull = Pull { dy: vec![0.0; theta.len()], forward: Forward::default(), backward: Backward::default() };
    field.eval(theta, mode, &mut pull.dy).ok()?;
    grams.visit(field);
    let lowest = lowest_vector(field, lambda_min, grams)?;
    let v = pull.back(field, theta, mode, &lowest)?;
    let length = norm(&v);
    let step = STEP * max_abs(theta).max(f64::MIN_POSITIVE.sqrt());
    let moved = |sign: f64| theta.iter().zip(&v).map(|(t, v)| t + sign * step * v / length).collect::<Vec<f64>>();
    let (ahead, behind) = (moved(1.0), moved(-1.0));
    let (ahead, behind) = (pull.back(field, &ahead, mode, &lowest)?, pull.back(field, &behind, mode, &lowest)?);
    let slope = length * distance_squared(&ahead, &behind).sqrt() / step;
    slope.is_finite().then_some(slope)
}

/// A unit vector whose Rayleigh quotient is close to λ_min, at the point visited.
fn lowest_vector(field: &FlowField, lambda_min: f64, grams: &mut GramEvaluator) -> Option<Vec<f64>> {
    let mut factor = Cholesky::default();
    let (gram, _) = grams.lower_here(field);
    let n = gram.nrows();
    if factor.factor(gram, -SHIFT * lambda_min).is_err() {
        return lowest_singular_vector(grams.jacobian_transposed(field).as_ref());
    }
    // Deterministic and without any symmetry that an eigenvector could be orthogonal to.
    let mut vector: Vec<f64> = (0..n).map(|k| 1.0 + (k as f64 * 0.618_033_988_75).fract()).collect();
    for _ in 0..TURNS {
        factor.solve(&mut vector);
        let length = norm(&vector);
        vector.iter_mut().for_each(|v| *v /= length);
    }
    Some(vector)
}

/// Memory for Jᵀu.
struct Pull {
    dy: Vec<f64>,
    forward: Forward,
    backward: Backward,
}

impl Pull {
    /// Jᵀu at `theta`, with effective slopes at sliding units.
    fn back(&mut self, field: &mut FlowField, theta: &[f64], mode: &Mode, u: &[f64]) -> Option<Vec<f64>> {
        field.eval(theta, mode, &mut self.dy).ok()?;
        self.forward.copy(field.forward().1);
        field.effective_slopes(&mut self.forward.slope);
        let mut out = vec![0.0; theta.len()];
        field.batch().backward(theta, &self.forward, u, &[], &mut self.backward, &mut out);
        Some(out)
    }
}
