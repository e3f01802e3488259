//! Theorem B.3: ‖θ(s) − θ₀‖² ≤ s·(L(0) − L(s)), and the energy identity behind it.

use super::evidence::{Evidence, evaluate};
use super::row::{Claim, ClaimRow, Verdict};
use crate::observe::identities::DISPLACEMENT_TOL;

const BOUND: Claim = Claim { id: "finite-time", title: "Thm B.3: ‖θ(s) − θ₀‖² ≤ s·(L(0) − L(s))" };
const ENERGY: Claim =
    Claim { id: "energy", title: "the pieces make one gradient flow: L(0) − L(t) = ∫‖∇L‖²" };

/// A loss difference below this part of L(0) is rounding.
const ROUNDING: f64 = 1e-10;

/// Largest ‖θ − θ₀‖² / (s·(L(0) − L(s))), over all steps and, computed anew, over the saved θ.
pub(super) fn finite_time(evidence: &Evidence) -> ClaimRow {
    let identities = &evidence.run.observed.identities;
    let mut worst = identities.displacement_worst_ratio;
    let mut excess = identities.displacement_excess;
    let mut field = evidence.field();
    let Ok((_, loss_initial)) = evaluate(&mut field, &evidence.problem.theta0) else {
        return BOUND.row(Verdict::Unresolved, "the loss at θ₀ is not finite");
    };
    for (t, theta) in &evidence.saved {
        let Ok((_, loss)) = evaluate(&mut field, theta) else { continue };
        let squared: f64 = theta.iter().zip(&evidence.problem.theta0).map(|(a, b)| (a - b).powi(2)).sum();
        let decrease = loss_initial - loss;
        let dissipated = decrease.max(0.0) + identities.energy_defect * loss_initial;
        excess = excess.max(squared.sqrt() - (t * dissipated).sqrt());
        if *t > 0.0 && (decrease > ROUNDING * loss_initial || squared > 0.0) {
            worst = worst.max(squared / (t * decrease.max(ROUNDING * loss_initial)));
        }
    }
    let tolerance = 1.0 + DISPLACEMENT_TOL;
    let verdict = if worst <= tolerance && identities.displacement_bound_ok {
        Verdict::Holds
    } else if excess <= identities.allowed.path {
        Verdict::Unresolved
    } else {
        Verdict::Violated
    };
    let why = if verdict == Verdict::Unresolved { "; the errors of the run explain that" } else { "" };
    let meaning = format!(
        "the flow goes {:.3e} far in t = {:.4}, at worst {worst:.6} of what its loss allows, squared{why}",
        identities.displacement,
        evidence.t_end()
    );
    BOUND.row(verdict, meaning).measured(worst, tolerance).shown_in("theta.npy")
}

/// Largest |L(0) − L(t) − ∫‖∇L‖²| / L(0).
pub(super) fn energy(evidence: &Evidence) -> ClaimRow {
    let identities = &evidence.run.observed.identities;
    let defect = identities.energy_defect;
    let n_steps = evidence.run.step_times.len();
    // One tolerance per step, none of them amplified: the loss decreases.
    let tolerance = evidence.plan.rtol * n_steps.max(1) as f64;
    let verdict = if defect <= tolerance {
        Verdict::Holds
    } else if defect <= identities.allowed.energy || evidence.is_coarse() {
        Verdict::Unresolved
    } else {
        Verdict::Violated
    };
    let why = match verdict {
        Verdict::Unresolved => "; at these tolerances that may be an error of steps or of the quadrature".to_owned(),
        _ => String::new(),
    };
    let meaning = format!(
        "the loss lost and the energy dissipated differ by {defect:.2e} of L(0) at most, over {n_steps} steps{why}"
    );
    ENERGY.row(verdict, meaning).measured(defect, tolerance).shown_in("trajectory.csv")
}
