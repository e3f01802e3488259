//! What Theorem 3.1 promises in the end: with P ≥ nM the flow does not come to rest before the loss is zero.

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};

const CLAIM: Claim = Claim { id: "no-rest", title: "Thm 3.1: the flow does not rest at L > 0" };

/// A residual below this part of its start is as good as zero.
const FITTED: f64 = 1e-6;

/// ‖∇L‖ below this many ε·√λ_max·‖r‖ is rounding; below rtol·√λ_max·‖r‖ it is the error of the run.
const ROUNDING: f64 = 64.0;

/// The least rate rᵀGr/rᵀr at which the residual fell, as long as it was not zero.
pub(super) fn no_rest(evidence: &Evidence) -> ClaimRow {
    if let Some(reason) = evidence.beyond_theorem() {
        return CLAIM.row(Verdict::DoesNotApply, reason);
    }
    let start = evidence.rows[0].residual_norm;
    let rows = || evidence.rows.iter().filter(|row| row.residual_norm > FITTED * start);
    let Some(slowest) = rows().min_by(|a, b| a.rayleigh.unwrap_or(0.0).total_cmp(&b.rayleigh.unwrap_or(0.0))) else {
        return CLAIM.row(Verdict::Holds, "the loss was zero from the start");
    };
    let rate = slowest.rayleigh.unwrap_or(0.0);
    let largest = evidence.rows.iter().filter_map(|row| row.lambda_max).fold(0.0, f64::max);
    let rounding = (ROUNDING * f64::EPSILON).max(evidence.plan.rtol).powi(2) * largest;
    let (verdict, meaning) = if rate <= rounding {
        let first = rows().find(|row| row.rayleigh.unwrap_or(0.0) <= rounding).unwrap_or(slowest);
        let meaning = format!(
            "from t = {:.6} on the gradient is zero to the error of the run, at L = {:.6}",
            first.t, first.loss
        );
        (Verdict::Violated, meaning)
    } else {
        let end = &evidence.rows[evidence.rows.len() - 1];
        let meaning = format!(
            "the residual falls at a rate of {rate:.4e} or more (least at t = {:.4}); L = {:.4e} at the end",
            slowest.t, end.loss
        );
        (Verdict::Holds, meaning)
    };
    CLAIM.row(verdict, meaning).measured(rate, rounding).shown_in("trajectory.csv")
}
