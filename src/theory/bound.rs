//! Theorem 3.1 with λ₀ of the same run, its integral form, and the same with one-sided Gram matrices.
//!
//! With λ₀ of the same run the bound is Grönwall's inequality: these rows test the run. What tests the theorem is in
//! [`super::prediction`] and [`super::a_priori`].

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};
use crate::ntk::bound::RATIO_TOL;

const CONSTANT: Claim =
    Claim { id: "bound", title: "Thm 3.1: ‖r_t‖ ≤ e^(−λ₀t)‖r_0‖, λ₀ from this run" };
const INTEGRAL: Claim = Claim { id: "integral-bound", title: "sharper: ‖r_t‖ ≤ exp(−∫λ_min)‖r_0‖" };
const ONE_SIDED: Claim =
    Claim { id: "one-sided-bound", title: "Thm 3.1 as printed, with G of the pieces on both sides while units slide" };

/// Largest ‖r_t‖ / bound, judged anew from the rows and λ₀.
pub(super) fn constant(evidence: &Evidence) -> ClaimRow {
    if let Some(reason) = evidence.problem.loss.beyond_theory() {
        return CONSTANT.row(Verdict::DoesNotApply, reason);
    }
    let lambda0 = evidence.run.observed.lambda0;
    let check = evidence.run.observed.checked.with_residuals(evidence.rows.iter().map(|row| row.residual_norm));
    let report = check.report(lambda0.as_ref(), 0.0, evidence.plan.rtol);
    let verdict = Verdict::from(report.verdict);
    let mut meaning = report.reason;
    if let (Verdict::Holds, Some(lambda0)) = (verdict, lambda0) {
        meaning += &format!(
            "; by the end it has fallen by e^−{:.3}, the bound by {}",
            fallen(evidence),
            power(lambda0.value * evidence.t_end())
        );
    }
    let row = CONSTANT.row(verdict, meaning);
    let ratio = report.worst_ratio.filter(|_| matches!(verdict, Verdict::Holds | Verdict::Violated));
    row.measured(ratio.unwrap_or(f64::NAN), 1.0 + RATIO_TOL).shown_in("trajectory.csv")
}

/// The same for the integral form, as judged during the run, where the error of the integral is known.
pub(super) fn integral(evidence: &Evidence) -> ClaimRow {
    if let Some(reason) = evidence.problem.loss.beyond_theory() {
        return INTEGRAL.row(Verdict::DoesNotApply, reason);
    }
    let report = &evidence.run.observed.bound;
    let verdict = Verdict::from(report.integral_verdict);
    let mut meaning = report.integral_reason.clone();
    if verdict == Verdict::Holds {
        let exponent =
            evidence.rows.last().and_then(|row| row.integral_bound).map(|b| -(b / evidence.rows[0].residual_norm).ln());
        let exponent = exponent.filter(|e| e.is_finite()).map_or("less than can be represented".to_owned(), power);
        meaning += &format!("; by the end it has fallen by e^−{:.3}, the bound by {exponent}", fallen(evidence));
    }
    let ratio = report.integral_worst_ratio.filter(|_| matches!(verdict, Verdict::Holds | Verdict::Violated));
    INTEGRAL.row(verdict, meaning).measured(ratio.unwrap_or(f64::NAN), 1.0 + RATIO_TOL).shown_in("trajectory.csv")
}

/// log ‖r_0‖/‖r_t‖ at the end.
fn fallen(evidence: &Evidence) -> f64 {
    let (first, last) = (&evidence.rows[0], &evidence.rows[evidence.rows.len() - 1]);
    (first.residual_norm / last.residual_norm).ln()
}

fn power(exponent: f64) -> String {
    format!("e^−{exponent:.3}")
}

/// Largest ‖r_t‖ / bound when λ₀ is the minimum over one-sided matrices instead of the effective ones in slides.
pub(super) fn one_sided(evidence: &Evidence) -> ClaimRow {
    if let Some(reason) = evidence.beyond_theorem() {
        return ONE_SIDED.row(Verdict::DoesNotApply, reason);
    }
    let Some(most) = &evidence.witness.most_sliding else {
        return ONE_SIDED.row(Verdict::DoesNotApply, "no unit slides, so that there is nothing to choose");
    };
    if evidence.witness.n_unseen > 0 {
        let n = most.switches.len();
        let meaning = format!("up to {n} units slide at once, with too many one-sided matrices to look at");
        return ONE_SIDED.row(Verdict::Unresolved, meaning);
    }
    let free = evidence.rows.iter().filter(|row| row.sliding == 0).filter_map(|row| row.lambda_min);
    let (Some(sides), resolution) =
        (evidence.witness.one_sided, evidence.run.observed.lambda0.map_or(0.0, |l| l.resolution))
    else {
        return ONE_SIDED.row(Verdict::Unresolved, "λ_min was not tracked");
    };
    let lowest = free.fold(sides, f64::min);
    if lowest <= resolution {
        return ONE_SIDED.row(Verdict::Vacuous, "a one-sided matrix is singular as well").measured(f64::NAN, 1.0);
    }
    if let Some(why) = evidence.contradiction(|witness| witness.most_sliding.is_some(), "units slide") {
        return ONE_SIDED.row(Verdict::Unresolved, why);
    }
    let Some((ratio, verdict)) = evidence.decay_ratio(lowest, 0.0) else {
        return ONE_SIDED.row(Verdict::Unresolved, "the run has no positive time");
    };
    let (verdict, meaning) = if verdict == Verdict::Unresolved {
        (verdict, format!("the residual reaches {ratio:.6} of that bound, which the errors of the run explain"))
    } else if verdict == Verdict::Violated {
        let meaning = format!(
            "the matrices of both sides have λ_min ≥ {lowest:.4e}, yet the residual exceeds that bound {ratio:.3e} times: in a slide neither \
             side's G drives it"
        );
        (Verdict::Violated, meaning)
    } else {
        (
            Verdict::Holds,
            format!("with their least λ_min {lowest:.4e} the bound is kept here, which sliding does not promise"),
        )
    };
    ONE_SIDED.row(verdict, meaning).measured(ratio, 1.0 + RATIO_TOL).shown_in("trajectory.csv")
}
