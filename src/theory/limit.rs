//! Flows with other activations next to a flow: do the paths and λ₀ converge as the activations do?

use super::evidence::{Evidence, distance};
use super::row::{Claim, ClaimRow, Verdict};
use crate::net::Activation;
use crate::simulate::norm_of;
use crate::vector::norm;

/// Times at which paths are compared.
const N_TIMES: usize = 33;

/// The last distance has to be below this part of the first one; above the other part it does not shrink at all.
const SHRINKS: (f64, f64) = (0.1, 0.5);

/// Distances below this, relatively, and below this many errors of one step are errors of the runs.
const FLOOR: (f64, f64) = (1e-9, 100.0);

/// One member of a family.
pub(super) struct Member {
    /// What makes it closer to the limit: a slope, a degree.
    pub parameter: f64,
    pub activation: Activation,
}

/// Distances of a family from its limit, one entry per member.
pub(super) struct Distances {
    pub parameters: Vec<f64>,
    /// max_t ‖θ − θ_limit‖ / max_t ‖θ_limit‖.
    pub paths: Vec<f64>,
    /// |λ₀ − λ₀ of the limit|, relative to the latter.
    pub lambda0: Vec<f64>,
    /// λ₀ of the limit.
    pub limit_lambda0: Option<(f64, bool)>,
    /// Members that stopped early.
    pub n_stopped: usize,
    /// What one step may be off by, relative to the limit's θ.
    pub error: f64,
    /// Error of λ₀ of the limit and of a member together, at most, relative to λ₀ of the limit; in hundredths.
    pub lambda0_error: f64,
}

/// Runs the family and its limit; `None` when interrupted or when the activations do not fit the network.
pub(super) fn distances(evidence: &Evidence, limit: &Activation, family: &[Member]) -> Option<Distances> {
    let horizon = evidence.t_end();
    let times: Vec<f64> = (0..N_TIMES).map(|k| horizon * k as f64 / (N_TIMES - 1) as f64).collect();
    let run = |activation: &Activation| {
        let network = evidence.problem.network.with_activation(activation.clone())?;
        let problem = crate::scenario::Problem { network, ..evidence.problem.clone() };
        let (run, saved) = evidence.another(&problem, evidence.plan, horizon, times.clone());
        (!(evidence.interrupted)()).then_some((run, saved))
    };
    let (reference, path) = run(limit)?;
    let size = path.iter().map(|(_, theta)| norm(theta)).fold(f64::MIN_POSITIVE, f64::max);
    let limit_lambda0 = reference.observed.lambda0.map(|l| (l.value, l.is_resolved));
    let mut found = Distances {
        parameters: Vec::new(),
        paths: Vec::new(),
        lambda0: Vec::new(),
        limit_lambda0,
        n_stopped: usize::from(!reference.outcome.reason.is_completion()),
        error: norm_of(evidence.plan).relative_to(size, evidence.problem.theta0.len()),
        lambda0_error: 0.0,
    };
    for member in family {
        let (run, saved) = run(&member.activation)?;
        found.n_stopped += usize::from(!run.outcome.reason.is_completion());
        let apart = saved.iter().zip(&path).map(|((_, a), (_, b))| distance(a, b)).fold(0.0, f64::max);
        found.parameters.push(member.parameter);
        found.paths.push(apart / size);
        if let (Some(lambda0), Some((limit, _))) = (run.observed.lambda0, limit_lambda0) {
            let size = limit.abs().max(f64::MIN_POSITIVE);
            found.lambda0.push((lambda0.value - limit).abs() / size);
            let together = lambda0.known_to() + reference.observed.lambda0.map_or(0.0, |l| l.known_to());
            found.lambda0_error = found.lambda0_error.max(together / size / FLOOR.1);
        }
    }
    Some(found)
}

/// The row of one series of distances: it holds when they shrink to a tenth, or to the errors of the runs, and is violated when they do not
/// shrink to a half.
pub(super) fn judge(claim: Claim, series: &[f64], parameters: &[f64], what: &str, error: f64) -> ClaimRow {
    let (Some(&first), Some(&last)) = (series.first(), series.last()) else {
        return claim.row(Verdict::Unresolved, "λ_min was not tracked");
    };
    let floor = FLOOR.0.max(FLOOR.1 * error);
    let tolerance = (SHRINKS.0 * first).max(floor);
    let list: Vec<String> = parameters.iter().zip(series).map(|(p, d)| format!("{d:.2e} at {p}")).collect();
    let (verdict, how) = if last <= tolerance {
        (Verdict::Holds, "converges")
    } else if last <= SHRINKS.1 * first {
        (Verdict::Unresolved, "comes closer, but not close as far as the family goes")
    } else {
        (Verdict::Violated, "does not converge")
    };
    claim.row(verdict, format!("{what} {how}: relative distances {}", list.join(", "))).measured(last, tolerance)
}

/// The row of λ₀, whose limit is that of the `named` flow.
pub(super) fn judge_lambda0(claim: Claim, found: &Distances, named: &str) -> ClaimRow {
    match found.limit_lambda0 {
        Some((value, true)) => {
            let error = found.error.max(found.lambda0_error);
            judge(claim, &found.lambda0, &found.parameters, &format!("λ₀ → {value:.4e}"), error)
        }
        Some(_) => {
            let text = format!("λ₀ of the {named} flow is zero to its resolution: the limit promises nothing");
            claim.row(Verdict::Vacuous, text)
        }
        None => claim.row(Verdict::Unresolved, "λ_min was not tracked"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_that_shrink_hold_and_those_that_stay_do_not() {
        let claim = Claim { id: "test", title: "a family converges" };
        let parameters = [1.0, 2.0, 3.0];
        let verdict = |series: &[f64]| judge(claim, series, &parameters, "it", 1e-8).verdict;
        assert_eq!(verdict(&[1.0, 0.3, 0.09]), Verdict::Holds);
        assert_eq!(verdict(&[1.0, 0.5, 0.3]), Verdict::Unresolved);
        assert_eq!(verdict(&[1.0, 0.9, 1.1]), Verdict::Violated);
        // Apart by no more than the errors of the runs: 100 rtol.
        assert_eq!(verdict(&[1e-9, 2e-9, 9e-7]), Verdict::Holds);
        assert_eq!(verdict(&[]), Verdict::Unresolved);
    }
}
