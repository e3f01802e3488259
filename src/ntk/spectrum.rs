//! Extreme eigenvalues of G, their resolution, and its numerical rank.
//!
//! An eigenvalue of a formed Gram matrix carries an absolute error of about ε·nM·‖G‖. Where λ_min is not far above that, it is
//! computed as σ_min(J)² instead, which resolves down to about (ε‖J‖)². Below that nothing is claimed.

use super::extremes::Ends;
use super::gram::GramEvaluator;
use crate::flow::FlowField;
use crate::vector::{dot, norm};
use faer::{Mat, MatRef, Side};
use thiserror::Error;

/// λ_min/λ_max below which the singular values of J replace the eigenvalues of G.
const SINGULAR_VALUES_BELOW: f64 = 1e-8;

/// From this size on, certified Lanczos values replace the full spectrum.
const LANCZOS_FROM: usize = 32;

/// The same, only for λ_min/λ_max above this.
const CERTIFY_ABOVE: f64 = 1e-7;

/// Singular values below this times ε·√nM·‖J‖ are rounding.
const RANK_FACTOR: f64 = 4.0;

/// A gap of this factor between the last singular value above rounding and rounding itself makes a rank clear.
const CLEAR_GAP: f64 = 1e3;

/// Why λ_min is zero whatever the weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroReason {
    /// P < nM: G has rank at most P.
    TooFewParameters,
    /// Two samples share an input, so that their rows of J are equal.
    DuplicateInputs,
}

/// An eigenvalue or singular value iteration failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the eigenvalues of the Gram matrix could not be computed")]
pub struct SpectrumError;

/// The spectrum of G at one point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spectrum {
    /// λ_min(G) ≥ 0.
    pub lambda_min: f64,
    /// λ_min is not below this, by a Cholesky factor or by the error of the eigenvalues; at least 0.
    pub lower: f64,
    /// λ_max(G).
    pub lambda_max: f64,
    /// λ_min is known up to about this.
    pub resolution: f64,
    /// Numerical rank of G, of nM.
    pub rank: usize,
    /// Whether the rank is separated from rounding by a clear gap in the spectrum (or by structure).
    pub rank_is_clear: bool,
}

impl Spectrum {
    /// Whether λ_min is positive beyond doubt.
    pub fn is_resolved(&self) -> bool {
        self.lambda_min > self.resolution
    }
}

/// λ_min = 0 by structure, if so.
pub fn structural_zero(field: &FlowField, n_targets: usize) -> Option<ZeroReason> {
    if field.batch().network().n_parameters() < n_targets {
        Some(ZeroReason::TooFewParameters)
    } else if field.data().has_duplicates() {
        Some(ZeroReason::DuplicateInputs)
    } else {
        None
    }
}

/// The spectrum at the field's last evaluation; `n_targets` is nM. `thorough` allows singular values where G is not enough;
/// values above `known_minimum` need not be certified more closely than that they are above it (∞ certifies all).
///
/// # Errors
/// When an iteration fails, which needs non-finite entries.
pub fn spectrum(
    field: &FlowField,
    n_targets: usize,
    grams: &mut GramEvaluator,
    thorough: bool,
    known_minimum: f64,
) -> Result<Spectrum, SpectrumError> {
    grams.visit(field);
    spectrum_here(field, n_targets, grams, thorough, known_minimum)
}

/// [`spectrum`] where `grams` has [visited](GramEvaluator::visit) the field's last evaluation.
///
/// # Errors
/// When an iteration fails, which needs non-finite entries.
pub fn spectrum_here(
    field: &FlowField,
    n_targets: usize,
    grams: &mut GramEvaluator,
    thorough: bool,
    known_minimum: f64,
) -> Result<Spectrum, SpectrumError> {
    let zero = structural_zero(field, n_targets);
    if zero == Some(ZeroReason::TooFewParameters) {
        return singular(grams.parameter_gram(field).as_ref(), n_targets);
    }
    // Nothing below reads more of it than the lower triangle.
    let (gram, extremes) = grams.lower_here(field);
    // Only values far above rounding are certified; the others want the whole spectrum for their rank anyway.
    if gram.nrows() >= LANCZOS_FROM
        && zero.is_none()
        && let Some(Ends { low, high, above }) =
            extremes.of(gram, known_minimum).filter(|ends| ends.low > CERTIFY_ABOVE * ends.high)
    {
        let resolution = f64::EPSILON * n_targets as f64 * high;
        return Ok(Spectrum {
            lambda_min: low,
            lower: (above - resolution).max(0.0),
            lambda_max: high,
            resolution,
            rank: n_targets,
            rank_is_clear: true,
        });
    }
    if zero.is_some() {
        return singular(gram, n_targets);
    }
    let eigenvalues = gram.self_adjoint_eigenvalues(Side::Lower).map_err(|_| SpectrumError)?;
    let (lowest, highest) = (eigenvalues[0].max(0.0), eigenvalues[eigenvalues.len() - 1]);
    let resolution = f64::EPSILON * n_targets as f64 * highest;
    if lowest > SINGULAR_VALUES_BELOW * highest || !thorough {
        let rank = eigenvalues.iter().filter(|&&l| l > resolution).count();
        let lambda_min = if lowest > resolution { lowest } else { 0.0 };
        let lower = (lambda_min - resolution).max(0.0);
        let rank_is_clear = rank == n_targets;
        return Ok(Spectrum { lambda_min, lower, lambda_max: highest, resolution, rank, rank_is_clear });
    }
    by_singular_values(grams.jacobian_transposed(field).as_ref(), highest)
}

/// λ_min = 0 by structure; λ_max and the rank come from a matrix with G's non-zero eigenvalues.
fn singular(matrix: MatRef<'_, f64>, n_targets: usize) -> Result<Spectrum, SpectrumError> {
    let eigenvalues = matrix.self_adjoint_eigenvalues(Side::Lower).map_err(|_| SpectrumError)?;
    let highest = eigenvalues[eigenvalues.len() - 1].max(0.0);
    let rank = eigenvalues.iter().filter(|&&l| l > f64::EPSILON * n_targets as f64 * highest).count();
    Ok(Spectrum { lambda_min: 0.0, lower: 0.0, lambda_max: highest, resolution: 0.0, rank, rank_is_clear: true })
}

fn by_singular_values(jacobian: MatRef<'_, f64>, lambda_max: f64) -> Result<Spectrum, SpectrumError> {
    let Singular { sigma, error, .. } = singular_values(jacobian)?;
    let largest = sigma.first().copied().unwrap_or(0.0);
    let rounding = RANK_FACTOR * f64::EPSILON * (sigma.len() as f64).sqrt() * largest + error;
    let rank = sigma.iter().filter(|&&s| s > rounding).count();
    let smallest = sigma.last().copied().unwrap_or(0.0);
    // A full rank without a gap to rounding is no more certain than any other.
    let rank_is_clear = rank == 0 || sigma[rank - 1] > CLEAR_GAP * rounding;
    let resolution = if rank == sigma.len() { 2.0 * smallest * rounding } else { rounding * rounding };
    let lambda_min = if rank == sigma.len() { smallest * smallest } else { 0.0 };
    let lower = (lambda_min - resolution).max(0.0);
    Ok(Spectrum { lambda_min, lower, lambda_max, resolution, rank, rank_is_clear })
}

/// Singular values of a matrix with no fewer rows than columns, decreasing, and the right singular vectors V.
struct Singular {
    sigma: Vec<f64>,
    right: Mat<f64>,
    /// ‖RV − U diag(σ)‖_F and what U and V lack in orthogonality: the singular values are those of a matrix no further away than this.
    error: f64,
}

/// Singular values by a triangular factor, with the error that was reached and not the one that was hoped for.
///
/// faer drops columns below 16ε·P of their length when it triangulates a tall matrix itself, which can be far above the smallest singular value.
fn singular_values(jacobian: MatRef<'_, f64>) -> Result<Singular, SpectrumError> {
    let r = triangle(jacobian);
    let n = r.ncols();
    let svd = r.svd().map_err(|_| SpectrumError)?;
    let (u, v) = (svd.U().to_owned(), svd.V().to_owned());
    let sigma: Vec<f64> = svd.S().column_vector().iter().copied().collect();
    let scaled = Mat::from_fn(n, n, |i, j| u[(i, j)] * sigma[j]);
    let residual = (&r * &v - &scaled).norm_l2();
    let defect = |q: &Mat<f64>| (q.transpose() * q - Mat::<f64>::identity(n, n)).norm_l2();
    let largest = sigma.first().copied().unwrap_or(0.0);
    let error = residual + largest * (defect(&u) + defect(&v));
    if error.is_finite() { Ok(Singular { sigma, right: v, error }) } else { Err(SpectrumError) }
}

/// The right singular vector of Jᵀ that belongs to its smallest singular value.
pub(super) fn lowest_singular_vector(jacobian: MatRef<'_, f64>) -> Option<Vec<f64>> {
    let Singular { right, .. } = singular_values(jacobian).ok()?;
    let last = right.ncols().checked_sub(1)?;
    Some(right.col(last).iter().copied().collect())
}

/// R of the QR factorisation by reflections, column by column, however short what is left of a column is.
fn triangle(matrix: MatRef<'_, f64>) -> Mat<f64> {
    let (m, n) = (matrix.nrows(), matrix.ncols());
    let mut columns: Vec<Vec<f64>> = (0..n).map(|j| matrix.col(j).iter().copied().collect()).collect();
    for k in 0..n.min(m) {
        let (done, rest) = columns.split_at_mut(k + 1);
        let pivot = &mut done[k][k..];
        let length = norm(pivot);
        if length == 0.0 {
            continue;
        }
        // Away from zero, so that nothing cancels.
        let head = pivot[0] + length.copysign(pivot[0]);
        let diagonal = -length.copysign(pivot[0]);
        pivot[0] = head;
        // The reflection is I − w wᵀ/(length·|head|).
        let scale = 1.0 / (length * head.abs());
        for column in rest {
            let part = scale * dot(pivot, &column[k..]);
            column[k..].iter_mut().zip(&*pivot).for_each(|(c, w)| *c -= part * w);
        }
        pivot[0] = diagonal;
        pivot[1..].fill(0.0);
    }
    Mat::from_fn(n, n, |i, j| if i <= j && i < m { columns[j][i] } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two columns that differ by 2⁻³⁸ or less in one entry, and others: the product of all singular values is known.
    #[test]
    fn singular_values_are_found_down_to_rounding_however_tall_the_matrix() {
        for (m, n, gap) in [(30, 3, 2.0_f64.powi(-40)), (400, 5, 2.0_f64.powi(-38)), (40, 6, 2.0_f64.powi(-38))] {
            // Two columns that differ in one entry, exactly, by `gap`; the others are unrelated.
            let entry = |i: usize, j: usize| ((7 * i + 11 * j * j + 3) as f64).sin();
            let round = |x: f64| (x * 256.0).round() / 256.0;
            let a = Mat::from_fn(m, n, |i, j| match j {
                1 => round(entry(i, 0)) + if i == 0 { gap } else { 0.0 },
                _ => round(entry(i, j)),
            });
            let Singular { sigma, error, .. } = singular_values(a.as_ref()).expect("finite");
            // Replacing column 1 by (column 1 − column 0)/gap, which is e₀ exactly, and column 0 by itself, divides the determinant of
            // AᵀA by gap² and leaves a matrix that is well conditioned.
            let b = Mat::from_fn(m, n, |i, j| if j == 1 { f64::from(u8::from(i == 0)) } else { a[(i, j)] });
            let gram = b.transpose() * &b;
            let volume =
                gram.self_adjoint_eigenvalues(Side::Lower).expect("finite").iter().map(|l| l.sqrt()).product::<f64>();
            let product: f64 = sigma.iter().product();
            // The smallest of them has an absolute error of `error` and rounding; the others are far above it.
            let allowed = (4.0 * error + 16.0 * f64::EPSILON * (n as f64).sqrt() * sigma[0]) / sigma[n - 1];
            let relative = (product / (gap * volume) - 1.0).abs();
            assert!(relative <= allowed, "{m} × {n}: {relative:e} above {allowed:e}, {sigma:?}");
            assert!(allowed < 0.5, "{m} × {n}: {allowed} says nothing");
        }
    }
}
