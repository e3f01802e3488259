//! Onto the sliding surfaces and those just reached, from a point whose sliding units are held already.
//!
//! With Γ₁₁ that of the sliding units, factored for the last evaluation, and the surfaces reached as its border,
//! the least-norm step −V₁ᵀx − V₂ᵀw onto all of them has S w = r₂ − Γ₂₁Γ₁₁⁻¹r₁ with S = Γ₂₂ − Γ₂₁Γ₁₁⁻¹Γ₁₂ and
//! x = Γ₁₁⁻¹(r₁ − Γ₁₂w), where r are the distances from the breakpoints. Nothing is assembled or factored anew but S, mostly 1 × 1.

use super::{SlideSystem, TangentBuffers};
use crate::cholesky::Cholesky;
use crate::net::{Batch, Forward, Probes, cross_gram_again};
use crate::vector::{all_finite, dot};

/// More surfaces at once are left to an assembly of all.
const MOST_HITS: usize = 8;

/// A gradient whose square has less than this part off the span of the others counts as inside it.
const INSIDE: f64 = 1e-10;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Border {
    switches: Vec<usize>,
    probes: Probes,
    /// Their gradients, one behind the other.
    gradients: Vec<f64>,
    /// Γ₁₂, and Γ₁₁⁻¹Γ₁₂.
    cross: Vec<f64>,
    solved: Vec<f64>,
    /// S, lower triangle by columns, and its factor.
    schur: Vec<f64>,
    factor: Cholesky,
    solution: Vec<f64>,
}

impl Border {
    /// Forgets all hits.
    pub fn clear(&mut self) {
        self.switches.clear();
    }
}

impl SlideSystem {
    /// Moves `y`, which is θ of the last [`assemble`](Self::assemble), onto the surfaces of its switches and of `hits` (increasing, none
    /// of them among those). `offsets` are the distances from the breakpoints, of the switches as they were given and then of the hits.
    /// Returns `false` and does nothing where that takes an assembly of all, or is not finite.
    pub fn step_onto(
        &mut self,
        batch: &Batch,
        forward: &Forward,
        hits: impl Iterator<Item = usize>,
        offsets: &[f64],
        buffers: &mut TangentBuffers,
        y: &mut [f64],
    ) -> bool {
        let k = self.switches.len();
        self.border.switches.clear();
        self.border.switches.extend(hits);
        let m = self.border.switches.len();
        if m > MOST_HITS || self.factor.size() != k || !self.set_border(batch, y, forward) {
            self.border.clear();
            return false;
        }
        let Self { places, solution, factor, border, .. } = self;
        solution.clear();
        solution.extend(places.iter().map(|&e| offsets[e]));
        factor.solve(solution);
        let Border { cross, solved, solution: weights, factor: schur, .. } = border;
        weights.clear();
        weights.extend(offsets[k..].iter().enumerate().map(|(a, r)| r - dot(&cross[a * k..(a + 1) * k], solution)));
        schur.solve(weights);
        for (b, weight) in weights.iter().enumerate() {
            solution.iter_mut().zip(&solved[b * k..(b + 1) * k]).for_each(|(x, s)| *x -= weight * s);
        }
        if !all_finite(solution) || !all_finite(weights) {
            return false;
        }
        if k > 0 {
            buffers.resize(batch, y.len());
            let TangentBuffers { grad, zeros, backward, .. } = buffers;
            backward.clear(batch);
            self.inject(batch, backward);
            batch.gradient(forward, zeros, backward, grad);
            if !all_finite(grad) {
                return false;
            }
            y.iter_mut().zip(&*grad).for_each(|(y, g)| *y -= g);
        }
        let Border { gradients, solution: weights, .. } = &self.border;
        for (gradient, weight) in gradients.chunks_exact(y.len()).zip(weights) {
            y.iter_mut().zip(gradient).for_each(|(y, g)| *y -= weight * g);
        }
        true
    }

    /// After [`step_onto`](Self::step_onto), the square of what ∇z of one of its hits has off the span of the
    /// gradients of the sliding ones.
    pub fn square_off_sliding(&self, hit: usize) -> Option<f64> {
        let Border { switches, schur, .. } = &self.border;
        let place = switches.iter().position(|&switch| switch == hit)?;
        Some(schur[place * (switches.len() + 1)])
    }

    /// Gradients of the hits, their products with those of the set, and S with its factor; `false` when one of them is in the span of
    /// the others.
    fn set_border(&mut self, batch: &Batch, theta: &[f64], forward: &Forward) -> bool {
        let Self { probes, scratch, factor, border, .. } = self;
        let Border { switches, probes: hits, gradients, cross, solved, schur, factor: schur_factor, .. } = border;
        let (k, m) = (factor.size(), switches.len());
        hits.switches(batch, theta, forward, switches);
        gradients.resize(m * theta.len(), 0.0);
        for (a, gradient) in gradients.chunks_exact_mut(theta.len()).enumerate() {
            hits.gradient(batch, forward, a, gradient);
        }
        cross.clear();
        if k > 0 && m > 0 {
            cross_gram_again(batch, forward, probes, hits, scratch, cross);
        }
        solved.clone_from(cross);
        (0..m).for_each(|b| factor.solve(&mut solved[b * k..(b + 1) * k]));
        schur.clear();
        schur.resize(m * m, 0.0);
        let mut largest = 0.0_f64;
        let gradient = |a: usize| &gradients[a * theta.len()..(a + 1) * theta.len()];
        for b in 0..m {
            for a in b..m {
                let own = dot(gradient(a), gradient(b));
                largest = largest.max(own);
                schur[b * m + a] = own - dot(&cross[a * k..(a + 1) * k], &solved[b * k..(b + 1) * k]);
                let is_off_sliding = schur[b * m + a] > INSIDE * own;
                if a == b && !is_off_sliding {
                    return false;
                }
            }
        }
        let (room, stride) = schur_factor.room(m);
        (0..m).for_each(|b| room[b * stride + b..b * stride + m].copy_from_slice(&schur[b * m + b..(b + 1) * m]));
        // Hits may lie in the span of each other, too.
        schur_factor.factor_in_place(&[]).is_ok() && schur_factor.smallest_pivot().powi(2) > INSIDE * largest
    }
}
