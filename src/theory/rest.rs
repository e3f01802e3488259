//! What Theorem 3.1 promises in the end: with P ≥ nM the flow does not come to rest before the loss is zero.

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};
use crate::ntk::ends;
use crate::observe::Row;
use crate::ode::PiecewiseField;
use crate::simulate::norm_of;
use crate::vector::dot;

const CLAIM: Claim = Claim { id: "no-rest", title: "Thm 3.1: the flow does not rest at L > 0" };

/// A residual below this part of its start is as good as zero.
const FITTED: f64 = 1e-6;

/// ‖∇L‖ below this many ε·√λ_max·‖r‖ is rounding; below rtol·√λ_max·‖r‖ it is the error of the run.
const ROUNDING: f64 = 64.0;

/// A loss that can fall by less than this part of itself, as far as its second derivative tells, has come to rest.
const LEFT: f64 = 1e-2;

/// An eigenvalue of the second derivative below minus this part of the largest is negative.
const NEGATIVE: f64 = 1e-12;

/// Most products with the second derivative for its ends, and for the fall that is left; and when the latter has been found.
const PRODUCTS: (usize, usize) = (300, 2000);
const SOLVED: f64 = 1e-10;

/// The rate rᵀGr/rᵀr at which the residual falls in the end, or did before it was zero. A plateau that the flow has left is no rest.
pub(super) fn no_rest(evidence: &Evidence) -> ClaimRow {
    if let Some(reason) = evidence.beyond_theorem() {
        return CLAIM.row(Verdict::DoesNotApply, reason);
    }
    let start = evidence.rows[0].residual_norm;
    let end = &evidence.rows[evidence.rows.len() - 1];
    let rows = || evidence.rows.iter().filter(|row| row.residual_norm > FITTED * start);
    let Some(last) = rows().next_back() else {
        return CLAIM.row(Verdict::Holds, "the loss was zero from the start");
    };
    let rate = last.rayleigh.unwrap_or(0.0);
    let largest = evidence.rows.iter().filter_map(|row| row.lambda_max).fold(0.0, f64::max);
    let rounding = (ROUNDING * f64::EPSILON).max(evidence.plan.rtol).powi(2) * largest;
    // ∇L where θ is off by what the tolerances allow.
    let error = largest * norm_of(evidence.plan).largest_error(&evidence.run.outcome.y);
    let is_fitted = end.residual_norm <= FITTED * start;
    let is_small = |row: &Row| row.rayleigh.unwrap_or(0.0) <= rounding || row.gradient_norm <= error;
    let (verdict, meaning) = if is_fitted || !is_small(last) {
        let when = if is_fitted { "until it was zero" } else { "in the end" };
        let meaning = format!("the residual falls at a rate of {rate:.4e} {when}; L = {:.4e} at the end", end.loss);
        (Verdict::Holds, meaning)
    } else {
        // The last stretch of small gradients.
        let since = rows().rev().take_while(|row| is_small(row)).last().unwrap_or(last);
        let (t, loss) = (since.t, end.loss);
        let small = format!("from t = {t:.6} on the gradient is zero to the error of the run, at L = {loss:.6}");
        match outlook(evidence, rate) {
            Outlook::Rest => (Verdict::Violated, small),
            Outlook::Falls(part) => {
                let meaning = format!("{small}; but its second derivative lets it fall by {part:.1e} of itself");
                (Verdict::Unresolved, meaning)
            }
            Outlook::Saddle => {
                let meaning = format!("{small}; it is a saddle, which flows leave that come only close to it");
                (Verdict::Unresolved, meaning)
            }
            Outlook::Unknown => {
                (Verdict::Unresolved, format!("{small}; where its second derivative leads was not found"))
            }
        }
    };
    CLAIM.row(verdict, meaning).measured(rate, rounding).shown_in("trajectory.csv")
}

/// Where the flow goes from a point with a small gradient.
enum Outlook {
    Rest,
    /// The loss may fall by this part of itself.
    Falls(f64),
    Saddle,
    Unknown,
}

/// By the quadratic model of L at the end: it can fall by ½gᵀH⁺g, unless H has a negative eigenvalue.
fn outlook(evidence: &Evidence, rate: f64) -> Outlook {
    // Nothing moves at all.
    if rate == 0.0 {
        return Outlook::Rest;
    }
    let (theta, mode) = (&evidence.run.outcome.y, &evidence.run.outcome.mode);
    let mut field = evidence.field();
    let mut downhill = vec![0.0; theta.len()];
    if field.eval(theta, mode, &mut downhill).is_err() {
        return Outlook::Unknown;
    }
    let loss = field.sample(&downhill).loss;
    let mut product = |v: &[f64]| {
        let mut out = vec![0.0; v.len()];
        field.hessian_product(mode, v, &mut out);
        out
    };
    let Some((low, high)) = ends(&downhill, (1e-6, NEGATIVE), PRODUCTS.0, &mut product) else {
        return Outlook::Unknown;
    };
    if low.value < -NEGATIVE * high.value.abs().max(low.value.abs()) {
        return Outlook::Saddle;
    }
    // What is left of the gradient below its own rounding points nowhere.
    let noise = ROUNDING * f64::EPSILON * high.value.abs().sqrt() * (2.0 * loss).sqrt();
    match fall(&downhill, noise, product) {
        Some(fall) if fall <= LEFT * loss => Outlook::Rest,
        Some(fall) => Outlook::Falls((fall / loss).min(1.0)),
        None => Outlook::Unknown,
    }
}

/// ½gᵀH⁺g by conjugate gradients; `None` where they do not converge, as with a negative curvature in their way.
fn fall(gradient: &[f64], noise: f64, mut product: impl FnMut(&[f64]) -> Vec<f64>) -> Option<f64> {
    let (mut residual, mut direction) = (gradient.to_vec(), gradient.to_vec());
    let (size, mut square) = (dot(gradient, gradient), dot(gradient, gradient));
    let solved = (SOLVED * SOLVED * size).max(noise * noise);
    let mut fall = 0.0;
    if square <= solved {
        return Some(fall);
    }
    for _ in 0..PRODUCTS.1 {
        let image = product(&direction);
        let curvature = dot(&direction, &image);
        if curvature <= 0.0 {
            return None;
        }
        let step = square / curvature;
        fall += 0.5 * step * square;
        residual.iter_mut().zip(&image).for_each(|(r, h)| *r -= step * h);
        let next = dot(&residual, &residual);
        if next <= solved {
            return Some(fall);
        }
        direction.iter_mut().zip(&residual).for_each(|(d, r)| *d = r + next / square * *d);
        square = next;
    }
    None
}
