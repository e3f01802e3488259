//! Both ends of the spectrum of a Gram matrix, warm-started and certified.
//!
//! Lanczos iterations find the largest eigenvalue of G, and through a Cholesky factor that of (G − μI)⁻¹. A Lanczos
//! value can be an interior eigenvalue when the start misses the extreme eigenvector, so every value that could be the minimum of a
//! run, on which verdicts rest, is certified by inertia: G shifted to just below it must have a Cholesky factor. For others the
//! factor of the shifted matrix shows that they are above that minimum. Without certificate there is no result, and the caller
//! computes all eigenvalues instead. λ_max only sets scales and is not certified.

use super::lanczos::{blend, largest};
use super::symmetric;
use crate::cholesky::Cholesky;
use crate::vector::{dot, norm};
use faer::MatRef;

/// A Ritz value has converged when it is this close, relatively, by what its residual says; for λ_min and for λ_max, which only sets scales.
const CONVERGED: (f64, f64) = (1e-13, 2e-9);
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
/// Share of a fixed pseudo-random vector in a warm start, so that no eigenvector is ever missing from it; for λ_min and for λ_max.
const BLEND: (f64, f64) = (1e-3, 1e-6);

/// Both ends of a spectrum.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// λ_min.
    pub low: f64,
    /// λ_max, probably, to about 1e-8 of it; not certified.
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
    /// How far the Rayleigh quotient of a start was above λ_min, over its residual squared.
    per_residual: f64,
    /// Of G shifted to near its lowest eigenvalue, and to just below it.
    near: Cholesky,
    below: Cholesky,
}

/// What a unit vector says about λ_min.
#[derive(Debug, Clone, Copy)]
struct Quotient {
    rayleigh: f64,
    residual_squared: f64,
}

impl Extremes {
    /// Both ends of the spectrum of `gram`, of which the lower triangle is read; or `None` when it is not positive definite enough, or the
    /// iteration did not convince.
    ///
    /// Where it is already certified that λ_min is above `known_minimum`, the value itself is not certified once more.
    pub fn of(&mut self, gram: MatRef<'_, f64>, known_minimum: f64) -> Option<Ends> {
        let n = gram.nrows();
        let product = |x: &[f64]| {
            let mut image = vec![0.0; n];
            symmetric::product(gram, x, &mut image);
            image
        };
        blend(&mut self.highest, n, BLEND.1);
        let (high, vector) = largest(&self.highest, |_| CONVERGED.1, product)?;
        self.highest = vector;

        let start = self.follow(product);
        let guess = start.map_or(-1.0, |start| self.just_below(start));
        blend(&mut self.lowest, n, BLEND.0);
        // Just below the spectrum the inverse is dominated by the eigenvector wanted, so that few iterations do.
        let shift = [guess, NEARBY * self.last_low, 0.0]
            .into_iter()
            .find(|&shift| shift >= 0.0 && self.near.factor(gram, -shift).is_ok())?;
        // An error of the inverse matters to λ_min itself only by its size next to the shift.
        let converged = |inverse: f64| (CONVERGED.0 * (1.0 + shift * inverse)).min(LOOSEST);
        let solve = |x: &[f64]| {
            let mut y = x.to_vec();
            self.near.solve(&mut y);
            y
        };
        let (inverse, vector) = largest(&self.lowest, converged, solve)?;
        self.lowest = vector;
        let low = shift + 1.0 / inverse;
        let mut above = shift;
        if shift <= known_minimum {
            // The eigenvalue itself is only known to ε·‖G‖, so the nudge cannot be smaller than that.
            let nudge = (CERTIFIED * low).max(8.0 * f64::EPSILON * high);
            above = low - nudge;
            self.below.factor(gram, -above).ok()?;
        }
        self.last_low = low;
        self.learn(start, low);
        Some(Ends { low, high, above })
    }

    /// Learns from a quotient that was above λ_min, by more than rounding, how far that is for its residual. To expect too much costs
    /// little, too little a factor in vain: larger values are forgotten slowly.
    fn learn(&mut self, start: Option<Quotient>, low: f64) {
        if let Some(Quotient { rayleigh, residual_squared }) = start
            && residual_squared > 0.0
            && rayleigh - low > VISIBLE * low
        {
            self.per_residual = ((rayleigh - low) / residual_squared).max(FORGET * self.per_residual);
        } else if self.per_residual <= 0.0 {
            self.per_residual = 1.0 / (GAP * low);
        }
    }

    /// Turns the previous vector, if there is one, towards the lowest eigenvector of the new matrix, where that is far away: each step minimises
    /// the Rayleigh quotient over the vector and its residual, which the factor at hand of the previous matrix preconditions (Davidson 1975).
    fn follow(&mut self, product: impl Fn(&[f64]) -> Vec<f64>) -> Option<Quotient> {
        let length = norm(&self.lowest);
        let is_usable = self.lowest.len() == self.near.size() && length.is_finite() && length > 0.0;
        if !is_usable || self.per_residual <= 0.0 {
            return None;
        }
        let v = &mut self.lowest;
        v.iter_mut().for_each(|x| *x /= length);
        let mut image = product(v);
        let mut turns = 0;
        loop {
            let rayleigh = dot(v, &image);
            let mut turn: Vec<f64> = image.iter().zip(&*v).map(|(g, x)| g - rayleigh * x).collect();
            let residual_squared = dot(&turn, &turn);
            let here = Some(Quotient { rayleigh, residual_squared });
            if self.per_residual * residual_squared <= CLOSE * rayleigh || turns == MOST_TURNS {
                return here;
            }
            self.near.solve(&mut turn);
            let along = dot(&turn, v);
            turn.iter_mut().zip(&*v).for_each(|(w, x)| *w -= along * x);
            let length = norm(&turn);
            if length.is_nan() || length <= 0.0 {
                return here;
            }
            turn.iter_mut().for_each(|w| *w /= length);
            let turned = product(&turn);
            // The lower eigenvector of the 2 × 2 matrix on the span, by the angle that makes it diagonal.
            let angle = 0.5 * (2.0 * dot(&turn, &image)).atan2(rayleigh - dot(&turn, &turned));
            let (share, rest) = (-angle.sin(), angle.cos());
            let combine = |x: &mut [f64], y: &[f64]| x.iter_mut().zip(y).for_each(|(x, y)| *x = share * *x + rest * y);
            combine(v, &turn);
            combine(&mut image, &turned);
            turns += 1;
        }
    }

    /// A shift that is probably below λ_min, and closer to it than to the next eigenvalue.
    ///
    /// The Rayleigh quotient of a vector is above λ_min by its residual squared over the gap to the next eigenvalues; by what over what it was
    /// is known from the last time.
    fn just_below(&self, start: Quotient) -> f64 {
        start.rayleigh - (MARGIN * self.per_residual * start.residual_squared).max(CLOSEST * start.rayleigh)
    }

    /// Whether every eigenvalue of `gram`, of which the lower triangle is read, is above `value`, certainly.
    pub fn are_above(&mut self, gram: MatRef<'_, f64>, value: f64) -> bool {
        self.below.factor(gram, -value).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lanczos::tests::matrix;
    use super::*;
    use faer::{Mat, Side};

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
                    assert!((high - all[n - 1]).abs() < tol + 1e-8 * high, "n = {n}: λ_max {high}");
                }
            }
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
