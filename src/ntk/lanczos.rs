//! Extreme eigenvalues of symmetric operators by Lanczos iterations with full reorthogonalisation.

use crate::vector::{dot, norm, vectorised};
use faer::{Mat, Side};

/// Most Lanczos vectors.
const MAX_VECTORS: usize = 40;

/// Share of a fixed pseudo-random vector in a start.
const BLEND: f64 = 1e-3;

/// Makes x a unit vector with `share` times a fixed pseudo-random one added, so that no eigenvector is missing from it.
pub(super) fn blend(x: &mut Vec<f64>, n: usize, share: f64) {
    let length = norm(x);
    let is_usable = x.len() == n && length.is_finite() && length > 0.0;
    if !is_usable {
        x.clear();
        x.resize(n, 0.0);
    }
    let (old, fresh) = if is_usable { (1.0 / length, share) } else { (0.0, 1.0) };
    let scale = fresh / (n as f64).sqrt();
    for (k, v) in x.iter_mut().enumerate() {
        // Multiples of the golden ratio are equidistributed and have no symmetry.
        *v = old * *v + scale * (2.0 * (0.17 + k as f64 * 0.618_033_988_749_894_9).fract() - 1.0);
    }
}

/// Orthonormal Lanczos vectors of a symmetric operator, and the tridiagonal matrix that it is on their span.
struct Krylov {
    vectors: Vec<Vec<f64>>,
    diagonal: Vec<f64>,
    off: Vec<f64>,
}

impl Krylov {
    fn new(start: &[f64]) -> Self {
        let length = norm(start);
        Self { vectors: vec![start.iter().map(|v| v / length).collect()], diagonal: Vec::new(), off: Vec::new() }
    }

    /// Applies the operator to the last vector; returns what is new in the image, and its norm.
    fn advance(&mut self, mut apply: impl FnMut(&[f64]) -> Vec<f64>) -> (Vec<f64>, f64) {
        let last = &self.vectors[self.vectors.len() - 1];
        let mut next = apply(last);
        self.diagonal.push(dot(&next, last));
        // Twice is enough (Parlett 1998, sec. 6.9).
        vectorised!({
            for v in self.vectors.iter().chain(&self.vectors) {
                let part = dot(&next, v);
                next.iter_mut().zip(v).for_each(|(x, v)| *x -= part * v);
            }
        });
        let rest = norm(&next);
        (next, rest)
    }

    /// Takes what was new as the next vector.
    fn extend(&mut self, mut next: Vec<f64>, rest: f64) {
        self.off.push(rest);
        next.iter_mut().for_each(|x| *x /= rest);
        self.vectors.push(next);
    }

    /// Σ shares_i · (Lanczos vector i).
    fn combine(&self, shares: &[f64]) -> Vec<f64> {
        let mut sum = vec![0.0; self.vectors[0].len()];
        for (share, v) in shares.iter().zip(&self.vectors) {
            sum.iter_mut().zip(v).for_each(|(x, v)| *x += share * v);
        }
        sum
    }
}

/// Largest eigenvalue of a positive operator and its vector, of norm 1, from Lanczos started at `start`; the value is too low by at most
/// `converged` of it, relatively, by what its residual says.
pub(super) fn largest(
    start: &[f64],
    converged: impl Fn(f64) -> f64,
    mut apply: impl FnMut(&[f64]) -> Vec<f64>,
) -> Option<(f64, Vec<f64>)> {
    let mut krylov = Krylov::new(start);
    let mut ritz = f64::NEG_INFINITY;
    for k in 0..MAX_VECTORS.min(start.len()) {
        let (next, rest) = krylov.advance(&mut apply);
        ritz = largest_of_tridiagonal(&krylov.diagonal, &krylov.off, ritz);
        if !ritz.is_finite() {
            return None;
        }
        let is_invariant = rest <= 1e-14 * ritz.abs() || k + 1 == start.len();
        let shares = top_vector(&krylov.diagonal, &krylov.off, ritz);
        // A value is too low by the square of its residual over the gap to the next eigenvalue (Parlett 1998, sec. 11.7), which is taken to
        // be that to the largest Ritz value without the start; and never by more than the residual.
        let has_converged = || {
            let next = largest_of_tridiagonal(krylov.diagonal.get(1..)?, &krylov.off[1..], f64::NEG_INFINITY);
            let residual = rest * shares.last()?;
            Some(residual * (residual / (ritz - next)).min(1.0) <= converged(ritz) * ritz)
        };
        if is_invariant || (k > 0 && has_converged() == Some(true)) {
            return (ritz > 0.0).then(|| (ritz, krylov.combine(&shares)));
        }
        krylov.extend(next, rest);
    }
    None
}

/// A Ritz value with what is known about it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ritz {
    /// The value.
    pub value: f64,
    /// Norm of the residual Av − value·v: some eigenvalue is within this of the value.
    pub error: f64,
    /// v, of norm 1.
    pub vector: Vec<f64>,
}

/// Both ends of the spectrum of a symmetric operator, which need not be definite: (lowest, highest).
///
/// Lanczos with full reorthogonalisation until the highest value has `error` ≤ `tolerance` times the size of the operator and the lowest one
/// `loose` times it while neither moves by more than that from one look to the next, or for `max_vectors` products. `start` is blended with a fixed pseudo-random vector. That a value belongs to the
/// end and not to the inside of the spectrum is likely and not certified.
///
/// `None` when a value is not finite.
pub fn ends(
    start: &[f64],
    (tolerance, loose): (f64, f64),
    max_vectors: usize,
    mut apply: impl FnMut(&[f64]) -> Vec<f64>,
) -> Option<(Ritz, Ritz)> {
    let n = start.len();
    let mut start = start.to_vec();
    blend(&mut start, n, BLEND);
    let mut krylov = Krylov::new(&start);
    let mut seen = (f64::INFINITY, f64::NEG_INFINITY);
    loop {
        let (next, rest) = krylov.advance(&mut apply);
        if !rest.is_finite() {
            return None;
        }
        let k = krylov.diagonal.len();
        let size = krylov.diagonal.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
        // An invariant subspace has nothing more to give.
        let is_last = k == max_vectors.min(n) || rest <= 1e-14 * size;
        // Each look costs k³; there is no need to look after every product.
        if is_last || k.is_multiple_of(4) {
            let tridiagonal = Mat::from_fn(k, k, |i, j| match i.abs_diff(j) {
                0 => krylov.diagonal[i],
                1 => krylov.off[i.min(j)],
                _ => 0.0,
            });
            let eigen = tridiagonal.self_adjoint_eigen(Side::Lower).ok()?;
            let pair = |at: usize| (eigen.S()[at], rest * eigen.U()[(k - 1, at)].abs());
            let ((low, low_error), (high, high_error)) = (pair(0), pair(k - 1));
            let size = low.abs().max(high.abs());
            // A Ritz value can rest near an eigenvalue inside the spectrum before it finds the way out.
            let (low_move, high_move) = (seen.0 - low, high - seen.1);
            let is_settled = |error: f64, moved: f64, room: f64| error <= room * size && moved <= room * size;
            seen = (low, high);
            let are_settled = is_settled(high_error, high_move, tolerance) && is_settled(low_error, low_move, loose);
            if is_last || are_settled {
                let ritz = |at: usize, (value, error): (f64, f64)| {
                    let shares: Vec<f64> = (0..k).map(|i| eigen.U()[(i, at)]).collect();
                    Ritz { value, error, vector: krylov.combine(&shares) }
                };
                return Some((ritz(0, (low, low_error)), ritz(k - 1, (high, high_error))));
            }
        }
        krylov.extend(next, rest);
    }
}

/// Largest eigenvalue of a symmetric tridiagonal matrix by bisection on Sturm counts; it is at least `lower`.
fn largest_of_tridiagonal(diagonal: &[f64], off: &[f64], lower: f64) -> f64 {
    let radius = |k: usize| {
        let left = if k > 0 { off[k - 1].abs() } else { 0.0 };
        left + off.get(k).map_or(0.0, |o| o.abs())
    };
    // Gershgorin.
    let mut high = (0..diagonal.len()).map(|k| diagonal[k] + radius(k)).fold(f64::NEG_INFINITY, f64::max);
    let mut low = diagonal.iter().fold(lower, |m, d| m.max(*d));
    for _ in 0..100 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high || high - low <= 1e-15 * high.abs() {
            break;
        }
        // All pivots of T − middle·I negative means that every eigenvalue is below the middle.
        let mut pivot = diagonal[0] - middle;
        let mut is_above = pivot < 0.0;
        for (d, o) in diagonal[1..].iter().zip(off) {
            if !is_above {
                break;
            }
            pivot = d - middle - o * o / pivot;
            is_above = pivot < 0.0;
        }
        if is_above { high = middle } else { low = middle }
    }
    0.5 * (low + high)
}

/// The unit eigenvector of a symmetric tridiagonal matrix to its largest eigenvalue, upwards from its last entry: in that direction the
/// pivots are those of a definite matrix.
fn top_vector(diagonal: &[f64], off: &[f64], value: f64) -> Vec<f64> {
    let k = diagonal.len();
    // First the ratios of each entry to the one before.
    let mut vector = vec![1.0; k];
    let mut below = 0.0;
    for j in (1..k).rev() {
        vector[j] = off[j - 1] / (value - diagonal[j] - below);
        below = off[j - 1] * vector[j];
    }
    for j in 1..k {
        vector[j] *= vector[j - 1];
    }
    let length = norm(&vector);
    vector.iter_mut().for_each(|x| *x /= length);
    vector
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::ntk) fn matrix(n: usize, condition: f64, seed: f64) -> Mat<f64> {
        // Q diag Qᵀ with Q from a pseudo-random matrix.
        let random =
            Mat::from_fn(n, n, |i, j| (seed + i as f64 * 0.37 + j as f64 * 0.73 + (i * j) as f64 * 0.61).sin());
        let q = random.qr().compute_Q();
        let values =
            Mat::from_fn(n, n, |i, j| if i == j { condition.powf(i as f64 / (n - 1).max(1) as f64) } else { 0.0 });
        &q * &values * q.transpose()
    }

    #[test]
    fn both_ends_of_an_indefinite_matrix_match_all_eigenvalues_within_their_errors() {
        for n in [1, 2, 5, 30, 90] {
            // Eigenvalues spread over [−1, 3].
            let spread = matrix(n, 50.0, 0.4);
            let shifted = Mat::from_fn(n, n, |i, j| 0.08 * spread[(i, j)] - if i == j { 1.08 } else { 0.0 });
            let all = shifted.self_adjoint_eigenvalues(Side::Lower).expect("finite");
            let apply = |x: &[f64]| (0..n).map(|i| (0..n).map(|j| shifted[(i, j)] * x[j]).sum()).collect::<Vec<f64>>();
            let (low, high) = ends(&vec![0.0; n], (1e-10, 1e-10), 90, apply).expect("finite");
            // Residuals of 1e-10 bound the error; below 1e-13 both methods round.
            assert!((high.value - all[n - 1]).abs() < high.error + 1e-13, "n = {n}: {high:?} {}", all[n - 1]);
            assert!((low.value - all[0]).abs() < low.error + 1e-13, "n = {n}: {low:?} {}", all[0]);
            let image = apply(&high.vector);
            let rest: f64 = image.iter().zip(&high.vector).map(|(a, v)| (a - high.value * v).powi(2)).sum();
            assert!(rest.sqrt() < high.error + 1e-13, "n = {n}: {} {}", rest.sqrt(), high.error);
        }
    }
}
