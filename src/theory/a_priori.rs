//! A bound from t = 0 alone: λ_min(G(0)) and how fast J changes about θ₀.

use super::ball::Ball;
use super::evidence::Evidence;
use super::row::{Claim, ClaimRow, Verdict};
use crate::ntk::bound::RATIO_TOL;

/// The verdict on a flow that is to stay in a ball and whose decay is judged already.
pub(super) fn in_ball(evidence: &Evidence, radius: f64, decay: Verdict) -> Verdict {
    let identities = &evidence.run.observed.identities;
    let beyond = identities.displacement - radius;
    match decay {
        Verdict::Violated => Verdict::Violated,
        _ if beyond > identities.allowed.path => Verdict::Violated,
        Verdict::Unresolved => Verdict::Unresolved,
        _ if beyond > 0.0 => Verdict::Unresolved,
        Verdict::Holds | Verdict::Vacuous | Verdict::DoesNotApply => Verdict::Holds,
    }
}

const CLAIM: Claim =
    Claim { id: "a-priori", title: "λ_min(G(0)) and the change of J about θ₀ bound the decay beforehand" };

/// Largest ‖r_t‖ / (e^{−νt}‖r₀‖) with ν known before the run; without a ball, the condition that failed.
pub(super) fn a_priori(evidence: &Evidence, ball: Option<&Ball>) -> ClaimRow {
    let Some(ball) = ball else {
        return CLAIM.row(Verdict::DoesNotApply, evidence.beyond_theorem().unwrap_or_default());
    };
    match *ball {
        Ball::Keeps { radius, rate } => {
            let Some((ratio, decay)) = evidence.decay_ratio(rate, 0.0) else {
                return CLAIM.row(Verdict::Unresolved, "the run has no positive time");
            };
            let displacement = evidence.run.observed.identities.displacement;
            let verdict = in_ball(evidence, radius, decay);
            let meaning = format!(
                "from θ₀ alone: the flow stays within {radius:.4} of θ₀ and decays at {rate:.4e} or faster; it went {displacement:.4} far, and \
                 its residual reaches {ratio:.6} of that bound"
            );
            CLAIM.row(verdict, meaning).measured(ratio, 1.0 + RATIO_TOL).shown_in("trajectory.csv")
        }
        Ball::Fails { condition } if condition.is_finite() => {
            let meaning =
                format!("4κ‖r₀‖/λ_min(G(0)) = {condition:.3e} is above 1: J changes too fast about θ₀ for its size");
            CLAIM.row(Verdict::DoesNotApply, meaning).measured(condition, 1.0)
        }
        Ball::Fails { .. } => CLAIM.row(Verdict::DoesNotApply, "no radius was found that the flow would keep to"),
        Ball::Kink { distance, radius } => {
            let meaning = format!(
                "a kink is {distance:.3e} from θ₀, in the ball of radius {radius:.3e} that is needed, and J jumps there"
            );
            CLAIM.row(Verdict::DoesNotApply, meaning).measured(radius, distance)
        }
        Ball::Singular => CLAIM.row(Verdict::DoesNotApply, "G(0) is singular to rounding"),
        Ball::NotTracked => CLAIM.row(Verdict::DoesNotApply, "the run leaves the spectrum out: ntk: (track: false)"),
        Ball::NotFinite => CLAIM.row(Verdict::Unresolved, "a value of the network near θ₀ is not finite"),
    }
}
