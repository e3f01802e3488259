//! How J changes in a ball about θ₀, and the ball that the flow then cannot leave.
//!
//! With s = σ_min(J(θ₀)) and ‖J(θ) − J(θ₀)‖ ≤ κ‖θ − θ₀‖ in the ball of radius ρ, σ_min(J) ≥ s − κρ there. Since −d‖r‖/dt = ‖Jᵀr‖²/‖r‖
//! ≥ (s − κρ)‖θ̇‖, the flow's path in the ball is no longer than ‖r₀‖/(s − κρ). Where that is at most ρ, the flow stays, and ‖r_t‖ ≤
//! e^{−νt}‖r₀‖ with ν = (s − κρ)². Where output biases alone make G regular, ν is their share of it, for every ρ. Otherwise such ρ exist when 4κ‖r₀‖ ≤ s². (Chatterjee's 4L(θ₀) < ρ²α with α = 2ν is the same condition.)

use super::evidence::Evidence;
use crate::flow::FlowField;
use crate::net::Backward;
use crate::ntk::GramEvaluator;
use crate::ode::PiecewiseField;
use crate::vector::norm;
use faer::Mat;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// The largest change of J that is found is taken this many times.
const SAFETY: f64 = 2.0;

/// Directions in which the ascent towards the largest change starts, besides the gradient's; and its steps.
const ASCENT: (usize, usize) = (3, 6);

/// The ball is this much larger than the path can be long: the criterion is a strict inequality.
const ROOM: f64 = 1.001;

/// A singular value of the bias columns above this part of the largest is not zero.
const CLEAR: f64 = 1e-8;

/// Power iterations for the largest singular value of a change.
const POWER: usize = 30;

/// The radius is enlarged this often at most, and each time by this factor beyond what is needed.
const ENLARGE: (usize, f64) = (12, 1.1);

/// What is known from θ₀ alone.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ball {
    /// The flow cannot leave the ball, and the residual falls at least at this rate.
    Keeps { radius: f64, rate: f64 },
    /// The condition fails: 4κ‖r₀‖/s² is above 1.
    Fails { condition: f64 },
    /// A kink comes closer than the radius, so that J jumps in the ball.
    Kink { distance: f64, radius: f64 },
    /// J(θ₀) is singular to rounding.
    Singular,
    /// A value in the ball is not finite.
    NotFinite,
    /// The run was asked to leave the spectrum out, for which a Jacobian may be too large as well.
    NotTracked,
}

impl Ball {
    /// Tries to find the ball of a flow. Needs P ≥ nM and distinct inputs.
    pub fn of(evidence: &Evidence) -> Self {
        Self::search(evidence).unwrap_or(Self::NotFinite)
    }

    fn search(evidence: &Evidence) -> Option<Self> {
        if !evidence.plan.track.is_on() {
            return Some(Self::NotTracked);
        }
        let theta0 = &evidence.problem.theta0;
        let mut local = Local { field: evidence.field(), grams: GramEvaluator::default(), dy: vec![0.0; theta0.len()] };
        let jacobian = local.jacobian(theta0)?;
        let sigma = jacobian.singular_values().ok()?;
        let (largest, s) = (sigma[0], sigma[sigma.len() - 1]);
        let r0 = local.field.sample(&local.dy).residual_norm;
        if s <= 4.0 * f64::EPSILON * (sigma.len() as f64).sqrt() * largest {
            return Some(Self::Singular);
        }
        if let Some(rate) = bias_rate(evidence, &jacobian) {
            return Some(Self::Keeps { radius: ROOM * r0 / rate.sqrt(), rate });
        }
        let downhill = local.dy.clone();
        let kink = local.nearest_kink(theta0);
        let mut radius = r0 / s;
        for _ in 0..ENLARGE.0 {
            let kappa = SAFETY * local.largest_change(theta0, &jacobian, radius, &downhill, evidence.problem.seed)?;
            let condition = 4.0 * kappa * r0 / (s * s);
            if condition > 1.0 {
                return Some(Self::Fails { condition });
            }
            // The smaller root of (s − κρ)ρ = ‖r₀‖, without cancellation.
            let needed = 2.0 * r0 / (s + (s * s - 4.0 * kappa * r0).sqrt());
            if needed <= radius {
                if kink <= radius {
                    return Some(Self::Kink { distance: kink, radius });
                }
                let rate = (s - kappa * radius).powi(2);
                return Some(if (s - kappa * radius) * radius >= r0 {
                    Self::Keeps { radius, rate }
                } else {
                    // The radius was taken beyond the larger root.
                    Self::Fails { condition }
                });
            }
            radius = ENLARGE.1 * needed;
        }
        Some(Self::Fails { condition: f64::NAN })
    }
}

/// What output biases alone contribute to λ_min(G): their columns of J do not depend on θ. `None` when that is nothing.
fn bias_rate(evidence: &Evidence, jacobian: &Mat<f64>) -> Option<f64> {
    let layers = evidence.problem.network.layers();
    let bias = layers[layers.len() - 1].bias.clone()?;
    let own = jacobian.as_ref().subrows(bias.start, bias.len());
    if own.nrows() < own.ncols() {
        return None;
    }
    let sigma = own.singular_values().ok()?;
    let least = sigma[sigma.len() - 1];
    (least > CLEAR * sigma[0]).then_some(least * least)
}

/// J and its neighbourhood at one point.
struct Local {
    field: FlowField,
    grams: GramEvaluator,
    dy: Vec<f64>,
}

impl Local {
    /// Jᵀ (P × nM) at θ, pieces read off the values.
    fn jacobian(&mut self, theta: &[f64]) -> Option<Mat<f64>> {
        let mode = self.field.mode_from_values(theta);
        self.field.eval(theta, &mode, &mut self.dy).ok()?;
        self.grams.visit(&self.field);
        Some(self.grams.jacobian_transposed(&self.field))
    }

    /// Distance from θ, to first order, to the nearest switching surface; ∞ without any. The field stands at θ.
    fn nearest_kink(&self, theta: &[f64]) -> f64 {
        let (batch, forward) = (self.field.batch(), self.field.forward().1);
        let breakpoints = batch.network().activation().breakpoints();
        let (zeros, mut backward) = (vec![0.0; batch.n_outputs()], Backward::default());
        let (mut gradient, mut nearest) = (vec![0.0; theta.len()], f64::INFINITY);
        if breakpoints.is_empty() {
            return nearest;
        }
        for switch in 0..self.field.n_switches() {
            let place = self.field.switches().first(switch);
            batch.backward(theta, forward, &zeros, &[(place, 1.0)], &mut backward, &mut gradient);
            let slope = norm(&gradient);
            let gap = breakpoints.iter().map(|b| (forward.z[place] - b).abs()).fold(f64::INFINITY, f64::min);
            if slope > 0.0 {
                nearest = nearest.min(gap / slope);
            }
        }
        nearest
    }

    /// The largest ‖J(θ) − J(θ₀)‖/ρ that an ascent finds on the sphere of radius ρ.
    ///
    /// To first order the change is a symmetric bilinear form for each output, so that the right singular vector of the change in one direction
    /// is the direction in which to look next.
    fn largest_change(
        &mut self,
        theta0: &[f64],
        jacobian: &Mat<f64>,
        radius: f64,
        downhill: &[f64],
        seed: u64,
    ) -> Option<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        // A stream of its own, as everywhere.
        rng.set_stream(u64::MAX - 2);
        let mut starts = vec![downhill.to_vec()];
        starts.extend((0..ASCENT.0).map(|_| theta0.iter().map(|_| StandardNormal.sample(&mut rng)).collect()));
        let mut largest = 0.0_f64;
        for mut direction in starts {
            for _ in 0..ASCENT.1 {
                let length = norm(&direction);
                if length == 0.0 {
                    break;
                }
                let theta: Vec<f64> = theta0.iter().zip(&direction).map(|(t, d)| t + radius * d / length).collect();
                let change = self.jacobian(&theta)? - jacobian;
                let size = top_direction(&change, &mut direction);
                largest = largest.max(size / radius);
            }
        }
        largest.is_finite().then_some(largest)
    }
}

/// The largest singular value of a matrix P × n; its left singular vector goes to `direction`.
fn top_direction(matrix: &Mat<f64>, direction: &mut [f64]) -> f64 {
    let n = matrix.ncols();
    let column = |k: usize| matrix.col(k).try_as_col_major().expect("Mat columns are contiguous").as_slice();
    // Deterministic and without any symmetry that a singular vector could be orthogonal to.
    let mut u: Vec<f64> = (0..n).map(|k| 1.0 + (k as f64 * 0.618_033_988_75).fract()).collect();
    let mut size = 0.0;
    for _ in 0..POWER {
        let length = norm(&u);
        if length == 0.0 {
            break;
        }
        direction.fill(0.0);
        for (k, weight) in u.iter().enumerate() {
            direction.iter_mut().zip(column(k)).for_each(|(d, c)| *d += weight / length * c);
        }
        size = norm(direction);
        u.iter_mut().enumerate().for_each(|(k, u)| *u = crate::vector::dot(column(k), direction));
    }
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_iteration_finds_the_largest_singular_value() {
        for (rows, columns) in [(7, 3), (3, 3), (20, 6)] {
            let matrix =
                Mat::from_fn(rows, columns, |i, j| ((3 * i + 5 * j) as f64).sin() + if i == j { 2.0 } else { 0.0 });
            let sigma = matrix.singular_values().expect("it converges");
            let mut direction = vec![0.0; rows];
            let size = top_direction(&matrix, &mut direction);
            // The error falls by (σ₂/σ₁)² per step.
            let tol = sigma[0] * (sigma[1] / sigma[0]).powi(2 * POWER as i32) + 1e-13 * sigma[0];
            assert!((size - sigma[0]).abs() <= tol, "{rows} × {columns}: {size} against {}", sigma[0]);
        }
    }
}
