//! Lemma 3.2: G(t) is positive definite at all times, almost surely.
//!
//! A single start at which G becomes singular proves nothing about almost all starts. So neighbours of θ₀ are run as well: if G is singular
//! for all of them, that happens for an open set of starts.

use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};
use crate::ntk::{Lambda0, SampleSide};
use crate::vector::norm;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

const CLAIM: Claim = Claim { id: "positive-definite", title: "Lemma 3.2: λ_min(G(t)) > 0 at all times" };

/// Neighbours that are tried, and how far they are moved relative to ‖θ₀‖.
const NEIGHBOURS: (usize, f64) = (3, 1e-6);

/// Neighbours are followed this much longer than to where G was found singular.
const LONGER: f64 = 1.05;

/// λ₀ against its resolution.
pub(super) fn positive_definite(evidence: &Evidence) -> ClaimRow {
    if let Some(reason) = evidence.beyond_theorem() {
        return CLAIM.row(Verdict::DoesNotApply, reason);
    }
    let Some(lambda0) = evidence.run.observed.lambda0 else {
        return CLAIM.row(Verdict::Unresolved, "λ_min was not tracked");
    };
    let Lambda0 { value, t, rank, n_targets, .. } = lambda0;
    let known_to = lambda0.known_to();
    let (verdict, meaning) = if lambda0.is_resolved && value <= known_to {
        let meaning = format!("least at t = {t:.6}, where the errors of the run move it by up to {known_to:.1e}");
        (Verdict::Unresolved, meaning)
    } else if lambda0.is_resolved {
        let side = match lambda0.side {
            SampleSide::Smooth => "",
            SampleSide::Before => " just before an event",
            SampleSide::After => " just after an event",
        };
        (Verdict::Holds, format!("least at t = {t:.6}{side}, known to {known_to:.1e}; rank {rank} of {n_targets}"))
    } else if let Some(how) = zero(&lambda0) {
        let n_zero = neighbours(evidence, t);
        let all = NEIGHBOURS.0;
        if n_zero == all {
            let meaning = format!(
                "{how} at t = {t:.6}, and likewise from {all} of {all} starts next to θ₀: no accident of this start"
            );
            (Verdict::Violated, meaning)
        } else {
            let meaning = format!("{how} at t = {t:.6}, but so it is from only {n_zero} of {all} starts next to θ₀");
            (Verdict::Unresolved, meaning)
        }
    } else {
        let meaning =
            format!("the spectrum of G runs into rounding without a gap at t = {t:.6} (rank {rank} of {n_targets})");
        (Verdict::Unresolved, meaning)
    };
    CLAIM.row(verdict, meaning).measured(value, known_to).shown_in("trajectory.csv")
}

/// In which way λ₀ is zero, if it is.
fn zero(lambda0: &Lambda0) -> Option<String> {
    if lambda0.is_resolved {
        None
    } else if lambda0.touches_zero {
        Some("λ_min comes down to zero, to the resolution of time,".to_owned())
    } else if lambda0.rank_is_clear && lambda0.rank < lambda0.n_targets {
        Some(format!("G has rank {} of {}", lambda0.rank, lambda0.n_targets))
    } else {
        None
    }
}

/// How many starts next to θ₀ lead to a singular G as well, up to a little behind `t`.
fn neighbours(evidence: &Evidence, t: f64) -> usize {
    let horizon = (LONGER * t).max(1e-3 * evidence.t_end());
    let mut rng = ChaCha8Rng::seed_from_u64(evidence.problem.seed);
    // A stream of its own: data, initial parameters and the audit use others.
    rng.set_stream(u64::MAX - 1);
    let plan = evidence.closer();
    let is_singular = |_: &usize| {
        let mut problem = evidence.problem.clone();
        let direction: Vec<f64> = problem.theta0.iter().map(|_| StandardNormal.sample(&mut rng)).collect();
        let step = NEIGHBOURS.1 * norm(&problem.theta0) / norm(&direction);
        problem.theta0.iter_mut().zip(&direction).for_each(|(theta, d)| *theta += step * d);
        let (run, _) = evidence.another(&problem, &plan, horizon, Vec::new());
        run.observed.lambda0.is_some_and(|lambda0| zero(&lambda0).is_some())
    };
    (0..NEIGHBOURS.0).filter(is_singular).count()
}
