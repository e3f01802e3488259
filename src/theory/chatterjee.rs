//! Chatterjee's criterion (arXiv:2203.16462): with α(r) the infimum of ‖∇L‖²/L over the ball of radius r about θ₀, 4L(θ₀) < r²α(r) keeps
//! the flow in the ball and L(t) ≤ e^{−αt}L(0).
//!
//! An infimum cannot be sampled from above: points of the ball can show that the criterion fails, not that it is met. That it is met is only
//! said where [`super::ball`] bounds α from below.

use super::a_priori::in_ball;
use super::ball::Ball;
use super::evidence::{Evidence, distance, evaluate};
use super::row::{Claim, ClaimRow, Verdict};
use crate::net::{Activation, Smooth};
use crate::ntk::bound::RATIO_TOL;
use crate::vector::{dot, norm};
use faer::Mat;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, StandardNormal};

const CLAIM: Claim = Claim { id: "chatterjee", title: "Chatterjee: 4L(θ₀) < r²α(r) ⇒ L(t) ≤ e^(−αt)L(0)" };

/// Radii that are tried, from the smallest up, each this many times the one before.
const RADII: (usize, f64) = (24, 1.5);

/// Random points per radius.
const N_POINTS: usize = 24;

/// Points on the way to a critical point.
const N_TOWARDS: usize = 64;

/// The smallest radius relative to the least that could do, 2√(L/α(0)).
const FIRST: f64 = 0.25;

/// The criterion, the start that the theorem asks for, and the bound where α is known from below.
pub(super) fn chatterjee(evidence: &Evidence, ball: Option<&Ball>) -> ClaimRow {
    if let Some(reason) = evidence.problem.loss.beyond_theory() {
        return CLAIM.row(Verdict::DoesNotApply, reason.replacen("the bound", "the theorem on networks", 1));
    }
    let start = conditions(evidence);
    if let Some(Ball::Keeps { radius, rate }) = ball {
        let alpha = 2.0 * rate;
        let Some((ratio, decay)) = evidence.decay_ratio(*rate, 0.0) else {
            return CLAIM.row(Verdict::Unresolved, "the run has no positive time");
        };
        let verdict = in_ball(evidence, *radius, decay);
        let loss = evidence.run.observed.loss_initial;
        let meaning = format!(
            "α ≥ {alpha:.4e} in the ball of radius r = {radius:.4}, so that 4L(θ₀)/(r²α) = {:.4}; the loss reaches {:.6} of e^(−αt)L(0) ({start})",
            4.0 * loss / (radius * radius * alpha),
            ratio * ratio
        );
        return CLAIM
            .row(verdict, meaning)
            .measured(ratio * ratio, (1.0 + RATIO_TOL).powi(2))
            .shown_in("trajectory.csv");
    }
    match best(evidence) {
        None => CLAIM.row(Verdict::Unresolved, "a loss or gradient near θ₀ is not finite"),
        Some(found) if found.condition >= 1.0 => {
            let Found { condition, radius, alpha } = found;
            let meaning = format!(
                "4L(θ₀)/(r²α) is {condition:.3e} or more at every radius tried (best r = {radius:.3e}, α ≤ {alpha:.3e}), not below 1 ({start})"
            );
            CLAIM.row(Verdict::DoesNotApply, meaning).measured(condition, 1.0)
        }
        Some(Found { condition, radius, alpha }) => {
            let meaning = format!(
                "at r = {radius:.3e} the points tried give α ≤ {alpha:.3e} and 4L(θ₀)/(r²α) ≥ {condition:.3e}, but no bound on α from below \
                 says that it is met ({start})"
            );
            CLAIM.row(Verdict::Unresolved, meaning).measured(condition, 1.0)
        }
    }
}

struct Found {
    condition: f64,
    radius: f64,
    alpha: f64,
}

/// The first radius at which 4L(θ₀)/(r²α) is below 1, with α the least ‖∇L‖²/L over the points tried; without one, that at which it is least.
fn best(evidence: &Evidence) -> Option<Found> {
    let theta0 = &evidence.problem.theta0;
    let mut field = evidence.field();
    let mut ratio = |theta: &[f64]| {
        let (dy, loss) = evaluate(&mut field, theta).ok()?;
        Some(if loss > 0.0 { (dot(&dy, &dy) / loss, loss) } else { (f64::INFINITY, loss) })
    };
    let (mut alpha, loss) = ratio(theta0)?;
    if loss == 0.0 || alpha == 0.0 {
        return Some(Found { condition: f64::INFINITY, radius: 0.0, alpha });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(evidence.problem.seed);
    // A stream of its own, as everywhere.
    rng.set_stream(u64::MAX - 3);
    // The flow's own points, and those on the way to where a network no longer sees its inputs.
    let mut seen = |theta: &[f64]| Some((distance(theta, theta0), ratio(theta)?.0));
    let mut on_the_way: Vec<(f64, f64)> = evidence.saved.iter().filter_map(|(_, theta)| seen(theta)).collect();
    let mut blind = vec![without_weights(evidence, true)?, without_weights(evidence, false)?];
    // Without hidden biases they are the same.
    blind.dedup();
    for end in blind {
        for k in 1..=N_TOWARDS {
            let part = k as f64 / N_TOWARDS as f64;
            let theta: Vec<f64> = theta0.iter().zip(&end).map(|(a, b)| a + part * (b - a)).collect();
            on_the_way.extend(seen(&theta));
        }
    }
    let mut radius = FIRST * 2.0 * (loss / alpha).sqrt();
    let mut least = Found { condition: f64::INFINITY, radius, alpha };
    for _ in 0..RADII.0 {
        let inside = on_the_way.iter().filter(|(distance, value)| *distance <= radius && value.is_finite());
        alpha = inside.fold(alpha, |least, (_, value)| least.min(*value));
        let condition = |alpha: f64| if alpha > 0.0 { 4.0 * loss / (radius * radius * alpha) } else { f64::INFINITY };
        // Where the points known already show that the criterion fails, more of them say nothing new.
        let n_points = if condition(alpha) < 1.0 { N_POINTS } else { 0 };
        for _ in 0..n_points {
            let direction: Vec<f64> = theta0.iter().map(|_| StandardNormal.sample(&mut rng)).collect();
            let length = radius * rng.random::<f64>().sqrt() / norm(&direction);
            let theta: Vec<f64> = theta0.iter().zip(&direction).map(|(t, d)| t + length * d).collect();
            // Beyond the range of f64 a point shows nothing.
            if let Some((value, _)) = ratio(&theta).filter(|(value, _)| value.is_finite()) {
                alpha = alpha.min(value);
            }
        }
        if condition(alpha) < least.condition {
            least = Found { condition: condition(alpha), radius, alpha };
        }
        if least.condition < 1.0 {
            // Points further away cannot show that it fails in this ball.
            break;
        }
        radius *= RADII.1;
    }
    Some(least)
}

/// θ with all weights 0, hidden biases kept or not, and the best output bias. Every sample looks alike there, so that layers without skips have a critical point, mostly
/// with L > 0: no ball that reaches it has α > 0.
fn without_weights(evidence: &Evidence, with_biases: bool) -> Option<Vec<f64>> {
    let mut theta = evidence.problem.theta0.clone();
    let layers = evidence.problem.network.layers();
    for layer in layers {
        theta[layer.weights.clone()].fill(0.0);
        layer.bias.clone().filter(|_| !with_biases).into_iter().for_each(|bias| theta[bias].fill(0.0));
    }
    if let Some(bias) = &layers[layers.len() - 1].bias {
        // The squared error is a sum of parabolas in the output biases: two gradients show their minimum.
        let mut field = evidence.field();
        let (here, _) = evaluate(&mut field, &theta).ok()?;
        let mut moved = theta.clone();
        moved[bias.clone()].iter_mut().for_each(|b| *b += 1.0);
        let (there, _) = evaluate(&mut field, &moved).ok()?;
        for k in bias.clone() {
            let curvature = here[k] - there[k];
            if curvature > 0.0 {
                theta[k] += here[k] / curvature;
            }
        }
    }
    Some(theta)
}

/// Which conditions of the theorem on networks are met.
fn conditions(evidence: &Evidence) -> String {
    let (problem, network) = (evidence.problem, &evidence.problem.network);
    let last = network.layers().len() - 1;
    let is_increasing = matches!(
        network.activation(),
        Activation::Smooth(Smooth::Sigmoid | Smooth::Tanh | Smooth::Softplus | Smooth::TanhPlusIdentity)
    );
    let are_independent = {
        let (n, n_inputs) = (problem.data.n_samples(), problem.data.n_inputs());
        let x = Mat::from_fn(n, n_inputs, |i, j| problem.data.x()[i * n_inputs + j]);
        n <= n_inputs && x.singular_values().is_ok_and(|sigma| sigma[n - 1] > 1e-12 * sigma[0])
    };
    let is_positive = network.layers().iter().enumerate().all(|(l, layer)| {
        let weights = &problem.theta0[layer.weights.clone()];
        let has_no_bias = layer.bias.clone().is_none_or(|bias| problem.theta0[bias].iter().all(|b| *b == 0.0));
        has_no_bias
            && if l == 0 && last > 0 { weights.iter().all(|w| *w == 0.0) } else { weights.iter().all(|w| *w > 0.0) }
    });
    let is = |met: bool| if met { "" } else { "not " };
    format!(
        "σ {}smooth and strictly increasing, inputs {}linearly independent, start {}positive",
        is(is_increasing),
        is(are_independent),
        is(is_positive)
    )
}
