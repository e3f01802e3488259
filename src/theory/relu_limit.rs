//! Corollary 3.1.1: the theorem for ReLU as the limit of leaky ReLU, slope → 0. Compared are the paths and λ₀ of leaky flows with those of the ReLU
//! flow from the same start.

use super::evidence::Evidence;
use super::limit::{Member, distances, judge, judge_lambda0};
use super::row::{Claim, ClaimRow, Verdict};
use crate::net::{Activation, Smooth};

const PATH: Claim =
    Claim { id: "relu-limit-path", title: "Cor. 3.1.1: leaky flows converge to the ReLU flow, slope → 0" };
const LAMBDA: Claim =
    Claim { id: "relu-limit-lambda0", title: "Cor. 3.1.1: λ₀ of leaky flows converges to that of ReLU" };

/// Slopes of the family.
const SLOPES: [f64; 5] = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5];

/// Both rows.
pub(super) fn relu_limit(evidence: &Evidence) -> Vec<ClaimRow> {
    let none = |reason: &str| [PATH, LAMBDA].map(|claim| claim.row(Verdict::DoesNotApply, reason)).to_vec();
    if !is_leaky(evidence.problem.network.activation()) {
        return none("the activation is neither ReLU nor leaky ReLU");
    }
    let family = SLOPES.map(|slope| Member { parameter: slope, activation: Activation::leaky_relu(slope) });
    let Some(found) = distances(evidence, &Activation::relu(), &family) else { return Vec::new() };
    if found.n_stopped > 0 {
        let reason = format!("{} of the runs stopped early", found.n_stopped);
        return [PATH, LAMBDA].map(|claim| claim.row(Verdict::Unresolved, reason.clone())).to_vec();
    }
    let path = judge(PATH, &found.paths, &found.parameters, "the path", found.error);
    let lambda = judge_lambda0(LAMBDA, &found, "ReLU");
    vec![path, lambda]
}

/// Whether σ is max(z, 0) + a·min(z, 0) with 0 ≤ a < 1.
fn is_leaky(activation: &Activation) -> bool {
    match activation {
        Activation::Piecewise(p) => {
            let slope = p.pieces()[0].get(1).copied().unwrap_or(0.0);
            (0.0..1.0).contains(&slope) && *activation == Activation::leaky_relu(slope)
        }
        Activation::Prelu
        | Activation::Smooth(Smooth::Sigmoid | Smooth::Tanh | Smooth::Softplus | Smooth::TanhPlusIdentity) => false,
    }
}
