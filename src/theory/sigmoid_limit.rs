//! Corollary 3.1.2: the theorem for the sigmoid as the limit of piecewise polynomials p_k, of degree k on [−R, R] and constant outside.
//!
//! p_k interpolates σ at Chebyshev's nodes, which is near-best (within the factor 1 + Λ_k of Lebesgue's constant) and keeps σ − ½ odd. Jackson's
//! theorem bounds the best error by (π/2)·(R/4)/(k + 1), ¼ being the Lipschitz constant of σ and R the half-width that scales it. R contains all
//! pre-activations of the sigmoid flow.

use super::evidence::{Evidence, evaluate};
use super::limit::{Member, distances, judge, judge_lambda0};
use super::row::{Claim, ClaimRow, Verdict};
use crate::logistic::sigmoid;
use crate::net::{Activation, PiecewisePolynomial, Smooth};
use crate::vector::max_abs;
use std::f64::consts::PI;

const ERROR: Claim = Claim {
    id: "sigmoid-limit-error",
    title: "Cor. 3.1.2: p_k is within Jackson's (π/2)(R/4)/(k + 1) of σ on [−R, R]",
};
const PATH: Claim =
    Claim { id: "sigmoid-limit-path", title: "Cor. 3.1.2: flows with p_k converge to the sigmoid flow, k → ∞" };
const LAMBDA: Claim = Claim {
    id: "sigmoid-limit-lambda0",
    title: "Cor. 3.1.2: λ₀ of flows with p_k converges to that of the sigmoid",
};

/// Degrees of the family; σ − ½ is odd, so even ones add nothing.
const DEGREES: [usize; 5] = [3, 7, 15, 23, 31];

/// R relative to the largest pre-activation seen at a saved θ, and at least.
const RANGE: (f64, f64) = (1.1, 2.0);

/// Places at which the error of p_k is looked at.
const N_CHECKED: usize = 2000;

/// All three rows.
pub(super) fn sigmoid_limit(evidence: &Evidence) -> Vec<ClaimRow> {
    let claims = [ERROR, PATH, LAMBDA];
    let all = |verdict, reason: &str| claims.map(|claim| claim.row(verdict, reason)).to_vec();
    if *evidence.problem.network.activation() != Activation::Smooth(Smooth::Sigmoid) {
        return all(Verdict::DoesNotApply, "the activation is not the sigmoid");
    }
    let range = range(evidence);
    let family: Option<Vec<Member>> = DEGREES
        .iter()
        .map(|&degree| {
            Some(Member { parameter: degree as f64, activation: Activation::Piecewise(approximant(degree, range)?) })
        })
        .collect();
    let Some(family) = family else { return all(Verdict::Unresolved, "the pre-activations are not finite") };
    let error = errors(&family, range);
    let Some(found) = distances(evidence, evidence.problem.network.activation(), &family) else { return vec![error] };
    if found.n_stopped > 0 {
        let reason = format!("{} of the runs stopped early", found.n_stopped);
        return vec![error, PATH.row(Verdict::Unresolved, reason.clone()), LAMBDA.row(Verdict::Unresolved, reason)];
    }
    let path = judge(PATH, &found.paths, &found.parameters, "the path", found.error);
    let lambda = judge_lambda0(LAMBDA, &found, "sigmoid");
    vec![error, path, lambda]
}

/// R: all pre-activations at the saved θ with room.
fn range(evidence: &Evidence) -> f64 {
    let mut field = evidence.field();
    let seen = evidence.saved.iter().filter_map(|(_, theta)| {
        evaluate(&mut field, theta).ok()?;
        Some(max_abs(&field.forward().1.z))
    });
    (RANGE.0 * seen.fold(0.0, f64::max)).max(RANGE.1)
}

/// p_k: degree k on [−R, R], constant outside; `None` when R is not finite.
pub fn approximant(degree: usize, range: f64) -> Option<PiecewisePolynomial> {
    let n = degree + 1;
    let node = |j: usize| (PI * (j as f64 + 0.5) / n as f64).cos();
    let value = |j: usize| sigmoid(range * node(j));
    // Coefficients in Chebyshev polynomials by the discrete orthogonality at the nodes.
    let chebyshev = |m: usize| {
        let sum: f64 = (0..n).map(|j| value(j) * (PI * m as f64 * (j as f64 + 0.5) / n as f64).cos()).sum();
        sum * if m == 0 { 1.0 } else { 2.0 } / n as f64
    };
    // T_{m+1} = 2xT_m − T_{m−1}, in powers of x = z/R.
    let (mut before, mut now) = (vec![0.0; n + 1], vec![0.0; n + 1]);
    (before[0], now[1]) = (1.0, 1.0);
    let mut powers = vec![0.0; n];
    for m in 0..n {
        let weight = chebyshev(m);
        powers.iter_mut().zip(&before).for_each(|(p, t)| *p += weight * t);
        let mut next = vec![0.0; n + 1];
        for k in 0..=n {
            next[k] = if k > 0 { 2.0 * now[k - 1] } else { 0.0 } - before[k];
        }
        (before, now) = (now, next);
    }
    let scaled: Vec<f64> = powers.iter().enumerate().map(|(k, p)| p / range.powi(k as i32)).collect();
    let at = |z: f64| scaled.iter().rev().fold(0.0, |sum, c| sum * z + c);
    let ends = [at(-range), at(range)];
    PiecewisePolynomial::new(vec![-range, range], vec![vec![ends[0]], scaled, vec![ends[1]]]).ok()
}

/// sup|p_k − σ| on [−R, R] against Jackson's bound, for the degree that comes closest to it.
fn errors(family: &[Member], range: f64) -> ClaimRow {
    let mut worst = (0.0, 0.0, f64::INFINITY);
    let mut list = Vec::new();
    for member in family {
        let place = |k: usize| range * (2.0 * k as f64 / N_CHECKED as f64 - 1.0);
        let off = |z: f64| (member.activation.eval(1, z, 0.0).0 - sigmoid(z)).abs();
        let error = (0..=N_CHECKED).map(|k| off(place(k))).fold(0.0, f64::max);
        let bound = 0.5 * PI * 0.25 * range / (member.parameter + 1.0);
        list.push(format!("{error:.2e} ≤ {bound:.2e} at k = {}", member.parameter));
        if error / bound > worst.0 {
            worst = (error / bound, error, bound);
        }
    }
    let (part, error, bound) = worst;
    let verdict = if part <= 1.0 { Verdict::Holds } else { Verdict::Violated };
    let meaning = format!("R = {range:.3} holds all pre-activations; errors {}", list.join(", "));
    ERROR.row(verdict, meaning).measured(error, bound)
}
