//! Linear combinations of long vectors in one pass over memory: what a step of any method spends its own time on.

use super::stepper::Start;
use crate::vector::{all_finite, vectorised};

/// Most terms of a combination: the stages of the largest tableau, the end of the step and the extra stages of its interpolant.
pub(super) const MAX_TERMS: usize = 16;

/// A linear combination of vectors, on the stack.
pub(super) struct Terms<'a> {
    items: [(f64, &'a [f64]); MAX_TERMS],
    len: usize,
}

impl<'a> Terms<'a> {
    pub(super) fn empty() -> Self {
        Self { items: [(0.0, &[]); MAX_TERMS], len: 0 }
    }

    /// h Σ w_i k_i with k_1 = `first` and the others in `rest`, which may be longer than the weights.
    pub(super) fn new(h: f64, weights: &[f64], first: &'a [f64], rest: &'a [Vec<f64>]) -> Self {
        let mut terms = Self::empty();
        let stages = std::iter::once(first).chain(rest.iter().map(Vec::as_slice));
        for (w, k) in weights.iter().zip(stages).filter(|(w, _)| **w != 0.0) {
            terms.push(h * w, k);
        }
        terms
    }

    /// What the cubic Hermite polynomial adds to the state at the start: h x(1−x)² f_0 − h x²(1−x) f_1 + x²(3−2x)(y_1 − y_0), where `end` is
    /// (y_1, f_1).
    pub(super) fn hermite(h: f64, x: f64, start: Start<'a>, end: (&'a [f64], &'a [f64])) -> Self {
        let u = 1.0 - x;
        let weight = x * x * (3.0 - 2.0 * x);
        let mut terms = Self::empty();
        terms.push(h * x * u * u, start.dy);
        terms.push(-h * x * x * u, end.1);
        terms.push(weight, end.0);
        terms.push(-weight, start.y);
        terms
    }

    pub(super) fn push(&mut self, weight: f64, vector: &'a [f64]) {
        self.items[self.len] = (weight, vector);
        self.len += 1;
    }

    fn as_slice(&self) -> &[(f64, &'a [f64])] {
        &self.items[..self.len]
    }
}

/// Weights of all stages at the part x of a step: Σ_p w_ip x^(p+1) for each row w_i of `table`.
pub(super) fn stage_weights(table: &[[f64; 4]], x: f64) -> [f64; MAX_TERMS] {
    let mut at_x = [0.0; MAX_TERMS];
    for (at_x, row) in at_x.iter_mut().zip(table) {
        *at_x = row.iter().rev().fold(0.0, |sum, w| (sum + w) * x);
    }
    at_x
}

/// out = base + Σ w_i v_i (base zero when absent); tells whether every entry is finite.
///
/// Blocks that stay in the first-level cache make one pass over memory whatever the number of terms; four terms at once keep
/// the arithmetic ahead of the loads. The sum is added to the base last, so that the base is rounded once.
pub(super) fn combine(out: &mut [f64], base: Option<&[f64]>, terms: &Terms<'_>) -> bool {
    vectorised!(combine_blocks(out, base, terms))
}

#[inline(always)]
fn combine_blocks(out: &mut [f64], base: Option<&[f64]>, terms: &Terms<'_>) -> bool {
    const BLOCK: usize = 512;
    let mut finite = true;
    for from in (0..out.len()).step_by(BLOCK) {
        let range = from..out.len().min(from + BLOCK);
        let out = &mut out[range.clone()];
        let mut fours = terms.as_slice().chunks_exact(4);
        let mut is_first = true;
        for four in &mut fours {
            let [(a, u), (b, v), (c, w), (d, x)] = [0, 1, 2, 3].map(|i| (four[i].0, &four[i].1[range.clone()]));
            let columns = out.iter_mut().zip(u).zip(v).zip(w).zip(x);
            if is_first {
                columns.for_each(|((((out, u), v), w), x)| *out = (a * u + b * v) + (c * w + d * x));
            } else {
                columns.for_each(|((((out, u), v), w), x)| *out += (a * u + b * v) + (c * w + d * x));
            }
            is_first = false;
        }
        for (weight, vector) in fours.remainder() {
            let columns = out.iter_mut().zip(&vector[range.clone()]);
            if is_first {
                columns.for_each(|(out, v)| *out = weight * v);
            } else {
                columns.for_each(|(out, v)| *out += weight * v);
            }
            is_first = false;
        }
        if is_first {
            out.fill(0.0);
        }
        if let Some(base) = base {
            for (out, b) in out.iter_mut().zip(&base[range]) {
                *out += b;
            }
        }
        finite &= all_finite(out);
    }
    finite
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combine_equals_the_naive_sum_at_every_size() {
        for n in [0, 1, 3, 7, 511, 512, 513, 1500] {
            for n_terms in 0..=9 {
                let vector = |j: usize| (0..n).map(|i| ((i * 7 + j * 13) % 11) as f64 - 5.0).collect::<Vec<_>>();
                let rest: Vec<_> = (1..=n_terms).map(vector).collect();
                let (first, base) = (vector(0), vector(20));
                let weights: Vec<f64> = (0..=n_terms).map(|j| j as f64 - 2.0).collect();
                let mut out = vec![f64::NAN; n];
                assert!(combine(&mut out, Some(&base), &Terms::new(0.5, &weights, &first, &rest)));
                for i in 0..n {
                    // Halves of small integers: exact in any order.
                    let sum: f64 = (0..n_terms).map(|j| 0.5 * weights[j + 1] * rest[j][i]).sum();
                    assert_eq!(out[i], base[i] + 0.5 * weights[0] * first[i] + sum, "n = {n}, {n_terms} terms");
                }
            }
        }
    }

    #[test]
    fn all_finite_sees_every_place() {
        for n in [0, 1, 7, 8, 9, 30] {
            assert!(all_finite(&vec![f64::MAX; n]) && all_finite(&vec![-0.0; n]));
            for i in 0..n {
                for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                    let mut v = vec![-1.0; n];
                    v[i] = bad;
                    assert!(!all_finite(&v), "{bad} at {i} of {n}");
                }
            }
        }
    }
}
