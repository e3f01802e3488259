//! A prediction: λ₀ of the first half of a run against the decay in the second.
//!
//! Unlike λ₀ of the whole run this can fail: λ_min may fall later on.

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};
use crate::ntk::bound::RATIO_TOL;

const CLAIM: Claim = Claim { id: "predicted-half", title: "λ₀ of [0, T/2] predicts the decay on [T/2, T]" };

/// Largest ‖r_t‖ / (e^{−λ(t − T/2)}‖r_{T/2}‖) for t > T/2.
pub(super) fn half(evidence: &Evidence) -> ClaimRow {
    if let Some(reason) = evidence.beyond_theorem() {
        return CLAIM.row(Verdict::DoesNotApply, reason);
    }
    let Some(lambda0) = evidence.run.observed.lambda0 else {
        return CLAIM.row(Verdict::Unresolved, "λ_min was not tracked");
    };
    let middle = 0.5 * evidence.t_end();
    let lowest = |rows: &mut dyn Iterator<Item = &crate::observe::Row>| {
        rows.filter_map(|row| row.lambda_min).fold(f64::INFINITY, f64::min)
    };
    let mut early = lowest(&mut evidence.rows.iter().filter(|row| row.t <= middle));
    // Rows stand at the ends of steps; the minimum of the run may lie between them.
    if lambda0.t <= middle {
        early = early.min(if lambda0.is_resolved { lambda0.value } else { 0.0 });
    }
    if early <= lambda0.resolution {
        return CLAIM.row(
            Verdict::Vacuous,
            format!("λ₀ of [0, {middle:.4}] is zero to its resolution, which predicts nothing"),
        );
    }
    let Some((ratio, verdict)) = evidence.decay_ratio(early, middle) else {
        return CLAIM.row(Verdict::Unresolved, "the run has no second half");
    };
    let late = lowest(&mut evidence.rows.iter().filter(|row| row.t >= middle));
    let how = match verdict {
        Verdict::Violated => "fails",
        Verdict::Unresolved => "may be kept, to the errors of the run",
        Verdict::Holds | Verdict::Vacuous | Verdict::DoesNotApply => "is kept",
    };
    let meaning = format!(
        "λ₀ = {early:.4e} on [0, {middle:.4}] as a rate for the rest {how}; there λ_min is {late:.4e} or more, and the residual reaches \
         {ratio:.6} of the prediction"
    );
    CLAIM.row(verdict, meaning).measured(ratio, 1.0 + RATIO_TOL).shown_in("trajectory.csv")
}
