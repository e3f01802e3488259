//! Extreme eigenvalues of a symmetric positive definite matrix by Lanczos iterations, warm-started and certified.
//!
//! Lanczos with full reorthogonalisation finds the largest eigenvalue of G, and through a Cholesky factor that of (G − μI)⁻¹. A Lanczos
//! value can be an interior eigenvalue when the start misses the extreme eigenvector, so every value that could be the minimum of a
//! run, on which verdicts rest, is certified by inertia: G shifted to just below it must have a Cholesky factor. For others the
//! factor of the shifted matrix shows that they are above that minimum. Without certificate there is no result, and the caller
//! computes all eigenvalues instead. λ_max only sets scales and is not certified.

use crate::cholesky::Cholesky;
use crate::vector::{dot, norm, vectorised};
use faer::{Mat, MatRef, Side};

/// Most Lanczos vectors.
const MAX_VECTORS: usize = 40;
/// A Ritz value has converged when a further vector changes it by less than this, relatively; for λ_min and for λ_max, which only sets
/// scales.
const CONVERGED: (f64, f64) = (1e-13, 1e-11);
/// Relative distance of the certified bound from the value.
const CERTIFIED: f64 = 1e-10;
/// Without a better guess a shift is this part of the previous λ_min.
const NEARBY: f64 = 0.9;
/// Margin of a shift below the Rayleigh quotient of the previous vector: in units of what the quotient is too high by its residual, and at
/// least this part of it.
const MARGIN: f64 = 3.0;
const CLOSEST: f64 = 1e-6;
/// Most steps towards the lowest eigenvector of a new matrix, and how far the Rayleigh quotient may then be above λ_min, relatively, by
/// what its residual says.
const MOST_TURNS: usize = 4;
const CLOSE: f64 = 1e-4;
/// A quotient is visibly above λ_min from this part of it on; what is learnt from it is kept to this part at the next.
const VISIBLE: f64 = 1e-8;
const FORGET: f64 = 0.7;
/// Gap to the next eigenvalue that is expected at first, as part of λ_min.
const GAP: f64 = 0.1;
/// Loosest relative convergence of an inverse.
const LOOSEST: f64 = 1e-6;
/// Share of a fixed pseudo-random vector in a warm start, so that no eigenvector is ever missing from it.
const BLEND: f64 = 1e-3;

/// Both ends of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// λ_min.
    pub low: f64,
    /// λ_max, not certified.
    pub high: f64,
    /// A Cholesky factor shows that no eigenvalue is below this.
    pub above: f64,
}

/// Warm starts for both ends of the spectrum.
#[derive(Debug, Clone, Default)]
pub struct Extremes {
    lowest: Vec<f64>,
    highest: Vec<f64>,
    last_low: f64,
    /// Of the last vector in the new matrix.
    rayleigh: f64,
    residual_squared: f64,
    /// How far its Rayleigh quotient was above λ_min, over its residual squared.
    per_residual: f64,
    /// Of G shifted to near its lowest eigenvalue, and to just below it.
    near: Cholesky,
    below: Cholesky,
}

impl Extremes {
    /// Both ends of the spectrum of `gram`; or `None` when it is not positive definite enough, or the iteration did not convince.
    ///
    /// Where it is already certified that λ_min is above `known_minimum`, the value itself is not certified once more.
    pub fn of(&mut self, gram: MatRef<'_, f64>, known_minimum: f64) -> Option<Ends> {
        let n = gram.nrows();
        blend(&mut self.highest, n);
        // By symmetry, products with rows are products with columns, which are contiguous.
        let columns: Vec<&[f64]> =
            gram.col_iter().map(|c| c.try_as_col_major().map(|c| c.as_slice())).collect::<Option<_>>()?;
        let product = |x: &[f64]| -> Vec<f64> {
            let mut image = vec![0.0; n];
            vectorised!({
                for (i, column) in image.iter_mut().zip(&columns) {
                    *i = dot(column, x);
                }
            });
            image
        };
        // The largest eigenvalue stands far out in a Gram matrix; two power steps keep its vector up to date.
        let high = largest(&self.highest, |_| CONVERGED.1, product)?;
        self.highest = product(&product(&self.highest));

        self.follow(product);
        let guess = self.just_below(product);
        blend(&mut self.lowest, n);
        // Just below the spectrum the inverse is dominated by the eigenvector wanted, so that few iterations do.
        let shift = [guess, NEARBY * self.last_low, 0.0]
            .into_iter()
            .find(|&shift| shift >= 0.0 && self.near.factor(gram, -shift).is_ok())?;
        // An error of the inverse matters to λ_min itself only by its size next to the shift.
        let converged = |inverse: f64| (CONVERGED.0 * (1.0 + shift * inverse)).min(LOOSEST);
        let inverse = largest(&self.lowest, converged, |x| inverse_step(&self.near, x))?;
        let low = shift + 1.0 / inverse;
        let mut above = shift;
        if shift > known_minimum {
            // The factor at hand certifies that no eigenvalue is below the shift.
            self.lowest = inverse_step(&self.near, &self.lowest);
        } else {
            // The eigenvalue itself is only known to ε·‖G‖, so the nudge cannot be smaller than that.
            let nudge = (CERTIFIED * low).max(8.0 * f64::EPSILON * high);
            above = low - nudge;
            self.below.factor(gram, -above).ok()?;
            self.lowest = inverse_step(&self.below, &self.lowest);
        }
        self.last_low = low;
        self.learn(low);
        Some(Ends { low, high, above })
    }

    /// Learns from a quotient that was above λ_min, by more than rounding, how far that is for its residual. To expect too much costs
    /// little, too little a factor in vain: larger values are forgotten slowly.
    fn learn(&mut self, low: f64) {
        let above = self.rayleigh - low;
        if self.residual_squared > 0.0 && above > VISIBLE * low {
            self.per_residual = (above / self.residual_squared).max(FORGET * self.per_residual);
        } else if self.per_residual <= 0.0 {
            self.per_residual = 1.0 / (GAP * low);
        }
    }

    /// Turns the previous vector towards the lowest eigenvector of the new matrix, where that is far away: each step minimises the Rayleigh
    /// quotient over the vector and its residual, which the factor at hand of the previous matrix preconditions (Davidson 1975).
    fn follow(&mut self, product: impl Fn(&[f64]) -> Vec<f64>) {
        let length = norm(&self.lowest);
        let is_usable = self.lowest.len() == self.near.size() && length.is_finite() && length > 0.0;
        if !is_usable || self.per_residual <= 0.0 {
            return;
        }
        let mut v: Vec<f64> = self.lowest.iter().map(|x| x / length).collect();
        let mut image = product(&v);
        for _ in 0..MOST_TURNS {
            let rayleigh = dot(&v, &image);
            let mut turn: Vec<f64> = image.iter().zip(&v).map(|(g, x)| g - rayleigh * x).collect();
            if self.per_residual * dot(&turn, &turn) <= CLOSE * rayleigh {
                break;
            }
            self.near.solve(&mut turn);
            let along = dot(&turn, &v);
            turn.iter_mut().zip(&v).for_each(|(w, x)| *w -= along * x);
            let length = norm(&turn);
            if length.is_nan() || length <= 0.0 {
                break;
            }
            turn.iter_mut().for_each(|w| *w /= length);
            let turned = product(&turn);
            // The lower eigenvector of the 2 × 2 matrix on the span, by the angle that makes it diagonal.
            let angle = 0.5 * (2.0 * dot(&turn, &image)).atan2(rayleigh - dot(&turn, &turned));
            let (share, rest) = (-angle.sin(), angle.cos());
            let combine = |x: &mut [f64], y: &[f64]| x.iter_mut().zip(y).for_each(|(x, y)| *x = share * *x + rest * y);
            combine(&mut v, &turn);
            combine(&mut image, &turned);
        }
        self.lowest = v;
    }

    /// A shift that is probably below λ_min, and closer to it than to the next eigenvalue; negative without any guess.
    ///
    /// The Rayleigh quotient of the previous vector is above λ_min by its residual squared over the gap to the next eigenvalues; by what
    /// over what it was is known from the last time.
    fn just_below(&mut self, product: impl Fn(&[f64]) -> Vec<f64>) -> f64 {
        self.residual_squared = 0.0;
        let length = norm(&self.lowest);
        if self.last_low <= 0.0 || length <= 0.0 || !length.is_finite() {
            return -1.0;
        }
        let mut image = product(&self.lowest);
        image.iter_mut().for_each(|x| *x /= length);
        self.rayleigh = dot(&image, &self.lowest) / length;
        image.iter_mut().zip(&self.lowest).for_each(|(x, v)| *x -= self.rayleigh * v / length);
        self.residual_squared = dot(&image, &image);
        if self.per_residual <= 0.0 {
            return -1.0;
        }
        self.rayleigh - (MARGIN * self.per_residual * self.residual_squared).max(CLOSEST * self.rayleigh)
    }

    /// Whether every eigenvalue of `gram` is above `value`, certainly.
    pub fn are_above(&mut self, gram: MatRef<'_, f64>, value: f64) -> bool {
        self.below.factor(gram, -value).is_ok()
    }
}

/// One inverse iteration. With a shift next to an eigenvalue the result is its eigenvector, practically.
fn inverse_step(factor: &Cholesky, x: &[f64]) -> Vec<f64> {
    let mut y = x.to_vec();
    factor.solve(&mut y);
    y
}

/// Mixes a unit vector with a fixed pseudo-random one.
fn blend(x: &mut Vec<f64>, n: usize) {
    let length = norm(x);
    let is_usable = x.len() == n && length.is_finite() && length > 0.0;
    if !is_usable {
        x.clear();
        x.resize(n, 0.0);
    }
    let (old, fresh) = if is_usable { (1.0 / length, BLEND) } else { (0.0, 1.0) };
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
}

/// Largest eigenvalue of the operator, from Lanczos started at `start`.
fn largest(start: &[f64], converged: impl Fn(f64) -> f64, mut apply: impl FnMut(&[f64]) -> Vec<f64>) -> Option<f64> {
    let mut krylov = Krylov::new(start);
    let mut ritz = f64::NEG_INFINITY;
    for k in 0..MAX_VECTORS.min(start.len()) {
        let (next, rest) = krylov.advance(&mut apply);
        let new = largest_of_tridiagonal(&krylov.diagonal, &krylov.off, ritz);
        if !new.is_finite() {
            return None;
        }
        let is_invariant = rest <= 1e-14 * new.abs();
        if is_invariant || new - ritz <= converged(new) * new.abs() || k + 1 == start.len() {
            return (new > 0.0).then_some(new);
        }
        ritz = new;
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
    blend(&mut start, n);
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
                    let mut vector = vec![0.0; n];
                    for (i, v) in krylov.vectors.iter().enumerate() {
                        let share = eigen.U()[(i, at)];
                        vector.iter_mut().zip(v).for_each(|(x, v)| *x += share * v);
                    }
                    Ritz { value, error, vector }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(n: usize, condition: f64, seed: f64) -> Mat<f64> {
        // Q diag Qᵀ with Q from a pseudo-random matrix.
        let random =
            Mat::from_fn(n, n, |i, j| (seed + i as f64 * 0.37 + j as f64 * 0.73 + (i * j) as f64 * 0.61).sin());
        let q = random.qr().compute_Q();
        let values =
            Mat::from_fn(n, n, |i, j| if i == j { condition.powf(i as f64 / (n - 1).max(1) as f64) } else { 0.0 });
        &q * &values * q.transpose()
    }

    #[test]
    fn certified_extremes_match_all_eigenvalues_warm_or_cold() {
        for n in [2, 3, 17, 40, 80] {
            for condition in [1.0, 10.0, 1e4] {
                let mut extremes = Extremes::default();
                for round in 0..3 {
                    let gram = matrix(n, condition, 0.1 * f64::from(round) * 1e-2);
                    let all = gram.self_adjoint_eigenvalues(Side::Lower).expect("finite");
                    let Some(Ends { low, high, above }) = extremes.of(gram.as_ref(), f64::INFINITY) else {
                        panic!("no certificate for n = {n}, condition {condition}");
                    };
                    // Eigenvalues of either method are exact for a matrix within a few n·ε of this one.
                    let tol = 10.0 * n as f64 * f64::EPSILON * all[n - 1] + CERTIFIED * low;
                    assert!((low - all[0]).abs() < tol, "n = {n}: λ_min {low} against {}", all[0]);
                    assert!(above <= low && (above - all[0]) < tol, "n = {n}: above {above}, λ_min {}", all[0]);
                    assert!((high - all[n - 1]).abs() < tol + CERTIFIED * high, "n = {n}: λ_max {high}");
                }
            }
        }
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

    #[test]
    fn a_start_orthogonal_to_the_lowest_eigenvector_gives_no_wrong_value() {
        let n = 20;
        let gram = Mat::from_fn(n, n, |i, j| if i == j { 1.0 + i as f64 } else { 0.0 });
        let mut extremes = Extremes { lowest: vec![0.0; n], ..Extremes::default() };
        extremes.lowest[5] = 1.0;
        if let Some(Ends { low, .. }) = extremes.of(gram.as_ref(), f64::INFINITY) {
            assert!((low - 1.0).abs() < 1e-9, "{low}");
        }
    }
}
